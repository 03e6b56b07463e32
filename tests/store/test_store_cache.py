"""The cache: quick, shared, and never worth an error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store import cache, durable
from maildir_imapd.store.cache import Cache


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path)


def file(path: bytes) -> Path:
    return Path(os.fsdecode(path)) / "maildir-imapd.cache"


def test_what_is_put_is_got(path: bytes) -> None:
    mine, other = Cache(path, 7, b"1"), Cache(path, 7, b"1")
    assert mine.get_many([1, 2], b"ENV") == [None, None]
    mine.put_many(b"ENV", [(1, b"one"), (3, b"")])
    mine.put_many(b"BODY", [(1, b"other")])
    mine.put_many(b"ENV", [])
    assert mine.get_many([1, 2, 3], b"ENV") == [b"one", None, b""]
    assert other.get_many([3, 1], b"ENV") == [b"", b"one"]
    other.put_many(b"ENV", [(2, b"two"), (1, b"uno")])
    assert mine.get_many([1, 2, 3], b"ENV") == [b"uno", b"two", b""]
    assert mine.get_many([1], b"BODY") == [b"other"]
    mine.close()
    assert mine.get_many([1], b"BODY") == [b"other"]
    other.close()


@given(st.lists(st.tuples(st.sampled_from([b"A", b"B"]), st.dictionaries(st.integers(1, 9), st.binary(max_size=9)))))
def test_it_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[bytes, dict[int, bytes]]]
) -> None:
    path = os.fsencode(tmp_path_factory.mktemp("cache"))
    mine = Cache(path, 7, b"1")
    known: dict[tuple[bytes, int], bytes] = {}
    for field, blobs in puts:
        mine.put_many(field, blobs.items())
        known.update({(field, uid): blob for uid, blob in blobs.items()})
    for each in (mine, Cache(path, 7, b"1")):
        for field in (b"A", b"B"):
            assert each.get_many(range(10), field) == [known.get((field, uid)) for uid in range(10)]
        each.close()


def test_another_uidvalidity_or_version_begins_anew(path: bytes) -> None:
    old = Cache(path, 7, b"1")
    old.put_many(b"ENV", [(1, b"one")])
    for validity, version in ((8, b"1"), (7, b"2")):
        new = Cache(path, validity, version)
        assert new.get_many([1], b"ENV") == [None]
        new.put_many(b"ENV", [(2, b"two")])
        assert new.get_many([1, 2], b"ENV") == [None, b"two"]
        new.close()
    assert old.get_many([1], b"ENV") in ([b"one"], [None])
    old.close()


def test_every_cut_and_every_changed_byte_is_a_miss_or_the_truth(path: bytes) -> None:
    writer = Cache(path, 7, b"1")
    writer.put_many(b"ENV", [(1, b"first blob"), (2, b"second")])
    writer.put_many(b"ENV", [(3, b"third")])
    writer.close()
    data = file(path).read_bytes()
    truth = {1: (None, b"first blob"), 2: (None, b"second"), 3: (None, b"third")}
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]):
            file(path).write_bytes(damaged)
            reader = Cache(path, 7, b"1")
            for uid, blob in zip((1, 2, 3), reader.get_many([1, 2, 3], b"ENV"), strict=True):
                assert blob in truth[uid]
            reader.put_many(b"ENV", [(4, b"fourth")])
            assert reader.get_many([4], b"ENV") == [b"fourth"]
            reader.close()


def test_what_a_dead_writer_left_goes_with_the_next_one(path: bytes) -> None:
    mine = Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"one")])
    whole = file(path).read_bytes()
    file(path).write_bytes(whole + whole[-30:-5])
    mine.put_many(b"ENV", [(2, b"two")])
    assert Cache(path, 7, b"1").get_many([1, 2], b"ENV") == [b"one", b"two"]


def test_no_error_is_more_than_a_miss(path: bytes, tmp_path: Path) -> None:
    missing = Cache(path + b"/none", 7, b"1")
    missing.put_many(b"ENV", [(1, b"one")])
    assert missing.get_many([1], b"ENV") == [None]

    mine = Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"one")])

    def full(action: str, what: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    durable.step = full
    mine.put_many(b"ENV", [(2, b"two")])
    assert mine.get_many([1, 2], b"ENV") == [b"one", None]
    durable.step = None
    file(path).unlink()
    assert mine.get_many([1], b"ENV") == [None]
    mine.put_many(b"ENV", [(2, b"two")])
    assert Cache(path, 7, b"1").get_many([1, 2], b"ENV") == [None, b"two"]
    file(path).unlink()
    os.mkfifo(file(path))
    assert Cache(path, 7, b"1").get_many([1], b"ENV") == [None]


def test_dead_bytes_are_let_go(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_COMPACT_BYTES", 1000)
    mine, other = Cache(path, 7, b"1"), Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(uid, b"x" * 100) for uid in range(1, 101)])
    assert other.get_many([5], b"ENV") == [b"x" * 100]
    mine.trim(range(1, 90))
    size = file(path).stat().st_size
    assert size > 10000, "not worth it yet"
    mine.trim(range(1, 51))
    assert file(path).stat().st_size < size * 2 / 3
    for each in (mine, other):
        assert each.get_many([50, 51], b"ENV") == [b"x" * 100, None]
    other.put_many(b"ENV", [(200, b"y")])
    assert mine.get_many([200, 1], b"ENV") == [b"y", b"x" * 100]


def test_fields_that_nobody_uses_make_way(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients make them up: one for each list of header fields they ask for."""
    monkeypatch.setattr(cache, "FIELDS", 8)
    mine, other = Cache(path, 7, b"1"), Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"envelope")])
    largest = 0
    for number in range(100):
        mine.put_many(b"header=%d" % number, [(uid, b"x" * 100) for uid in range(10)])
        assert mine.get_many([1], b"ENV") == [b"envelope"]
        assert mine.get_many([3], b"header=%d" % number) == [b"x" * 100]
        largest = max(largest, file(path).stat().st_size)
        if number % 7 == 0:
            # Another process meets the new file.
            assert other.get_many([3], b"header=%d" % number) == [b"x" * 100]
    assert largest < 8 * 10 * 130
    other.put_many(b"BODY", [(1, b"body")])
    assert mine.get_many([1], b"BODY") == [b"body"]
    mine.close()
    other.close()
