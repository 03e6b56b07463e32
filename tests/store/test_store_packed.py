"""Messages that lie compressed on the disk, or encrypted."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from typing import Any

import lz4.block
import pytest
import zstandard

from maildir_imapd import errors
from maildir_imapd.store.maildir import packed
from maildir_imapd.store.maildir.filename import SEEN
from maildir_imapd.store.maildir.flags import Flags

TEXT = b"Subject: squeezed\n\n" + b"line of text\n" * 5000
CRLF = len(TEXT) + TEXT.count(b"\n")


def dovecot_lz4(data: bytes) -> bytes:
    """Frame chunks as Dovecot does."""
    out = [b"Dovecot-LZ4\x0d\x2a\x9b\xc5", (65536).to_bytes(4, "big")]
    for at in range(0, len(data), 65536):
        chunk = lz4.block.compress(data[at : at + 65536], store_size=False)
        out += [len(chunk).to_bytes(4, "big"), chunk]
    return b"".join(out)


WAYS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": dovecot_lz4,
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_unpacked(way: str) -> None:
    for data in (TEXT, b"", os.urandom(300_000)):
        assert packed.unpacked(WAYS[way](data), "x") == data


@pytest.mark.parametrize("way", ["gz", "bz2", "xz", "zstd"])
def test_several_streams_are_one_message(way: str) -> None:
    assert packed.unpacked(WAYS[way](TEXT) + WAYS[way](b"more\n") + b"\0\0", "x") == TEXT + b"more\n"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_cut_or_damaged_is_refused(way: str) -> None:
    whole = WAYS[way](TEXT)
    for cut in (len(whole) - 1, len(whole) // 2, 20):
        with pytest.raises(errors.MessagePacked):
            packed.unpacked(whole[:cut], "x")
    with pytest.raises(errors.MessagePacked):
        packed.unpacked(whole[:24] + b"\xff" * 40 + whole[64:], "x")


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_a_small_file_does_not_become_a_large_message(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGEST_OCTETS", 1 << 20)
    with pytest.raises(errors.MessagePacked):
        packed.unpacked(WAYS[way](bytes(1 << 24)), "x")


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_no_call_unpacks_much(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGEST_OCTETS", 1 << 20)
    bomb = WAYS[way](bytes(1 << 27))
    tracemalloc.start()
    try:
        with pytest.raises(errors.MessagePacked):
            packed.unpacked(bomb, "x")
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data", [b"", b"\x1f", b"BZh", b"BZh9 is a word\n", b"Dovecot-LZ4 is fine\n", b"CRYPTED?\n", TEXT]
)
def test_what_only_begins_like_it_is_a_message(data: bytes) -> None:
    assert packed.unpacked(data, "x") is data


@pytest.mark.parametrize(("way", "library"), [("zstd", "zstandard"), ("lz4", "lz4_block")])
def test_without_the_library_it_is_refused_with_the_reason(
    way: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, library, None)
    with pytest.raises(errors.MessagePacked) as refused:
        packed.unpacked(WAYS[way](TEXT), "x")
    assert "library" in str(refused.value.detail)


@pytest.mark.parametrize("way", WAYS)
def test_a_mailbox_with_compressed_messages(maildir: Any, way: str) -> None:
    maildir.put(f"1700000001.M1P1.host,S={len(TEXT)},W={CRLF}:2,S", WAYS[way](TEXT))
    maildir.put("1700000002.M1P1.host:2,", WAYS[way](TEXT))
    box = maildir.open()
    assert [box.read(uid) for uid in (1, 2)] == [TEXT, TEXT]
    assert box.sizes([0, 1]) == [CRLF, CRLF]
    assert box.copy_from(box, [1, 2]) == [(1, 3), (2, 4)]
    # Another program may add to its base, as mbsync does: its size on the disk says nothing against it.
    old = maildir.path / "cur" / f"1700000001.M1P1.host,S={len(TEXT)},W={CRLF}:2,S"
    old.rename(f"{old}".replace(":2,S", ",U=1:2,S"))
    assert list(box.sync(look=True).uids) == [1, 2, 3, 4]


def test_encrypted_is_refused_by_name(maildir: Any) -> None:
    maildir.put("1700000001.M1P1.host:2,S", b"CRYPTED\x03\x07" + bytes(100))
    maildir.put("1700000002.M1P1.host:2,S")
    box = maildir.open()
    with pytest.raises(errors.MessageEncrypted):
        box.read(1)
    failures: dict[int, errors.StoreError] = {}
    assert box.sizes([0, 1], failures=failures)[1] == 20
    assert list(failures) == [0]


@pytest.mark.parametrize(("kind", "mark"), [("gz", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")])
def test_new_messages_are_compressed_where_that_is_wanted(maildir: Any, kind: str, mark: bytes) -> None:
    box = maildir.open(compress_mail=kind)
    text = TEXT.replace(b"\n", b"\r\n")
    items = []
    for _ in range(2):
        item = box.deliver()
        for at in range(0, len(text), 7777):
            item.write(text[at : at + 7777])
        items.append(item)
    assert b"".join(items[0].pieces()) == TEXT
    assert not items[0].has_utf8_header()
    items[1].close()
    assert b"".join(items[1].pieces()) == TEXT
    assert box.commit([(item, Flags(SEEN), 1_000_000_000) for item in items]) == [1, 2]
    for name in maildir.names():
        assert f",S={len(TEXT)},W={CRLF}:2,S" in name
        data = (maildir.path / "cur" / name).read_bytes()
        assert data.startswith(mark)
        assert len(data) < len(TEXT) // 10
    assert box.read(1) == box.read(2) == TEXT
    assert list(maildir.open().snapshot.sizes) == [CRLF, CRLF]


def test_a_compressed_delivery_whose_folder_is_gone_goes_to_another(make_maildir: Any) -> None:
    first, second = make_maildir("A").open(compress_mail="gz"), make_maildir("B").open(compress_mail="zstd")
    item = first.deliver()
    item.write(TEXT)
    taken = second.taking(item)
    item.abort()
    second.commit([(taken, Flags(0), 1_000_000_000)])
    assert second.read(1) == TEXT
