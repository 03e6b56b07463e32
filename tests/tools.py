"""Commands that look into a spool and change it, run in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from spool import Spool

from maildir_imapd.cli import main


def run(spool: Spool | Path, *words: str, status: int = 0) -> list[list[str]]:
    """The lines of a command's answer, cut at tabs."""
    return [line.split("\t") for line in text(spool, *words, status=status).splitlines()]


def text(spool: Spool | Path, *words: str, status: int = 0) -> str:
    """What a command prints on standard output."""
    done = CliRunner().invoke(main, [*words, *where(spool)])
    assert done.exit_code == status, (done.exit_code, done.output, done.exception)
    return done.stdout


def said(spool: Spool | Path, *words: str, status: int) -> str:
    """What a command that fails says on standard error."""
    done = CliRunner().invoke(main, [*words, *where(spool)])
    assert done.exit_code == status, (done.exit_code, done.output, done.exception)
    return done.stderr.strip()


def rows(spool: Spool | Path, *words: str, status: int = 0) -> Any:
    """A command's answer with --json."""
    return json.loads(text(spool, *words, "--json", status=status))


def where(spool: Spool | Path) -> list[str]:
    root = spool.root if isinstance(spool, Spool) else spool
    return [f"--mail-location=maildir:{root}"]


def process(*words: str, octets: bool = False) -> subprocess.CompletedProcess[Any]:
    """Run a command in a process of its own; *octets*: what it prints is no text."""
    command = [sys.executable, "-m", "maildir_imapd", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=not octets, check=False)


def tree(root: Path) -> dict[str, object]:
    """All that lies below a directory: names, modes, owners, times and octets."""
    found: dict[str, object] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files, "."]:
            path = os.path.join(directory, name)
            state = os.lstat(path)
            data = Path(path).read_bytes() if name in files and not os.path.islink(path) else b""
            found[path] = (state.st_ino, state.st_mode, state.st_uid, state.st_mtime_ns, state.st_ctime_ns, data)
    return found
