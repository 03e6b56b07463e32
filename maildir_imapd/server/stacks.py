"""Where a worker that stands still stands: the stacks of all its threads, in the log.

A call into C that holds the interpreter's lock lets no thread of Python run, not even one that would log.  So the
supervisor sends a signal, and its handler is C as well: ``faulthandler``, which takes no lock.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from typing import Final

# Not one of ``signals.UNUSED``, which are blocked: this one must come through in whatever thread there is.
SIGNAL: Final[int | None] = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else None


class Stacks:
    """The descriptor that the handler writes to; forked with the process, and open for as long as that lives.

    The handler knows a number and writes to it whenever the signal comes, so the number is never closed: where the log
    goes elsewhere, the number is made to lead there.
    """

    def __init__(self) -> None:
        self._fd = os.dup(_log())
        os.set_inheritable(self._fd, False)
        if SIGNAL is not None:
            faulthandler.register(SIGNAL, file=self._fd, all_threads=True)

    def follow(self) -> None:
        """Lead to where the log goes now, which may have been rotated away."""
        there = _log()
        if not os.path.samestat(os.fstat(there), os.fstat(self._fd)):
            os.dup2(there, self._fd, inheritable=False)

    @staticmethod
    def ask(pid: int) -> None:
        """Have a process that was forked from this one write its stacks."""
        if SIGNAL is not None:
            try:
                os.kill(pid, SIGNAL)
            except ProcessLookupError:
                pass  # it has ended by itself


def _log() -> int:
    """The descriptor of the log."""
    for handler in logging.getLogger("maildir_imapd").handlers:
        if isinstance(handler, logging.StreamHandler):
            try:
                return int(handler.stream.fileno())
            except (AttributeError, OSError, ValueError):
                pass  # no file, or just being opened anew
    return sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
