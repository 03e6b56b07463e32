"""Dovecot's own index: any octets are read, and what it says of keywords is believed under its UIDVALIDITY only.

That what Dovecot writes is understood is shown with the real one, in tests/interop.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.neighbours import dovecot_index, takeover

UPDATE, RESET, HEADER = 0x400, 0x800, 0x20
UIDS = range(1, 10)


def transaction(kind: int, body: bytes) -> bytes:
    size = (len(body) + 8) >> 2
    head = bytes(0x80 | size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return head + struct.pack("<I", kind) + body


def keyword(name: bytes, *ranges: tuple[int, int], remove: bool = False) -> bytes:
    head = struct.pack("<BBH", remove, 0, len(name)) + name
    body = head + bytes(-len(head) % 4) + b"".join(struct.pack("<II", *each) for each in ranges)
    return transaction(UPDATE, body)


def log(*transactions: bytes, number: int = 2) -> bytes:
    return struct.pack("<BBHIII", 1, 3, 40, 7, number, number - 1).ljust(40, b"\0") + b"".join(transactions)


def test_a_log_alone() -> None:
    data = log(
        transaction(HEADER, struct.pack("<HHI", 24, 4, 77) + struct.pack("<HHIII", 44, 12, 1, 8, 1)),
        keyword(b"one", (1, 3), (9, 9)),
        keyword(b"two", (2, 2)) + keyword(b"one", (2, 3), remove=True),
        transaction(0xCD91, struct.pack("<II", 1, 2)),  # an expunge: its guard has the bits of both kinds
        transaction(RESET | 0x10000000, struct.pack("<II", 9, 2**32 - 1)),
    )
    known = dovecot_index.read(None, [data], UIDS)
    assert (known.uidvalidity, known.first_recent) == (77, 8)
    assert {uid: words for uid, words in known.words.items() if words} == {1: {b"one"}, 2: {b"two"}}


def test_what_a_reader_has_seen() -> None:
    """In a private index there are flags, of which \\Seen counts; in another one they are those of file names."""
    head = transaction(HEADER, struct.pack("<HHI", 24, 4, 77))
    changes = transaction(
        0x2 | 0x10000000, b"".join(struct.pack("<IB3x", uid, uid & 1 and 0x08) for uid in (1, 2, 3, 12))
    )
    changes += transaction(0x4, struct.pack("<IIBB2xIIBB2x", 1, 2**32 - 1, 0x0A, 0, 2, 3, 0x02, 0x08))
    known = dovecot_index.read(None, [log(head, changes)], UIDS, private=True)
    assert (known.uidvalidity, known.seen) == (77, {1, 4, 5, 6, 7, 8, 9})
    assert not dovecot_index.read(None, [log(head, changes)], UIDS).seen
    records = b"".join(struct.pack("<IB3x", uid, flags) for uid, flags in ((2, 0x08), (3, 0x02), (99, 0x08)))
    assert dovecot_index.read(index(b"", records, 8, extensions=0), [], UIDS, private=True).seen == {2}
    gone = log(transaction(0x4, struct.pack("<IIBB2x", 2, 2, 0, 0x08)), number=1)
    assert not dovecot_index.read(index(b"", records, 8, extensions=0), [gone], UIDS, private=True).seen


def test_an_index_of_other_uids_is_of_other_messages(tmp_path: Path) -> None:
    data = log(
        transaction(HEADER, struct.pack("<HHI", 24, 4, 77)), transaction(0x4, struct.pack("<IIBB2x", 1, 9, 0x08, 0))
    )
    where = os.fsencode(tmp_path)
    assert takeover.seen_by_reader(where, UIDS, 77) == frozenset()
    (tmp_path / "dovecot.index.pvt.log").write_bytes(data)
    assert takeover.seen_by_reader(where, UIDS, 77) == set(UIDS)
    assert takeover.seen_by_reader(where, UIDS, 78) == frozenset()
    (tmp_path / "dovecot.index.pvt.log").unlink()
    (tmp_path / "dovecot.index.pvt.log").mkdir()
    assert takeover.seen_by_reader(where, UIDS, 77) == frozenset()


def test_logs_follow_one_another() -> None:
    logs = [log(keyword(b"b", (1, 1), remove=True), number=3), log(keyword(b"a", (1, 1)) + keyword(b"b", (1, 1)))]
    assert dovecot_index.read(None, logs, UIDS).words == {1: {b"a"}}
    assert dovecot_index.read(None, logs[:1], UIDS).words == {}


def test_a_torn_end_counts_for_nothing() -> None:
    whole = log(keyword(b"a", (1, 1)), keyword(b"b", (1, 1)))
    for cut in range(1, 24):
        assert dovecot_index.read(None, [whole[:-cut]], UIDS).words == {1: {b"a"}}


def test_ranges_mean_the_messages_that_there_are() -> None:
    everything = (0, 2**32 - 1)
    data = log(keyword(b"a", everything), keyword(b"b", (5, 4), (11, 2**20)), keyword(b"c", everything))
    assert dovecot_index.read(None, [data], [3, 2**31]).words == {3: {b"a", b"c"}, 2**31: {b"a", b"c"}}
    gone = data + keyword(b"a", everything, remove=True) + transaction(RESET, struct.pack("<II", 4, 2**32 - 1))
    assert dovecot_index.read(None, [gone], [3, 2**31]).words == {3: {b"c"}}


def index(names: bytes, records: bytes, record_size: int, *, extensions: int = 1, octets: int = 4) -> bytes:
    """A ``dovecot.index`` whose extension for keywords has the header *names*."""
    one = struct.pack("<IIHHHH", len(names), 0, 8, octets, 4, 8) + b"keywords" + names
    one += bytes(-len(one) % 8)
    size = 120 + len(one) * extensions
    count = len(records) // record_size
    head = struct.pack("<BBHIIIIIIII", 7, 3, 120, size, record_size, 0, 7, 0, 77, 9, count)
    return head.ljust(120, b"\0") + one * extensions + records


def named(*offsets: int, text: bytes) -> bytes:
    return struct.pack("<I", len(offsets)) + b"".join(struct.pack("<II", 0, each) for each in offsets) + text


def test_an_index() -> None:
    records = struct.pack("<IIIIII", 3, 0, 0b01, 4, 0, 0b11) + struct.pack("<III", 99, 0, 0b11)
    known = dovecot_index.read(index(named(0, 4, text=b"one\0two\0"), records, 12), [], UIDS)
    assert known.words == {3: {b"one"}, 4: {b"one", b"two"}}


def test_names_that_overlap_are_not_multiplied() -> None:
    """A few octets for each name, and each as long as the file: that would be any amount of memory."""
    header = named(*range(1000), text=b"x" * 3000 + b"\0")
    known = dovecot_index.read(index(header, struct.pack("<II", 3, 0) + b"\xff" * 200, 208, octets=200), [], UIDS)
    assert known.words[3] == set()


@pytest.mark.parametrize("what", ["update", "removal", "reset", "flags", "index"])
def test_a_reading_without_end_ends(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot_index, "STEPS", 10_000)
    before = keyword(b"a", (1, 1))
    ranges = [(0, 2**32 - 1)] * 2000
    match what:
        case "update":
            after = keyword(b"b", *ranges)
        case "removal":
            after = keyword(b"a", *ranges, remove=True)
        case "reset":
            after = transaction(RESET, b"".join(struct.pack("<II", *each) for each in ranges))
        case "flags":
            after = transaction(0x4, b"".join(struct.pack("<IIBB2x", *each, 8, 0) for each in ranges))
        case _:
            header = named(*[0] * 2000, text=b"x\0")
            records = b"".join(struct.pack("<II", uid, 0) + b"\xff" * 4 for uid in range(1, 10))
            assert dovecot_index.read(index(header, records, 12, extensions=9), [], UIDS).words == {}
            return
    known = dovecot_index.read(None, [log(before, after, keyword(b"c", (1, 9)))], range(1, 10), private=True)
    assert known.words == {1: {b"a"}}


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_any_octets(data: bytes, as_index: bool, with_head: bool) -> None:
    if as_index:
        head = struct.pack("<BBHIIIIIIII", 7, 3, 120, 200, 12, 0, 7, 0, 77, 5, 4) if with_head else b""
        dovecot_index.read(head + data, [], UIDS, private=True)
    else:
        dovecot_index.read(None, [log(data) if with_head else data], UIDS, private=True)


@given(st.integers(0, 7), st.binary(min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_any_keyword_update(kind: int, body: bytes, number: int) -> None:
    dovecot_index.read(None, [log(transaction(UPDATE << kind % 2, body), number=number or 1)], UIDS)


def test_only_under_its_uidvalidity(spool: Spool) -> None:
    (base,) = spool.simple("INBOX", 1, "S")
    (spool.root / "dovecot-uidlist").write_text(f"3 V77 N9 Gaa\n5 :{base}\n")
    (spool.root / "dovecot-keywords").write_text("".join(f"{n} kw{n}\n" for n in range(26)))
    said = keyword(b"more", (5, 5)) + keyword(b"KW3", (5, 5)) + keyword(b"not an atom", (5, 5))
    for uidvalidity, words in ((78, ()), (77, (b"more",))):
        head = transaction(HEADER, struct.pack("<HHI", 24, 4, uidvalidity))
        (spool.root / "dovecot.index.log").write_bytes(log(head, said))
        found = takeover.look(os.fsencode(spool.root))
        assert b"more" in str(found.words).encode() or not words
    rows = Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX").sync()
    assert rows.flag_names(rows.flags[0], 5) == (b"\\Seen", b"more")
