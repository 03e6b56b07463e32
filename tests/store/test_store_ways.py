"""Ways from names to mailboxes that are kept: whatever anybody does to a folder, the next who asks is told."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory import MemoryClient
from spool import Spool

from maildir_imapd.store import ways as module
from maildir_imapd.store.account import Account
from maildir_imapd.store.current import turn_of, unmoved
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir import scan
from maildir_imapd.store.watch import Watcher

STATUS = b"x STATUS Work (MESSAGES UNSEEN)"
LIST_STATUS = b'x LIST "" Work RETURN (STATUS (MESSAGES UNSEEN))'
BEFORE = b"* STATUS Work (MESSAGES 3 UNSEEN 3)"


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    found = Watcher("inotify")
    yield found
    found.close()


@pytest.fixture
def work(spool: Spool) -> Spool:
    spool.simple("Work", 3)
    spool.simple("Work.Below", 1)
    spool.age("Work")
    return spool


def connect(account: Account) -> MemoryClient:
    client = MemoryClient(account)
    client.read_line()
    client.command(b"L LOGIN ann secret")
    return client


@pytest.fixture
def account(work: Spool, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account whose ways are known: nothing has happened for some time."""
    monkeypatch.setattr(scan, "SETTLE_NS", 0)
    return Account(os.fsencode(work.root), fsync="never", watcher=watcher, follow_links="no")


@pytest.fixture
def client(account: Account) -> MemoryClient:
    found = connect(account)
    for command in (STATUS, LIST_STATUS) * 5:
        assert BEFORE in found.command(command)
    assert account.ways.unmoved("Work") is not None, "the way is known"
    return found


def mode_of_owner(spool: Spool) -> None:
    (spool.path("Work") / "dovecot-acl").write_text("owner lrws\n")


CHANGES: dict[str, tuple[Callable[[Spool], object], bytes | None]] = {
    "delivered": (lambda spool: spool.simple("Work", 1, None), b"MESSAGES 4 UNSEEN 4"),
    "put into cur": (lambda spool: spool.simple("Work", 1, "S"), b"MESSAGES 4 UNSEEN 3"),
    "flagged": (lambda spool: spool.reflag("Work", spool.files("Work")[0].split(":")[0], "S"), b"MESSAGES 3 UNSEEN 2"),
    "removed": (lambda spool: spool.remove("Work", spool.files("Work")[0].split(":")[0]), b"MESSAGES 2 UNSEEN 2"),
    "rights taken": (lambda spool: (spool.path("Work") / "dovecot-acl").write_text("owner l\n"), None),
    "hidden": (lambda spool: (spool.path("Work") / "dovecot-acl").write_text("owner a\n"), None),
    "rights renamed into place": (lambda spool: rename_into_place(spool), None),
    "rights linked": (lambda spool: link_into_place(spool), None),
    "rights that change nothing": (mode_of_owner, b"MESSAGES 3 UNSEEN 3"),
    "folder renamed": (lambda spool: spool.path("Work").rename(spool.path("Other")), None),
    "folder removed": (lambda spool: shutil.rmtree(spool.path("Work")), None),
    "folder in its place": (lambda spool: in_its_place(spool), b"MESSAGES 1 UNSEEN 1"),
    "link in its place": (lambda spool: link_in_its_place(spool), None),
    "no cur": (lambda spool: (spool.path("Work") / "cur").rename(spool.path("Work") / "was"), None),
}


def rename_into_place(spool: Spool) -> None:
    other = spool.root / "rights"
    other.write_text("owner l\n")
    other.rename(spool.path("Work") / "dovecot-acl")


def link_into_place(spool: Spool) -> None:
    other = spool.root / "rights"
    other.write_text("owner l\n")
    os.link(other, spool.path("Work") / "dovecot-acl")


def in_its_place(spool: Spool) -> None:
    spool.path("Work").rename(spool.path("Other"))
    spool.simple("Work", 1)


def link_in_its_place(spool: Spool) -> None:
    spool.path("Work").rename(spool.root / "elsewhere")
    spool.path("Work").symlink_to("elsewhere")


@pytest.mark.long
@pytest.mark.parametrize("command", [STATUS, LIST_STATUS])
@pytest.mark.parametrize("change", CHANGES)
def test_what_another_program_does_is_seen_at_once(
    work: Spool, client: MemoryClient, change: str, command: bytes
) -> None:
    act, expected = CHANGES[change]
    act(work)
    for _ in range(3):
        told = [line for line in client.command(command) if line.startswith(b"* STATUS")]
        if expected is None:
            assert told == []
        else:
            assert expected in told[0]


def test_a_command_in_a_mailbox_hears_of_rights_that_were_taken(work: Spool, client: MemoryClient) -> None:
    mode = work.path("Work") / "dovecot-acl"
    assert b"[READ-WRITE]" in client.command(b"s SELECT Work")[-1]
    mode.write_text("owner lr\n")
    assert b"[READ-ONLY]" in client.command(b"s SELECT Work")[-1]
    mode.unlink()
    assert b"[READ-WRITE]" in client.command(b"s SELECT Work")[-1]
    client.command(b"u UNSELECT")
    for _ in range(3):
        client.command(STATUS)
    mode.write_text("owner a\n")
    assert client.command(b"s SELECT Work")[-1].startswith(b"s NO [NONEXISTENT]")


def test_what_another_process_of_ours_does_is_seen_at_once(work: Spool, client: MemoryClient) -> None:
    other = connect(Account(os.fsencode(work.root), fsync="never"))
    other.command(b"s SELECT Work")
    other.command(b"s STORE 1 +FLAGS (\\Seen)")
    assert b"* STATUS Work (MESSAGES 3 UNSEEN 2)" in client.command(STATUS)
    other.command(b"u UNSELECT")
    for _ in range(3):
        client.command(STATUS)
    other.command(b"u SETACL Work ann lsa")
    assert client.command(STATUS)[-1].startswith(b"x NO [NOPERM]")
    other.command(b"u SETACL Work ann lrswxka")
    assert b"* STATUS Work (MESSAGES 3 UNSEEN 2)" in client.command(STATUS)
    other.command(b"r RENAME Work Other")
    assert client.command(STATUS)[-1].startswith(b"x NO [NONEXISTENT]")
    assert b"* STATUS Other (MESSAGES 3)" in client.command(b"x STATUS Other (MESSAGES)")
    other.command(b"d DELETE Other")
    assert client.command(b"x STATUS Other (MESSAGES)")[-1].startswith(b"x NO [CANNOT]"), "Other.Below is there"


def test_a_mailbox_that_was_made_anew_has_other_uids(account: Account, client: MemoryClient) -> None:
    before = client.command(b"x STATUS Work (UIDVALIDITY)")[0]
    assert client.command(b"x STATUS Work (UIDVALIDITY)")[0] == before
    client.command(b"d DELETE Work.Below")
    client.command(b"d DELETE Work")
    client.command(b"c CREATE Work")
    after = client.command(b"x STATUS Work (MESSAGES UIDVALIDITY)")[0]
    assert b"MESSAGES 0" in after
    assert after.rpartition(b" ")[2] != before.rpartition(b" ")[2]
    assert account.ways.unmoved("Work") is None or b"MESSAGES 0" in client.command(STATUS)[0]


def test_the_spool_may_be_moved_away_with_all_that_is_in_it(work: Spool, client: MemoryClient) -> None:
    """Nothing happens in the folder then, nor to it."""
    work.root.rename(work.root.with_name("moved"))
    assert client.command(STATUS)[-1].startswith(b"x NO [UNAVAILABLE]")
    shutil.copytree(work.root.with_name("moved"), work.root)
    (work.path("Work") / "cur" / "1800000000.M1P1.x:2,").write_bytes(b"A: 1\n\nx\n")
    assert b"MESSAGES 4" in client.command(STATUS)[0]


def test_recent_messages_of_the_own_session_are_no_part_of_what_is_kept(work: Spool, client: MemoryClient) -> None:
    work.simple("Work", 2, None)
    status = b"x STATUS Work (MESSAGES RECENT)"
    for _ in range(3):
        assert b"* STATUS Work (MESSAGES 5 RECENT 2)" in client.command(status)
    client.command(b"s SELECT Work")
    for _ in range(3):
        assert b"* STATUS Work (MESSAGES 5 RECENT 2)" in client.command(status)
    client.command(b"u UNSELECT")
    for _ in range(3):
        assert b"* STATUS Work (MESSAGES 5 RECENT 0)" in client.command(status)


def test_no_answer_outlives_its_moment(work: Spool, account: Account, client: MemoryClient) -> None:
    """It would keep all columns of that moment in memory."""
    client.command(b"s SELECT Work")
    box = account.mailbox("Work")
    client.command(STATUS)
    client.command(b"s SELECT INBOX")
    client.command(STATUS)
    assert box.figures
    assert box.described
    work.simple("Work", 1, None)
    box.sync()
    assert (box.figures, box.described) == ({}, {})


def test_what_is_kept_for_one_kind_of_client_is_not_told_another(spool: Spool, watcher: Watcher) -> None:
    """The name is spelled otherwise once UTF-8 is accepted."""
    (spool.root / ".Gr&APwA3w-e").mkdir()
    for sub in ("cur", "new", "tmp"):
        (spool.root / ".Gr&APwA3w-e" / sub).mkdir()
    account = Account(os.fsencode(spool.root), fsync="never", watcher=watcher)
    old, new = connect(account), connect(account)
    new.command(b"e ENABLE UTF8=ACCEPT")
    for _ in range(3):
        assert old.command(b"x STATUS Gr&APwA3w-e (MESSAGES)")[0] == b"* STATUS Gr&APwA3w-e (MESSAGES 0)"
        assert new.command('x STATUS "Grüße" (MESSAGES)'.encode())[0] == '* STATUS "Grüße" (MESSAGES 0)'.encode()
        assert old.command(b"x STATUS Gr&APwA3w-e (UNSEEN)")[0] == b"* STATUS Gr&APwA3w-e (UNSEEN 0)"


def test_nothing_is_kept_of_a_folder_with_an_access_control_list(work: Spool, account: Account) -> None:
    """Its rights are looked up each time: who writes to the file in place need not have closed it."""
    mode = work.path("Work") / "dovecot-acl"
    mode.write_text("owner lrs\n")
    client = connect(account)
    for _ in range(6):
        assert BEFORE in client.command(STATUS)
    assert account.ways.unmoved("Work") is None
    with mode.open("r+") as open_file:
        open_file.write("owner l  \n")
        open_file.flush()
        os.utime(mode, (time.time() - 99, time.time() - 99))
        assert client.command(STATUS)[-1].startswith(b"x NO [NOPERM]")


def test_a_way_is_kept_only_where_no_other_folder_may_come_before(spool: Spool, watcher: Watcher) -> None:
    """Of two spellings the usual one counts; the folder of the other one knows nothing of it."""
    unusual = spool.root / ".Grüße"
    for sub in ("cur", "new", "tmp"):
        (unusual / sub).mkdir(parents=True)
    account = Account(os.fsencode(spool.root), fsync="never", watcher=watcher)
    client = connect(account)
    (unusual / "cur" / "1800000000.M1P1.x:2,").write_bytes(b"A: 1\n\nx\n")
    command = b"x STATUS Gr&APwA3w-e (MESSAGES)"
    told = [client.command(command)[0] for _ in range(6)]
    assert account.ways.unmoved("Grüße") is None
    for sub in ("cur", "new", "tmp"):
        (spool.root / ".Gr&APwA3w-e" / sub).mkdir(parents=True)
    assert told[0] == b"* STATUS Gr&APwA3w-e (MESSAGES 1)"
    assert client.command(command)[0] == b"* STATUS Gr&APwA3w-e (MESSAGES 0)"


def test_there_are_no_more_ways_than_that(
    work: Spool, account: Account, client: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAMES", 1)
    for _ in range(6):
        client.command(STATUS)
        client.command(b"x STATUS Work.Below (MESSAGES)")
    assert len(account.ways._ways) == 1
    assert BEFORE in client.command(STATUS)


def test_where_the_kernel_is_not_asked_no_way_is_kept(work: Spool) -> None:
    account = Account(os.fsencode(work.root), fsync="never")
    client = connect(account)
    for _ in range(6):
        assert BEFORE in client.command(STATUS)
    assert account.ways._ways == {}


def test_a_mailbox_whose_index_lies_elsewhere_has_none(
    work: Spool, watcher: Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says that a folder is in its place is its journal, and that is somewhere else."""
    monkeypatch.setattr(scan, "SETTLE_NS", 0)
    (tmp_path / "index").mkdir()
    path = os.fsencode(work.path("Work"))
    box = Mailbox(path, root=os.fsencode(work.root), index=os.fsencode(tmp_path / "index"), watcher=watcher)
    for _ in range(6):
        box.sync(keep_new=True)
    assert box._unmoved.holds(box._folder.index.state)
    assert (turn_of(box), unmoved(box)) == (None, None)
    box.close()
