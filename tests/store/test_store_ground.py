"""What mail stands on: directories that must be there, and those that have gone."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.errors import SpoolGone, StoreError
from maildir_imapd.store.maildir import ground


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EACCES, errno.EIO])
def test_what_the_disk_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A file server that has gone took the mail with it; what may not be seen is there; a failing disk says nothing."""

    def stat(path: Any, **how: Any) -> os.stat_result:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "stat", stat)
    if code == errno.EIO:
        with pytest.raises(StoreError) as failure:
            ground.there(bytes(tmp_path))
        assert failure.value.code == b"SERVERBUG"
    else:
        assert ground.there(bytes(tmp_path)) is (code == errno.EACCES)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "mail").touch()
    assert not ground.there(bytes(tmp_path / "mail"))
    with pytest.raises(SpoolGone):
        ground.demand(bytes(tmp_path / "mail" / "ann"), bytes(tmp_path / "mail"), None)


def test_a_marker_is_found_behind_links(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / ".spool").touch()
    (tmp_path / "mail").symlink_to(tmp_path / "disk")
    ground.demand(bytes(tmp_path / "mail" / "example.org" / "ann"), None, b".spool")
    with pytest.raises(SpoolGone):
        ground.demand(bytes(tmp_path / "elsewhere" / "ann"), None, b".spool")


def test_a_maildir_that_is_not_whole_has_not_gone(tmp_path: Path) -> None:
    root, inbox = tmp_path / "mail", tmp_path / "mail-inbox"
    for path in (root, inbox, inbox / "new"):
        path.mkdir()
    ground.demand_served(bytes(root), bytes(inbox))
    root.rmdir()
    with pytest.raises(SpoolGone):
        ground.demand_served(bytes(root), bytes(inbox))
