"""Spools that are hard to serve: not ours to write, another owner's index, another version's, a wild clock."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import nobody
import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.store.index import journal
from maildir_imapd.store.index.constants import LAST_UIDVALIDITY

NOBODY = 65534


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 3)
    spool.folder("Work")
    return spool


def selected(root: Path) -> tuple[MemoryClient, list[bytes]]:
    client = MemoryWires(root).connect(login=True)
    return client, client.command(b"s SELECT INBOX")


def number(lines: list[bytes], what: bytes) -> int:
    [line] = [line for line in lines if what in line]
    return int(line.partition(what + b" ")[2].partition(b"]")[0])


def as_nobody(spool: Spool, work: Callable[[], None]) -> None:
    """Do it in a process without root's rights, to which the whole spool belongs unless somebody has changed that."""
    if os.geteuid() != 0:
        work()
        return
    for above in (spool.root, *spool.root.parents):
        if above.is_relative_to("/tmp") and above != Path("/tmp"):
            above.chmod(above.stat().st_mode | 0o055)
    nobody.as_nobody(work)


def give(spool: Spool) -> None:
    """Let the spool belong to whoever does the work."""
    if os.geteuid() == 0:
        for directory, _, files in os.walk(spool.root):
            for path in (directory, *(os.path.join(directory, file) for file in files)):
                os.chown(path, NOBODY, NOBODY)


def close_to_writers(spool: Spool) -> None:
    for directory, _, _ in os.walk(spool.root):
        os.chmod(directory, 0o555)


def test_a_backup_that_cannot_be_written_is_open_for_reading(spool: Spool) -> None:
    give(spool)
    close_to_writers(spool)

    def work() -> None:
        client, lines = selected(spool.root)
        assert lines[-1].startswith(b"s OK [READ-ONLY]")
        assert sum(b"ENVELOPE" in line for line in client.command(b"f FETCH 1:* (UID ENVELOPE)")) == 3
        assert client.command(b"c STORE 1 +FLAGS (\\Seen)")[-1].startswith(b"c NO [NOPERM]")
        assert client.command(b"t STATUS Work (MESSAGES)")[-1].startswith(b"t OK")
        # Every process numbers them alike.
        _, again = selected(spool.root)
        assert number(again, b"UIDVALIDITY") == number(lines, b"UIDVALIDITY")

    try:
        as_nobody(spool, work)
    finally:
        for directory, _, _ in os.walk(spool.root):
            os.chmod(directory, 0o755)


@pytest.mark.long
def test_an_index_that_goes_from_a_folder_that_nobody_may_write_to(spool: Spool) -> None:
    give(spool)

    def work() -> None:
        client, lines = selected(spool.root)
        assert lines[-1].startswith(b"s OK [READ-WRITE]")
        for file in spool.root.glob("maildir-imapd.*"):
            file.unlink()
        close_to_writers(spool)
        for command in (b"NOOP", b"FETCH 1:* (UID ENVELOPE)", b"NOOP", b"EXAMINE INBOX", b"SELECT INBOX"):
            assert client.command(b"a " + command)[-1].startswith(b"a OK"), command
        for command in (b"STORE 1 +FLAGS (\\Seen)", b"EXPUNGE", b"COPY 1 INBOX"):
            assert client.command(b"a " + command)[-1].startswith(b"a NO [NOPERM]"), command

    try:
        as_nobody(spool, work)
    finally:
        for directory, _, _ in os.walk(spool.root):
            os.chmod(directory, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else makes files of another owner")
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_an_index_of_another_owner_is_replaced(spool: Spool, mode: int) -> None:
    _, before = selected(spool.root)
    give(spool)
    for file in spool.root.glob("maildir-imapd.*"):
        os.chown(file, 0, 0)
        file.chmod(mode)

    def work() -> None:
        client, lines = selected(spool.root)
        assert lines[-1].startswith(b"s OK [READ-WRITE]")
        # What could be read is what it was; what could not be is another numbering.
        same = number(lines, b"UIDVALIDITY") == number(before, b"UIDVALIDITY")
        assert same or mode == 0o600
        assert client.command(b"c STORE 1 +FLAGS (\\Seen)")[-1].startswith(b"c OK")
        assert client.command(b"n CREATE New")[-1].startswith(b"n OK")

    as_nobody(spool, work)
    assert all(file.stat().st_uid == NOBODY for file in spool.root.glob("maildir-imapd.*") if "uidval" not in file.name)


def later_version(data: bytes) -> bytes:
    """The journal as a version would have it whose format is 2."""
    head = data[: data.index(b"\nc ") + 1].replace(b"j 1 ", b"j 2 ", 1)
    words = data[len(head) :].split(b" ")
    head += b" ".join(words[:2]) + b" %d " % int(words[2])
    return head + b"%08x\n" % zlib.crc32(head)


def later_batch(data: bytes) -> bytes:
    """The journal with a batch behind it that has a record nobody knows."""
    last = list(journal.replay(data))[-1][0]
    body = b"Q something new\nc %d %d " % (last.modseq + 1, last.uidnext)
    return data + body + b"%08x\n" % zlib.crc32(body)


@pytest.mark.parametrize("later", [later_version, later_batch])
def test_a_journal_of_a_later_version_is_left_alone(spool: Spool, later: Callable[[bytes], bytes]) -> None:
    _, before = selected(spool.root)
    file = spool.root / "maildir-imapd.journal"
    data = file.read_bytes()
    assert not journal.of_another_version(data)
    file.write_bytes(later(data))
    names = sorted(os.listdir(spool.root))
    _, lines = selected(spool.root)
    assert lines[-1] == b"s NO [CONTACTADMIN] The index of the mailbox was written by another version of this server"
    assert sorted(os.listdir(spool.root)) == names
    assert file.read_bytes() == later(data)
    # The version that wrote it goes on where it was.
    file.write_bytes(data)
    _, after = selected(spool.root)
    assert number(after, b"UIDVALIDITY") == number(before, b"UIDVALIDITY")
    assert number(after, b"UIDNEXT") == number(before, b"UIDNEXT")


def test_a_clock_beyond_2106(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    true = time.time_ns()
    late = (2**32 + 1000) * 1_000_000_000
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: late / 1e9)
        clock.setattr(time, "time_ns", lambda: late + time.monotonic_ns())
        client, lines = selected(spool.root)
        assert 0 < number(lines, b"UIDVALIDITY") <= LAST_UIDVALIDITY
        for command in (
            b"CREATE New",
            b"APPEND New {3+}\r\na\r\n",
            b"STORE 1 +FLAGS (\\Seen)",
            b"COPY 1:2 Work",
            b"FETCH 1:* (INTERNALDATE SAVEDATE ENVELOPE)",
            b"SELECT New",
        ):
            assert client.command(b"a " + command)[-1].startswith(b"a OK"), command
    assert time.time_ns() < true + 600 * 1_000_000_000
    client, again = selected(spool.root)
    assert number(again, b"UIDVALIDITY") == number(lines, b"UIDVALIDITY")
    assert client.command(b"n CREATE Newer")[-1].startswith(b"n OK")
