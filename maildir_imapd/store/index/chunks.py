"""A column in pieces, which one moment of a large mailbox shares with the next.

The moment after a delivery, or after one flag, would else be a copy of all there is: 60 MB for a million messages. Here
it is a list of the same pieces, of which one is new. Whoever reads one value after the other pays for that: a column of
a mailbox that is not large is one array (``writable``), and whoever wants many values takes a stretch, which is one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from itertools import accumulate, chain
from typing import Any, Final, TypeAlias, TypeVar, overload

PIECE: Final = 4096
# From so many values on a column is made in pieces when it is first changed, and under half of it is whole again.
LARGE: Final = 1 << 16

T = TypeVar("T", int, bytes)


class Chunked(Sequence[T]):
    """Values in pieces that are arrays, or lists. ``copy`` shares the pieces; what is written to is copied first.

    Written to by whoever makes a moment, and by nobody once the moment is shown.
    """

    __slots__ = ("_bounds", "_mine", "_nothing", "_pieces", "_starts")

    _nothing: MutableSequence[T]
    _pieces: list[MutableSequence[T]]

    def __init__(self, pieces: list[MutableSequence[T]], nothing: MutableSequence[T]) -> None:
        """*pieces*: none of them empty, and nobody else's to write to; *nothing*: an empty one of their kind."""
        self._nothing = nothing
        self._pieces = pieces
        self._mine = [False] * len(pieces)  # those that no other moment has
        # The least and the greatest of each piece, once somebody has asked; right to find twice.
        self._bounds: list[tuple[T, T] | None] = [None] * len(pieces)
        self._starts: list[int] = []
        self._count()

    def _count(self) -> None:
        self._starts = list(accumulate(map(len, self._pieces), initial=0))

    def copy(self) -> Chunked[T]:
        """Return one with the same values, to be written to."""
        new = Chunked(self._pieces[:], self._nothing)
        new._bounds = self._bounds[:]
        return new

    # --- read ------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> MutableSequence[T]: ...

    def __getitem__(self, at: int | slice) -> T | MutableSequence[T]:
        """Return a value, or a stretch of them in one array or list."""
        starts = self._starts
        if isinstance(at, slice):
            start, stop, step = at.indices(starts[-1])
            return self._stretch(start, stop) if step == 1 else self._stretch(0, starts[-1])[at]
        if at < 0:
            at += starts[-1]
        if not 0 <= at < starts[-1]:
            raise IndexError(at)
        piece = bisect_right(starts, at) - 1
        return self._pieces[piece][at - starts[piece]]

    def _stretch(self, start: int, stop: int) -> MutableSequence[T]:
        if start >= stop:
            return self._nothing[:]
        pieces, starts = self._pieces, self._starts
        first, last = bisect_right(starts, start) - 1, bisect_left(starts, stop) - 1
        found = pieces[first][start - starts[first] : stop - starts[first]]
        for piece in pieces[first + 1 : last]:
            found.extend(piece)
        if last > first:
            found.extend(pieces[last][: stop - starts[last]])
        return found

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._pieces)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Chunked):
            alike = len(self._pieces) == len(other._pieces)
            if alike and all(mine is theirs for mine, theirs in zip(self._pieces, other._pieces, strict=True)):
                return True
            other = other[:]
        return self[:] == other

    __hash__ = None  # type: ignore[assignment]  # as of an array

    def tobytes(self) -> bytes:
        """Return the values as an array's ``tobytes`` does."""
        pieces: list[Any] = [*self._pieces]  # asked of numbers alone
        return b"".join(pieces)

    def tolist(self) -> list[T]:
        """Return the values in a list."""
        return list(self)

    def find(self, value: T) -> int:
        """Return where *value* stands first, -1 if it does not; a piece that it cannot be in costs nothing.

        Names of messages are, but for a few, in the order in which these came.
        """
        bounds = self._bounds
        for at, piece in enumerate(self._pieces):
            bound = bounds[at]
            if bound is None:
                bound = bounds[at] = min(piece), max(piece)
            if bound[0] <= value <= bound[1]:
                try:
                    return self._starts[at] + piece.index(value)
                except ValueError:
                    continue
        return -1

    def left(self, value: T) -> int:
        """As ``bisect_left`` where the values rise."""
        at = bisect_left(self._pieces, value, key=_last)
        if at == len(self._pieces):
            return self._starts[-1]
        return self._starts[at] + bisect_left(self._pieces[at], value)

    # --- write -----------------------------------------------------------------------------------

    def _own(self, piece: int) -> MutableSequence[T]:
        if not self._mine[piece]:
            self._pieces[piece] = self._pieces[piece][:]
            self._mine[piece] = True
        self._bounds[piece] = None
        return self._pieces[piece]

    def _put(self, at: int, pieces: list[MutableSequence[T]], instead: int) -> None:
        """Put pieces of our own where *instead* pieces stand from *at* on."""
        self._pieces[at : at + instead] = pieces
        self._mine[at : at + instead] = [True] * len(pieces)
        self._bounds[at : at + instead] = [None] * len(pieces)

    def __setitem__(self, at: int | slice, value: Any) -> None:
        """Write a value, or as many as a stretch has."""
        starts = self._starts
        if not isinstance(at, slice):
            if at < 0:
                at += starts[-1]
            if not 0 <= at < starts[-1]:
                raise IndexError(at)
            piece = bisect_right(starts, at) - 1
            self._own(piece)[at - starts[piece]] = value
            return
        start, stop, step = at.indices(starts[-1])
        if step != 1 or len(value) != max(0, stop - start):
            raise ValueError("a stretch stays as long as it is")
        done = start
        while done < stop:
            piece = bisect_right(starts, done) - 1
            end = min(stop, starts[piece + 1])
            self._own(piece)[done - starts[piece] : end - starts[piece]] = value[done - start : end - start]
            done = end

    def insert(self, at: int, value: T) -> None:
        """Put a value before that at *at*."""
        if not self._pieces:
            self.extend([value])
            return
        piece = min(bisect_right(self._starts, at), len(self._pieces)) - 1
        into = self._own(piece)
        into.insert(at - self._starts[piece], value)
        if len(into) > 2 * PIECE:
            self._put(piece, [into[:PIECE], into[PIECE:]], 1)
        self._count()

    def extend(self, values: Iterable[T]) -> None:
        """Put values behind all others."""
        more = self._nothing[:]
        more.extend(values)
        at = 0
        if self._pieces and len(self._pieces[-1]) < PIECE:
            last = self._own(len(self._pieces) - 1)
            at = PIECE - len(last)
            last.extend(more[:at])
        fresh = [more[start : start + PIECE] for start in range(at, len(more), PIECE)]
        self._put(len(self._pieces), fresh, 0)
        self._count()

    def cut(self, gaps: Sequence[tuple[int, int]]) -> None:
        """Take out what stands in *gaps*, each (start, stop), rising."""
        starts = self._starts
        for start, stop in reversed(gaps):
            if start >= stop:
                continue
            first, last = bisect_right(starts, start) - 1, bisect_left(starts, stop) - 1
            if first == last:
                del self._own(first)[start - starts[first] : stop - starts[first]]
                if not self._pieces[first]:
                    self._put(first, [], 1)
                continue
            left = [self._pieces[first][: start - starts[first]], self._pieces[last][stop - starts[last] :]]
            self._put(first, [piece for piece in left if piece], last - first + 1)
        self._count()


def _last(piece: Sequence[T]) -> T:
    return piece[-1]


# Numbers of all messages, in an array unless there are very many.
Numbers: TypeAlias = "array[int] | Chunked[int]"
Names: TypeAlias = "list[bytes] | Chunked[bytes]"


def _pieces(values: Any, nothing: Any) -> Any:
    return Chunked([values[at : at + PIECE] for at in range(0, len(values), PIECE)], nothing)


def in_pieces(values: Numbers | Names) -> bool:
    """Whether what comes of them is in pieces."""
    return isinstance(values, Chunked) or len(values) >= LARGE


@overload
def writable(values: Numbers) -> Numbers: ...


@overload
def writable(values: Names) -> Names: ...


def writable(values: Numbers | Names) -> Numbers | Names:
    """Return the same values for whoever makes the next moment of them; the old one has its own still."""
    if isinstance(values, Chunked):
        return values.copy()
    if len(values) >= LARGE:
        return _pieces(values, values[:0])  # type: ignore[no-any-return]  # of whichever kind
    return values[:]


def whole(values: Any) -> Any:
    """Return what is not large any more in one array or list, and all else as it is."""
    return values[:] if isinstance(values, Chunked) and len(values) < LARGE // 2 else values


def without(values: Any, gaps: Sequence[tuple[int, int]]) -> Any:
    """Return a column of what stands outside of *gaps*: one copy, however many they are."""
    if isinstance(values, Chunked):
        rest = values.copy()
        rest.cut(gaps)
        return rest
    rest = values[: gaps[0][0]]
    for (_, start), (stop, _) in zip(gaps, [*gaps[1:], (len(values), 0)], strict=True):
        rest.extend(values[start:stop])
    return rest


def left(values: Sequence[int], value: int) -> int:
    """As ``bisect_left``, quickly for pieces, too."""
    return values.left(value) if isinstance(values, Chunked) else bisect_left(values, value)


def find(names: Names, name: bytes) -> int:
    """Return where *name* stands first, -1 if it does not; of many, pieces that it cannot be in are passed over."""
    if isinstance(names, Chunked):
        return names.find(name)
    try:
        return names.index(name)
    except ValueError:
        return -1


_BLOCK: Final = 1024


def differing(old: Sequence[int], new: Sequence[int]) -> tuple[int, int, int]:
    """Return the stretch in which two columns differ: its start in both, its end in *old* and its end in *new*."""
    if old is new:
        return len(old), len(old), len(old)
    start = back = 0
    if isinstance(old, Chunked) and isinstance(new, Chunked):
        start, back = _shared(old, new)
    olds, news = old[start : len(old) - back], new[start : len(new) - back]
    if news[: len(olds)] == olds:
        return len(old) - back, len(old) - back, len(new) - back  # some came, the usual case
    most = min(len(olds), len(news))
    head = tail = 0
    while head < most and olds[head : head + _BLOCK] == news[head : head + _BLOCK]:
        head = min(head + _BLOCK, most)
    while (
        tail < most - head
        and olds[max(0, len(olds) - tail - _BLOCK) : len(olds) - tail]
        == (news[max(0, len(news) - tail - _BLOCK) : len(news) - tail])
    ):
        tail = min(tail + _BLOCK, most - head)
    return start + head, start + len(olds) - tail, start + len(news) - tail


def _shared(old: Chunked[int], new: Chunked[int]) -> tuple[int, int]:
    """Return how many values at the begin, and at the end, are the very same pieces."""
    olds, news = old._pieces, new._pieces
    most = min(len(olds), len(news))
    head = tail = 0
    while head < most and olds[head] is news[head]:
        head += 1
    while tail < most - head and olds[-1 - tail] is news[-1 - tail]:
        tail += 1
    return old._starts[head], len(old) - old._starts[len(olds) - tail]
