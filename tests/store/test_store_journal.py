"""Batches: what is written is read back, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store.index import journal
from maildir_imapd.store.index.journal import SIZE_UNKNOWN, Added, Batch, Stamp
from maildir_imapd.store.maildir.filename import FLAGGED, HIGH_KEYWORDS, IN_NEW, RECENT, SEEN

uids = st.integers(1, 2**32 - 2)
bits = st.integers(0, 2**64 - 1)
times = st.integers(-(2**40), 2**40)
bases = st.binary(min_size=1, max_size=20).filter(lambda b: b"\n" not in b)
ranges = st.sets(st.integers(1, 300), min_size=1, max_size=30).map(lambda s: journal.to_ranges(sorted(s)))
numbers = st.frozensets(st.integers(36, 99), max_size=4)
names = st.from_regex(rb"\A[a-zA-Z$][a-z0-9]{0,8}\Z")

batches = st.builds(
    Batch,
    modseq=st.integers(0, 2**63),
    uidnext=uids,
    header=st.none() | st.tuples(uids, uids, uids),
    uidvalidity=st.none() | uids,
    boot=st.none() | st.just(b"3e1c"),
    keywords=st.dictionaries(st.integers(0, 99), names, max_size=3),
    reserve=st.none() | uids,
    raised=st.none() | uids,
    added=st.lists(st.builds(Added, uids, bits, times, times, st.just(SIZE_UNKNOWN) | uids, bases), max_size=4),
    flagged=st.lists(st.tuples(ranges, bits, bits), max_size=3),
    worded=st.lists(st.tuples(ranges, numbers, numbers), max_size=2),
    expunged=st.just([]) | ranges,
    renamed=st.lists(st.tuples(uids, bases), max_size=2),
    sizes=st.lists(st.tuples(uids, uids), max_size=2),
    rewritten=st.lists(st.tuples(uids, st.just(SIZE_UNKNOWN) | uids, uids), max_size=2),
    claimed=st.integers(0, 2**32),
    stamp=st.none() | st.builds(Stamp, times, times, times, times, st.booleans()),
)


@pytest.mark.long
@given(st.lists(batches, max_size=4))
def test_what_is_written_is_read_back(written: list[Batch]) -> None:
    data = b"".join(journal.render(batch) for batch in written)
    assert [batch for batch, _ in journal.replay(data)] == written
    assert [end for _, end in journal.replay(data)][-1:] == ([len(data)] if written else [])


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    assert list(journal.replay(data)) == []
    journal.salvage(data, 0)


def test_half_a_batch_is_nobodys() -> None:
    first = journal.render(Batch(modseq=1, uidnext=2, added=[Added(1, SEEN, 5, 6, 7, b"1.h")]))
    second = journal.render(Batch(modseq=2, uidnext=2, flagged=[([(1, 1)], FLAGGED, 0)], expunged=[(1, 1)]))
    for cut in range(len(first), len(first) + len(second)):
        found = list(journal.replay((first + second)[:cut]))
        assert [end for _, end in found] == [len(first)], cut
    assert len(list(journal.replay(first + second))) == 2


@pytest.mark.parametrize("at", range(0, 44, 3))
def test_one_changed_byte_is_noticed(at: int) -> None:
    data = bytearray(journal.render(Batch(modseq=1, uidnext=2, added=[Added(1, SEEN, 5, 6, 7, b"1700000.M1P2.host")])))
    data[at] ^= 0x11
    assert list(journal.replay(bytes(data))) == []


def test_salvage_finds_what_lies_behind_damage() -> None:
    whole = [journal.render(Batch(modseq=n, uidnext=n + 1, expunged=[(n, n)])) for n in range(1, 6)]
    damaged = whole[0] + whole[1].replace(b"e", b"E") + whole[2] + b"garbage\nc \n" + whole[3] + whole[4]
    assert [batch.modseq for batch, _ in journal.replay(damaged)] == [1]
    assert [batch.modseq for batch in journal.salvage(damaged, len(whole[0]))] == [3, 4, 5]
    assert journal.salvage(whole[0] + whole[1][:-3], len(whole[0])) == []


def test_a_batch_reads_like_its_description() -> None:
    batch = Batch(
        modseq=90210,
        uidnext=4712,
        added=[Added(4711, SEEN | RECENT, 1, 2, SIZE_UNKNOWN, b"1.M1P2.host,S=8000")],
        flagged=[([(17, 19), (30, 30)], SEEN, FLAGGED | IN_NEW | (HIGH_KEYWORDS & -HIGH_KEYWORDS))],
        worded=[([(17, 17)], frozenset({36, 37}), frozenset({40}))],
        expunged=[(12, 14)],
        vanished=[(15, 15)],
        vanished_at=99,
        sizes=[(20, 8123)],
        rewritten=[(21, SIZE_UNKNOWN, 9), (22, 7, 9)],
        stamp=Stamp(1, 2, 3, 4, True),
    )
    lines = journal.render(batch).split(b"\n")
    assert lines[:-2] == [
        b"a 4711 S* 1 2 - 1.M1P2.host,S=8000",
        b"f 17:19,30 +S -F!0",
        b"y 17 +36,37 -40",
        b"e 12:14",
        b"x 15 99",
        b"z 20 8123",
        b"z 21 -/9",
        b"z 22 7/9",
        b"s 1 2 3 4 1",
    ]
    assert lines[-2].startswith(b"c 90210 4712 ")


def test_what_a_client_can_see() -> None:
    assert not Batch(flagged=[([(1, 1)], 0, IN_NEW)]).visible()
    assert Batch(flagged=[([(1, 1)], SEEN, IN_NEW)]).visible()
    assert not Batch(claimed=3, stamp=journal.NEVER, sizes=[(1, 2)], rewritten=[(1, 2, 3)], reserve=5).visible()
    assert not Batch(stamp=journal.NEVER, reserve=5, boot=b"x").touches()


def test_another_format_is_not_read() -> None:
    body = b"j 2 7 6 48112\nc 1 1 "
    import zlib

    assert list(journal.replay(b"%b%08x\n" % (body, zlib.crc32(body)))) == []
