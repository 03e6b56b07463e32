"""Flags and keywords of a message as one value, and what a snapshot says in it."""

from __future__ import annotations

from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.journal import Added, Batch
from maildir_imapd.store.index.snapshot import empty
from maildir_imapd.store.maildir.filename import FLAGGED, IN_NEW, RECENT, SEEN, keyword_bit
from maildir_imapd.store.maildir.flags import NO_FLAGS, Flags, of_keywords

ROWS = applied(
    empty(7),
    [
        Batch(
            modseq=1,
            uidnext=4,
            added=[Added(uid, SEEN | RECENT | IN_NEW, 1, 1, 1, b"%d" % uid) for uid in (1, 2, 3)],
            worded=[([(2, 2)], frozenset({36}), frozenset())],
            keywords={0: b"low", 36: b"far"},
        )
    ],
)


def test_a_set_of_both_kinds() -> None:
    one, other = Flags(SEEN | FLAGGED, frozenset({36, 40})), Flags(SEEN, frozenset({40, 41}))
    assert one | other == Flags(SEEN | FLAGGED, frozenset({36, 40, 41}))
    assert one & other == Flags(SEEN, frozenset({40}))
    assert one - other == Flags(FLAGGED, frozenset({36}))
    assert (len(one), bool(one), bool(NO_FLAGS), bool(Flags(0, frozenset({36})))) == (4, True, False, True)


def test_keywords_by_their_numbers() -> None:
    assert of_keywords([0, 35, 36]) == Flags(keyword_bit(0) | keyword_bit(35), frozenset({36}))
    assert list((of_keywords([40, 26, 3, 36]) | Flags(SEEN)).keywords) == [3, 26, 36, 40]
    assert list(Flags(SEEN).keywords) == []


def test_what_messages_have() -> None:
    assert ROWS.flags_at(1) == Flags(SEEN | RECENT | IN_NEW, frozenset({36}))
    assert ROWS.flags_of([1, 2, 9]) == [Flags(SEEN), Flags(SEEN, frozenset({36})), None]
    assert ROWS.within(SEEN) == Flags(SEEN)
    assert ROWS.within(keyword_bit(0)) == Flags(keyword_bit(0), frozenset({36}))


def test_marks_of_a_keyword_of_either_kind() -> None:
    rows = applied(ROWS, [Batch(modseq=2, uidnext=4, flagged=[([(3, 3)], keyword_bit(0), 0)])])
    assert rows.keyword_marks(0) == b"\0\0\1"
    assert rows.keyword_marks(36) == b"\0\1\0"
    assert rows.keyword_marks(36, present=False) == b"\1\0\1"
