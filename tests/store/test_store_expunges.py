"""What was expunged when: ranges in columns, as few octets as they need."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store.index import state
from maildir_imapd.store.index.expunges import NO_EXPUNGES, Expunges
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.state import IndexState

# (how much later, first UID, how many more) of each
STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1 << 31), st.integers(0, 9)), max_size=20)


def ranges(steps: list[tuple[int, int, int]], modseq: int = 1) -> list[tuple[int, int, int]]:
    found = []
    for later, first, more in steps:
        modseq += later
        found.append((modseq, first, first + more))
    return found


@given(STEPS, STEPS, st.integers(1, 30), st.integers(0, 70))
def test_they_are_a_list(
    before: list[tuple[int, int, int]], after: list[tuple[int, int, int]], limit: int, modseq: int
) -> None:
    old = ranges(before)
    more = ranges(after, old[-1][0] if old else 1)
    first = Expunges(old)
    then, dropped = first.after(more, limit)
    assert list(first) == old, "it never changes"
    whole = old + more
    kept = whole[-limit:] if more else whole
    assert list(then) == kept
    assert dropped == (whole[-limit - 1][0] if len(kept) < len(whole) else 0)
    assert then.since(modseq) == [(lo, hi) for when, lo, hi in kept if when > modseq]
    assert then.latest == (kept[-1][0] if kept else 0)
    assert then == Expunges(kept)
    assert (then == first) == (kept == old)


def test_nothing_new_is_the_same_object() -> None:
    assert NO_EXPUNGES.after([], 10) == (NO_EXPUNGES, 0)
    state_ = IndexState()
    assert state_.after([Batch(modseq=2, reserve=5)]).history is state_.history


def test_what_no_uid_can_be_is_no_error() -> None:
    odd = Expunges([(-1, -5, 1 << 40), (1 << 70, 1, 2)])
    assert list(odd) == [(0, 0, 0xFFFFFFFE), ((1 << 64) - 1, 1, 2)]


def test_a_long_history_takes_sixteen_octets_a_range() -> None:
    """In the ordinary way: an expunge at a time, until the first ones are dropped."""
    count = 2000
    limit, state.HISTORY_LIMIT = state.HISTORY_LIMIT, count  # type: ignore[misc]  # put back below
    tracemalloc.start()
    try:
        now = IndexState()
        for n in range(2 * count):
            now = now.after([Batch(modseq=n + 2, expunged=[(5 * n + 1, 5 * n + 2)])])
        held = tracemalloc.get_traced_memory()[0]
        assert (len(now.history), now.whole_above) == (count, count + 1)
        history, now = now.history, IndexState()
        assert held < 24 * len(history) + 8000
    finally:
        tracemalloc.stop()
        state.HISTORY_LIMIT = limit  # type: ignore[misc]
