"""Signals taken by a descriptor: nothing ever runs in a signal handler.

``sigtimedwait`` of CPython is not sound: interrupted by a stop and a continuation when its time is over, it returns
memory that nobody has written, and a worker took that for SIGTERM. A read of a signalfd gives a whole signal or
EAGAIN, and a poll waits on it and on other descriptors at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk.descriptors import Descriptor

log = Log(__name__)

# What would end a process that has no use for it: a signal sent to the wrong one costs no connection. What tells of a
# defect (SEGV, ABRT), asks for a core (QUIT) or cannot be blocked is not among them; Python ignores PIPE.
UNUSED: Final = frozenset(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
    if hasattr(signal, name)
)
# sizeof(sigset_t) of glibc and musl.
_SET_OCTETS: Final = 128
# struct signalfd_siginfo: signo, errno, code and pid stand first.
_INFO_OCTETS: Final = 128
_INFO: Final = struct.Struct("=IiiI")
# Seconds between two looks where there is no signalfd.
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Signal:
    """One that was sent.  *sender*: the process, 0 for the kernel or one of another name space."""

    number: signal.Signals
    sender: int


class Signals:
    """Blocks the signals *wanted*, and the UNUSED ones, for good, and gives the wanted ones to whoever waits.

    A signalfd gives the signals of the process that reads it: a child closes its parent's and makes its own. To be
    made before any thread is, for a thread begins with the mask of the one that starts it.
    """

    def __init__(self, wanted: Collection[signal.Signals]) -> None:
        self._wanted = frozenset(wanted)
        self._blocked = self._wanted | UNUSED
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        number = _signalfd(self._blocked)
        self._descriptor = Descriptor(number, "signalfd") if number is not None else None

    def wait(self, timeout: float, also: Sequence[int] = ()) -> Signal | None:
        """Return a wanted signal as soon as there is one; None when a descriptor of *also* can be read, or in time.

        None may also come early: whoever waits looks at all that he waits for.
        """
        if self._descriptor is None:
            return self._look_for(timeout, also)
        with self._descriptor.use() as number:
            # Those that have come are told before anything is waited for.
            while (info := _read(number)) is not None:
                if (found := self._check(*info)) is not None:
                    return found
            poll = select.poll()
            for each in (number, *also):
                poll.register(each, select.POLLIN)
            poll.poll(max(0.0, timeout) * 1000)
            info = _read(number)
        return self._check(*info) if info is not None else None

    def _look_for(self, timeout: float, also: Sequence[int]) -> Signal | None:
        """``wait`` without a signalfd: a signal that is pending can be taken without waiting, and so soundly."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        for each in also:
            poll.register(each, select.POLLIN)
        while True:
            if pending := signal.sigpending() & self._blocked:
                info = signal.sigtimedwait(pending, 0)
                if info is not None and (found := self._check(info.si_signo, info.si_pid)) is not None:
                    return found
            left = deadline - time.monotonic()
            if poll.poll(max(0.0, min(left, _LOOK_SECONDS)) * 1000) or left <= 0:
                return None

    def _check(self, number: int, sender: int) -> Signal | None:
        """The signal, if it is one that was asked for; anything else is nothing, and a line in the log."""
        if number in self._wanted:
            return Signal(signal.Signals(number), sender)
        log.info("signal passed over", signal=number, sender=sender)
        return None

    def close(self) -> None:
        """Let go of the descriptor; the signals stay blocked.  Harmless twice."""
        if self._descriptor is not None:
            self._descriptor.close()


def _read(number: int) -> tuple[int, int] | None:
    """The next signal and its sender; None when there is none."""
    try:
        data = os.read(number, _INFO_OCTETS)
    except BlockingIOError:
        return None
    signo, _, _, sender = _INFO.unpack_from(data)
    return signo, sender


def _signalfd(wanted: Collection[signal.Signals]) -> int | None:
    """A descriptor that gives these signals; None where the system, or its C library, has no such thing."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        make, empty, add = libc.signalfd, libc.sigemptyset, libc.sigaddset
    except (OSError, AttributeError):
        return None
    mask = ctypes.create_string_buffer(_SET_OCTETS)
    empty(mask)
    for each in wanted:
        add(mask, ctypes.c_int(each))
    number = int(make(ctypes.c_int(-1), mask, ctypes.c_int(os.O_NONBLOCK | os.O_CLOEXEC)))
    if number < 0:
        trouble = ctypes.get_errno()
        if trouble in (errno.ENOSYS, errno.EINVAL, errno.ENODEV):
            return None
        raise OSError(trouble, f"signalfd: {os.strerror(trouble)}")
    return number
