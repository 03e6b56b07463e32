"""The record of which UIDs were expunged when, for QRESYNC: ranges in three columns, 16 octets each."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from maildir_imapd.store.index.constants import LAST_UID

_LAST_MODSEQ: Final = (1 << 64) - 1

Range = tuple[int, int, int]


class Expunges:
    """Ranges of UIDs, each with the mod-sequence of its expunge, in the order in which they went. Never changes.

    Each is (mod-sequence, first UID, last UID); mod-sequences do not fall.
    """

    __slots__ = ("_first", "_last", "_modseqs")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._modseqs, self._first, self._last = array("Q"), array("I"), array("I")
        self._extend(ranges)

    def _extend(self, ranges: Iterable[Range]) -> None:
        # What there can be no such UID of, or mod-sequence, is damage that the sum of the file does not show.
        for modseq, first, last in ranges:
            self._modseqs.append(max(0, min(modseq, _LAST_MODSEQ)))
            self._first.append(max(0, min(first, LAST_UID)))
            self._last.append(max(0, min(last, LAST_UID)))

    def __len__(self) -> int:
        return len(self._modseqs)

    def __iter__(self) -> Iterator[Range]:
        return zip(self._modseqs, self._first, self._last, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expunges) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash((len(self), self.latest))

    def __repr__(self) -> str:
        return f"<Expunges {len(self)} ranges up to {self.latest}>"

    @property
    def latest(self) -> int:
        """The mod-sequence of the last expunge, 0 for none."""
        return self._modseqs[-1] if self._modseqs else 0

    @property
    def octets(self) -> int:
        """The octets that it takes in memory."""
        return len(self) * (self._modseqs.itemsize + 2 * self._first.itemsize)

    def after(self, ranges: Sequence[Range], limit: int) -> tuple[Expunges, int]:
        """Return these with *ranges* behind them, and the mod-sequence of the last one that was dropped for it.

        At most *limit* stay, the last ones; 0: none was dropped.
        """
        if not ranges:
            return self, 0
        new = Expunges()
        new._modseqs, new._first, new._last = self._modseqs[:], self._first[:], self._last[:]
        new._extend(ranges)
        surplus = len(new) - limit
        if surplus <= 0:
            return new, 0
        dropped = new._modseqs[surplus - 1]
        for column in (new._modseqs, new._first, new._last):
            del column[:surplus]
        return new, dropped

    def since(self, modseq: int) -> list[tuple[int, int]]:
        """Return the ranges of UIDs that were expunged after *modseq*."""
        start = bisect_right(self._modseqs, modseq)
        return list(zip(self._first[start:], self._last[start:], strict=True))


NO_EXPUNGES: Final = Expunges()
