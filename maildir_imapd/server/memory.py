"""How this process gives memory back: what one client's large message took is the system's again when it is sent."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from maildir_imapd.events import Log

log = Log(__name__)

# mallopt(3). What is larger comes from the system by itself and goes back whole; glibc raises its bounds to 32 MiB once
# something large has been freed, and keeps what was freed from then on, for each of its arenas. Setting them, to
# whatever, has them stay.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
MMAP_OCTETS: Final = 256 * 1024
# Of each arena so much stays: a message's blocks (message/blocks.py), for pages that come and go with each of them cost
# as much as all that is done to it.
TRIM_OCTETS: Final = 2 * 1024 * 1024


# What a group of processes may have (cgroup v2): a number, or "max".
_GROUP_LIMIT: Final = "/sys/fs/cgroup/memory.max"


def machine_octets() -> int:
    """The memory that there is: the machine's, or less where the group that this process is in may have no more."""
    octets = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open(_GROUP_LIMIT, encoding="ascii") as file:
            return min(octets, int(file.read(32)))
    except (OSError, ValueError):
        return octets


# So much that was let go of is worth a walk through what the C library keeps: milliseconds, outside of our own lock.
WORTH_OCTETS: Final = 1 << 20


def trim() -> bool:
    """Give back what lies free in the midst of the C library's memory; say whether anything could be.

    What is let go of in small pieces leaves holes, which the library gives back only when it is asked.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is None:
        return False
    malloc_trim.argtypes = (ctypes.c_size_t,)
    malloc_trim.restype = ctypes.c_int
    return bool(malloc_trim(0))


def give_back() -> bool:
    """Fix the bounds from which on memory is given back at once; say whether this C library has such."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    bounds = ((_M_MMAP_THRESHOLD, MMAP_OCTETS), (_M_TRIM_THRESHOLD, TRIM_OCTETS))
    done = all(mallopt(name, octets) == 1 for name, octets in bounds)
    if not done:
        log.info("memory is given back as the C library likes")
    return done
