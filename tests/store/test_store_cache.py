"""The cache: quick, shared, and never worth an error."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store.disk import durable
from maildir_imapd.store.index import cache
from maildir_imapd.store.index.cache import Cache


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path)


def file(path: bytes) -> Path:
    return Path(os.fsdecode(path)) / "maildir-imapd.cache"


def overwrite(file: Path, data: bytes) -> None:
    """Write over a file in place, at another time than before."""
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:
        file.write_bytes(data)


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


def test_what_is_forgotten_is_forgotten_by_all(path: bytes) -> None:
    mine, other = Cache(path, 7, b"1"), Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"one"), (2, b"two"), (3, b"")])
    mine.put_many(b"BODY", [(1, b"other")])
    assert other.get_many([1, 2], b"ENV") == [b"one", b"two"]
    mine.forget([1, 3, 9])
    for each in (mine, other, Cache(path, 7, b"1")):
        assert each.get_many([1, 2, 3], b"ENV") == [None, b"two", None]
        assert each.get_many([1], b"BODY") == [None]
    other.put_many(b"ENV", [(1, b"anew")])
    assert mine.get_many([1], b"ENV") == [b"anew"]


def test_what_cannot_be_written_is_forgotten_at_least_here(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"one"), (2, b"two")])

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(durable, "write_at", full)
    mine.forget([1])
    assert mine.get_many([1, 2], b"ENV") == [None, b"two"]


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
    monkeypatch.setattr(cache, "_COMPACT_OCTETS", 1000)
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


def test_a_file_that_its_owner_cuts_is_a_miss(path: bytes) -> None:
    """It was mapped once: whoever touched a page behind the end was killed, with everybody in the process."""
    mine = Cache(path, 7, b"1")
    blobs = [(uid, b"%d" % uid * 1000) for uid in range(1, 101)]
    mine.put_many(b"ENV", blobs)
    assert mine.get_many(range(1, 101), b"ENV") == [blob for _, blob in blobs]
    os.truncate(file(path), 20_000)
    assert mine.get_many(range(1, 101), b"ENV") == [None] * 100
    mine.put_many(b"ENV", blobs)
    assert mine.get_many(range(1, 101), b"ENV") == [blob for _, blob in blobs]
    os.truncate(file(path), 0)
    assert mine.get_many([1], b"ENV") == [None]
    mine.put_many(b"ENV", blobs)
    assert Cache(path, 7, b"1").get_many([100], b"ENV") == [blobs[-1][1]]


@pytest.mark.parametrize("count", [3, 60])
def test_a_file_that_is_cut_while_it_is_read_is_a_miss(
    path: bytes, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(uid, b"x" * 1000) for uid in range(1, count + 1)])
    read = os.pread

    def cut(number: int, size: int, at: int) -> bytes:
        if size >= 1000:
            os.truncate(file(path), 2000)
        return read(number, size, at)

    monkeypatch.setattr(os, "pread", cut)
    assert set(mine.get_many(range(1, count + 1), b"ENV")) <= {None, b"x" * 1000}
    assert mine.get_many([count], b"ENV") == [None]


def test_a_file_that_is_written_over_in_place_is_verified_again(path: bytes) -> None:
    mine = Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"right"), (2, b"right too")])
    mine.put_many(b"ENV", [(3, b"last")])
    data = file(path).read_bytes()
    wrong = data.replace(b"right", b"wrong")
    for other in (wrong, b"\0" * len(data), data[:30] + b"\0" * 200):
        overwrite(file(path), data)
        assert mine.get_many([1, 3], b"ENV") == [b"right", b"last"]
        overwrite(file(path), other)
        assert mine.get_many([1, 2, 3], b"ENV")[:2] == [None, None]


def test_another_name_for_the_old_file_does_not_hide_the_new_one(path: bytes) -> None:
    """A backup of hard links (cp -al) keeps what has been replaced."""
    mine, other = Cache(path, 7, b"1"), Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"one")])
    assert other.get_many([1], b"ENV") == [b"one"]
    os.link(file(path), file(path).with_suffix(".backup"))
    file(path).unlink()
    other.put_many(b"ENV", [(2, b"two")])
    mine.put_many(b"ENV", [(3, b"three")])
    for each in (mine, other):
        assert each.get_many([1, 2, 3], b"ENV") == [None, b"two", b"three"]


def test_a_lock_that_is_not_to_be_had_is_a_miss(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LOCK_SECONDS", 0)
    monkeypatch.setattr(cache, "_COMPACT_OCTETS", 10)
    mine = Cache(path, 7, b"1")
    mine.put_many(b"ENV", [(1, b"one"), (2, b"two" * 100)])
    with file(path).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mine.put_many(b"ENV", [(3, b"three")])
        mine.trim([1])
        assert mine.get_many([1, 3], b"ENV") == [b"one", None]
    mine.put_many(b"ENV", [(3, b"three")])
    assert mine.get_many([1, 3], b"ENV") == [b"one", b"three"]


def test_messages_that_are_gone_leave_memory(path: bytes) -> None:
    mine = Cache(path, 7, b"1")
    for uid in range(1, 200):
        mine.put_many(b"ENV", [(uid, b"x")])
        mine.put_many(b"BODY", [(uid, b"y" * 100_000)])
        if uid % 10 == 0:
            mine.trim([uid])
            # However small or large the file is.
            assert mine.get_many([uid], b"ENV") == [b"x"]
            assert all(len(where) == 1 for where in mine._fields.values())
            assert len(mine._windows) == 2
    assert mine.get_many([190, 199], b"ENV") == [b"x", b"x"]


def test_what_is_large_goes_in_pieces(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SPAN_OCTETS", 1000)
    mine = Cache(path, 7, b"1")
    blobs = {uid: b"%d" % uid * 30 for uid in range(1, 100)}
    mine.put_many(b"ENV", [*blobs.items(), (100, b"x" * 1000)])
    for each in (mine, Cache(path, 7, b"1")):
        assert each.get_many(range(1, 101), b"ENV") == [*blobs.values(), None]
        assert each.get_many([99, 3, 50, 2, 40, 30, 20, 7, 1], b"ENV")[:3] == [blobs[99], blobs[3], blobs[50]]


def test_nobody_holds_more_than_there_is_use_for(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOBS", 20)
    mine = Cache(path, 7, b"1")
    for uid in range(100):
        mine.put_many(b"ENV", [(uid, b"x")])
        assert mine.get_many([uid], b"ENV") == [b"x"]
        assert len(mine._fields[b"ENV"]) <= 21


def test_readers_and_writers_at_once(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files that come and go under them they get the truth or nothing, and no descriptor is left."""
    monkeypatch.setattr(cache, "FIELDS", 3)
    monkeypatch.setattr(cache, "_COMPACT_OCTETS", 1000)
    caches = [Cache(path, 7, b"1") for _ in range(2)]
    wrong: list[object] = []

    def work(seed: int) -> None:
        try:
            for step in range(60):
                mine = caches[(seed + step) % 2]
                field = b"F%d" % ((seed * 7 + step) % 6)
                mine.put_many(field, [(uid, field + b"%d" % uid * 50) for uid in range(step, step + 20)])
                for uid, blob in enumerate(mine.get_many(range(80), field)):
                    if blob not in (None, field + b"%d" % uid * 50):
                        wrong.append((field, uid, blob))
                if step % 9 == 0:
                    mine.trim(range(step, 80))
                if step % 20 == 19:
                    mine.close()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for each in caches:
        each.close()
    held = [name for name in map(_target, os.listdir("/proc/self/fd")) if name.startswith(os.fsdecode(path))]
    assert held == []


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""
