"""The state that is made of what is left of a damaged index."""

from __future__ import annotations

from dataclasses import replace

from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.damage import mended
from maildir_imapd.store.index.evidence import Evidence
from maildir_imapd.store.index.expunges import NO_EXPUNGES, Expunges
from maildir_imapd.store.index.journal import NEVER, Added, Batch
from maildir_imapd.store.index.snapshot import empty
from maildir_imapd.store.index.state import IndexState

ROW = Added(4, 0, 1, 1, 1, b"base")
STATE = IndexState(
    snapshot=applied(empty(uidvalidity=7, uidnext=10, modseq=50), [Batch(added=[ROW], modseq=50)]),
    generation=3,
    position=400,
    reserve=20,
    history=Expunges([(40, 1, 3)]),
)


def another(last: int) -> int:
    return max(last + 1, 100)


def test_uids_stay_where_it_is_known_how_far_they_went() -> None:
    state, replayed = mended(Evidence((STATE,), (), (), (7, 99), 60), b"boot", another)
    assert (state.snapshot.uidvalidity, state.snapshot.uidnext, list(state.snapshot.uids)) == (7, 100, [4])
    assert (state.reserve, state.generation, state.position, replayed) == (1099, 4, 0, 0)
    assert state.boots == (b"boot",)


def test_uidvalidity_changes_where_nobody_knows() -> None:
    state, _ = mended(Evidence((STATE,), (), (), None, 60), b"boot", another)
    assert (state.snapshot.uidvalidity, list(state.snapshot.uids)) == (100, [4])
    state, _ = mended(Evidence((replace(STATE, reserve=20),), (), (), (6, 99), 60), b"boot", another)
    assert state.snapshot.uidvalidity == 100


def test_all_mod_sequences_rise_and_the_history_begins_anew() -> None:
    state, _ = mended(Evidence((STATE,), (), (), (7, 99), 60), b"boot", another)
    assert (state.snapshot.modseq, list(state.snapshot.modseqs)) == (61, [61])
    assert (state.history, state.whole_above, state.stamp) == (NO_EXPUNGES, 61, NEVER)


def test_nothing_is_left() -> None:
    state, replayed = mended(Evidence((), (), (), None, 0), b"boot", another)
    assert (len(state.snapshot), state.snapshot.uidvalidity, state.snapshot.uidnext, replayed) == (0, 100, 1, 0)
