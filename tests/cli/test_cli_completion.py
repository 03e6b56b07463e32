"""Completion in a shell: the files that are shipped, and names of users and mailboxes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from spool import Spool

FILES = Path(__file__).parent.parent.parent / "contrib" / "completion"


def complete(*words: str) -> list[str]:
    """What bash would offer for the last of *words*."""
    done = subprocess.run(
        [sys.executable, "-m", "maildir_imapd"],
        env={
            **os.environ,
            "_MAILDIR_IMAPD_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["maildir-imapd", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_options() -> None:
    assert "mailbox" in complete("ma")
    assert complete("mailbox", "cre") == ["create"]
    assert "--dry-run" in complete("message", "move", "--d")


@pytest.mark.slow
def test_names(spool: Spool, tmp_path: Path) -> None:
    spool.folder("work")
    where = f"--mail-location=maildir:{spool.root}"
    assert complete("mailbox", "delete", where, "") == ["INBOX", "work"]
    assert complete("message", "search", where, "-m", "wo") == ["work"]
    assert complete("message", "search", "--mail-location=maildir:/nowhere", "-m", "wo") == []
    (tmp_path / "users").write_text("ann:{PLAIN}x::::::\nben:{PLAIN}x::::::\n")
    assert complete("mailbox", "list", f"--passwd-file={tmp_path}/users", "-u", "b") == ["ben"]
    assert complete("mailbox", "list", f"--passwd-file={tmp_path}/none", "-u", "b") == []


@pytest.mark.parametrize("name", ["maildir-imapd.bash", "_maildir-imapd", "maildir-imapd.fish"])
def test_the_files_are_what_click_makes(name: str) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("manual", FILES.parent.parent / "scripts" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.completions()[name] == (FILES / name).read_text(), "run scripts/man"
