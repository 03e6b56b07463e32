"""Sequence sets and UID sets: parse, resolve, render compactly (RFC 3501 section 9, RFC 5182).

Nothing here walks a range one number at a time: a set is as much work as it has ranges, however wide
they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maildir_imapd.errors import BadSyntax

STAR = 0
"""Stands for ``*`` in ranges; 0 is no message number."""

LARGEST = 0xFFFF_FFFF


# The texts of numbers from 1 on that are kept, some 40 octets each, once somebody wants so many.
LARGEST_TEXT = 1 << 16
_texts: list[bytes] = []


def texts_up_to(largest: int) -> list[bytes]:
    """The numbers from 1 to *largest*, which is LARGEST_TEXT at the most, and perhaps more of them, in digits."""
    global _texts
    texts = _texts
    if len(texts) < largest:
        # Race: two threads may both make it longer; each has what it wants, and one of the two is kept.
        texts = _texts = [*texts, *[b"%d" % number for number in range(len(texts) + 1, largest + 1)]]
    return texts


@dataclass(frozen=True, slots=True)
class NumberSet:
    """A sequence-set as sent: order, overlaps and ``4:2`` are kept.

    *saved* is the ``$`` of RFC 5182, which stands alone.
    """

    ranges: tuple[tuple[int, int], ...]
    saved: bool = False

    def contains_star(self) -> bool:
        """Tell whether the set depends on how many messages there are."""
        return any(first == STAR or last == STAR for first, last in self.ranges)

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """Return the set as (low, high) pairs, sorted and apart, with ``*`` being *largest*.

        What lies above *largest* is kept: whether that is an error depends on the command.  In an
        empty mailbox (*largest* is 0) ranges with ``*`` stand for nothing.
        """
        if len(self.ranges) == 1:
            ((first, last),) = self.ranges
            first, last = first or largest, last or largest
            if not first or not last:
                return []
            return [(first, last) if first <= last else (last, first)]
        pairs = []
        for first, last in self.ranges:
            first, last = first or largest, last or largest
            if first and last:
                pairs.append((first, last) if first <= last else (last, first))
        return merge(pairs)


def merge(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort (low, high) pairs and join those that touch or overlap."""
    pairs.sort()
    merged: list[tuple[int, int]] = []
    if not pairs:
        return merged
    low, high = pairs[0]
    for next_low, next_high in pairs:
        if next_low > high + 1:
            merged.append((low, high))
            low, high = next_low, next_high
        elif next_high > high:
            high = next_high
    merged.append((low, high))
    return merged


def parse_number_set(data: bytes) -> NumberSet:
    """sequence-set = (seq-number / seq-range) *("," sequence-set) / "$" """
    if data.isdigit():
        number = _number(data, 0)
        return NumberSet(((number, number),))
    if data == b"$":
        return NumberSet((), saved=True)
    ranges = []
    position = 0
    for part in data.split(b","):
        first, colon, last = part.partition(b":")
        low = STAR if first == b"*" else _number(first, position)
        if colon:
            position += len(first) + 1
            ranges.append((low, STAR if last == b"*" else _number(last, position)))
            position += len(last) + 1
        else:
            ranges.append((low, low))
            position += len(first) + 1
    return NumberSet(tuple(ranges))


def _number(digits: bytes, position: int) -> int:
    """nz-number = digit-nz *DIGIT, below 2^32"""
    if digits.isdigit() and len(digits) <= 10 and digits[0] != 0x30 and (number := int(digits)) <= LARGEST:
        return number
    raise BadSyntax("a message number", position)


def to_ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Join ascending numbers into (low, high) pairs."""
    if isinstance(numbers, Sequence) and numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
        return [(numbers[0], numbers[-1])]  # the usual case: no gap
    pairs = []
    low = high = -1
    for number in numbers:
        if number == high + 1 and low >= 0:
            high = number
        else:
            if low >= 0:
                pairs.append((low, high))
            low = high = number
    if low >= 0:
        pairs.append((low, high))
    return pairs


def render_set(numbers: Iterable[int]) -> bytes:
    """Render ascending numbers as a sequence-set: b"1:3,7"; nothing gives b"", which is no set."""
    return render_ranges(to_ranges(numbers))


def render_in_order(numbers: Iterable[int]) -> bytes:
    """Render a sequence-set whose order counts: ranges are read upwards (RFC 5267 3.2), so what rises is one."""
    return render_ranges(to_ranges(iter(numbers)))


def render_ranges(pairs: Iterable[tuple[int, int]]) -> bytes:
    """Render (low, high) pairs in the order given, without joining any."""
    return b",".join([b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in pairs])
