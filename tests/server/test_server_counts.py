"""What a supervisor and its workers count together."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.server.counts import WAYS, Counts, WorkerCounts


def workers(count: int, rows: int = 4) -> tuple[Counts, list[WorkerCounts]]:
    counts = Counts(count, rows)
    for slot in range(count):
        counts.born(slot)
    return counts, [counts.of(slot) for slot in range(count)]


def test_a_limit_over_all() -> None:
    _, (one, other) = workers(2)
    assert [one.enter("ann", 3), other.enter("ann", 3), other.enter("ann", 3), one.enter("ann", 3)] == [True] * 3 + [
        False
    ]
    assert one.enter("ben", 1)
    assert not other.enter("ben", 1)
    other.leave("ann")
    assert one.enter("ann", 3)
    assert not other.enter("ann", 3)


def test_what_was_refused_is_not_counted() -> None:
    _, (one, other) = workers(2)
    assert one.enter("ann", 1)
    for _ in range(5):
        assert not other.enter("ann", 1)
        assert not one.enter("ann", 1)
    one.leave("ann")
    assert other.enter("ann", 1)


def test_what_finds_no_place_counts_in_its_own_worker() -> None:
    _, (one, other) = workers(2, rows=1)
    for n in range(WAYS):
        assert one.enter(f"user{n}", 1)
    assert one.enter("ann", 2)
    assert other.enter("ann", 2)
    assert not one.enter("ann", 2), "it sees the other's all the same"
    one.leave("ann")
    assert one.enter("ann", 2)
    # A place that is free again is not for whoever is counted elsewhere already.
    one.leave("user0")
    assert not one.enter("ann", 2)
    one.leave("ann")
    assert one.enter("ann", 2)


def test_a_worker_beyond_the_tables_counts_for_itself() -> None:
    counts = Counts(1)
    counts.born(0)
    counts.born(1)
    stray = counts.of(1)
    assert stray.enter("ann", 1)
    assert not stray.enter("ann", 1)
    stray.leave("ann")
    assert stray.enter("ann", 1)


def test_the_dead_have_nothing() -> None:
    counts, (one, other) = workers(2)
    assert one.enter("ann", 1)
    assert not other.enter("ann", 1)
    counts.born(0)
    assert other.enter("ann", 1)


def test_other_processes_see_it() -> None:
    _, (one, other) = workers(2)
    process = os.fork()
    if process == 0:
        os._exit(0 if one.enter("ann", 1) else 1)
    assert os.waitpid(process, 0)[1] == 0
    assert not other.enter("ann", 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdefghijklmnop"), st.booleans()), max_size=80))
def test_it_is_what_a_counter_says(script: list[tuple[int, str, bool]]) -> None:
    _, all_of_them = workers(3, rows=16)
    known: list[Counter[str]] = [Counter() for _ in all_of_them]
    for slot, key, comes in script:
        if comes:
            there = sum(each[key] for each in known)
            assert all_of_them[slot].enter(key, 4) is (there < 4)
            known[slot][key] += there < 4
        elif known[slot][key]:
            all_of_them[slot].leave(key)
            known[slot][key] -= 1
