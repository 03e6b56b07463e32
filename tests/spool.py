"""Making and changing Maildirs as other programs do: for tests."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from maildir_imapd.store.maildir.filename import arrival

SIMPLE = (
    b"From: Ann <ann@example.org>\nTo: ben@example.net\nSubject: message %d\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <m%d@example.org>\n\nbody of %d\n"
)

# 2 November 2026, 10:00 UTC
WHEN = 1793613600


class Spool:
    """A Maildir++ tree, or a *nested* one.  Several threads may put messages in."""

    def __init__(self, root: Path, *, nested: bool = False) -> None:
        self.root = root
        self.nested = nested
        self._counter = itertools.count(1)
        self._simple = itertools.count(1)
        self.folder("INBOX")

    def path(self, name: str) -> Path:
        """The folder of a mailbox (an ASCII name, levels joined by dots, or by slashes if nested)."""
        if name == "INBOX":
            return self.root
        return self.root / (name if self.nested else f".{name}")

    def folder(self, name: str) -> Path:
        """Make a folder."""
        path = self.path(name)
        for sub in ("cur", "new", "tmp"):
            (path / sub).mkdir(parents=True, exist_ok=True)
        if name != "INBOX" and not self.nested:
            (path / "maildirfolder").touch()
        return path

    def put(self, name: str, data: bytes, flags: str | None = None, *, when: int | None = WHEN, base: str = "") -> str:
        """Put a message in: into new/ without *flags*, into cur/ with (perhaps empty) ones.  Returns its base.

        *when* is its time; None: as an MDA has it, to the nanosecond.
        """
        path = self.folder(name)
        count = next(self._counter)
        base = base or f"{(when or WHEN) + count}.M{count}P1.test,S={len(data)}"
        (path / "tmp" / base).write_bytes(data)
        if when is not None:
            os.utime(path / "tmp" / base, (when, when))
        target = path / "new" / base if flags is None else path / "cur" / f"{base}:2,{flags}"
        os.rename(path / "tmp" / base, target)
        return base

    def simple(self, name: str, count: int, flags: str | None = "") -> list[str]:
        """Put *count* small messages in, numbered from 1 in the whole spool."""
        bases = []
        for _ in range(count):
            n = next(self._simple)
            bases.append(self.put(name, SIMPLE % (n, n, n), flags))
        return bases

    def files(self, name: str) -> list[str]:
        """All message files of a folder, in the order of delivery."""
        path = self.path(name)
        names = [f.name for sub in ("cur", "new") for f in (path / sub).iterdir() if not f.name.startswith(".")]
        # By numbers, not by letters: M99998 is before M100002.
        return sorted(names, key=lambda name: arrival(os.fsencode(name.split(":")[0])))

    def find(self, name: str, base: str) -> Path:
        """Where a message lies now."""
        for sub in ("cur", "new"):
            for file in (self.path(name) / sub).iterdir():
                if file.name.split(":")[0] == base:
                    return file
        raise FileNotFoundError(base)

    def reflag(self, name: str, base: str, flags: str) -> None:
        """Rename a message as mutt would."""
        file = self.find(name, base)
        os.rename(file, self.path(name) / "cur" / f"{base}:2,{flags}")

    def remove(self, name: str, base: str) -> None:
        """Unlink a message."""
        self.find(name, base).unlink()

    def age(self, name: str = "INBOX") -> None:
        """Set the time stamps of a folder back, so that it counts as at rest."""
        past = time.time() - 60
        for sub in ("cur", "new"):
            os.utime(self.path(name) / sub, (past, past))
