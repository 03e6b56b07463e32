"""What lies where the Maildir should be is said in words, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

from maildir_imapd.store.maildir.instead import instead


def test_each_in_words(tmp_path: Path) -> None:
    (tmp_path / "mbox").write_text("From ann@example.org Mon Jan  1 00:00:00 2024\n\nx\n")
    (tmp_path / "notes").write_text("hello\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd\nname").write_text("x")
    said = {name: instead(bytes(tmp_path / name)) for name in ("mbox", "notes", "empty", "none", "odd\nname")}
    assert "is an mbox file, and only Maildir is served" in said["mbox"]
    assert "is no directory, and a Maildir is one" in said["notes"]
    assert "is a directory without cur/ in it" in said["empty"]
    assert "is not there" in said["none"]
    assert "\\n" in said["odd\nname"]
    assert "\n" not in said["odd\nname"]
    assert "has mbox files in it (mbox)" in instead(bytes(tmp_path))


def test_a_link_or_a_fifo_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    assert "is not there" in instead(bytes(tmp_path / "link"))
    assert "is no directory" in instead(bytes(tmp_path / "fifo"))
