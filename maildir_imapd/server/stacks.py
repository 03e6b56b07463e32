"""Where a worker that stands still stands: the stacks of all its threads, in the log.

The supervisor asks for them by a signal.  As long as any thread can run, one of Python answers (``answer``): it has the
interpreter's lock, and nobody changes what it reads.  A call into C that holds that lock lets none run; then a second
signal has a handler that is C as well: ``faulthandler``, which takes no lock.  That one is the last resort: it walks
over the frames of threads that may be running, and a worker whose main thread alone stood still has died of that.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

# Not one of ``signals.UNUSED``, which are blocked: this one must come through in whatever thread there is.
SIGNAL: Final[int | None] = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else None
# Blocked in all threads; the one that answers takes it.
_ASKED: Final[int | None] = signal.SIGRTMIN + 6 if hasattr(signal, "SIGRTMIN") else None
# Frames of one thread that are shown, the innermost.
_FRAMES: Final = 100


class Stacks:
    """The descriptor that stacks are written to; forked with the process, and open for as long as that lives.

    The handler knows a number and writes to it whenever the signal comes, so the number is never closed: where the log
    goes elsewhere, the number is made to lead there.
    """

    def __init__(self) -> None:
        self._fd = os.dup(_log())
        os.set_inheritable(self._fd, False)
        if SIGNAL is not None:
            faulthandler.register(SIGNAL, file=self._fd, all_threads=True)
        if _ASKED is not None:
            # Here, for the threads of the processes that are forked from this one begin with it.
            signal.pthread_sigmask(signal.SIG_BLOCK, [_ASKED])

    def answer(self, told: Callable[[], None]) -> None:
        """Have a thread write all stacks whenever that is asked for, and call *told* then."""
        try:
            threading.Thread(target=self._answer, args=(told,), name="stacks", daemon=True).start()
        except RuntimeError:
            pass  # the system has no thread left: the last resort remains

    def _answer(self, told: Callable[[], None]) -> None:
        while _ASKED is not None:
            signal.sigwait([_ASKED])
            try:
                self._write("".join(_stacks()).encode("utf-8", "replace"))
            except OSError:
                pass  # nowhere to write to
            told()

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def follow(self) -> None:
        """Lead to where the log goes now, which may have been rotated away."""
        there = _log()
        if not os.path.samestat(os.fstat(there), os.fstat(self._fd)):
            os.dup2(there, self._fd, inheritable=False)

    @staticmethod
    def ask(pid: int) -> None:
        """Have a process that was forked from this one write its stacks, if any of its threads can run."""
        _send(pid, _ASKED)

    @staticmethod
    def force(pid: int) -> None:
        """As ``ask`` where none can: it may end of this where one can after all."""
        _send(pid, SIGNAL)


def _send(pid: int, number: int | None) -> None:
    if number is not None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has ended by itself


def _stacks() -> Iterator[str]:
    """The stacks of all threads, the innermost frame first, as ``faulthandler`` writes them."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for number, innermost in sys._current_frames().items():
        yield f"Thread {names.get(number, number)} (most recent call first):\n"
        frame: FrameType | None = innermost
        for _ in range(_FRAMES):
            if frame is None:
                break
            code = frame.f_code
            yield f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n'
            frame = frame.f_back
        yield "\n"


def _log() -> int:
    """The descriptor of the log."""
    for handler in logging.getLogger("maildir_imapd").handlers:
        if isinstance(handler, logging.StreamHandler):
            try:
                return int(handler.stream.fileno())
            except (AttributeError, OSError, ValueError):
                pass  # no file, or just being opened anew
    return sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
