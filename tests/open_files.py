"""How many files a process has open."""

from __future__ import annotations

import gc
import os


def descriptor_count() -> int:
    """Return how many descriptors this process has now."""
    return len(os.listdir("/proc/self/fd"))


def descriptors_to_begin_with() -> int:
    """The same, once what earlier tests have left is closed: a collection in the middle of a test closes it, too."""
    gc.collect()
    return descriptor_count()
