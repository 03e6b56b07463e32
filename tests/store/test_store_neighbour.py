"""The other server's list of UIDs stays true while we run, and what it gave out meanwhile is taken."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.errors import StoreError
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.neighbours import takeover, turns
from maildir_imapd.store.neighbours.dotlock import DotLock
from maildir_imapd.store.neighbours.uidlist import UidList, parse, render


def listed(spool: Spool, name: str = "INBOX") -> UidList:
    found = parse((spool.path(name) / "dovecot-uidlist").read_bytes())
    assert found is not None
    assert not found.problems
    return found


def agree(spool: Spool, box: Mailbox) -> None:
    """Every message that is there has its UID in the file, under the same UIDVALIDITY."""
    rows = box.sync()
    found = listed(spool)
    assert found.uidvalidity == rows.uidvalidity
    assert found.uidnext <= rows.uidnext
    uids = found.uids()
    assert all(uids[base] == uid for uid, base in zip(rows.uids, rows.names, strict=True))


def account(spool: Spool, mirror: str = "dovecot", **options: bool) -> Account:
    return Account(os.fsencode(spool.root), fsync="never", mirror=mirror, **options)


def test_new_messages_are_appended(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    box = account(spool).mailbox("INBOX")
    agree(spool, box)
    first = (spool.root / "dovecot-uidlist").read_bytes()
    assert first.startswith(b"3 V")
    spool.simple("INBOX", 2, None)
    agree(spool, box)
    second = (spool.root / "dovecot-uidlist").read_bytes()
    assert second.startswith(first)
    assert not (spool.root / "dovecot-uidlist.lock").exists()
    # Flags change nothing in it.
    box.set_flags([1, 2], add=Flags(1 << 18))
    assert (spool.root / "dovecot-uidlist").read_bytes() == second


def test_dead_lines_go_in_the_end(spool: Spool) -> None:
    spool.simple("INBOX", 100)
    box = account(spool).mailbox("INBOX")
    box.sync()
    guid = [word for word in listed(spool).others if word.startswith(b"G")]
    box.expunge([7])
    spool.simple("INBOX", 1)
    agree(spool, box)
    assert len(listed(spool).records) == 101
    box.expunge(list(range(10, 90)))
    spool.simple("INBOX", 1)
    agree(spool, box)
    assert len(listed(spool).records) == len(box.snapshot)
    assert [word for word in listed(spool).others if word.startswith(b"G")] == guid


def test_a_base_that_another_program_has_renamed(spool: Spool) -> None:
    """Dovecot would take the message for a new one, under the name that it does not know."""
    bases = spool.simple("INBOX", 3)
    box = account(spool).mailbox("INBOX")
    cur = spool.root / "cur"
    (cur / f"{bases[1]}:2,").rename(cur / f"{bases[1]},U=17:2,")
    agree(spool, box)
    assert listed(spool).uids()[f"{bases[1]},U=17".encode()] == 2


def test_a_rename_to_which_the_other_server_gave_a_uid(spool: Spool) -> None:
    """Dovecot was faster, and clients of it know the new UID: two for one message would be worse."""
    bases = spool.simple("INBOX", 2)
    box = account(spool, coexist=True).mailbox("INBOX")
    box.sync()
    cur = spool.root / "cur"
    (cur / f"{bases[0]}:2,").rename(cur / f"{bases[0]},U=17:2,")
    with open(spool.root / "dovecot-uidlist", "ab") as file:
        file.write(f"3 :{bases[0]},U=17\n".encode())
    agree(spool, box)
    assert list(box.snapshot.uids) == [2, 3]


def test_uids_are_given_under_the_other_servers_lock(spool: Spool) -> None:
    """Its delivery agent gives UIDs, too, and goes on while the server itself is off."""
    spool.simple("INBOX", 2)
    box = account(spool).mailbox("INBOX")
    box.sync()
    held: list[bool] = []

    def step(action: str, what: object) -> None:
        if action == "write" and isinstance(what, tuple) and b"\na " in b"\n" + what[1]:
            held.append((spool.root / "dovecot-uidlist.lock").exists())

    durable.step = step
    try:
        spool.simple("INBOX", 1, None)
        box.sync()
        item = box.deliver()
        item.write(b"Subject: ours\r\n\r\n")
        box.commit([(item, Flags(), 1_700_000_000)])
        box.copy_from(box, [1])
    finally:
        durable.step = None
    assert held == [True] * 3
    assert not (spool.root / "dovecot-uidlist.lock").exists()


@pytest.mark.parametrize("kind", ["dovecot", "courier"])
def test_lines_that_are_news_stay_when_the_list_is_written_anew(spool: Spool, kind: str) -> None:
    """An expunge of ours has it written anew; what others have delivered meanwhile is looked at later."""
    spool.simple("INBOX", 3)
    box = account(spool, kind).mailbox("INBOX")
    box.sync()
    path = spool.root / ("dovecot-uidlist" if kind == "dovecot" else "courierimapuiddb")
    for number in (4, 5):
        spool.put("INBOX", b"Subject: x\n\nx\n", base=f"9.M{number}P1.host")
        with open(path, "ab") as file:
            file.write(b"%d %b9.M%dP1.host\n" % (number, b":" if kind == "dovecot" else b"", number))
        box.expunge([number - 3])
    rows = box.sync()
    assert dict(zip(rows.uids, rows.names, strict=True)).keys() == {3, 4, 5}
    assert rows.names[1:] == [b"9.M4P1.host", b"9.M5P1.host"]
    found = parse(path.read_bytes())
    assert found is not None
    assert {3, 4, 5} <= set(found.uids().values())


def test_a_uid_is_not_taken_before_its_message_is_there(spool: Spool) -> None:
    """dovecot-lda lists a message first, under its lock, and moves it into new/ then."""
    spool.simple("INBOX", 2)
    box = account(spool).mailbox("INBOX")
    box.sync()
    (spool.root / "dovecot-uidlist.lock").write_text(f"{os.getpid()}:{socket.gethostname()}")
    with open(spool.root / "dovecot-uidlist", "ab") as file:
        file.write(b"3 :9.M1P1.host\n")
    box.set_flags([1], add=Flags(1 << 18))
    spool.put("INBOX", b"Subject: x\n\nx\n", base="9.M1P1.host")
    (spool.root / "dovecot-uidlist.lock").unlink()
    rows = box.sync()
    assert dict(zip(rows.names, rows.uids, strict=True))[b"9.M1P1.host"] == 3
    agree(spool, box)


def test_the_other_server_gets_its_turn(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It only looks now and then whether the lock is free; so it is free for as long as we have had it."""
    spool.simple("INBOX", 2)
    box = account(spool, coexist=True).mailbox("INBOX")
    now, slept = [time.monotonic() + 5], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)

    def step(action: str, what: object) -> None:
        now[0] += 0.004 * (action == "rename")

    durable.step = step
    try:
        for _ in range(2):
            slept.clear()
            box.set_flags([1, 2], add=Flags(1 << 18), remove=Flags(1 << 5))
            box.set_flags([1, 2], add=Flags(1 << 5), remove=Flags(1 << 18))
            assert max(slept) == pytest.approx(0.008)
            now[0] += 5
    finally:
        durable.step = None


def test_a_lock_that_somebody_holds_costs_no_mail(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.1)
    spool.simple("INBOX", 2)
    box = account(spool).mailbox("INBOX")
    box.sync()
    (spool.root / "dovecot-uidlist.lock").write_text("1:another.host")
    spool.simple("INBOX", 1, None)
    assert len(box.sync()) == 3
    assert "no lock of the other server" in caplog.text
    assert len(listed(spool).records) == 2
    (spool.root / "dovecot-uidlist.lock").unlink()
    box.sync(look=True)
    agree(spool, box)


def test_two_processes_append_to_one_file(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    one, two = account(spool).mailbox("INBOX"), account(spool).mailbox("INBOX")
    for n in range(6):
        spool.simple("INBOX", 1, None)
        agree(spool, (one, two)[n % 2])
    assert len(listed(spool).records) == 8


def test_uids_that_dovecot_gave_while_we_were_away(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    box = account(spool).mailbox("INBOX")
    box.sync()
    del box
    bases = spool.simple("INBOX", 3)
    # Dovecot numbers them in an order of its own.
    with open(spool.root / "dovecot-uidlist", "ab") as file:
        file.write(f"10 :{bases[2]}\n12 :{bases[0]}\n".encode())
    box = account(spool).mailbox("INBOX")
    rows = box.sync()
    uids = dict(zip(rows.names, rows.uids, strict=True))
    assert (uids[bases[2].encode()], uids[bases[0].encode()], uids[bases[1].encode()]) == (10, 12, 13)
    agree(spool, box)


def test_uids_that_dovecot_gives_while_we_run(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    box = account(spool, coexist=True).mailbox("INBOX")
    box.sync()
    (base,) = spool.simple("INBOX", 1, None)
    with open(spool.root / "dovecot-uidlist", "ab") as file:
        file.write(f"3 :{base}\n".encode())
    delivery = box.deliver()
    delivery.write(b"Subject: ours\r\n\r\n")
    assert box.commit([(delivery, Flags(), 1_700_000_000)]) == [4]
    rows = box.sync()
    assert rows.names[rows.position(3)] == base.encode()
    agree(spool, box)


def test_courier(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    box = account(spool, "courier").mailbox("INBOX")
    box.sync()
    spool.simple("INBOX", 1, None)
    rows = box.sync()
    found = parse((spool.root / "courierimapuiddb").read_bytes())
    assert found is not None
    assert found.version == 1
    assert found.uids() == dict(zip(rows.names, rows.uids, strict=True))
    assert (found.uidvalidity, found.uidnext) == (rows.uidvalidity, rows.uidnext)


def test_the_mirror_is_of_the_server_that_was_here(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX").sync()
    assert not (spool.root / "dovecot-uidlist").exists()
    (spool.root / "dovecot-uidlist").write_text("3 V5 N1\n")
    made = Account(os.fsencode(spool.root), fsync="never")
    made.create("fresh")
    spool.simple("fresh", 1)
    made.mailbox("fresh").sync()
    assert takeover.look(os.fsencode(spool.path("fresh"))).server == "dovecot"
    assert len(listed(spool, "fresh").records) == 1


def test_a_mirror_that_cannot_be_written_costs_no_mail(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.simple("INBOX", 1)
    box = account(spool).mailbox("INBOX")
    (spool.root / "dovecot-uidlist").unlink()
    (spool.root / "dovecot-uidlist").mkdir()
    spool.simple("INBOX", 1, None)
    assert len(box.sync()) == 2
    assert "behind" in caplog.text


def test_lock_of_a_dead_process(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock = tmp_path / "x.lock"
    fd = os.open(tmp_path, os.O_RDONLY)
    import socket

    lock.write_text(f"{ended.pid}:{socket.gethostname()}")
    os.utime(lock, (1_700_000_000, 1_700_000_000))
    with DotLock(b"x.lock", fd):
        assert lock.read_text() == f"{os.getpid()}:{socket.gethostname()}"
    assert not lock.exists()
    # One of another host counts until nothing has touched it for two minutes.
    lock.write_text("1:elsewhere")
    with pytest.raises(OSError, match="holds"), DotLock(b"x.lock", fd, timeout=0):
        pass
    os.utime(lock, (1_700_000_000, 1_700_000_000))
    with DotLock(b"x.lock", fd, timeout=0):
        pass
    # One that names nobody is of a process that died at once; a young one may yet be named.
    lock.write_text("")
    with pytest.raises(OSError, match="holds"), DotLock(b"x.lock", fd, timeout=0):
        pass
    young = time.time() - 30
    os.utime(lock, (young, young))
    with DotLock(b"x.lock", fd, timeout=0):
        pass
    os.close(fd)
    assert durable.step is None


def test_subscriptions_are_written_under_dovecots_lock(spool: Spool) -> None:
    seen: list[bool] = []
    lock = spool.root / "subscriptions.lock"

    def step(action: str, what: object) -> None:
        if action == "replace" and what == b"subscriptions":
            seen.append(lock.exists())

    durable.step = step
    try:
        made = account(spool)
        made.subscribe("INBOX")
        # What a process that died has left, half an hour ago.
        lock.write_text("half a file")
        os.utime(lock, (1_700_000_000, 1_700_000_000))
        made.unsubscribe("INBOX")
        account(spool, "none").subscribe("INBOX")
    finally:
        durable.step = None
    assert seen == [True, True, False]
    assert not lock.exists()


def test_the_control_directory_is_where_the_lock_is(spool: Spool, tmp_path: Path) -> None:
    control = tmp_path / "control"
    places = Places(os.fsencode(spool.root), control=os.fsencode(control))
    made = Account(places, fsync="never", mirror="dovecot", coexist=True)
    seen: set[Path] = set()

    def step(action: str, what: object) -> None:
        seen.update(tmp_path.rglob("dovecot-uidlist.lock"))

    spool.simple("INBOX", 2)
    durable.step = step
    try:
        box = made.mailbox("INBOX")
        box.set_flags(list(box.sync().uids), add=Flags(1))
    finally:
        durable.step = None
    assert seen == {control / ".INBOX" / "dovecot-uidlist.lock"}
    assert not list(control.rglob("*.lock"))
    found = parse((control / ".INBOX" / "dovecot-uidlist").read_bytes())
    assert found is not None
    assert len(found.records) == 2
    assert not list(spool.root.glob("dovecot*"))


def test_without_a_control_directory(spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Mail is served all the same; Dovecot's files are not kept anywhere else."""
    (tmp_path / "control").touch()
    spool.simple("INBOX", 1)
    places = Places(os.fsencode(spool.root), control=os.fsencode(tmp_path / "control"))
    assert len(Account(places, fsync="never", mirror="dovecot").mailbox("INBOX").sync()) == 1
    assert "no control directory" in caplog.text
    with pytest.raises(StoreError):
        Account(places, fsync="never", mirror="dovecot", coexist=True).mailbox("INBOX")
    assert not list(spool.root.glob("dovecot*"))


@pytest.mark.parametrize("mirror", ["dovecot", "courier"])
@pytest.mark.parametrize("lost", ["maildir-imapd.*", "maildir-imapd.index*", "maildir-imapd.journal"])
def test_a_lost_index_is_made_anew_from_the_list(spool: Spool, mirror: str, lost: str) -> None:
    """No UID changes, and none is given again: also with holes, keywords, and messages expunged at the end."""
    spool.simple("INBOX", 6)
    box = account(spool, mirror).mailbox("INBOX")
    box.set_flags([2, 3], add=box.flags([b"Word"], create=True))
    box.set_flags([3], add=Flags(1 << 18))
    box.expunge([1, 4, 6])
    spool.simple("INBOX", 1, None)
    before = box.sync()
    names = [before.flag_names(*pair) for pair in zip(before.flags, before.uids, strict=True)]
    box.close()
    del box
    for file in spool.root.glob(lost):
        file.unlink()
    after = account(spool, "auto").mailbox("INBOX").sync()
    assert (after.uidvalidity, after.uidnext >= before.uidnext) == (before.uidvalidity, True)
    assert (list(after.uids), after.names) == (list(before.uids), before.names)
    assert [after.flag_names(*pair) for pair in zip(after.flags, after.uids, strict=True)] == names


def test_a_list_of_another_uidvalidity_mends_no_index(spool: Spool) -> None:
    """It may be older than what clients have been told; then nobody knows the UIDs, and they are given anew."""
    spool.simple("INBOX", 3)
    box = account(spool).mailbox("INBOX")
    before = box.sync()
    found = listed(spool)
    box.close()
    del box
    older = UidList(found.uidvalidity - 1, found.uidnext, found.records, found.others)
    (spool.root / "dovecot-uidlist").write_bytes(render(older))
    for file in spool.root.glob("maildir-imapd.index*"):
        file.unlink()
    after = account(spool).mailbox("INBOX").sync()
    assert after.uidvalidity > before.uidvalidity
    assert len(after) == 3
