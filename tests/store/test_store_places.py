"""Where blobs lie in a cache's file: columns that are a dictionary to whoever asks."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store.index import places
from maildir_imapd.store.index.places import At, BlobPlaces, Windows

UIDS = st.lists(st.integers(1, 60), max_size=30, unique=True)
ACTS = st.lists(st.tuples(st.sampled_from(["put", "put", "forget", "keep", "settle"]), UIDS), max_size=8)


@given(ACTS, st.integers(0, 9))
def test_they_are_a_dictionary(acts: list[tuple[str, list[int]]], late: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "_LATE", late)
        mine, known = BlobPlaces(), dict[int, At]()
        for n, (act, uids) in enumerate(acts):
            if act == "put":
                new = {uid: (n, uid, 1000 * n) for uid in uids}
                mine.put(new)
                known.update(new)
            elif act == "forget":
                mine.forget(uids)
                known = {uid: at for uid, at in known.items() if uid not in uids}
            elif act == "keep":
                mine.keep(set(uids))
                known = {uid: at for uid, at in known.items() if uid in uids}
            else:
                mine.settle()
                assert len(mine) == len(known)
            # All, a few, every other one, backwards, and a stretch.
            for asked in (range(70), [3, 60], range(0, 60, 2), [*range(61, 0, -1)], range(5, 25), sorted(known)):
                there = [known.get(uid) for uid in asked]
                stretch = mine.stretch(asked)
                assert stretch is None or list(stretch) == there
                assert mine.find(asked) == there
        uids_, starts, stops, bases = mine.rows()
        assert list(zip(uids_, zip(starts, stops, bases, strict=True), strict=True)) == sorted(known.items())


def test_a_blob_takes_sixteen_octets() -> None:
    """However they come: one by one, and in any order."""
    count = 20_000
    uids = list(range(1000, 1000 + count))
    random.Random(1).shuffle(uids)
    tracemalloc.start()
    try:
        mine = BlobPlaces()
        for uid in uids:
            mine.put({uid: (uid, uid + 100, 1 << 29)})
        mine.settle()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert mine.stretch(range(1000, 1000 + count)) is not None
    assert held < 24 * count
    assert mine.octets == 16 * count


def test_windows() -> None:
    mine = Windows()
    for base, end in ((10, 20), (25, 25), (1 << 29, (1 << 29) + 9)):
        mine.add(base, end)
    few = mine.only({10, 1 << 29})
    mine.add(1 << 30, 1 << 31)
    assert (few.end(10), few.end(1 << 29), len(few)) == (20, (1 << 29) + 9, 2)
    assert (mine.end(25), mine.end(1 << 30), len(mine)) == (25, 1 << 31, 4)
