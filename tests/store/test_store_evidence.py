"""What is left of a damaged index: one test for each question that a rebuild asks."""

from __future__ import annotations

from dataclasses import replace

from maildir_imapd.store.index.evidence import Evidence
from maildir_imapd.store.index.journal import Added, Batch
from maildir_imapd.store.index.snapshot import empty
from maildir_imapd.store.index.state import IndexState

CHECKPOINT = IndexState(snapshot=empty(uidvalidity=7, uidnext=10, modseq=50), generation=3, position=400, reserve=20)
OLDER = IndexState(snapshot=empty(uidvalidity=7, uidnext=5, modseq=30), generation=2, position=300, reserve=12)


def begins(generation: int, followed: int, position: int, modseq: int = 50) -> tuple[Batch, int]:
    return Batch(modseq=modseq, uidnext=10, header=(generation, followed, position), uidvalidity=7), 40


def message(uid: int, modseq: int, end: int) -> tuple[Batch, int]:
    return Batch(modseq=modseq, uidnext=uid + 1, added=[Added(uid, 0, 1, 1, 1, b"%d" % uid)]), end


def left(*states: IndexState, good: tuple[tuple[Batch, int], ...] = (), **more: object) -> Evidence:
    found = Evidence(states, good, (), None, 0)
    return replace(found, **more)  # type: ignore[arg-type]  # fields of Evidence


def test_nothing_is_left() -> None:
    found = left()
    assert found.best() == (None, 0)
    assert (found.uidvalidity(), found.uidnext(7), found.modseq(), found.generation()) == (0, 1, 0, 0)
    assert not found.trusted(0)


def test_the_journal_follows_the_checkpoint() -> None:
    state, replayed = left(CHECKPOINT, good=(begins(4, 3, 400), message(10, 51, 90))).best()
    assert state is not None
    assert (list(state.snapshot.uids), replayed) == ([10], 2)


def test_the_journal_is_the_one_that_the_checkpoint_covers_in_part() -> None:
    good = (begins(3, 2, 300), message(9, 49, 400), message(10, 51, 480))
    state, replayed = left(CHECKPOINT, good=good).best()
    assert state is not None
    assert (list(state.snapshot.uids), replayed) == ([10], 1)


def test_the_checkpoint_is_damaged_and_the_one_before_it_fits() -> None:
    state, _ = left(OLDER, good=(begins(3, 2, 300), message(6, 31, 90))).best()
    assert state is not None
    assert list(state.snapshot.uids) == [6]


def test_a_journal_that_follows_nothing_is_left_out() -> None:
    assert left(CHECKPOINT, OLDER, good=(begins(9, 8, 70), message(40, 99, 90))).best() == (CHECKPOINT, 0)


def test_uidvalidity_is_the_last_one_known_of() -> None:
    assert left(OLDER, CHECKPOINT).uidvalidity() == 7
    assert left(good=((Batch(uidvalidity=9), 30),)).uidvalidity() == 9


def test_only_the_note_says_how_far_uids_were_given_out() -> None:
    assert not left(CHECKPOINT).trusted(7)
    assert not left(CHECKPOINT, noted=(6, 99)).trusted(7)
    assert left(CHECKPOINT, noted=(7, 99)).trusted(7)


def test_uidnext_is_above_all_that_may_have_been_given_out() -> None:
    assert left(CHECKPOINT, OLDER).uidnext(7) == 21
    assert left(CHECKPOINT, good=(message(30, 51, 90),)).uidnext(7) == 31
    assert left(CHECKPOINT, good=((Batch(reserve=500), 90),)).uidnext(7) == 501
    assert left(CHECKPOINT, later=(Batch(uidnext=600),)).uidnext(7) == 600
    assert left(CHECKPOINT, noted=(7, 999)).uidnext(7) == 1000
    assert left(CHECKPOINT, noted=(6, 999)).uidnext(7) == 21


def test_the_mod_sequence_is_above_all_that_anybody_was_told() -> None:
    assert left(CHECKPOINT, OLDER).modseq() == 50
    assert left(CHECKPOINT, told=60).modseq() == 60
    assert left(CHECKPOINT, good=(message(30, 51, 90),), later=(Batch(modseq=70),)).modseq() == 70


def test_no_generation_comes_twice() -> None:
    assert left(CHECKPOINT, OLDER).generation() == 3
    assert left(OLDER, later=(Batch(header=(8, 7, 1)),)).generation() == 8
