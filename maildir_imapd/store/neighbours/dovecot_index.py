"""Dovecot's own index, for what only it knows and clients would miss: keywords of a folder beyond the 26th, which
messages are \\Recent, and which of others' messages a reader has seen.

``dovecot.index`` holds a folder as it was, ``dovecot.index.log`` (and the one before it, ``.log.2``) what has happened
since; a young folder has the log alone. Numbers are little endian, as on every machine that Dovecot is packaged for
today; sizes in the log are big endian, seven bits an octet (maildir-formats 5, Dovecot's mail-index.h and
mail-transaction-log.h):

    dovecot.index      header: version 7 (1), minor (1), size of this (2), of all headers (4), of a record (4),
                       flags (1), unused (3), index id (4), flags (4), UIDVALIDITY (4), UIDNEXT (4), messages (4),
                       counts (12), first recent UID (4), counts (8), log: its number (4), tail (4), head (4)
                       extensions: header size (4), reset id (4), record offset, size, align, name size (2 each),
                       name, header; each part begins at a multiple of eight
                       records: UID (4), flags (1), what the extensions have at their offsets
    extension keywords header: count (4), a pair for each: unused (4), offset of the name (4); the names, NUL-terminated
                       record: a bit for each
    dovecot.index.log  header: version 1 (1), minor (1), size (2), index id (4), its number (4), the one before (4)
                       transactions: size with this (4), type (4), body
    append             UID (4), flags (1), unused (3) ...
    flag update        first and last UID (4 each), flags to add (1) and to remove (1), unused (2) ...
    keyword update     add or remove (1), unused (1), name size (2), name, first and last UID (4 each) ...
    keyword reset      first and last UID (4 each) ...
    header update      offset (2), size (2), octets; the index's header is meant

What a reader of others' mail has seen stands in a private index of his own, ``dovecot.index.pvt`` and its logs, in
which there are only flags, by the UIDs and the UIDVALIDITY of the folder (INDEXPVT, mail_index_private_path).

What is not understood ends the reading, and what was read until then counts: a keyword less is the worst that can come
of it.  The files are their user's to write, and a few octets of them can mean any number of messages: so only those
that the folder has count, and a reading that takes too many steps ends.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

INDEX: Final = b"dovecot.index"
LOG: Final = b"dovecot.index.log"
LOG_BEFORE: Final = b"dovecot.index.log.2"
PRIVATE: Final = b"dovecot.index.pvt"
PRIVATE_LOGS: Final = (b"dovecot.index.pvt.log", b"dovecot.index.pvt.log.2")

_KIND: Final = 0x0FFFFFFF
_APPEND: Final = 0x2
_FLAG_UPDATE: Final = 0x4
_HEADER_UPDATE: Final = 0x20
_KEYWORD_UPDATE: Final = 0x400
_KEYWORD_RESET: Final = 0x800
_INDEX_HEADER: Final = struct.Struct("<BBHII12xIII12xI8xIII")
_RECORD: Final = struct.Struct("<IB")
_APPENDED: Final = 8
_FLAGS: Final = struct.Struct("<IIBB2x")
_SEEN: Final = 0x08
_EXTENSION: Final = struct.Struct("<IIHHHH")
_LOG_HEADER: Final = struct.Struct("<BBHIII")
# In the index's header.
_UIDVALIDITY_AT: Final = 24
_FIRST_RECENT_AT: Final = 48
# More keywords, and longer ones, than Dovecot or anybody has: damage.
_NAMES: Final = 1 << 16
_NAME: Final = 1024
# Steps that all files of a folder may take: a keyword given or taken, a bit looked at.
STEPS: Final = 20_000_000


class _Ends(Exception):
    """The reading ends here."""


@dataclass(slots=True)
class Remembered:
    """The keywords of each UID, the lowest UID that is \\Recent (0: not said), and their UIDVALIDITY (0: not said).

    *private*: which are \\Seen is noted, too, which elsewhere the names of files say.
    *uids*: those that the folder has, rising; of others nothing is noted.
    """

    uids: Sequence[int]
    private: bool = False
    uidvalidity: int = 0
    first_recent: int = 0
    words: dict[int, set[bytes]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    log: int = 0  # number of the log file that follows, 0 for the first there is
    position: int = 0  # and where in it
    left: int = field(default_factory=lambda: STEPS)

    def spend(self, steps: int) -> None:
        """Note that so many are taken; raises _Ends when there are none left."""
        self.left -= steps
        if self.left < 0:
            raise _Ends


def read(index: bytes | None, logs: list[bytes], uids: Sequence[int], *, private: bool = False) -> Remembered:
    """Put together what the files say of the messages *uids* (rising); *logs* in any order."""
    known = Remembered(uids, private)
    if index is not None:
        known = parse_index(index, uids, private=private) or known
    numbered = {}
    for data in logs:
        if len(data) >= _LOG_HEADER.size and data[0] == 1:
            numbered[_LOG_HEADER.unpack_from(data)[4]] = data
    number = known.log or min(numbered, default=0)
    position = known.position
    while number in numbered:
        replay_log(numbered[number], position, known)
        number, position = number + 1, 0
    return known


def parse_index(data: bytes, uids: Sequence[int], *, private: bool = False) -> Remembered | None:
    """Read ``dovecot.index``; None if it is another version's, or damaged."""
    try:
        (major, _, base_size, header_size, record_size, uidvalidity, _, count, first_recent, log, _, position) = (
            _INDEX_HEADER.unpack_from(data)
        )
        if major != 7 or record_size < 5 or header_size + count * record_size > len(data):
            return None
        known = Remembered(uids, private, uidvalidity, first_recent, log=log, position=position)
        if private:
            for n in range(count):
                _note_flags(known, *_RECORD.unpack_from(data, header_size + n * record_size))
        at = _aligned(base_size)
        while at + _EXTENSION.size <= header_size:
            size, _, record_offset, record_bytes, _, name_size = _EXTENSION.unpack_from(data, at)
            name = data[at + _EXTENSION.size : at + _EXTENSION.size + name_size]
            at = _aligned(at + _EXTENSION.size + name_size)
            if name == b"keywords":
                names = _keyword_names(data[at : at + size])
                _read_records(data[header_size:], count, record_size, record_offset, record_bytes, names, known)
                break
            at = _aligned(at + size)
        return known
    except (struct.error, _Ends):
        return None


def _keyword_names(header: bytes) -> list[bytes]:
    (count,) = struct.unpack_from("<I", header)
    if count > _NAMES:
        return []
    offsets = struct.unpack_from(f"<{2 * count}I", header, 4)[1::2]
    text = header[4 + 8 * count :]
    ends = [text.find(b"\0", offset, offset + _NAME) for offset in offsets]
    return [text[offset:end] if end >= 0 else b"" for offset, end in zip(offsets, ends, strict=True)]


def _read_records(
    data: bytes, count: int, record_size: int, offset: int, octets: int, names: list[bytes], known: Remembered
) -> None:
    there = set(known.uids)
    for n in range(count):
        record = data[n * record_size : (n + 1) * record_size]
        bits = int.from_bytes(record[offset : offset + octets], "little")
        (uid,) = struct.unpack_from("<I", record)
        if bits and uid in there:
            known.spend(len(names))
            known.words[uid] = {name for number, name in enumerate(names) if name and bits >> number & 1}


def replay_log(data: bytes, position: int, known: Remembered) -> None:
    """Apply what a log says from *position* on, 0 for its beginning."""
    at = max(position, _LOG_HEADER.unpack_from(data)[2])
    while at + 8 <= len(data):
        size = _size(data[at : at + 4])
        if size < 8 or at + size > len(data):
            return  # not written to its end
        # Whole, less where it came from: an expunge carries bits of all kinds to be told from damage.
        kind = struct.unpack_from("<I", data, at + 4)[0] & _KIND
        body = data[at + 8 : at + size]
        try:
            if known.private and kind in (_APPEND, _FLAG_UPDATE):
                _change_flags(kind, body, known)
            elif kind == _KEYWORD_UPDATE:
                _update(body, known)
            elif kind == _KEYWORD_RESET:
                for uid in _uids(body, known):
                    known.words.pop(uid, None)
            elif kind == _HEADER_UPDATE:
                _note_header(body, known)
        except (struct.error, _Ends):
            return
        at += size


def _change_flags(kind: int, body: bytes, known: Remembered) -> None:
    if kind == _APPEND:
        for at in range(0, len(body) - _APPENDED + 1, _APPENDED):
            _note_flags(known, *_RECORD.unpack_from(body, at))
        return
    for at in range(0, len(body) - _FLAGS.size + 1, _FLAGS.size):
        _, _, add, remove = _FLAGS.unpack_from(body, at)
        uids = _uids(body[at : at + 8], known)
        if add & _SEEN:
            known.seen.update(uids)
        elif remove & _SEEN:
            known.seen.difference_update(uids)


def _note_flags(known: Remembered, uid: int, flags: int) -> None:
    known.spend(1)
    at = bisect_left(known.uids, uid)
    if flags & _SEEN and at < len(known.uids) and known.uids[at] == uid:
        known.seen.add(uid)


def _update(body: bytes, known: Remembered) -> None:
    remove, _, name_size = struct.unpack_from("<BBH", body)
    name = body[4 : 4 + name_size]
    if remove > 1 or not name:
        raise struct.error("no keyword update")
    for uid in _uids(body[_aligned(4 + name_size, 4) :], known):
        if remove:
            known.words.get(uid, set()).discard(name)
        else:
            known.words.setdefault(uid, set()).add(name)


def _uids(body: bytes, known: Remembered) -> list[int]:
    """Those of the folder's UIDs that some ranges name: for 1:* is a range, too."""
    found: list[int] = []
    for at in range(0, len(body) - 7, 8):
        first, last = struct.unpack_from("<II", body, at)
        low, high = bisect_left(known.uids, first), bisect_right(known.uids, last)
        known.spend(1 + max(0, high - low))
        found += known.uids[low:high]
    return found


def _note_header(body: bytes, known: Remembered) -> None:
    at = 0
    while at + 4 <= len(body):
        offset, size = struct.unpack_from("<HH", body, at)
        value = body[at + 4 : at + 4 + size]
        if offset <= _UIDVALIDITY_AT and offset + size >= _UIDVALIDITY_AT + 4:
            (known.uidvalidity,) = struct.unpack_from("<I", value, _UIDVALIDITY_AT - offset)
        if offset <= _FIRST_RECENT_AT and offset + size >= _FIRST_RECENT_AT + 4:
            (known.first_recent,) = struct.unpack_from("<I", value, _FIRST_RECENT_AT - offset)
        at = _aligned(at + 4 + size, 4)


def _size(octets: bytes) -> int:
    """A size in the log: the top bit of each octet says that it is written; in units of four."""
    if any(octet < 0x80 for octet in octets):
        return 0
    value = 0
    for octet in octets:
        value = value << 7 | octet & 0x7F
    return value << 2


def _aligned(at: int, to: int = 8) -> int:
    return (at + to - 1) // to * to
