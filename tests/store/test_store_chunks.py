"""Columns in pieces against plain lists, and what one moment shares with the next."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st
from snapshots import added, box, in_small_pieces, rows

from maildir_imapd.imap.advance import diff
from maildir_imapd.store.index import chunks
from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.chunks import Chunked, differing, left, whole, writable
from maildir_imapd.store.index.journal import Batch, to_ranges
from maildir_imapd.store.index.snapshot import Snapshot

numbers = st.lists(st.integers(0, 20), max_size=30)
places = st.integers(0, 40)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("set"), places, st.integers(0, 20)),
        st.tuples(st.just("stretch"), places, places),
        st.tuples(st.just("insert"), places, st.integers(0, 20)),
        st.tuples(st.just("extend"), numbers, st.none()),
        st.tuples(st.just("cut"), st.sets(places, max_size=20), st.none()),
        st.tuples(st.just("copy"), st.none(), st.none()),
    ),
    max_size=12,
)


def pieces(values: list[int]) -> Chunked[int]:
    with in_small_pieces(large=0):
        found = writable(array("I", values))
    assert isinstance(found, Chunked)
    return found


def edited(column: Chunked[int], plain: list[int], edit: tuple[str, object, object]) -> None:
    """Do the same to both."""
    match edit:
        case ("set", int(at), int(value)) if plain:
            at %= len(plain)
            column[at] = value
            plain[at] = value
        case ("stretch", int(one), int(other)):
            start, stop = sorted((min(one, len(plain)), min(other, len(plain))))
            column[start:stop] = array("I", range(100, 100 + stop - start))
            plain[start:stop] = range(100, 100 + stop - start)
        case ("insert", int(at), int(value)):
            column.insert(min(at, len(plain)), value)
            plain.insert(min(at, len(plain)), value)
        case ("extend", list(more), _):
            column.extend(more)
            plain.extend(more)
        case ("cut", set(gone), _):
            gaps = [(lo, min(hi + 1, len(plain))) for lo, hi in to_ranges(sorted(gone)) if lo < len(plain)]
            column.cut(gaps)
            plain[:] = [value for at, value in enumerate(plain) if at not in gone]


@given(numbers, edits)
def test_pieces_are_as_good_as_a_list(values: list[int], script: list[tuple[str, object, object]]) -> None:
    column, plain = pieces(values), list(values)
    before: list[tuple[Chunked[int], list[int]]] = []
    with in_small_pieces(large=0):
        for edit in script:
            if edit[0] == "copy":
                before.append((column, list(plain)))
                column = column.copy()
            edited(column, plain, edit)
            assert list(column) == column.tolist() == plain
            assert len(column) == len(plain)
            assert [column[at] for at in range(len(plain))] == plain
            assert [column[at - len(plain)] for at in range(len(plain))] == plain
            assert column.tobytes() == array("I", plain).tobytes()
            assert column == array("I", plain)
            assert column == pieces(plain)
            for start in range(0, len(plain) + 1, 3):
                assert column[start : start + 7] == array("I", plain[start : start + 7])
            assert column[::2] == array("I", plain[::2])
            for value in range(22):
                assert column.find(value) == (plain.index(value) if value in plain else -1)
    for old, then in before:
        assert list(old) == then, "a moment never changes"


@given(st.sets(st.integers(1, 60)))
def test_a_place_among_rising_numbers(values: set[int]) -> None:
    rising = sorted(values)
    for value in range(62):
        assert left(pieces(rising), value) == left(array("I", rising), value) == bisect_left(rising, value)


@given(numbers, edits, st.booleans())
def test_what_differs_lies_between(values: list[int], script: list[tuple[str, object, object]], plainly: bool) -> None:
    old = pieces(values)
    new, now = old.copy(), list(values)
    with in_small_pieces(large=0):
        for edit in script:
            edited(new, now, edit)
        start, old_stop, new_stop = differing(array("I", values), array("I", now)) if plainly else differing(old, new)
    assert 0 <= start <= min(old_stop, new_stop)
    assert values[:start] == now[:start]
    assert values[old_stop:] == now[new_stop:]


def test_a_moment_shares_all_but_what_has_changed() -> None:
    """A mailbox of a million is not copied for one flag, one delivery or one expunge."""
    columns = (*(column for column, _ in chunks_of_all), "names")
    with in_small_pieces(piece=10, large=100):
        now = applied(box(*range(1, 201)), [Batch(modseq=2, uidnext=201, expunged=[(5, 5)])])
        for batch, of_each in (
            (Batch(modseq=3, uidnext=201, flagged=[([(50, 50)], 1, 0)]), 1),
            (Batch(modseq=3, uidnext=202, added=[added(201)]), 1),
            (Batch(modseq=3, uidnext=201, expunged=[(50, 50)]), 1),
        ):
            after = applied(now, [batch])
            for column in columns:
                then, there = getattr(now, column), getattr(after, column)
                assert isinstance(there, Chunked), column
                fresh = sum(all(piece is not old for old in then._pieces) for piece in there._pieces)
                assert fresh <= of_each, column


chunks_of_all = (("uids", "I"), ("flags", "Q"), ("modseqs", "Q"), ("received", "q"), ("sizes", "Q"))


def test_what_is_no_longer_large_is_whole_again() -> None:
    with in_small_pieces(piece=4, large=20):
        now = box(*range(1, 31))
        now = applied(now, [Batch(modseq=2, uidnext=31, expunged=[(1, 1)])])
        assert isinstance(now.uids, Chunked)
        known = rows(now)[-9:]
        now = applied(now, [Batch(modseq=3, uidnext=31, expunged=[(1, 21)])])
        assert isinstance(now.uids, array)
        assert isinstance(now.names, list)
        assert rows(now) == known
        assert whole(now.uids) is now.uids


def test_only_what_is_large_is_in_pieces() -> None:
    assert isinstance(writable(array("I", [1]) * (chunks.LARGE - 1)), array)
    assert isinstance(writable(array("I", [1]) * chunks.LARGE), Chunked)


def moment(uids: set[int], uidnext: int) -> Snapshot:
    return box(*sorted(uids)).evolve(uidnext=uidnext)


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 40)), st.booleans())
def test_how_two_moments_differ(before: set[int], after: set[int], in_pieces: bool) -> None:
    with in_small_pieces(large=0 if in_pieces else 1000):
        old, new = moment(before, 31), moment(after, 41)
        change = diff(old, new)
    assert [old.uids[at] for at in change.vanished] == sorted(before - after)
    assert change.strangers == {uid for uid in after - before if uid < 31}
    assert change.arrived == any(uid > 30 for uid in after)
