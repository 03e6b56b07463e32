"""The checkpoint: a whole folder in one file, read in one piece.

    maildir-imapd index 2
    g 7 48112                  covers the journal of generation 7 up to byte 48112
    v 1732320000               UIDVALIDITY
    n 4713                     UIDNEXT
    m 90210                    HIGHESTMODSEQ
    u 5000                     the UID reserve
    b 3e1c...@91aa...          a start of a machine, see journal.py
    s 1 2 3 4 1                stamp, see journal.py
    k 9 $Forwarded             keyword
    l 88000                    the history below is whole above this mod-sequence
    h 90100 12:14              expunged at this mod-sequence
    t 15 1732320000 1732310000 312 base
                               tombstone: this base had UID 15; missed then; received then; size as in the columns
    y 17 36,37                 keywords that have no bit
    d 4000 312000              messages, bytes of names

    the columns, little endian: uids (4 bytes each), flags, modseqs, received, saved, sizes, fingerprints (8 bytes
    each), the bases joined by LF, CRC-32 of all before it

Version 1, which is read and no longer written, had no fingerprints.

Loading is frombytes(); the bases are cut apart when they are first asked for. The file is written beside the
old one, synced and renamed; the one before is kept as ``.old`` for the day this one is damaged.
"""

from __future__ import annotations

import itertools
import sys
import zlib
from array import array
from typing import Final, NamedTuple

from maildir_imapd.store.index.expunges import Expunges
from maildir_imapd.store.index.journal import NEVER, Stamp, parse_ranges, render_ranges
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.index.state import IndexState, Tomb

MAGIC: Final = b"maildir-imapd index 2\n"
_FIRST_MAGIC: Final = b"maildir-imapd index 1\n"
_COLUMNS: Final = (
    ("uids", "I"),
    ("flags", "Q"),
    ("modseqs", "Q"),
    ("received", "q"),
    ("saved", "q"),
    ("sizes", "Q"),
    ("fingerprints", "Q"),
)
# What has been written to since an older snapshot was made is not known of one that is loaded.
_loads: Final = itertools.count(1)


def render(state: IndexState) -> list[bytes]:
    """Return the file, in pieces."""
    now = state.snapshot
    lines = [MAGIC, b"g %d %d\n" % (state.generation, state.position)]
    lines.append(
        b"v %d\nn %d\nm %d\nu %d\nl %d\n" % (now.uidvalidity, now.uidnext, now.modseq, state.reserve, state.whole_above)
    )
    lines += [b"b %b\n" % boot for boot in state.boots]
    lines.append(b"s %d %d %d %d %d\n" % state.stamp)
    lines += [b"k %d %b\n" % (number, name) for number, name in enumerate(now.keywords) if name]
    lines += [b"h %d %b\n" % (modseq, render_ranges([(lo, hi)])) for modseq, lo, hi in state.history]
    lines += [b"t %d %d %d %d %b\n" % (*tomb, base) for base, tomb in state.tombs.items()]
    lines += [b"y %d %b\n" % (uid, b",".join([b"%d" % n for n in sorted(words)])) for uid, words in now.extra.items()]
    names = b"\n".join(now.names)
    lines.append(b"d %d %d\n\n" % (len(now), len(names)))
    pieces = [b"".join(lines)]
    for column, _ in _COLUMNS:
        values: array[int] = getattr(now, column)
        if sys.byteorder == "big":
            values = values[:]
            values.byteswap()
        pieces.append(values.tobytes())
    pieces.append(names)
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    pieces.append(total.to_bytes(4, "little"))
    return pieces


def parse(data: bytes) -> IndexState | None:
    """Read the file; None if it does not verify."""
    if not data.startswith((MAGIC, _FIRST_MAGIC)) or zlib.crc32(memoryview(data)[:-4]) != int.from_bytes(
        data[-4:], "little"
    ):
        return None
    end = data.find(b"\n\n")
    try:
        return _parse(data, data[:end].split(b"\n")[1:], end + 2)
    except (ValueError, KeyError, IndexError):
        return None  # the sum is right, so another version wrote it


def of_another_version(data: bytes) -> bool:
    """Say whether the file is whole, but not ours to understand: then it is no damage, and nothing to rebuild."""
    head, _, _ = data.partition(b"\n")
    return (
        head.startswith(MAGIC[:-2])
        and head + b"\n" not in (MAGIC, _FIRST_MAGIC)
        and zlib.crc32(memoryview(data)[:-4]) == int.from_bytes(data[-4:], "little")
    )


def _parse(data: bytes, lines: list[bytes], at: int) -> IndexState:
    head = _head(lines)
    columns, at = _columns(data, at, head.messages)
    names = data[at : at + head.names_size]
    if at + head.names_size + 4 != len(data) or (head.messages and names.count(b"\n") != head.messages - 1):
        raise ValueError("lengths do not agree")
    rows = Snapshot(
        uids=columns["uids"],
        flags=columns["flags"],
        modseqs=columns["modseqs"],
        received=columns["received"],
        saved=columns["saved"],
        sizes=columns["sizes"],
        fingerprints=columns["fingerprints"],
        names=names if head.messages else [],
        extra=head.extra,
        keywords=tuple(head.keywords.get(n, b"") for n in range(max(head.keywords, default=-1) + 1)),
        uidvalidity=head.numbers[b"v"],
        uidnext=head.numbers[b"n"],
        modseq=head.numbers[b"m"],
        rewrites=next(_loads) << 32,
    )
    return IndexState(
        snapshot=rows,
        generation=head.generation,
        position=head.position,
        reserve=head.numbers[b"u"],
        boots=tuple(head.boots),
        stamp=head.stamp,
        history=Expunges(head.history),
        whole_above=head.numbers[b"l"],
        tombs=head.tombs,
    )


class _Head(NamedTuple):
    """The lines before the columns; *names_size* is in octets, *numbers* are by the letter of their line."""

    generation: int
    position: int
    messages: int
    names_size: int
    numbers: dict[bytes, int]
    stamp: Stamp
    boots: list[bytes]
    keywords: dict[int, bytes]
    extra: dict[int, frozenset[int]]
    history: list[tuple[int, int, int]]
    tombs: dict[bytes, Tomb]


def _head(lines: list[bytes]) -> _Head:
    """Read the lines before the columns; raises ValueError for one that nobody knows."""
    stamp = NEVER
    numbers: dict[bytes, int] = {}
    keywords: dict[int, bytes] = {}
    extra: dict[int, frozenset[int]] = {}
    history: list[tuple[int, int, int]] = []
    boots: list[bytes] = []
    tombs: dict[bytes, Tomb] = {}
    generation = position = count = names_size = 0
    for line in lines:
        kind, rest = line[:1], line[2:]
        if kind in b"vnmul":
            numbers[kind] = int(rest)
        elif kind == b"g":
            generation, position = map(int, rest.split(b" "))
        elif kind == b"b":
            boots.append(rest)
        elif kind == b"s":
            cur_mtime, cur_ctime, new_mtime, new_ctime, settled = map(int, rest.split(b" "))
            stamp = Stamp(cur_mtime, cur_ctime, new_mtime, new_ctime, bool(settled))
        elif kind == b"k":
            number, name = rest.split(b" ", 1)
            keywords[int(number)] = name
        elif kind == b"h":
            modseq, gone = rest.split(b" ")
            history += [(int(modseq), lo, hi) for lo, hi in parse_ranges(gone)]
        elif kind == b"t":
            uid, when, received, octets, base = rest.split(b" ", 4)
            tombs[base] = Tomb(int(uid), int(when), int(received), int(octets))
        elif kind == b"y":
            uid, words = rest.split(b" ")
            extra[int(uid)] = frozenset(int(n) for n in words.split(b","))
        elif kind == b"d":
            count, names_size = map(int, rest.split(b" "))
        else:
            raise ValueError("unknown line")
    return _Head(generation, position, count, names_size, numbers, stamp, boots, keywords, extra, history, tombs)


def _columns(data: bytes, at: int, count: int) -> tuple[dict[str, array[int]], int]:
    """Read the columns of *count* messages, and say where they end."""
    columns: dict[str, array[int]] = {}
    view = memoryview(data)
    for column, code in _COLUMNS:
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
