"""A clock for parsers: whether twice the octets take more than about twice the work.

The time is the processor's, of this thread alone, the least of several runs; what others do on the machine shortens
no run.  Wall time is never looked at.
"""

from __future__ import annotations

import functools
import gc
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from maildir_imapd import normal

T = TypeVar("T")

# What is made late is not made in the midst of a measurement.
normal.load()

# Twice the octets may take so many times the work: a cache of the processor that no longer holds them, a table that
# is made larger.  What is quadratic takes four times.
MOST = 3.0
# Seconds of the processor's time that are long enough to be compared.
ENOUGH = 0.004
LEAST_SIZE = 512
LARGEST_SIZE = 256 * 1024
STEP = 8
RUNS = 3
# How often a suspicion is looked into before it is believed.
AGAIN = 4


@functools.cache
def memories() -> list[Any]:
    """What the package remembers calls by."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("maildir_imapd")]
    values = [value for module in modules for value in vars(module).values()]
    return [value for value in values if isinstance(value, functools._lru_cache_wrapper)]


def forget() -> None:
    """Empty what the package remembers of calls: the second run must do the work of the first."""
    for memory in memories():
        memory.cache_clear()


def cost(function: Callable[[T], object], value: T, runs: int = RUNS) -> float:
    """Return the least processor time of some runs, in seconds."""
    least = float("inf")
    for _ in range(runs):
        forget()
        begin = time.thread_time()
        function(value)
        least = min(least, time.thread_time() - begin)
    return least


def growth(
    function: Callable[[T], object], make: Callable[[int], T], largest: int = LARGEST_SIZE
) -> tuple[float, int, float]:
    """Compare the work for ``make(n)`` and ``make(2 * n)``: the ratio, n, and the seconds for the larger one.

    The size grows until the work can be measured; a ratio of 0.0 says that it cannot, even at the largest size, or
    that it has never grown faster than the size.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        size = LEAST_SIZE
        before = cost(function, make(size), 1)
        while size < largest:
            step = min(STEP, largest // size)
            size *= step
            after = cost(function, make(size), 1)
            if after >= ENOUGH and after > MOST / 2 * step * before:
                found = _looked_into(function, make, size // 2)
                # A fixed cost that ends, or a step between two sizes, is gone at the next two.
                later = (size, 2 * size) if after < 1.0 else ()
                if found[0] > MOST and all(_looked_into(function, make, each)[0] > MOST for each in later):
                    return found
            before = after
        return 0.0, size, before
    finally:
        if enabled:
            gc.enable()


def _looked_into(function: Callable[[T], object], make: Callable[[int], T], size: int) -> tuple[float, int, float]:
    """Measure more often, and give the least ratio that was seen."""
    small, large = make(size), make(2 * size)
    least = float("inf")
    least_small = least_large = float("inf")
    for _ in range(AGAIN):
        least_small = min(least_small, cost(function, small, 1))
        least_large = min(least_large, cost(function, large, 1))
        least = least_large / max(least_small, 1e-6)
        if least <= MOST:
            break
    return least, size, least_large


def repeated(unit: bytes, begin: bytes = b"", end: bytes = b"") -> Callable[[int], bytes]:
    """Return what makes *n* octets of *unit* again and again, between *begin* and *end*."""
    return lambda size: begin + (unit * (size // len(unit) + 1))[:size] + end


def demand_linear(function: Callable[[T], object], make: Callable[[int], T], what: str, **options: int) -> None:
    """Fail where the work grows more than threefold for twice the octets."""
    ratio, size, seconds = growth(function, make, **options)
    assert ratio <= MOST, f"{what}: {2 * size} octets take {ratio:.1f} times the work of {size}, {seconds:.2f} s"
