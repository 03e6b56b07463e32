"""A message's file name: its identity (the base), its flags (the info part), its sizes.

    1732320000.M1P2.host,S=8000,W=8123:2,FS
    `------------- base -------------'`inf'

Everything before the first ``:`` is the base and never changes while the message lives; the info part is ours to
rewrite. Where file names cannot have colons (a spool that lay on Windows or on a NAS, mbsync's InfoDelimiter) the
mark before the info part is ``;`` or ``!``: these count only in a name that has no colon, and with nothing but
letters behind ``2,``, for a base may have them, too. All of a message's flags are bits of one integer, one bit per
possible info letter, so that a letter we have no meaning for survives our renames:

    bits 0-25    ``A`` to ``Z``
    bits 26-51   ``a`` to ``z``: keywords 0 to 25 of dovecot-keywords
    bit  52      RECENT: no session has claimed the message's \\Recent yet
    bit  53      IN_NEW: the file still lies in new/
    bits 54-63   keywords 26 to 35, which have no letter and live in the index only
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

COLON: Final = b":"
LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

DRAFT: Final = 1 << 3  # D
FLAGGED: Final = 1 << 5  # F
PASSED: Final = 1 << 15  # P: forwarded, resent or bounced; no IMAP flag
ANSWERED: Final = 1 << 17  # R
SEEN: Final = 1 << 18  # S
DELETED: Final = 1 << 19  # T

RECENT: Final = 1 << 52
IN_NEW: Final = 1 << 53

INFO_BITS: Final = (1 << 52) - 1
SYSTEM_BITS: Final = DRAFT | FLAGGED | ANSWERED | SEEN | DELETED
LETTER_KEYWORDS: Final = ((1 << 26) - 1) << 26
HIGH_KEYWORDS: Final = ((1 << 10) - 1) << 54
KEYWORD_BITS: Final = LETTER_KEYWORDS | HIGH_KEYWORDS
# What an IMAP client can see and set; other letters are carried along.
VISIBLE_BITS: Final = SYSTEM_BITS | KEYWORD_BITS
INTERNAL_BITS: Final = RECENT | IN_NEW

SIZE_UNKNOWN: Final = 2**64 - 1

# A name has 255 octets at the most: a base, three octets of the mark, and 32 letters that are in use.
LONGEST_BASE: Final = 220

LETTERED: Final = 26  # keywords below this index have an info letter
IN_BITS: Final = 36  # keywords below this index have a bit; the rest is sparse (Snapshot.extra)

_BIT_OF_LETTER: Final = {letter: 1 << n for n, letter in enumerate(LETTERS)}
_OTHER_MARK = re.compile(rb"([;!])2,([A-Za-z]*+)\Z").search
_SIZE = re.compile(rb",S=([0-9]{1,15})(?=,|\Z)").search
_WIRE_SIZE = re.compile(rb",W=([0-9]{1,15})(?=,|\Z)").search
_MARKS = re.compile(rb",(?:U=[0-9]+|FMD5=[0-9a-fA-F]+)(?=,|\Z)").sub
_ARRIVAL = re.compile(rb"([0-9]{1,19})(?:\.[^.:]*?M([0-9]{1,19}))?").match
# Of names with a LF between them: none of them begins otherwise.
_TEN_DIGITS = re.compile(rb"(?:[0-9]{10}\.[^\n]*+(?:\n|\Z))*+").fullmatch
_second = itemgetter(slice(10))
_SIZES = re.compile(rb"[^:]*,S=([0-9]{1,15}),W=([0-9]{1,15})(?=[,:]|\Z)").match


class Name(NamedTuple):
    """A file name taken apart."""

    base: bytes
    bits: int
    tail: bytes  # what others keep behind a second comma; survives our renames
    canonical: bool  # the name is what render() makes of base, bits and mark
    mark: bytes = b""  # what stands before the info part; nothing where there is none


def keyword_bit(index: int) -> int:
    """Return the flag bit of keyword number *index*, 0 if it has none."""
    if index < LETTERED:
        return 1 << (26 + index)
    return 1 << (28 + index) if index < IN_BITS else 0


@lru_cache(maxsize=8192)
def info(bits: int, mark: bytes = COLON) -> bytes:
    """Render the info part: letters in ASCII order."""
    letters = bits & INFO_BITS
    found = bytearray(mark + b"2,")
    while letters:
        low = letters & -letters
        found.append(LETTERS[low.bit_length() - 1])
        letters ^= low
    return bytes(found)


def cramped(base: bytes) -> bool:
    """Say whether a base is so long that not every flag fits behind it: then they live in the index only."""
    return len(base) > LONGEST_BASE


def render(base: bytes, bits: int, mark: bytes = COLON) -> bytes:
    """Return the path of a message below its folder, as it is unless somebody has put it otherwise."""
    if bits & IN_NEW:
        return b"new/" + base
    if len(base) > LONGEST_BASE:
        return b"cur/" + base
    return b"cur/" + base + info(bits, mark)


@lru_cache(maxsize=8192)
def _parse_info(text: bytes) -> tuple[int, bytes]:
    mark = text.rfind(b":2,")
    if mark < 0:
        return 0, b""
    letters, comma, tail = text[mark + 3 :].partition(b",")
    bits = 0
    for letter in letters:
        bits |= _BIT_OF_LETTER.get(letter, 0)
    return bits, comma + tail


def parse(name: bytes) -> Name:
    """Take *name* apart; the flags stand after the last ``:2,``, the identity ends at the first ``:``."""
    base, colon, rest = name.partition(b":")
    if not colon:
        if b"2," in name and (found := _OTHER_MARK(name)) is not None:
            mark, letters = found.groups()
            bits, _ = _parse_info(b":2," + letters)
            return Name(name[: found.start()], bits, b"", found[0] == info(bits, mark), mark)
        return Name(base, 0, b"", False)
    bits, tail = _parse_info(colon + rest)
    return Name(base, bits, tail, colon + rest == info(bits), colon)


def mark_of(names: Iterable[bytes]) -> bytes:
    """Return the mark that a folder with these names in cur/ goes by: a colon unless all that say so have another."""
    found = COLON
    for name in names:
        mark = parse(name).mark
        if mark == COLON:
            return COLON
        found = mark or found
    return found


def usable(name: bytes) -> bool:
    """Say whether *name* may be a message: no dot file, nothing that would break a line of the journal."""
    return not (name.startswith(b".") or b"\n" in name or b"\r" in name)


def stem(base: bytes) -> bytes:
    """Return what other programs leave alone in a base: mbsync and offlineimap add ``,U=`` and more."""
    return base.partition(b",")[0]


def unmarked(base: bytes) -> bytes:
    """Return a base without what mbsync and offlineimap write into it, and change: ``,U=`` and ``,FMD5=``."""
    return _MARKS(b"", base)


def disk_size(base: bytes) -> int | None:
    """Return the size on disk that the name claims."""
    found = _SIZE(base)
    return int(found[1]) if found else None


def wire_size(base: bytes) -> int | None:
    """Return the size with CRLF line ends that the name claims."""
    found = _WIRE_SIZE(base)
    return int(found[1]) if found else None


def known_size(base: bytes, on_disk: float) -> int:
    """Return the size with CRLF line ends if the name can be believed, because its size on disk is the true one.

    Then one program wrote both, and knew. SIZE_UNKNOWN otherwise.
    """
    # The usual case, in a third of the time of the expressions: the true size, and the other one behind it at the end.
    _, claim, last = base.partition(b",S=%d,W=" % on_disk)
    if claim and last.isdigit() and len(last) <= 15:
        wire: int | None = int(last)
    else:
        found = _SIZES(base)
        said, wire = (int(found[1]), int(found[2])) if found is not None else (disk_size(base), wire_size(base))
        if said != on_disk:
            return SIZE_UNKNOWN
    # At most each octet is a line end and becomes two.
    return wire if wire is not None and on_disk <= wire <= 2 * on_disk else SIZE_UNKNOWN


def arrival(name: bytes) -> tuple[int, int, bytes]:
    """Order names, or bases, as Dovecot gives UIDs: seconds, then microseconds, then the name."""
    found = _ARRIVAL(name)
    if found is None:
        return (0, 0, name)
    seconds, micros = found.groups()
    return (int(seconds), int(micros) if micros else 0, name)


def in_arrival_order(names: Iterable[bytes]) -> list[bytes]:
    """Sort names, or bases, by ``arrival``.

    Seconds of ten digits sort as they are written, so only names of the same second have to be taken apart: a quarter
    of the time for a large folder, where a key for each name costs half as much as a stat of each file.
    """
    ordered = sorted(names)
    if _TEN_DIGITS(b"\n".join(ordered)) is None:
        ordered.sort(key=arrival)
        return ordered
    if len(set(map(_second, ordered))) == len(ordered):
        return ordered
    found: list[bytes] = []
    for _, group in groupby(ordered, _second):
        same = list(group)
        found += sorted(same, key=arrival) if len(same) > 1 else same
    return found


_naming = locks.make(Rank.GUARD)  # guards _last
_last = 0


def host() -> bytes:
    """Return this machine's name in a spelling that no file name trips over."""
    return re.sub(rb"[^A-Za-z0-9.\-]", b"_", os.fsencode(socket.gethostname())).lstrip(b".") or b"localhost"


_HOST: Final = host()
_pid = os.getpid()  # asked for once a process: of a message that comes in, each call of the system is felt


def _forked() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_forked)


def unique() -> bytes:
    """Make a name that nobody has used: ``<sec>.M<usec>P<pid>.<host>``, rising within a process."""
    global _last
    with _naming:
        # Two names in one microsecond, or a clock that was set back: go on from the last one.
        _last = max(time.time_ns() // 1000, _last + 1)
        seconds, micros = divmod(_last, 1_000_000)
    return b"%d.M%dP%d.%b" % (seconds, micros, _pid, _HOST)


def sized(base: bytes, size: int | None, wire: int | None) -> bytes:
    """Add ``,S=`` and ``,W=`` to a fresh base, as far as they are known."""
    if size is not None:
        base += b",S=%d" % size
    if wire is not None:
        base += b",W=%d" % wire
    return base
