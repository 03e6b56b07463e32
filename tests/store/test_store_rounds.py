"""Looking, a few at a time, whether other programs have written to messages' files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.store.folder import rounds
from maildir_imapd.store.index.snapshot import SIZE_UNKNOWN
from maildir_imapd.store.maildir import scan


def status(mtime_ns: int, inode: int = 7) -> Any:
    class Status:
        st_ino, st_mtime_ns, st_mtime = inode, mtime_ns, mtime_ns // 1_000_000_000

    return Status()


def test_who_writes_changes_the_time() -> None:
    known = scan.fingerprint(status(1_700_000_000_000_000_001))
    assert not scan.rewritten(known, scan.fingerprint(status(1_700_000_000_000_000_001)))
    assert scan.rewritten(known, scan.fingerprint(status(1_700_000_000_000_000_002)))
    # A spool that was moved with its times is the same mail under other inodes.
    assert not scan.rewritten(known, scan.fingerprint(status(1_700_000_000_000_000_001, 8)))
    assert not scan.rewritten(0, known)


def test_a_time_of_whole_seconds_has_its_seconds() -> None:
    known = scan.fingerprint(status(1_700_000_000_000_000_000))
    assert not scan.rewritten(known, scan.fingerprint(status(1_700_000_000_000_000_000)))
    assert scan.rewritten(known, scan.fingerprint(status(1_700_000_001_000_000_000)))
    assert known < 1 << 64


@pytest.fixture
def many(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Twenty messages, two of which count as the newest; a round looks at three of the others."""
    monkeypatch.setattr(rounds, "NEWEST_MESSAGES", 2)
    monkeypatch.setattr(rounds, "OTHER_MESSAGES", 3)
    monkeypatch.setattr(rounds, "PAUSE_SECONDS", 0.0)
    maildir.fill(20)
    maildir.settle()
    for name in maildir.names():
        os.utime(maildir.path / "cur" / name, (1_700_000_000, 1_700_000_000))
    return maildir


def rewrite(maildir: Any, number: int, data: bytes = b"Subject: other\n\nlonger than it was\n") -> Path:
    path: Path = maildir.path / "cur" / maildir.names()[number - 1]
    path.write_bytes(data)
    return path


def test_every_message_has_its_turn(many: Any) -> None:
    box = many.open()
    box.sizes(range(20))
    for number in (1, 9, 20):
        rewrite(many, number)
    left = [SIZE_UNKNOWN if uid in (1, 9, 20) else size for uid, size in enumerate(box.snapshot.sizes, 1)]
    for _ in range(8):
        box.sync()
    assert list(box.snapshot.sizes) == left


def test_it_is_on_record(many: Any) -> None:
    box, other = many.open(), many.open()
    box.sizes(range(20))
    box.cache.put_many(b"X", [(20, b"old"), (19, b"right")])
    modseq = box.sync().modseq
    rewrite(many, 20)
    box.sync()
    for each in (box, other, many.open()):
        assert each.sync().modseq == modseq
        assert each.snapshot.sizes[19] == SIZE_UNKNOWN
        assert each.cache.get_many([20, 19], b"X") == [None, b"right"]
        assert each.snapshot.received[19] == 1_700_000_000


def test_what_others_made_of_a_file_before_it_was_noted_is_forgotten(many: Any) -> None:
    box, other = many.open(), many.open()
    read = other.load(20)
    path = rewrite(many, 20)
    os.utime(path, (1_700_000_009, 1_700_000_009))
    box.sync()
    other.cache.put_many(b"X", [(20, b"old")])
    other.confirm(other.cache, {20: read.fingerprint})
    assert box.cache.get_many([20], b"X") == [None]


def test_there_is_a_pause_between_rounds(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = many.open()
    box.sizes(range(20))
    monkeypatch.setattr(rounds, "PAUSE_SECONDS", 3600.0)
    box.sync()
    rewrite(many, 20)
    assert SIZE_UNKNOWN not in box.sync().sizes


def test_a_size_is_kept_only_of_what_nobody_is_writing(maildir: Any) -> None:
    maildir.put("1.h:2,", b"a\n")
    maildir.put("2.h,S=2:2,", b"a\n")
    box = maildir.open()
    assert box.sizes([0, 1]) == [3, 3]
    assert list(box.snapshot.sizes) == [SIZE_UNKNOWN, 3]


def test_a_spool_that_cannot_be_written_is_read_all_the_same(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = many.open()
    box.sizes(range(20))
    rewrite(many, 20)
    box._folder.index.writable = False
    assert b"longer than it was" in box.read(20)
    assert box.sizes([19]) == [len(b"Subject: other\n\nlonger than it was\n") + 3]
