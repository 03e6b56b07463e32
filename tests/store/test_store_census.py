"""What lies in a folder before it is taken over."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import pytest
from nobody import as_nobody
from spool import Spool

from maildir_imapd import errors
from maildir_imapd.store.maildir import census

CRYPTED = b"CRYPTED\x03\x07" + bytes(40)


def test_what_there_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    cur = spool.root / "cur"
    for number, data in enumerate([b"Subject: a\n\nx\n", gzip.compress(b"Subject: b\n\n"), b"", b"CRYPTED\n", CRYPTED]):
        spool.put("INBOX", data, "S", base=f"{number}.M1P1.host")
    spool.put("INBOX", CRYPTED, base="9.M1P1.host")
    (cur / ".hidden").touch()
    (cur / "2.cr\r:2,S").touch()
    (cur / "6.directory:2,S").mkdir()
    (cur / "7.link:2,S").symlink_to("/etc/passwd")
    (tmp_path / "mine").write_text("Subject: a link\n\n")
    (cur / "8.link:2,S").symlink_to(tmp_path / "mine")
    os.mkfifo(cur / "5.fifo:2,S")
    before = {path: path.lstat().st_mtime_ns for path in spool.root.rglob("*")}
    seen: list[int] = []
    found = census.take(os.fsencode(spool.root), seen.append)
    assert (found.messages, found.encrypted, found.closed) == (6, 2, [])
    assert found.others == [
        (b"2.cr\r:2,S", "a name with a line end"),
        (b"5.fifo:2,S", "no file"),
        (b"6.directory:2,S", "no file"),
        (b"7.link:2,S", "a link"),
        (b"8.link:2,S", "a link"),
    ]
    followed = census.take(os.fsencode(spool.root), links=True)
    assert followed.messages > found.messages
    assert (b"8.link:2,S", "a link") not in followed.others, "the same user's"
    assert sum(seen) == found.messages
    assert {path: path.lstat().st_mtime_ns for path in spool.root.rglob("*")} == before


def test_long_work_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_STEP_FILES", 2)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 5)
    seen: list[int] = []
    assert census.take(os.fsencode(spool.root), seen.append).messages == 5
    assert [files for files in seen if files] == [2, 2, 1]


def test_first_octets_are_enough(tmp_path: Path) -> None:
    """A file with a hole of a terabyte takes as long as any other."""
    spool = Spool(tmp_path / "Maildir")
    base = spool.put("INBOX", CRYPTED, "S")
    os.truncate(spool.root / "cur" / f"{base}:2,S", 1 << 40)
    assert census.take(os.fsencode(spool.root)).encrypted == 1


def test_what_cannot_be_listed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    (spool.root / "new").rmdir()
    assert census.take(os.fsencode(spool.root)).messages == 0
    (spool.root / "cur").rmdir()
    with pytest.raises(errors.StoreError):
        census.take(os.fsencode(spool.root))


def test_a_file_that_may_not_be_read_is_a_message() -> None:
    # Below a directory that others may pass.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        spool = Spool(Path(directory) / "Maildir")
        base = spool.put("INBOX", b"x", "S")
        spool.put("INBOX", b"x", "S")
        (spool.root / "cur" / f"{base}:2,S").chmod(0)

        def look() -> None:
            found = census.take(os.fsencode(spool.root))
            assert (found.messages, found.closed) == (2, [f"{base}:2,S".encode()])

        as_nobody(look)
