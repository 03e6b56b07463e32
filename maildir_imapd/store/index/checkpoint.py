"""The checkpoint: a whole folder in one file.

    maildir-imapd index 3
    g 7 48112                  covers the journal of generation 7 up to byte 48112
    v 1732320000               UIDVALIDITY
    n 4713                     UIDNEXT
    m 90210                    HIGHESTMODSEQ
    u 5000                     the UID reserve
    b 3e1c...@91aa...          a start of a machine, see journal.py
    s 1 2 3 4 1                stamp, see journal.py
    k 9 $Forwarded             keyword
    l 88000                    the history of expunges is whole above this mod-sequence
    t 15 1732320000 1732310000 312 base
                               tombstone: this base had UID 15; missed then; received then; size as in the columns
    y 17 36,37                 keywords that have no bit
    c 3990 3 0 12 17           messages with \\Seen, \\Recent, in new/, with \\Deleted; where the first unseen is, or -1
    d 4000                     messages
    o uids 16000 5f3a77c1      a section behind the head: its name, its octets, its CRC-32; in their order
    x 0badcafe                 CRC-32 of the head up to here, and an empty line

The sections are the columns, little endian: uids (4 octets each), flags, modseqs, received, saved, sizes, fingerprints
(8 octets each); names, the bases joined by LF; and gone, the history of expunges: for each range mod-sequence (8),
first and last UID (4 each). The last four octets of the file are the CRC-32 of all before them, by which any version
knows a file that is whole, and not its own. Received, saved, sizes and fingerprints are not there while nobody has
looked at the files (folder/unseen.py).

A folder's head is read when it is opened, and a column when it is first asked for (stored.py); small files are read
whole. The file is written beside the old one, synced and renamed; the one before is kept as ``.old`` for the day this
one is damaged. Versions 1 and 2 had the columns without names or checksums of their own, the history in lines ("h"),
and are read still; version 1 has no fingerprints.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from maildir_imapd.errors import IndexDamaged
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index import stored
from maildir_imapd.store.index.columns import COLUMNS, FILE_COLUMNS, NAMES, ColumnSource
from maildir_imapd.store.index.constants import CHECKPOINT
from maildir_imapd.store.index.expunges import Expunges
from maildir_imapd.store.index.journal import NEVER, Stamp, parse_ranges
from maildir_imapd.store.index.snapshot import COUNTED, Snapshot
from maildir_imapd.store.index.state import IndexState, Tomb
from maildir_imapd.store.index.stored import Extent, StoredColumns, Unknown

MAGIC: Final = b"maildir-imapd index 3\n"
_SECOND_MAGIC: Final = b"maildir-imapd index 2\n"
_FIRST_MAGIC: Final = b"maildir-imapd index 1\n"
_MAGICS: Final = (MAGIC, _SECOND_MAGIC, _FIRST_MAGIC)
# As much of a file is read first, and is all of most; what is larger is read column by column.
SMALL_OCTETS: Final = 128 * 1024
# Of the lines before the columns: tombstones and keywords are the only ones that many can be.
_HEAD_OCTETS: Final = durable.LARGE_OCTETS
# Four million messages.
LARGEST_OCTETS: Final = 512 << 20
_COUNTS: Final = (*COUNTED, "first_unseen")
_GONE: Final = "gone"
_RANGE: Final = struct.Struct("<QII")
# What has been written to since an older snapshot was made is not known of one that is loaded.
_loads: Final = itertools.count(1)


class Unverified(Exception):
    """The file is not what was written, or not ours to understand."""


def render(state: IndexState) -> list[bytes]:
    """Return the file, in pieces. Columns that nobody has made yet are left out."""
    now = state.snapshot
    lines = [MAGIC, b"g %d %d\n" % (state.generation, state.position)]
    lines.append(
        b"v %d\nn %d\nm %d\nu %d\nl %d\n" % (now.uidvalidity, now.uidnext, now.modseq, state.reserve, state.whole_above)
    )
    lines += [b"b %b\n" % boot for boot in state.boots]
    lines.append(b"s %d %d %d %d %d\n" % state.stamp)
    lines += [b"k %d %b\n" % (number, name) for number, name in enumerate(now.keywords) if name]
    lines += [b"t %d %d %d %d %b\n" % (*tomb, base) for base, tomb in state.tombs.items()]
    lines += [b"y %d %b\n" % (uid, b",".join([b"%d" % n for n in sorted(words)])) for uid, words in now.extra.items()]
    counts = now.counts()
    lines.append(b"c %b\nd %d\n" % (b" ".join([b"%d" % counts[key] for key in _COUNTS]), len(now)))
    sections = [(column, stored.packed(getattr(now, column))) for column, _ in COLUMNS if now.has(column)]
    sections.append((NAMES, b"\n".join(now.names)))
    sections.append((_GONE, b"".join([_RANGE.pack(*gone) for gone in state.history])))
    lines += [b"o %b %d %08x\n" % (name.encode(), len(data), zlib.crc32(data)) for name, data in sections]
    head = b"".join(lines)
    pieces = [b"%bx %08x\n\n" % (head, zlib.crc32(head)), *[data for _, data in sections]]
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    pieces.append(total.to_bytes(4, "little"))
    return pieces


def parse(data: bytes) -> IndexState | None:
    """Read the whole file, of any version; None if it does not verify."""
    if not data.startswith(_MAGICS) or not _whole(data):
        return None
    try:
        if not data.startswith(MAGIC):
            return _parse(data, *_old_head(data))
        head, at = _split(data)
        return _read_all(data, head, at)
    except (ValueError, KeyError, IndexError, struct.error, IndexDamaged, Unverified):
        return None  # the sum is right, so another version wrote it


def of_another_version(data: bytes) -> bool:
    """Say whether the file is whole, but not ours to understand: then it is no damage, and nothing to rebuild."""
    head, _, _ = data.partition(b"\n")
    return head.startswith(MAGIC[:-2]) and head + b"\n" not in _MAGICS and _whole(data)


def _whole(data: bytes) -> bool:
    return zlib.crc32(memoryview(data)[:-4]) == int.from_bytes(data[-4:], "little")


def load(directory: int, *, whole: bool = False) -> IndexState:
    """Read the checkpoint in *directory*: all of a small one, else the head, and the columns when they are asked for.

    *whole*: all of any, for it may not be there any more when they are.

    Raises Unverified, FileNotFoundError, OSError.
    """
    number = durable.open_regular(CHECKPOINT, directory, LARGEST_OCTETS)
    file = Descriptor(number, "checkpoint")
    try:
        size = os.fstat(number).st_size
        data = stored.read(number, Extent(0, min(size, SMALL_OCTETS) + 1, 0))
        if whole or len(data) <= SMALL_OCTETS or not data.startswith(MAGIC):
            state = parse(data if len(data) <= SMALL_OCTETS else stored.read(number, Extent(0, size, 0)))
            if state is None:
                raise Unverified
            file.close()
            return state
        while data.find(b"\n\n") < 0:
            more = os.pread(number, 1 << 20, len(data))
            if not more or len(data) > _HEAD_OCTETS:
                raise Unverified
            data += more
        try:
            head, at = _split(data)
            return _read_some(number, file, head, at, size)
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise Unverified from error
    except BaseException:
        file.close()
        raise


def _split(data: bytes) -> tuple[_Head, int]:
    """Verify the head of version 3 and read it; say where it ends. Raises Unverified, ValueError."""
    end = data.index(b"\n\n")
    last = data.rindex(b"\n", 0, end) + 1
    if data[last : last + 2] != b"x " or int(data[last + 2 : end], 16) != zlib.crc32(memoryview(data)[:last]):
        raise Unverified
    return _head(data[:last].split(b"\n")[1:-1]), end + 2


def _placed(head: _Head, at: int) -> dict[str, Extent]:
    """Say where the sections lie that the head lists, of which the first begins at *at*."""
    found: dict[str, Extent] = {}
    for name, octets, checksum in head.sections:
        found[name] = Extent(at, octets, checksum)
        at += octets
    codes = {column: array(code).itemsize for column, code in COLUMNS}
    if not {"uids", "flags", "modseqs", NAMES, _GONE} <= found.keys():
        raise ValueError("sections are missing")
    if any(found[column].octets != head.messages * size for column, size in codes.items() if column in found):
        raise ValueError("lengths do not agree")
    return found


def _read_all(data: bytes, head: _Head, at: int) -> IndexState:
    sections = _placed(head, at)
    view = memoryview(data)
    pieces = {name: view[it.at : it.at + it.octets] for name, it in sections.items()}
    if sum(it.octets for it in sections.values()) != len(data) - at - 4 or any(
        zlib.crc32(piece) != sections[name].checksum for name, piece in pieces.items()
    ):
        raise Unverified
    columns = {column: stored.unpacked(column, pieces[column]) for column, _ in COLUMNS if column in pieces}
    names = stored.checked_names(bytes(pieces[NAMES]), head.messages)
    unknown = None if columns.keys() >= FILE_COLUMNS else Unknown(head.messages)
    return _state(head, columns, names, _ranges(pieces[_GONE]), unknown)


def _read_some(number: int, file: Descriptor, head: _Head, at: int, size: int) -> IndexState:
    """Read what every session needs; the columns are left where they are."""
    sections = _placed(head, at)
    if at + sum(it.octets for it in sections.values()) + 4 != size:
        raise Unverified
    gone = stored.read(number, sections[_GONE])
    if zlib.crc32(gone) != sections[_GONE].checksum:
        raise Unverified
    source = StoredColumns(file, sections, head.messages)
    return _state(head, {}, None, _ranges(gone), source)


def _ranges(data: bytes | memoryview) -> Expunges:
    return Expunges(_RANGE.iter_unpack(data))


def _state(
    head: _Head,
    columns: Mapping[str, array[int]],
    names: bytes | list[bytes] | None,
    history: Expunges,
    source: ColumnSource | None,
) -> IndexState:
    rows = Snapshot(
        columns,
        names,
        extra=head.extra,
        keywords=tuple(head.keywords.get(n, b"") for n in range(max(head.keywords, default=-1) + 1)),
        uidvalidity=head.numbers[b"v"],
        uidnext=head.numbers[b"n"],
        modseq=head.numbers[b"m"],
        rewrites=next(_loads) << 32,
        counts=head.counts,
        source=source,
    )
    return IndexState(
        snapshot=rows,
        generation=head.generation,
        position=head.position,
        reserve=head.numbers[b"u"],
        boots=tuple(head.boots),
        stamp=head.stamp,
        history=history,
        whole_above=head.numbers[b"l"],
        tombs=head.tombs,
    )


@dataclass(slots=True)
class _Head:
    """The lines before the columns; *names_size* is in octets, *numbers* are by the letter of their line."""

    generation: int = 0
    position: int = 0
    messages: int = 0
    names_size: int = 0
    numbers: dict[bytes, int] = field(default_factory=dict)
    stamp: Stamp = NEVER
    boots: list[bytes] = field(default_factory=list)
    keywords: dict[int, bytes] = field(default_factory=dict)
    extra: dict[int, frozenset[int]] = field(default_factory=dict)
    history: list[tuple[int, int, int]] = field(default_factory=list)
    tombs: dict[bytes, Tomb] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sections: list[tuple[str, int, int]] = field(default_factory=list)  # name, octets, CRC-32


def _head(lines: list[bytes]) -> _Head:
    """Read the lines before the columns, of any version; raises ValueError for one that nobody knows."""
    head = _Head()
    for line in lines:
        kind, rest = line[:1], line[2:]
        if kind in b"vnmul":
            head.numbers[kind] = int(rest)
        elif kind == b"g":
            head.generation, head.position = map(int, rest.split(b" "))
        elif kind == b"b":
            head.boots.append(rest)
        elif kind == b"s":
            cur_mtime, cur_ctime, new_mtime, new_ctime, settled = map(int, rest.split(b" "))
            head.stamp = Stamp(cur_mtime, cur_ctime, new_mtime, new_ctime, bool(settled))
        elif kind == b"k":
            number, name = rest.split(b" ", 1)
            head.keywords[int(number)] = name
        elif kind == b"h":
            modseq, gone = rest.split(b" ")
            head.history += [(int(modseq), lo, hi) for lo, hi in parse_ranges(gone)]
        elif kind == b"t":
            uid, when, received, octets, base = rest.split(b" ", 4)
            head.tombs[base] = Tomb(int(uid), int(when), int(received), int(octets))
        elif kind == b"y":
            uid, words = rest.split(b" ")
            head.extra[int(uid)] = frozenset(int(n) for n in words.split(b","))
        elif kind == b"c":
            head.counts = dict(zip(_COUNTS, map(int, rest.split(b" ")), strict=True))
        elif kind == b"d":
            head.messages, head.names_size = map(int, (rest + b" 0").split(b" ")[:2])
        elif kind == b"o":
            name, octets, checksum = rest.split(b" ")
            head.sections.append((name.decode(), int(octets), int(checksum, 16)))
        else:
            raise ValueError("unknown line")
    return head


# --- versions 1 and 2 ------------------------------------------------------------------------------


def _old_head(data: bytes) -> tuple[_Head, int]:
    end = data.find(b"\n\n")
    return _head(data[:end].split(b"\n")[1:]), end + 2


def _parse(data: bytes, head: _Head, at: int) -> IndexState:
    columns, at = _columns(data, at, head.messages)
    names = data[at : at + head.names_size]
    if at + head.names_size + 4 != len(data):
        raise ValueError("lengths do not agree")
    return _state(head, columns, stored.checked_names(names, head.messages), Expunges(head.history), None)


def _columns(data: bytes, at: int, count: int) -> tuple[dict[str, array[int]], int]:
    """Read the columns of *count* messages, and say where they end."""
    columns: dict[str, array[int]] = {}
    view = memoryview(data)
    for column, code in COLUMNS:
        values = array(code)
        if column == "fingerprints" and data.startswith(_FIRST_MAGIC):
            columns[column] = values.__class__(code, bytes(count * values.itemsize))
            continue
        size = count * values.itemsize
        values.frombytes(view[at : at + size])
        if sys.byteorder == "big":
            values.byteswap()
        columns[column] = values
        at += size
    return columns, at
