"""Memory that a supervisor and its workers share, without a lock: a process that is killed would keep it.

Made before the fork.  Each cell is eight octets long and lies at a multiple of eight.  The item of a ``memoryview`` is
converted first and then copied as a whole (PACK_SINGLE of CPython's memoryobject.c: a memcpy of eight octets, one store
of the machine), so whoever reads sees the old value or the new one.  A pack into the buffer is no such thing: it fills
the place with zeros before it writes, and whoever looks in between sees those.
"""

from __future__ import annotations

import mmap
from typing import Final

_OCTETS: Final = 8


def _memory(cells: int) -> memoryview:
    # The children share it. There is no file behind it: one may be cut, and whoever reads there gets SIGBUS.
    return memoryview(mmap.mmap(-1, _OCTETS * cells))


def words(cells: int) -> memoryview[int]:
    """Return *cells* unsigned words of 64 bits, all 0; those that nobody touches take no memory."""
    return _memory(cells).cast("Q")


def moments(cells: int) -> memoryview[float]:
    """Return *cells* floats, all 0.0."""
    return _memory(cells).cast("d")
