"""The flags and keywords of a message as one value.

On the disk, and in the columns of a snapshot, they are of two kinds: most are bits of one integer (filename.py), and
keywords from the 37th on are numbers in a set of their own. Whoever takes, gives or changes what a message has deals in
Flags and need not know. What works on whole columns does: one object a message is what columns are there to save.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.maildir.filename import IN_BITS, KEYWORD_BITS, keyword_bit


@dataclass(frozen=True, slots=True)
class Flags:
    """A set of flags and keywords: *bits* of those that have one, and the numbers of the keywords that have none."""

    bits: int = 0
    more: frozenset[int] = frozenset()

    def __or__(self, other: Flags) -> Flags:
        return Flags(self.bits | other.bits, self.more | other.more)

    def __and__(self, other: Flags) -> Flags:
        return Flags(self.bits & other.bits, self.more & other.more)

    def __sub__(self, other: Flags) -> Flags:
        return Flags(self.bits & ~other.bits, self.more - other.more)

    def __bool__(self) -> bool:
        return bool(self.bits or self.more)

    def __len__(self) -> int:
        return self.bits.bit_count() + len(self.more)

    @property
    def keywords(self) -> Iterator[int]:
        """The numbers of the keywords among them, rising."""
        left = self.bits & KEYWORD_BITS
        if left:
            yield from (number for number in range(IN_BITS) if left & keyword_bit(number))
        yield from sorted(self.more)


NO_FLAGS: Final = Flags()


def of_keywords(numbers: Iterable[int]) -> Flags:
    """Return keywords, by number, as flags."""
    bits, more = 0, []
    for number in numbers:
        bit = keyword_bit(number)
        bits |= bit
        if not bit:
            more.append(number)
    return Flags(bits, frozenset(more))
