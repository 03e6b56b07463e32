"""The door: how many may be inside, and who comes in and leaves."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.auth.base import Identity, Password
from maildir_imapd.auth.last_use import LastUse
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, LimitReached
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.counts import Counts
from maildir_imapd.server.door import Door
from maildir_imapd.server.sessions import Visit

needs_root = pytest.mark.skipif(not owners.supported(), reason="only root can act as others")


def make(tmp_path: Path, text: str = "ann:{PLAIN}secret\n", **given: Any) -> Door:
    (tmp_path / "passwd").write_text(text)
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    given = {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "auth_failure_delay": 0, "fsync": "never", **given}
    config = load(None, {"passwd_file": str(tmp_path / "passwd"), **given})
    return Door(settings.chain(config), Accounts(settings.mail(config), None), settings.room(config))


def arrive(door: Door, host: str = "192.0.2.1") -> Visit:
    visit = Visit(host, "peer")
    door.arrive(visit)
    return visit


def log_in(door: Door, visit: Visit, user: str = "ann", password: bytes = b"secret") -> Access:
    return door.gate(visit)(Password(user, password))


def test_a_login(tmp_path: Path) -> None:
    door = make(tmp_path)
    visit = arrive(door)
    access = log_in(door, visit)
    assert access.user == visit.user == "ann"
    assert access.account.root == os.fsencode(tmp_path / "ann" / "Maildir")
    assert log_in(door, arrive(door)).account is access.account
    # Case: what the file has in small letters.
    assert door.gate(arrive(door))(Password("Ann", b"secret", "ann")).user == "ann"
    stranger = arrive(door)
    with pytest.raises(AuthorizationFailed):
        door.gate(stranger)(Password("ann", b"secret", "ben"))
    with pytest.raises(AuthenticationFailed):
        log_in(door, stranger, password=b"wrong")
    assert stranger.user is None


def test_mail_that_is_not_there(tmp_path: Path) -> None:
    """RFC 5530 3: who cannot be let in for want of a disk is told so, and counted nowhere."""
    door = make(tmp_path, mail_location=f"maildir:{tmp_path}/mail/%n", connections_per_user=1)
    said: list[bytes] = []
    engine, reply = Engine(Policy(), door.gate(arrive(door)), secure=True), Reply(said.append)
    for line in (b"a LOGIN ann secret\r\n", b"a AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=\r\n"):
        engine.feed(line, reply)
        assert said.pop().startswith(b"a NO [UNAVAILABLE] The mail is not there just now")
    (tmp_path / "mail").mkdir()
    engine.feed(b"a LOGIN ann secret\r\n", reply)
    assert said.pop().startswith(b"a OK")


def test_allow_nets(tmp_path: Path) -> None:
    door = make(tmp_path, "ann:{PLAIN}secret:::::: allow_nets=192.0.2.0/24\n")
    assert log_in(door, arrive(door, "192.0.2.9"))
    with pytest.raises(AuthenticationFailed):
        log_in(door, arrive(door, "198.51.100.9"))


def test_groups_for_access_rights(tmp_path: Path) -> None:
    door = make(tmp_path, "ann:{PLAIN}secret:::::: userdb_acl_groups=team,,staff\nben:{PLAIN}secret\n")
    assert log_in(door, arrive(door)).groups == {"team", "staff"}
    assert log_in(door, arrive(door), "ben").groups == frozenset()


def test_limits(tmp_path: Path) -> None:
    door = make(tmp_path, connections=3, connections_per_user=1)
    inside = [arrive(door), arrive(door), arrive(door, "192.0.2.2")]
    log_in(door, inside[0])
    with pytest.raises(LimitReached):
        log_in(door, inside[1])
    door.leave(inside[0])
    inside[0] = arrive(door)
    access = log_in(door, inside[0])
    # RFC 8437: he leaves, and the connection stays.
    access.release()
    assert inside[0].user is None
    log_in(door, inside[0])


def test_a_limit_of_the_users_own(tmp_path: Path) -> None:
    """What his back end says goes before the setting, in either direction."""
    door = make(tmp_path, connections_per_user=2)
    for most in (1, 3):
        who = Identity(f"ann{most}", connections=most)
        for _ in range(most):
            door.admit(who, arrive(door))
        with pytest.raises(LimitReached):
            door.admit(who, arrive(door))


def test_of_one_address_the_longest_that_has_not_logged_in_gives_way(tmp_path: Path) -> None:
    door = make(tmp_path, connections_per_address=2, connections_per_user=0)
    inside = [arrive(door) for _ in range(3)]
    assert [visit.goodbye is not None for visit in inside] == [True, False, False]
    other = arrive(door, "192.0.2.2")
    assert inside[1].goodbye is other.goodbye is None
    # IPv6: whoever has one address has the others of its network.
    six = [arrive(door, f"2001:db8:0:1:{n}::3") for n in range(3)]
    assert [visit.goodbye is not None for visit in six] == [True, False, False]
    assert arrive(door, "2001:db8:0:2::1").goodbye is None


def test_who_has_logged_in_does_not_count_for_his_address(tmp_path: Path) -> None:
    """Webmail, NAT and proxies: four hundred good connections from one address."""
    door = make(tmp_path, connections_per_address=2, connections_per_user=0)
    inside = []
    for _ in range(400):
        inside.append(arrive(door))
        access = log_in(door, inside[-1])
    assert not any(visit.goodbye for visit in inside)
    # RFC 8437: who leaves his mail and stays is one who has not logged in.
    access.release()
    more = [arrive(door), arrive(door)]
    assert inside[-1].goodbye is not None
    assert not any(visit.goodbye for visit in more)
    for visit in (*inside, *more):
        door.leave(visit)
    assert door._by_network == {}


def test_a_user_and_his_address(tmp_path: Path) -> None:
    door = make(tmp_path, connections_per_user=3, connections_per_user_and_address=2)
    first, second = arrive(door), arrive(door)
    log_in(door, first)
    log_in(door, second)
    with pytest.raises(LimitReached):
        log_in(door, arrive(door))
    log_in(door, arrive(door, "192.0.2.2"))
    with pytest.raises(LimitReached):
        log_in(door, arrive(door, "192.0.2.3"))
    door.leave(first)
    log_in(door, arrive(door, "192.0.2.3"))
    with pytest.raises(LimitReached):
        log_in(door, arrive(door))


def test_a_user_in_several_workers(tmp_path: Path) -> None:
    counts = Counts(2)
    doors = []
    for slot in range(2):
        counts.born(slot)
        alone = make(tmp_path, connections_per_user=3)
        doors.append(Door(alone.chain, alone.accounts, alone.room, counts.of(slot)))
    for door in (*doors, doors[0]):
        log_in(door, arrive(door))
    with pytest.raises(LimitReached, match="You have too many"):
        log_in(doors[1], arrive(doors[1]))
    # A worker dies, and takes along what it had.
    counts.born(0)
    for _ in range(2):
        log_in(doors[1], arrive(doors[1]))
    with pytest.raises(LimitReached):
        log_in(doors[1], arrive(doors[1]))


def test_who_has_not_logged_in_gives_way(tmp_path: Path) -> None:
    """The longest first; who has logged in stays, and when all have, the new one is refused."""
    door = make(tmp_path, connections=3, connections_before_login=2)
    rung: list[int] = []
    inside = []
    for n in range(2):
        inside.append(arrive(door))
        inside[n].ring = lambda n=n: rung.append(n)  # type: ignore[misc]
    inside.append(arrive(door))
    assert rung == [0]
    assert inside[0].goodbye is not None
    assert inside[0].goodbye.text.startswith("Too many connections")
    assert inside[1].goodbye is None
    door.leave(inside[0])
    for visit in inside[1:]:
        log_in(door, visit)
    inside.append(arrive(door))
    log_in(door, inside[3])
    with pytest.raises(LimitReached, match="Too many connections"):
        arrive(door)
    # Who logs out without going is the next.
    door.leave(inside[3])
    access = log_in(door, last := arrive(door))
    access.release()
    arrive(door)
    assert last.goodbye is not None
    assert rung == [0]


@needs_root
def test_a_thread_is_the_process_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8437: nothing of a user is left for the next one."""
    door = make(tmp_path, mail_user=None)
    os.chmod(tmp_path, 0o777)
    monkeypatch.setattr(door.accounts, "owner", lambda _: owners.owner(54321, 54322))
    monkeypatch.setattr(door.accounts, "account", lambda *_: None)
    seen: list[owners.Owner] = []

    def work() -> None:
        access = door.admit(Identity("ann", uid=54321, gid=54322), arrive(door))
        seen.append(owners.current())
        access.release()
        seen.append(owners.current())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [owners.owner(54321, 54322), owners.own()]


def test_the_last_login_is_noted_and_a_master_s_is_not(tmp_path: Path) -> None:
    made = make(tmp_path)
    logins = LastUse(str(tmp_path / "logins"), room=8)
    door = Door(made.chain, made.accounts, made.room, last_login=logins)
    access = log_in(door, arrive(door))
    access.used("")
    access.used("Mail")
    lines = [line.split("\t")[1:] for line in (tmp_path / "logins").read_text().splitlines()]
    assert lines == [["ann", "", "192.0.2.1", ""], ["ann", "", "192.0.2.1", "Mail"]]
    other = arrive(door)
    door.admit(Identity("ann", acting="boss"), other).used("")
    assert len((tmp_path / "logins").read_text().splitlines()) == 2
    logins.close()


def test_a_device(tmp_path: Path) -> None:
    (tmp_path / "devices").write_text("ann:{PLAIN}dddd:::reader:::made=1 scope=read\n")
    made = make(tmp_path, auth_device_file=str(tmp_path / "devices"))
    uses = LastUse(str(tmp_path / "used"))
    door = Door(made.chain, made.accounts, made.room, last_use=uses)
    own = log_in(door, arrive(door))
    own.used("Mail")
    assert not own.read_only
    assert (tmp_path / "used").read_text() == ""
    access = log_in(door, arrive(door), password=b"dddd")
    assert access.read_only
    access.used("Mail")
    assert (tmp_path / "used").read_text().endswith("\tann\treader\t192.0.2.1\tMail\n")
    uses.close()
