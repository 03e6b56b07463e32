"""Rights to mailboxes of all users, as an administrator says them: Dovecot's global ACL file, or the older directory.

    INBOX owner lrwstipekxa
    Archive/* owner lr
    "a name with blanks/*" group=staff lrws

A line is a pattern of mailbox names, in which ``*`` is anything and ``?`` an octet, quoted if it has blanks; a blank;
and a line of ``dovecot-acl``.  Names are those that the owner's clients see.  A directory has a file for each mailbox,
``DIR/NAME``, and if that is a directory ``DIR/NAME/.DEFAULT``; ``DIR/.DEFAULT`` is for those whom nothing else means.

All entries whose pattern matches count, and after those of the mailbox's own file (acl.py).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.records.acl import GRAIN_SECONDS, Entry, parse, read_line

log = Log(__name__)

DEFAULT: Final = b".DEFAULT"
# How long what was read counts without another look; Dovecot has 30.
LOOK_SECONDS: Final = 1.0
# Names of mailboxes whose entries are remembered.
_NAMES: Final = 10_000

_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)" ', re.DOTALL).match
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
# A file's inode, modification time and size.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class GeneralEntry:
    """A line of the file: an entry, and which mailboxes have it."""

    matches: Callable[[bytes], object]
    entry: Entry


@dataclass(frozen=True, slots=True)
class _State:
    """Holds what was read last; *names*: entries of mailboxes that have been asked for."""

    turn: int
    stamp: _Stamp | None = None
    lines: tuple[GeneralEntry, ...] = ()
    names: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    is_directory: bool = False
    settled: bool = False


def read(data: bytes) -> tuple[GeneralEntry, ...]:
    """Read the file; raises ValueError that names the line: nobody may come in for a slip of the pen."""
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line or line.startswith(b"#"):
            continue
        quoted = _QUOTED(line)
        if quoted is not None:
            pattern, rest = _ESCAPED.sub(rb"\1", quoted[1]), line[quoted.end() :]
        else:
            pattern, _, rest = line.partition(b" ")
        if not pattern or not rest or (quoted is None and line.startswith(b'"')):
            raise ValueError(f"line {number}: it has to be a pattern, an identifier and rights")
        entry, _ = read_line(rest)
        if entry is None:
            raise ValueError(f"line {number}: the identifier or the rights are not understood")
        found.append(GeneralEntry(_matching(pattern), entry))
    return tuple(found)


def _matching(pattern: bytes) -> Callable[[bytes], object]:
    parts = [b".*" if part == b"*" else b"." if part == b"?" else re.escape(part) for part in _pieces(pattern)]
    return re.compile(b"".join(parts) + rb"\Z", re.DOTALL).match


def _pieces(pattern: bytes) -> list[bytes]:
    # Stars in a row are one: each more would be tried with each other.
    return re.findall(rb"\*|\?|[^*?]+", re.sub(rb"\*+", b"*", pattern))


class GlobalAcls:
    """The file or directory at *path*; safe from any thread.

    *acting* makes the thread act as who may read it.  A file that has become unreadable, or has a line that is not
    understood, is as it was, with a line in the log; one that never was read lets nobody in.
    """

    def __init__(self, path: bytes, acting: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.path = path
        self._acting = acting
        self._state: _State | None = None  # replaced whole, so no lock is needed
        self._next = 0.0  # monotonic
        self._told: str | None = None

    def turn(self) -> int:
        """Return another number when the entries of some mailbox may have changed."""
        try:
            return self._look().turn
        except StoreError:
            return -1

    def of(self, mailbox: str) -> tuple[Entry, ...]:
        """Return the entries of a mailbox.  Raises StoreError."""
        state = self._look()
        found = state.names.get(mailbox)
        if found is None:
            name = mailbox.encode("utf-8", "surrogateescape")
            if state.is_directory:
                found = self._in_directory(name)
            else:
                found = tuple([line.entry for line in state.lines if line.matches(name)])
            if len(state.names) >= _NAMES:
                state.names.clear()
            state.names[mailbox] = found
        return found

    def otherwise(self) -> tuple[Entry, ...]:
        """Return what counts for whom nothing else means, the owner apart.  Raises StoreError."""
        state = self._look()
        if not state.is_directory:
            return ()
        # No mailbox has an empty name.
        found = state.names.get("")
        if found is None:
            found = state.names[""] = self._file(DEFAULT)
        return found

    def demand(self) -> None:
        """Raise StoreError or ValueError where it cannot be used."""
        self._read(os.stat(self.path), 0)

    def _look(self) -> _State:
        state, now = self._state, time.monotonic()
        if state is not None and now < self._next:
            return state
        try:
            with self._acting(), durable.as_store_error(self.path):
                found = os.stat(self.path)
                if state is not None and state.stamp == _stamp(found) and state.settled:
                    self._next = now + LOOK_SECONDS
                    return state
                state = self._read(found, 0 if state is None else state.turn + 1)
        except (StoreError, ValueError) as error:
            why = getattr(error, "detail", None) or str(error)
            if self._told != why:
                self._told = why
                log.error("acl_global not read", path=self.path, why=why)
            if state is None:
                raise StoreError(detail=why) from error
        else:
            self._told = None
        self._state, self._next = state, now + LOOK_SECONDS
        return state

    def _read(self, found: os.stat_result, turn: int) -> _State:
        if stat.S_ISDIR(found.st_mode):
            # Its files are read when they are asked for, each at most once a look.
            return _State(turn, is_directory=True)
        directory = descriptors.open_directory(os.path.dirname(os.path.realpath(self.path)))
        try:
            data = durable.read_file(os.path.basename(os.path.realpath(self.path)), directory)
        finally:
            os.close(directory)
        settled = time.time() - found.st_mtime > GRAIN_SECONDS
        return _State(turn, _stamp(found), read(data), settled=settled)

    def _in_directory(self, name: bytes) -> tuple[Entry, ...]:
        if any(level in (b"", b".", b"..") for level in name.split(b"/")) or b"\0" in name:
            return ()
        return self._file(name)

    def _file(self, name: bytes) -> tuple[Entry, ...]:
        """Read one file of the directory, or the .DEFAULT in it; raises StoreError."""
        path = os.path.join(self.path, name)
        with self._acting(), durable.as_store_error(path):
            if os.path.isdir(path):
                path = os.path.join(path, DEFAULT)
            data, _ = durable.read_dated(os.path.dirname(path), os.path.basename(path))
        acl = parse(data or b"")
        if not acl.sound:
            raise StoreError(detail=f"{os.fsdecode(path)}: it is not understood")
        return acl.entries


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_mtime_ns, found.st_size
