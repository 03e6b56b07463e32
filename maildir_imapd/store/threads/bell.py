"""A bell: what one thread waits on, and any other may ring.

Not the bell of a folder, which lies in its lock file and reaches other processes (lock.py).
"""

from __future__ import annotations

import os

from maildir_imapd.store.disk import descriptors


class Bell:
    """An eventfd with one owner, who waits on it, clears and closes it; any thread may ring it, at any time."""

    __slots__ = ("_descriptor",)

    def __init__(self) -> None:
        number = descriptors.again(os.eventfd, 0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._descriptor = descriptors.Descriptor(number, "bell")
        descriptors.watch_level(number)

    @property
    def fd(self) -> int:
        """The number, for the owner to poll on until he closes it; raises Closed."""
        return self._descriptor.number

    def ring(self) -> None:
        """Wake the owner; a bell that is closed stays silent."""
        try:
            with self._descriptor.use() as number:
                os.eventfd_write(number, 1)
        except descriptors.Closed:
            pass  # nobody waits any more
        except BlockingIOError:
            pass  # rung 2**64 times: the owner will see that

    def clear(self) -> None:
        """Forget all rings so far."""
        try:
            with self._descriptor.use() as number:
                os.eventfd_read(number)
        except BlockingIOError:
            pass  # it has not been rung

    def close(self) -> None:
        """Close it; rings from now on do nothing. Harmless twice."""
        self._descriptor.close()
