from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.auth.base import Identity, Password
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, Goodbye, LimitReached, Unavailable
from maildir_imapd.server import identity, supervisor
from maildir_imapd.server.door import Door, valid_user
from maildir_imapd.server.failures import Failures


def make(tmp_path: Path, text: str = "ann:{PLAIN}secret\n", **given: Any) -> Door:
    passwd = tmp_path / "passwd"
    passwd.write_text(text)
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    given = {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "auth_failure_delay": 0, "fsync": "never", **given}
    return Door(load(None, given), PasswdFile(str(passwd)), None)


@pytest.mark.parametrize("name", ["ann", "ann@example.org", "Ann.B+c", "müller", "a&b", "o'hara", "7", "a@b@c"])
def test_good_names(name: str) -> None:
    assert valid_user(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".a",
        "a/b",
        "../a",
        "a\0",
        "a\n",
        "a@..",
        "a@.b",
        "@b",
        "a@",
        "a@@b",
        "a%n",
        "a b",
        "~root",
        "x" * 256,
    ],
)
def test_names_that_could_lead_elsewhere(name: str) -> None:
    assert not valid_user(name)


def test_a_login(tmp_path: Path) -> None:
    door = make(tmp_path)
    access = door.gate("127.0.0.1", "peer")(Password("ann", b"secret"))
    assert access.user == "ann"
    assert access.account.root == os.fsencode(tmp_path / "ann" / "Maildir")
    assert door.gate("127.0.0.1", "peer")(Password("ann", b"secret")).account is access.account
    # Case: what the file has in small letters.
    assert door.gate("127.0.0.1", "peer")(Password("Ann", b"secret", "ann")).user == "ann"
    with pytest.raises(AuthorizationFailed):
        door.gate("127.0.0.1", "peer")(Password("ann", b"secret", "ben"))


class Clock:
    """Time as a test has it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("maildir_imapd.server.door.time", clock)
    return clock


def test_wrong_passwords_wait_longer_each_time(tmp_path: Path, clock: Clock) -> None:
    gate = make(tmp_path, auth_failure_delay=2).gate("127.0.0.1", "peer")
    for user in ("ann", "nobody", "../ann"):
        with pytest.raises(AuthenticationFailed):
            gate(Password(user, b"wrong"))
    with pytest.raises(Goodbye):
        gate(Password("ann", b""))
    assert clock.slept == [2, 4, 8, 16]


def test_the_answer_comes_a_pause_after_the_question(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the password took to check, and whether the user is known."""
    door = make(tmp_path, auth_failure_delay=2)
    check = PasswdFile.check

    def slow(users: PasswdFile, user: str, password: bytes) -> Identity:
        clock.now += 1.5 if user else 0.25
        return check(users, user, password)

    monkeypatch.setattr(PasswdFile, "check", slow)
    for user in ("ann", "../ann"):
        began = clock.now
        with pytest.raises(AuthenticationFailed):
            door.gate("127.0.0.1", "peer")(Password(user, b"wrong"))
        assert clock.now == began + 2


def test_from_elsewhere_a_right_password_is_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is not looked at: neither the hash nor what is remembered tells that it was right."""
    door = make(tmp_path, "ann:{PLAIN}secret:::::: allow_nets=192.0.2.0/24\n", auth_cache_time=300)
    assert door.identify("ann", b"secret", "192.0.2.9")
    asked: list[str] = []
    check = PasswdFile.check

    def watched(users: PasswdFile, user: str, password: bytes) -> Identity:
        asked.append(user)
        return check(users, user, password)

    monkeypatch.setattr(PasswdFile, "check", watched)
    for password in (b"secret", b"wrong"):
        with pytest.raises(AuthenticationFailed):
            door.identify("ann", password, "198.51.100.9")
    assert asked == ["", ""]


def test_failures_of_all_connections_make_the_pause_longer(tmp_path: Path, clock: Clock) -> None:
    """By address, by /64 and by user, in every worker; and it fades."""
    shared = Failures(64, clock.monotonic)
    doors = [make(tmp_path, auth_failure_delay=2), make(tmp_path, auth_failure_delay=2)]
    for door in doors:
        door.failures = shared

    def paused(user: str, host: str, door: Door = doors[1]) -> float:
        return door.pause(1, user, host)

    for n in range(12):
        with pytest.raises(AuthenticationFailed):
            doors[0].gate("192.0.2.1", "peer")(Password(f"nobody{n}", b"wrong"))
    assert paused("ben", "192.0.2.1") > 2
    assert paused("ben", "192.0.2.2") == 2
    for n in range(16):
        with pytest.raises(AuthenticationFailed):
            doors[0].gate(f"2001:db8:0:1::{n:x}", "peer")(Password(f"other{n}", b"wrong"))
        with pytest.raises(AuthenticationFailed):
            doors[0].gate(f"198.51.100.{n}", "peer")(Password("ann", b"wrong"))
    assert paused("ben", "2001:db8:0:1:ffff::1") > 2
    assert paused("ben", "2001:db8:0:2::1") == 2
    assert paused("Ann", "192.0.2.77") > 2
    clock.now += 3600
    assert paused("ann", "192.0.2.1") == 2
    for _ in range(500):
        shared.add("ann", "192.0.2.1")
    assert paused("ann", "192.0.2.1") <= 60


def test_failures_are_counted_in_a_place_of_fixed_size() -> None:
    """A flood of names pushes out what has faded most, and what is counted cannot be read."""
    clock = Clock()
    failures = Failures(2, clock.monotonic)
    for _ in range(30):
        failures.add("ann", "192.0.2.1")
    for n in range(1000):
        failures.add(f"flood{n}", f"10.0.{n // 250}.{n % 250}")
    assert failures.doublings("ann", "192.0.2.1") > 0
    assert b"ann" not in bytes(failures._tags) + bytes(failures._counts)


def test_other_processes_count_too() -> None:
    failures = Failures(64)
    child = os.fork()
    if child == 0:
        try:
            for _ in range(20):
                failures.add("ann", "192.0.2.1")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert failures.doublings("ben", "192.0.2.1") > 0


def test_a_remembered_password_ends_with_the_entry(tmp_path: Path) -> None:
    door = make(tmp_path, auth_cache_time=300)
    passwd = tmp_path / "passwd"
    assert door.identify("ann", b"secret")
    passwd.write_text("ann:{PLAIN}secret:::::: nologin\n")
    with pytest.raises(AuthenticationFailed):
        door.identify("ann", b"secret")
    passwd.write_text("ann:{PLAIN}another\n")
    with pytest.raises(AuthenticationFailed):
        door.identify("ann", b"secret")
    passwd.write_text("")
    with pytest.raises(AuthenticationFailed):
        door.identify("ann", b"another")


def test_a_remembered_password_needs_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make(tmp_path, auth_cache_time=300)
    door.identify("ann", b"secret")
    monkeypatch.setattr("maildir_imapd.auth.schemes.verify", lambda *_: pytest.fail("asked again"))
    assert door.identify("ann", b"secret").user == "ann"


def test_allow_nets(tmp_path: Path) -> None:
    door = make(tmp_path, "ann:{PLAIN}secret:::::: allow_nets=192.0.2.0/24\n")
    assert door.gate("192.0.2.9", "peer")(Password("ann", b"secret"))
    with pytest.raises(AuthenticationFailed):
        door.gate("198.51.100.9", "peer")(Password("ann", b"secret"))


def test_mail_locations(tmp_path: Path) -> None:
    door = make(tmp_path)
    extra = {"userdb_mail": f"maildir:{tmp_path}/elsewhere/%d/%n"}
    account = door.account(Identity("ann@example.org", extra=extra))
    assert account.root == os.fsencode(tmp_path / "elsewhere" / "example.org" / "ann")
    account = door.account(Identity("ben", extra={"mail": f"maildir:{tmp_path}/%n:LAYOUT=fs:INBOX={tmp_path}/in/%n"}))
    assert account.delimiter == "/"
    assert (tmp_path / "in" / "ben" / "cur").is_dir()
    for location in ("mbox:~/mail", "maildir:relative", "maildir:/x:LAYOUT=index", "maildir:~/Maildir", "maildir:/%x"):
        with pytest.raises(Unavailable):
            door.account(Identity("ann", extra={"mail": location}))


def test_groups_for_access_rights(tmp_path: Path) -> None:
    door = make(tmp_path, "ann:{PLAIN}secret:::::: userdb_acl_groups=team,,staff\nben:{PLAIN}secret\n")
    gate = door.gate("127.0.0.1", "peer")
    assert gate(Password("ann", b"secret")).groups == {"team", "staff"}
    assert gate(Password("ben", b"secret")).groups == frozenset()


def test_quotas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rule = "userdb_quota_rule=*:storage=1G:messages=1000"
    door = make(tmp_path, f"ann:{{PLAIN}}secret::::::x=y {rule}\nben:{{PLAIN}}secret\n", quota_storage="1M")

    def limit(user: str) -> tuple[int, int]:
        usage = door.account(door.identify(user, b"secret")).quota.usage()
        assert usage is not None
        return usage.limit

    assert limit("ann") == (1 << 30, 1000)
    assert limit("ben") == (1 << 20, 0)
    # Another rule in the file is taken at the next login, by the same account.
    account = door.account(Identity("ann"))
    assert door.account(Identity("ann", extra={"quota_rule": "*:bytes=5:messages=7"})) is account
    assert (usage := account.quota.usage()) is not None
    assert usage.limit == (5, 7)
    assert not caplog.records
    door.account(Identity("ben", extra={"quota_rule": "Trash:storage=+100M"}))
    assert "quota passed over" in caplog.text
    assert limit("ben") == (1 << 20, 0)


def test_limits(tmp_path: Path) -> None:
    door = make(tmp_path, connections=3, connections_per_address=2, connections_per_user=1)
    inside = [door.arrive("192.0.2.1"), door.arrive("192.0.2.1")]
    with pytest.raises(LimitReached, match="from your address"):
        door.arrive("192.0.2.1")
    inside.append(door.arrive("192.0.2.2"))
    # IPv6: whoever has one address has the others of its network.
    other = make(tmp_path, connections_per_address=2)
    for last in ("1", "2"):
        other.arrive(f"2001:db8:0:1::{last}")
    with pytest.raises(LimitReached, match="from your address"):
        other.arrive("2001:db8:0:1:abcd::3")
    other.arrive("2001:db8:0:2::1")
    gate = door.gate("192.0.2.1", "peer", inside[0])
    gate(Password("ann", b"secret"))
    with pytest.raises(LimitReached):
        gate(Password("ann", b"secret"))
    door.leave(inside[0], "ann")
    inside[0] = door.arrive("192.0.2.1")
    access = door.gate("192.0.2.1", "peer", inside[0])(Password("ann", b"secret"))
    # RFC 8437: he leaves, and the connection stays.
    access.release()
    door.gate("192.0.2.1", "peer", inside[0])(Password("ann", b"secret"))


def test_who_has_not_logged_in_gives_way(tmp_path: Path) -> None:
    """The longest first; who has logged in stays, and when all have, the new one is refused."""
    door = make(tmp_path, connections=3, connections_before_login=2)
    rung: list[int] = []
    inside = []
    for n in range(2):
        inside.append(door.arrive("192.0.2.1"))
        inside[n].ring = lambda n=n: rung.append(n)
    inside.append(door.arrive("192.0.2.1"))
    assert rung == [0]
    assert inside[0].sent_away
    assert not inside[1].sent_away
    door.leave(inside[0], None)
    for arrival in inside[1:]:
        door.gate("192.0.2.1", "peer", arrival)(Password("ann", b"secret"))
    inside.append(door.arrive("192.0.2.1"))
    door.gate("192.0.2.1", "peer", inside[3])(Password("ann", b"secret"))
    with pytest.raises(LimitReached, match="Too many connections"):
        door.arrive("192.0.2.1")
    # Who logs out without going is the next.
    door.leave(inside[3], "ann")
    access = door.gate("192.0.2.1", "peer", last := door.arrive("192.0.2.1"))(Password("ann", b"secret"))
    access.release()
    door.arrive("192.0.2.1")
    assert last.sent_away
    assert rung == [0]


def test_users_that_this_process_cannot_keep_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make(tmp_path)
    with pytest.raises(Unavailable):
        door.owner(Identity("root", uid=0, gid=0))
    with pytest.raises(Unavailable):
        door.owner(Identity("ann", gid=12))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000, 8])
    assert door.owner(Identity("ann", uid=1000, gid=1000)) is None
    assert door.owner(Identity("ann", uid=1000, gid=8)) is None
    assert door.owner(Identity("ann", uid=1000)) is None
    for uid, gid in ((1001, 1000), (1000, 9)):
        with pytest.raises(Unavailable):
            door.owner(Identity("ann", uid=uid, gid=gid))


def test_root_serves_nobody_about_whom_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory may be his, and then he turns elsewhere what root does in it."""
    door = make(tmp_path, mail_user=None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Unavailable):
        door.owner(Identity("ann"))


def test_root_names_at_its_start_who_cannot_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}x::::::\nben:{PLAIN}x:1000:1000::::\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    supervisor._mail_user(load(None, {}), PasswdFile(str(tmp_path / "passwd")))
    fields = [getattr(record, "fields", None) for record in caplog.records]
    assert {"without_uid": 1, "refused": "ann"} in fields


needs_root = pytest.mark.skipif(not identity.supported(), reason="only root can act as others")


@needs_root
def test_a_thread_acts_as_another(tmp_path: Path) -> None:
    """In a thread of its own, and no other thread notices."""
    who = identity.owner(54321, 54322)
    seen: list[object] = []
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/") and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)

    def work() -> None:
        before = identity.current()
        with identity.acting_as(who):
            seen.append(identity.current())
            (shared / "made").touch()
            try:
                secret.read_text()
            except PermissionError:
                seen.append("refused")
            with identity.acting_as(identity.owner(54400, 54400)):
                seen.append(identity.current().uid)
            seen.append(identity.current())
        seen.append(identity.current() == before)
        identity.become(who)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [who, "refused", 54400, who, True]
    made = (shared / "made").stat()
    assert (made.st_uid, made.st_gid) == (54321, 54322)
    assert identity.current() == identity.own()
    assert secret.read_text() == "x"


@needs_root
def test_a_thread_is_the_process_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8437: nothing of a user is left for the next one."""
    door = make(tmp_path, mail_user=None)
    os.chmod(tmp_path, 0o777)
    monkeypatch.setattr(door, "owner", lambda _: identity.owner(54321, 54322))
    monkeypatch.setattr(door, "account", lambda *_: None)
    seen: list[identity.Owner] = []

    def work() -> None:
        access = door.admit(Identity("ann", uid=54321, gid=54322))
        seen.append(identity.current())
        access.release()
        seen.append(identity.current())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [identity.owner(54321, 54322), identity.own()]


def test_the_watcher_of_an_owner_does_all_that_a_watcher_does() -> None:
    """Mailboxes do not know that theirs is another one."""
    from maildir_imapd.store.watch import Watcher

    of_the_process = {"start", "close", "idle", "drop"}
    asked = {name for name in vars(Watcher) if not name.startswith("_")} - of_the_process
    assert asked <= set(vars(identity.OwnedWatcher))


@needs_root
def test_the_watch_thread_looks_as_the_owner() -> None:
    """Whoever's thread began it, and in between it is nobody in particular."""
    from maildir_imapd.store.watch import Watcher

    who = identity.owner(54321, 54322)
    looked = threading.Event()
    seen: list[identity.Owner] = []

    class Folder:
        path = b"/nowhere"
        grows = True
        listened = True

        def watches(self) -> list[tuple[bytes, int]]:
            seen.append(identity.current())
            return []

        def looking(self) -> AbstractContextManager[None]:
            return nullcontext()

        def refresh(self) -> float | None:
            seen.append(identity.current())
            looked.set()
            return None

    watcher = Watcher()
    folder = Folder()
    try:
        identity.OwnedWatcher(watcher, who).add(folder)
        assert looked.wait(30)
    finally:
        watcher.close()
    # First by the thread that asked, which is the owner already in the server; then by the watch thread.
    assert seen == [identity.own(), who, who]


def test_an_owner_needs_a_group() -> None:
    with pytest.raises(ValueError, match="no group"):
        identity.owner(54321, None)
