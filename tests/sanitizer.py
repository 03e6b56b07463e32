"""Whose is that number? Watches who opens, uses and closes descriptors, and tells of strangers: for tests.

The kernel gives a closed number to whatever is opened next; a thread that still has it in its hand then writes into
another folder, a mail file or a client's socket, and no call fails. Here each number has a *generation*: what it was
opened as, by whom, and who closed it. Found is

- a close of a number that is closed already, or that belongs to a socket or a ``Descriptor``, by anybody else,
- a call that fails with EBADF, with the stack of whoever closed the number,
- a bell that rings (eventfd_write) in what is no bell; a write of ours to a socket; one at an offset to a mail file.

What does not go through ``os`` or ``socket`` (files of the interpreter, ctypes) is not seen, and never accused.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from maildir_imapd.store.disk import descriptors, resolve

Report = Callable[[str], None]

_DEPTH = 14
_MAIL = re.compile(rb"(?:^|/)(?:cur|new|tmp)/[^/]+\Z")
# Calls whose first argument is a number.
_USES = (
    *("fstat", "read", "write", "pread", "pwrite", "fsync", "fdatasync", "ftruncate", "fchmod", "fchown"),
    *("eventfd_read", "eventfd_write", "dup"),
)
# Calls with the number of a directory.
_BELOW = {
    "stat": ("dir_fd",),
    "unlink": ("dir_fd",),
    "rename": ("src_dir_fd", "dst_dir_fd"),
    "link": ("src_dir_fd", "dst_dir_fd"),
}


# Where a thread was: code and line. Text is made of it only if something is found.
Stack = tuple[tuple[CodeType, int], ...]


@dataclass(slots=True)
class Generation:
    """One life of a number. *owner*: "socket" or "Descriptor" if nobody else may close it."""

    kind: str
    what: bytes
    opened: Stack
    owner: str = ""
    closed: Stack | None = None


def _stack() -> Stack:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    found = []
    while frame is not None and len(found) < _DEPTH:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def _text(stack: Stack) -> str:
    lines = [traceback.FrameSummary(code.co_filename, line, code.co_name) for code, line in reversed(stack)]
    return "".join(traceback.format_list(lines))


class Sanitizer:
    """All numbers of this process from ``install`` to ``remove``; *report* gets each thing that is found."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lives: dict[int, Generation] = {}
        self._seen: set[tuple[str, Stack]] = set()
        self._undo: list[tuple[Any, str, Any]] = []
        self._local = threading.local()

    def found(self, what: str, number: int, life: Generation | None) -> None:
        """Tell of something, once for each place."""
        here = _stack()
        key = what, here[:6]
        if key in self._seen:
            return
        self._seen.add(key)
        parts = [f"{what}\n  number {number}, by\n{_text(here)}"]
        if life is not None:
            parts.append(f"  it was {life.kind} {life.what!r}, opened by\n{_text(life.opened)}")
            if life.closed:
                parts.append(f"  and closed by\n{_text(life.closed)}")
        self._report("".join(parts))

    # --- lives ------------------------------------------------------------------------------------

    def born(self, number: int, kind: str, what: object, owner: str = "") -> None:
        self._lives[number] = Generation(kind, what if isinstance(what, bytes) else b"%r" % (what,), _stack(), owner)

    def dies(self, number: int, by: str = "") -> None:
        """*number* is about to be closed, by its owner of kind *by*."""
        life = self._lives.get(number)
        if life is None:
            return
        if life.closed:
            self.found("closed twice", number, life)
        elif life.owner and life.owner != by:
            self.found(f"closed by another than its owner, a {life.owner}", number, life)
        # Before the call: after it the number may be another's already.
        self._lives[number] = Generation(life.kind, life.what, life.opened, closed=_stack())

    def used(self, name: str, number: int) -> None:
        life = self._lives.get(number)
        if life is None or life.closed:
            return
        if name == "eventfd_write" and life.kind != "eventfd":
            self.found("a bell rings in what is no bell", number, life)
        elif name in ("write", "pwrite") and life.kind == "socket":
            self.found("a write of the store to a socket", number, life)
        elif name == "pwrite" and life.kind == "mail":
            self.found("a write at an offset to a mail file", number, life)

    # --- patches ----------------------------------------------------------------------------------

    def _patch(self, where: Any, name: str, make: Callable[[Any], Any]) -> None:
        real = getattr(where, name)
        self._undo.append((where, name, real))
        setattr(where, name, functools.wraps(real)(make(real)))

    def install(self) -> None:
        """Begin to watch."""
        self._patch(os, "open", self._open)
        self._patch(resolve, "open", self._open)
        self._patch(os, "close", self._close)
        for name in ("eventfd", "memfd_create", "pidfd_open"):
            self._patch(os, name, functools.partial(self._opens, name))
        for name in ("pipe", "pipe2"):
            self._patch(os, name, self._pipe)
        for name in _USES:
            self._patch(os, name, functools.partial(self._uses, name))
        for name, keys in _BELOW.items():
            self._patch(os, name, functools.partial(self._below, keys))
        self._patch(socket.socket, "__init__", self._socket)
        self._patch(socket.socket, "_real_close", self._socket_close)
        self._patch(socket.socket, "detach", self._becomes(""))
        self._patch(descriptors.Descriptor, "__init__", self._owned)
        for name in ("close", "__exit__"):
            self._patch(descriptors.Descriptor, name, self._by_owner)
        self._patch(descriptors.Resting, "rest", self._by_owner)
        self._patch(descriptors.Resting, "_again", self._becomes("Descriptor"))

    def remove(self) -> None:
        """Put everything back."""
        for where, name, real in reversed(self._undo):
            setattr(where, name, real)
        self._undo.clear()

    def _open(self, real: Any) -> Any:
        def call(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            try:
                number: int = real(path, flags, mode, dir_fd=dir_fd)
            except OSError as error:
                self._failed(error, dir_fd)
                raise
            name = os.fsencode(path)
            above = self._lives.get(dir_fd) if dir_fd is not None else None
            whole = name if above is None else above.what + b"/" + name
            kind = "directory" if flags & os.O_DIRECTORY else "mail" if _MAIL.search(whole) else "file"
            self.born(number, kind, name)
            return number

        return call

    def _opens(self, kind: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> int:
            number: int = real(*args, **kwargs)
            self.born(number, kind, args)
            return number

        return call

    def _pipe(self, real: Any) -> Any:
        def call(*args: Any) -> tuple[int, int]:
            ours, theirs = real(*args)
            self.born(ours, "pipe", "to read")
            self.born(theirs, "pipe", "to write")
            return ours, theirs

        return call

    def _close(self, real: Any) -> Any:
        def call(number: int) -> None:
            before = self._lives.get(number)
            self.dies(number, getattr(self._local, "by", ""))
            try:
                real(number)
            except OSError as error:
                if error.errno == errno.EBADF and not (before and before.closed):
                    self.found("closed and not open", number, before)
                raise

        return call

    def _uses(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            number = args[0] if args and type(args[0]) is int else None
            if number is not None:
                self.used(name, number)
            try:
                result = real(*args, **kwargs)
            except OSError as error:
                self._failed(error, number)
                raise
            if name == "dup" and number is not None:
                life = self._lives.get(number)
                self.born(result, life.kind if life else "copy", life.what if life else number)
            return result

        return call

    def _below(self, keys: tuple[str, ...], real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return real(*args, **kwargs)
            except OSError as error:
                for number in [kwargs.get(key) for key in keys] + [a for a in args[:1] if type(a) is int]:
                    self._failed(error, number)
                raise

        return call

    def _failed(self, error: OSError, number: int | None) -> None:
        if error.errno == errno.EBADF and number is not None and not isinstance(error, descriptors.Closed):
            life = self._lives.get(number)
            if number < 0 or life is None or life.closed:
                self.found("used after it was closed", number, life)

    def _socket(self, real: Any) -> Any:
        def call(sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            real(sock, *args, **kwargs)
            self.born(sock.fileno(), "socket", "", "socket")

        return call

    def _socket_close(self, real: Any) -> Any:
        def call(sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            if sock.fileno() >= 0:
                self.dies(sock.fileno(), "socket")
            real(sock, *args, **kwargs)

        return call

    def _becomes(self, owner: str) -> Callable[[Any], Any]:
        """What gives a number away, or takes it: from then on it is *owner*'s, "" for anybody's."""

        def patched(real: Any) -> Any:
            def call(of: Any) -> int:
                number: int = real(of)
                life = self._lives.get(number)
                if life is not None:
                    life.owner = owner
                return number

            return call

        return patched

    def _owned(self, real: Any) -> Any:
        def call(descriptor: descriptors.Descriptor, number: int, *args: Any, **kwargs: Any) -> None:
            real(descriptor, number, *args, **kwargs)
            life = self._lives.get(number)
            if life is None or life.closed:
                self.born(number, "descriptor", descriptor.what)
                life = self._lives[number]
            elif life.owner:
                self.found(f"given to a Descriptor, and it is a {life.owner}'s", number, life)
            life.owner = "Descriptor"

        return call

    def _by_owner(self, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = getattr(self._local, "by", "")
            self._local.by = "Descriptor"
            try:
                return real(*args, **kwargs)
            finally:
                self._local.by = before

        return call


def to_directory(directory: Path) -> Report:
    """Write what is found into a file of the process, paragraphs with an empty line between."""
    path, lock = directory / str(os.getpid()), threading.Lock()

    def report(what: str) -> None:
        with lock, open(path, "a", encoding="utf-8") as file:
            file.write(what + "\n\n")

    return report


def install(report: Report) -> Sanitizer:
    """Watch this process from here on."""
    sanitizer = Sanitizer(report)
    sanitizer.install()
    return sanitizer


@contextlib.contextmanager
def watching() -> Iterator[list[str]]:
    """Watch this process during the block; what is found comes into the list."""
    found: list[str] = []
    sanitizer = install(found.append)
    try:
        yield found
    finally:
        sanitizer.remove()
