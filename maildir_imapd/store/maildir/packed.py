"""Messages that lie compressed on the disk, as Dovecot's mail_compress (zlib) keeps them: known by their first octets.

Read are gzip, bzip2, xz, zstd and Dovecot's own framing of lz4; the last two with their libraries, an extra of ours.
Written is what the setting says, gzip or zstd. Encrypted files (Dovecot's mail_crypt) are known, and refused: without
the keys they are nobody's mail.

A small file may unpack to anything: octets go in, or come out, by the piece, so that each call into C is short
(docs/rules.md, H15), and all that comes out has an end.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol

from maildir_imapd import errors

# At the top, for a confined process opens no library later (docs/rules.md, S16).
try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]  # the extra is not installed
try:
    import lz4.block as lz4_block
except ImportError:
    lz4_block = None

Kind = Literal["none", "gz", "zstd"]

LARGEST_OCTETS: Final = 1 << 28  # of one message, unpacked
_PIECE_OCTETS: Final = 1 << 14  # of gzip it may become 16 MiB
_ZSTD_PIECE_OCTETS: Final = 1 << 10  # this may become 32 MiB
_OUT_OCTETS: Final = 1 << 20  # of one call, where bzip2 would make 45 MB of 45 octets
_WINDOW_OCTETS: Final = 1 << 27  # of memory that xz and zstd may ask for
_LZ4_CHUNK_OCTETS: Final = 1 << 20  # as in Dovecot

_GZIP: Final = b"\x1f\x8b"
_BZIP2: Final = b"BZh"
_BZIP2_NEXT: Final = (b"1AY&SY", b"\x17rE8P\x90")  # a block, or the end
_XZ: Final = b"\xfd7zXZ\0"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LZ4: Final = b"Dovecot-LZ4\x0d\x2a\x9b\xc5"
_CRYPTED: Final = b"CRYPTED\x03\x07"
# The first octets of all of them: what begins otherwise is a message as it stands.
_FIRST: Final = frozenset(mark[0] for mark in (_GZIP, _BZIP2, _XZ, _ZSTD, _LZ4, _CRYPTED))
# As many tell what it is.
MARK_OCTETS: Final = 16
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS


class _Stream(Protocol):
    """One compressed stream that is taken apart; there may be another one behind it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(data: bytes, where: str, grow: Callable[[int], None] = lambda octets: None) -> bytes:
    """Return a message from what lies on the disk, as it is unless it is compressed.

    *where*: for the log. *grow* is told of each piece how many octets have come out, and may raise. Raises
    MessagePacked for what is not whole, too large, or wants a library that is not there, MessageEncrypted.
    """
    if not data or not may_be(data):
        return data
    if data.startswith(_GZIP):
        return _streams(data, _GZIP, lambda: zlib.decompressobj(_GZIP_BITS), where, grow)
    if data.startswith(_BZIP2) and data[4:10] in _BZIP2_NEXT:
        return _streams(data, _BZIP2, bz2.BZ2Decompressor, where, grow)
    if data.startswith(_XZ):
        return _streams(data, _XZ, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW_OCTETS), where, grow)
    if data.startswith(_ZSTD):
        if zstandard is None:
            raise errors.MessagePacked(detail=f"{where}: zstd, for which the library zstandard is missing")
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_OCTETS)
        return _streams(data, _ZSTD, reader.decompressobj, where, grow, _ZSTD_PIECE_OCTETS)
    if data.startswith(_LZ4):
        return _lz4(data, where, grow)
    if encrypted(data):
        raise errors.MessageEncrypted(detail=where)
    return data


def may_be(data: bytes) -> bool:
    """Say whether a file that begins with *data* may be compressed or encrypted: of nearly all others not."""
    return not data or data[0] in _FIRST


def is_packed(first: bytes) -> bool:
    """Say by the *first* octets of a file, MARK_OCTETS of them, whether it is compressed or encrypted."""
    if first[:1] == _BZIP2[:1]:
        return first.startswith(_BZIP2) and first[4:10] in _BZIP2_NEXT
    return first.startswith((_GZIP, _XZ, _ZSTD, _LZ4, _CRYPTED))


def encrypted(first: bytes) -> bool:
    """Say by the *first* octets of a file, MARK_OCTETS of them, whether it is encrypted."""
    return first.startswith(_CRYPTED)


def _streams(
    data: bytes,
    mark: bytes,
    begin: Callable[[], _Stream],
    where: str,
    grow: Callable[[int], None],
    piece: int = _PIECE_OCTETS,
) -> bytes:
    """Unpack streams that begin with *mark*, one behind the other; what follows them, as padding does, is left out."""
    found: list[bytes] = []
    room = LARGEST_OCTETS
    at = 0
    try:
        while data.startswith(mark, at):
            stream = begin()
            while not stream.eof:
                if at >= len(data):
                    raise errors.MessagePacked(detail=f"{where}: what is compressed has no end")
                some = data[at : at + piece]
                at += len(some)
                for out in _out_of(stream, some):
                    found.append(out)
                    grow(len(out))
                    room -= len(out)
                    if room < 0:
                        raise errors.MessagePacked(detail=f"{where}: more than {LARGEST_OCTETS} octets, unpacked")
            at -= len(stream.unused_data)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError, MemoryError) as error:
        raise errors.MessagePacked(detail=f"{where}: {error}") from error
    except Exception as error:
        if zstandard is None or not isinstance(error, zstandard.ZstdError):
            raise
        raise errors.MessagePacked(detail=f"{where}: {error}") from error
    return b"".join(found)


def _out_of(stream: _Stream, some: bytes) -> Iterator[bytes]:
    """Yield what comes out for a piece that goes in."""
    if not isinstance(stream, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        yield stream.decompress(some)
        return
    yield stream.decompress(some, _OUT_OCTETS)
    while not (stream.needs_input or stream.eof):
        yield stream.decompress(b"", _OUT_OCTETS)


def _lz4(data: bytes, where: str, grow: Callable[[int], None]) -> bytes:
    """Unpack Dovecot's framing: the largest chunk, then chunks with their length before them, all big-endian."""
    if lz4_block is None:
        raise errors.MessagePacked(detail=f"{where}: lz4, for which the library lz4 is missing")
    at = len(_LZ4) + 4
    largest = int.from_bytes(data[len(_LZ4) : at], "big")
    if len(data) < at or largest > _LZ4_CHUNK_OCTETS:
        raise errors.MessagePacked(detail=f"{where}: no chunks of lz4")
    found: list[bytes] = []
    room = LARGEST_OCTETS
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at + 4 : at + 4 + length]
        at += 4 + length
        if at > len(data) or not length:
            raise errors.MessagePacked(detail=f"{where}: what is compressed has no end")
        try:
            out = lz4_block.decompress(chunk, uncompressed_size=largest)
        except (lz4_block.LZ4BlockError, ValueError, MemoryError) as error:
            raise errors.MessagePacked(detail=f"{where}: {error}") from error
        found.append(out)
        grow(len(out))
        room -= len(out)
        if room < 0:
            raise errors.MessagePacked(detail=f"{where}: more than {LARGEST_OCTETS} octets, unpacked")
    return b"".join(found)


class Packer(Protocol):
    """A message on its way to the disk."""

    def compress(self, data: bytes, /) -> bytes:
        """Take a piece; return what is to be written so far."""

    def flush(self) -> bytes:
        """Return the rest."""


def can_write(kind: Kind) -> bool:
    """Say whether there is what it takes to compress so."""
    return kind != "zstd" or zstandard is not None


def packer(kind: Kind) -> Packer | None:
    """Return what a new message goes through; None where it is written as it is."""
    if kind == "gz":
        return zlib.compressobj(6, zlib.DEFLATED, _GZIP_BITS)
    if kind == "zstd":
        return zstandard.ZstdCompressor().compressobj()
    return None
