"""Folders under hidden names: made whole, taken out, and removed whoever is in the way."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from maildir_imapd.errors import MailboxExists
from maildir_imapd.store.maildir import attic as attics
from maildir_imapd.store.maildir.attic import Attic
from maildir_imapd.store.maildir.flat import MaildirPlusPlus
from maildir_imapd.store.maildir.layout import Places


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    return Attic(MaildirPlusPlus(Places(os.fsencode(tmp_path))))


def test_one_that_is_there_is_not_made_again(attic: Attic, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / ".Work")
    attic.make(path)
    (tmp_path / ".Work" / "cur" / "1.M1P1.h:2,").write_bytes(b"x")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(MailboxExists):
        attic.make(path)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / ".Work" / "cur" / "1.M1P1.h:2,").exists()
    attic.empty(attic.take_out(path))
    assert not (tmp_path / ".Work").exists()
    assert sorted(os.listdir(tmp_path)) == ["cur", "new", "tmp"]


def test_a_link_is_removed_and_what_it_leads_to_stays(attic: Attic, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mail").write_bytes(b"x")
    place = Path(os.fsdecode(os.path.join(attic._layout.root, attic._layout.attic)))
    (place / "link").symlink_to(elsewhere)
    attic.empty(b"link")
    assert not (place / "link").is_symlink()
    assert (elsewhere / "mail").exists()


def test_what_is_put_there_meanwhile_is_removed_too(
    attic: Attic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = os.fsencode(tmp_path / ".Work")
    remove = shutil.rmtree
    left = [OSError(errno.ENOTEMPTY, "a delivery"), FileNotFoundError(errno.ENOENT, "it has taken its file away")]

    def busy(place: bytes) -> None:
        if left:
            raise left.pop(0)
        remove(place)

    monkeypatch.setattr(attics.shutil, "rmtree", busy)
    attic.make(path)
    attic.empty(attic.take_out(path))
    assert sorted(os.listdir(tmp_path)) == ["cur", "new", "tmp"]
    assert not caplog.records
    # What cannot be removed is left for the next start, with a line in the log.
    left.extend(OSError(errno.EACCES, "not ours") for _ in range(3))
    attic.make(path)
    trash = attic.take_out(path)
    attic.empty(trash)
    assert "a deleted folder stays for now" in caplog.text
    left.clear()
    # It is not old enough that nobody could be at work on it.
    attic.sweep()
    monkeypatch.setattr(attics, "_ABANDONED_SECONDS", -1.0)
    attic.sweep()
    assert sorted(os.listdir(tmp_path)) == ["cur", "new", "tmp"]


def test_what_is_not_there_is_no_error(attic: Attic) -> None:
    attic.empty(b"nothing")
    attic.sweep()
