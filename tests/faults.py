"""Errors where they come on a machine that runs out of something: at any one point of an operation, for tests.

Points are the steps of ``durable`` (each write, rename, link, unlink, sync), the calls of the system that open or look
(descriptors run out, a disk that cannot be read) and the beginning of each function of the store (no memory for its
frame). ``Faults(kind, number, error)`` raises *error* at point *number* of its block; ``hit`` says whether the block
came so far.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from maildir_imapd.store.disk import durable, resolve

STEP, SYSTEM, MEMORY = "step", "system", "memory"
_CALLS = ("open", "stat", "lstat", "fstat", "listdir", "scandir", "read", "pread", "dup")
_OPENS = ("open", "listdir", "scandir", "dup")
# Without memory for these nothing can be put right again: they only let go.
_LETTING_GO = frozenset(
    {
        "close",
        "release",
        "release_threads",
        "release_file",
        "unlock",
        "abort",
        "wake",
        "mark_gone",
        "clear",
        "discard",
        "close_all",
        "_last",
        "__exit__",
        "__del__",
        "drop",
        "given_back",
        "done",
        "forget",
    }
)
_STORE = os.path.join("maildir_imapd", "store", "")


def no_memory() -> MemoryError:
    return MemoryError("injected")


def no_descriptor() -> OSError:
    return OSError(errno.EMFILE, "injected")


def broken_disk() -> OSError:
    return OSError(errno.EIO, "injected")


# What can go wrong where: the kind of point, and the error.
WRONGS: list[tuple[str, Callable[[], Exception]]] = [
    (STEP, broken_disk),
    (STEP, no_memory),
    (SYSTEM, no_descriptor),
    (SYSTEM, broken_disk),
    (MEMORY, no_memory),
]


class Faults:
    """One error, at one point, in the thread that enters."""

    def __init__(self, kind: str, number: int, error: Callable[[], Exception]) -> None:
        self.kind, self.error = kind, error
        self.left = number
        self.where = ""
        self._thread = threading.get_ident()
        self._real: dict[str, Any] = {}
        self._on = False

    @property
    def hit(self) -> bool:
        return bool(self.where)

    def _point(self, where: str) -> None:
        if not self._on or threading.get_ident() != self._thread:
            return
        self.left -= 1
        if self.left == 0:
            self.where = where
            self._on = False
            raise self.error()

    def _step(self, action: str, what: object) -> None:
        self._point(f"{action} {what!r}"[:80])

    def _call(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            self._point(f"{name}{args!r}"[:80])
            return real(*args, **kwargs)

        return call

    def _trace(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        # A generator that goes on is no new call, and is where a ``with`` lets go.
        if event == "call" and _STORE in code.co_filename and not code.co_flags & 0x20:
            if code.co_name in _LETTING_GO or code.co_name.startswith("<"):
                return
            self._point(f"{code.co_name} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})")

    def __enter__(self) -> Self:
        self._on = True
        if self.kind == STEP:
            durable.step = self._step
        elif self.kind == SYSTEM:
            names = _OPENS if getattr(self.error(), "errno", 0) == errno.EMFILE else _CALLS
            self._real = {name: getattr(os, name) for name in names}
            for name in names:
                setattr(os, name, self._call(name))
            # What openat2 opens does not pass os.open.
            self._real["resolve"] = resolve.open
            resolve.open = self._call("resolve")
        else:
            self._before = sys.gettrace()
            sys.settrace(self._trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._on = False
        if self.kind == STEP:
            durable.step = None
        elif self.kind == SYSTEM:
            resolve.open = self._real.pop("resolve")
            for name, real in self._real.items():
                setattr(os, name, real)
        else:
            sys.settrace(self._before)
