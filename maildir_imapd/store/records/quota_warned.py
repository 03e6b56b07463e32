"""How full an account was when somebody was told of it last: so that each threshold that is crossed is told once.

``maildir-imapd.quota.warned`` holds the percent of the limit, written under the account's lock when a threshold lies
between it and what is used now.  Whoever writes it has found the crossing, in whatever process; all others find none.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.disk import durable

FILE: Final = b"maildir-imapd.quota.warned"
_MOST: Final = 1_000_000
_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class Fullness:
    """How full an account is: the *resource* of which most of the limit is used, in octets or messages, and both."""

    percent: int
    resource: str = "storage"
    used: int = 0
    limit: int = 0


def fullness(used: tuple[int, int], limit: tuple[int, int]) -> Fullness:
    """Return how full it is, by octets and messages and the limits of both; 0 is no limit."""
    found = [
        Fullness(much * _PERCENT // most, resource, much, most)
        for resource, much, most in zip(("storage", "messages"), used, limit, strict=True)
        if most
    ]
    return max(found, key=lambda each: each.percent, default=Fullness(0))


@dataclass(frozen=True, slots=True)
class Crossing:
    """Marks lie between the percent *before* and what is used *now*."""

    before: int
    now: Fullness

    def rises_over(self, threshold: int) -> bool:
        """Whether this threshold was reached."""
        return self.before < threshold <= self.now.percent

    def falls_under(self, threshold: int) -> bool:
        """Whether this threshold was left."""
        return self.now.percent < threshold <= self.before


class Warned:
    """The file of one account; *changing* is the account's lock."""

    def __init__(self, root: bytes, changing: Callable[[], AbstractContextManager[int]]) -> None:
        self._root = root
        self._changing = changing

    def last(self) -> int:
        """Return the percent that was told last; 0 where none was, or it cannot be read."""
        try:
            data, _ = durable.read_dated(self._root, FILE)
        except OSError:
            return 0
        written = (data or b"").strip()
        return min(int(written), _MOST) if written.isdigit() and len(written) < 12 else 0

    def crosses(self, percent: int, thresholds: Sequence[int]) -> bool:
        """Whether any of *thresholds*, which rise, lies between what was told last and *percent*."""
        return bisect_right(thresholds, percent) != bisect_right(thresholds, self.last())

    def cross(self, measure: Callable[[], Fullness], thresholds: Sequence[int]) -> Crossing | None:
        """Write down what *measure* finds if a threshold lies between, and return that; raises StoreError, LockTimeout.

        It measures under the account's lock: so of two at once the later one does not write the older figure.
        """
        with self._changing() as root, durable.as_store_error(os.path.join(self._root, FILE)):
            now = measure()
            before = self.last()
            if not self.crosses(now.percent, thresholds):
                return None
            # Before anything is run: who dies then has told nobody, and what is told twice helps nobody either.
            durable.put(FILE, b"%d\n" % min(now.percent, _MOST), root, durable=False)
            return Crossing(before, now)
