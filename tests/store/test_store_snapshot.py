"""Columns: applied batches against a plain model, and what is asked of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from snapshots import Row, added, box, in_small_pieces, rows

from maildir_imapd.store.index import checkpoint
from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.journal import Batch, to_ranges
from maildir_imapd.store.index.snapshot import empty
from maildir_imapd.store.index.state import IndexState
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, IN_NEW, RECENT, SEEN, keyword_bit

some_bits = st.sampled_from([0, SEEN, FLAGGED, SEEN | DELETED, RECENT, IN_NEW, keyword_bit(0), keyword_bit(30)])
uid_sets = st.sets(st.integers(1, 40), min_size=1, max_size=12)
steps = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 5), some_bits),
    st.tuples(st.just("flag"), uid_sets, st.tuples(some_bits, some_bits)),
    st.tuples(st.just("word"), uid_sets, st.tuples(st.just(frozenset({36})), st.just(frozenset({40})))),
    st.tuples(st.just("expunge"), uid_sets, st.none()),
    st.tuples(st.just("size"), uid_sets, st.none()),
    st.tuples(st.just("claim"), st.integers(1, 50), st.none()),
)


def model(before: dict[int, Row], batch: Batch) -> dict[int, Row]:
    after = dict(before)
    for row in batch.added:
        after[row.uid] = (row.uid, row.flags, batch.modseq, row.size, row.base, frozenset())
    for ranges, add, remove in batch.flagged:
        for lo, hi in ranges:
            for uid in range(lo, hi + 1):
                if uid in after:
                    _, flags, modseq, size, name, words = after[uid]
                    seen = (add | remove) & ~(RECENT | IN_NEW)
                    after[uid] = (uid, flags & ~remove | add, batch.modseq if seen else modseq, size, name, words)
    for ranges, more, less in batch.worded:
        for lo, hi in ranges:
            for uid in range(lo, hi + 1):
                if uid in after:
                    _, flags, _, size, name, words = after[uid]
                    after[uid] = (uid, flags, batch.modseq, size, name, words - less | more)
    for uid, size in batch.sizes:
        if uid in after:
            after[uid] = (*after[uid][:3], size, *after[uid][4:])
    for uid in after:
        if uid < batch.claimed:
            after[uid] = (uid, after[uid][1] & ~RECENT, *after[uid][2:])
    for lo, hi in batch.expunged:
        for uid in range(lo, hi + 1):
            after.pop(uid, None)
    return after


@given(st.lists(steps, max_size=25))
def test_columns_agree_with_a_plain_model(script: list[tuple[str, object, object]]) -> None:
    agree(script)


@given(st.lists(steps, max_size=25))
def test_columns_in_pieces_agree_with_a_plain_model(script: list[tuple[str, object, object]]) -> None:
    with in_small_pieces():
        agree(script)


def agree(script: list[tuple[str, object, object]]) -> None:
    """Apply what is asked for to a mailbox and to a model of it."""
    now = empty(7)
    state = IndexState(snapshot=now)
    known: dict[int, Row] = {}
    batches = []
    for modseq, (verb, what, how) in enumerate(script, 2):
        batch = Batch(modseq=modseq, uidnext=now.uidnext)
        if verb == "add":
            batch.added = [added(now.uidnext + n, how) for n in range(what)]
            batch.uidnext = now.uidnext + what
        elif verb == "claim":
            batch.claimed = what
        else:
            ranges = to_ranges(sorted(what))
            if verb == "flag":
                batch.flagged = [(ranges, how[0], how[1] & ~how[0])]
            elif verb == "word":
                batch.worded = [(ranges, *how)]
            elif verb == "size":
                batch.sizes = [(uid, uid) for uid in sorted(what)]
            else:
                batch.expunged = ranges
        before, frozen = now, rows(now)
        counts = (now.unseen, now.recent, now.deleted, now.in_new, now.first_unseen)
        now = applied(now, [batch])
        assert rows(before) == frozen, "a snapshot never changes"
        assert counts == (before.unseen, before.recent, before.deleted, before.in_new, before.first_unseen)
        known = model(known, batch)
        assert rows(now) == [known[uid] for uid in sorted(known)]
        assert now.unseen == sum(not row[1] & SEEN for row in known.values())
        assert now.recent == sum(bool(row[1] & RECENT) for row in known.values())
        assert now.deleted == sum(bool(row[1] & DELETED) for row in known.values())
        assert now.in_new == sum(bool(row[1] & IN_NEW) for row in known.values())
        assert now.first_unseen == next((at for at, flags in enumerate(now.flags) if not flags & SEEN), -1)
        for bit in (RECENT, DELETED, SEEN, FLAGGED):
            assert list(now.uids_with(bit)) == [row[0] for _, row in sorted(known.items()) if row[1] & bit]
        delta = now.since(before)
        assert set(delta.added) == {row.uid for row in batch.added}
        assert set(delta.expunged) == set(before.uids) - set(now.uids)
        batches.append(batch)
    state = state.after(batches)
    assert rows(state.snapshot) == rows(now), "all at once is the same as one by one"
    again = checkpoint.parse(b"".join(checkpoint.render(state)))
    assert again is not None
    assert rows(again.snapshot) == rows(now)
    assert again.history == state.history


def test_positions_of_many() -> None:
    now = box(*range(1, 1001))
    assert now.positions([]) == []
    assert now.positions(range(5, 10)) == [4, 5, 6, 7, 8]
    assert now.positions([1, 500, 1000, 1001]) == [0, 499, 999, -1]
    assert now.positions(list(range(1, 1001, 2))) == list(range(0, 1000, 2))
    assert now.positions([0, 2**32, 2**40]) == [-1, -1, -1]
    assert box(2, 5, 9).positions([1, 2, 3, 5, 9, 10]) == [-1, 0, -1, 1, 2, -1]
    assert now.position(2**40) == now.position(-1) == now.position(0) == -1
    assert box(2, 5, 9).span(3, 9) == (1, 3)


def test_flag_names_by_keyword() -> None:
    now = applied(box(1, 2), [Batch(modseq=2, uidnext=3, keywords={0: b"$Forwarded", 30: b"High", 36: b"Far"})])
    now = applied(now, [Batch(modseq=3, uidnext=3, worded=[([(2, 2)], frozenset({36}), frozenset())])])
    assert now.flag_names(SEEN | FLAGGED | keyword_bit(0) | keyword_bit(30)) == (
        b"\\Flagged",
        b"\\Seen",
        b"$Forwarded",
        b"High",
    )
    assert now.flag_names(0, 2) == (b"Far",)
    assert now.flag_names(RECENT | IN_NEW | keyword_bit(5)) == ()
    assert now.keyword_number(b"$FORWARDED") == 0
    assert now.keyword_bit(b"high") == keyword_bit(30)
    assert now.keyword_bit(b"nobody") == 0
    assert now.all_flag_names()[5:] == (b"$Forwarded", b"High", b"Far")


def test_a_message_that_comes_back_goes_where_it_was() -> None:
    now = applied(box(1, 2, 3), [Batch(modseq=2, uidnext=4, vanished=[(2, 2)])])
    then = applied(now, [Batch(modseq=3, uidnext=5, added=[added(2), added(4)])])
    assert list(then.uids) == [1, 2, 3, 4]
    assert then.names == [b"1.h", b"2.h", b"3.h", b"4.h"]
    assert then.revivals == now.revivals + 1
    assert then.since(now).revived == [2]


def test_tombstones_know_the_base() -> None:
    state = IndexState(snapshot=box(1, 2, 3))
    state = state.after([Batch(modseq=2, uidnext=4, vanished=[(2, 3)], vanished_at=5000)])
    assert state.tombs == {b"2.h": (2, 5000, 1002, 3002), b"3.h": (3, 5000, 1003, 3003)}
    state = state.after([Batch(modseq=3, uidnext=4, added=[added(3)])])
    assert state.tombs == {b"2.h": (2, 5000, 1002, 3002)}
    later = 5000 + 15 * 86400
    state = state.after([Batch(modseq=4, uidnext=4, vanished=[(1, 1)], vanished_at=later)])
    assert state.tombs == {b"1.h": (1, later, 1001, 3001)}


def test_a_damaged_checkpoint_is_none() -> None:
    data = b"".join(checkpoint.render(IndexState(snapshot=box(1, 2, 3))))
    assert checkpoint.parse(data) is not None
    for at in range(0, len(data), 5):
        assert checkpoint.parse(data[:at]) is None
        assert checkpoint.parse(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None
    assert checkpoint.parse(data + b"x") is None


def test_names_that_nobody_has_asked_for_yet() -> None:
    for uids in ((), (1,), (1, 2, 3)):
        state = checkpoint.parse(b"".join(checkpoint.render(IndexState(snapshot=box(*uids)))))
        assert state is not None
        then = applied(state.snapshot, [Batch(modseq=9, uidnext=8, added=[added(7)])])
        assert then.names == [b"%d.h" % uid for uid in (*uids, 7)]
        assert state.snapshot.names == [b"%d.h" % uid for uid in uids]


def test_marks_of_every_bit() -> None:
    for number in range(64):
        now = applied(box(1, 2, 3), [Batch(modseq=2, uidnext=4, flagged=[([(2, 2)], 1 << number, 0)])])
        assert now.marks(1 << number)[1] == 1
        assert list(now.marks(1 << number)) == [bits >> number & 1 for bits in now.flags]
        assert list(now.marks(1 << number, present=False)) == [1 - (bits >> number & 1) for bits in now.flags]
