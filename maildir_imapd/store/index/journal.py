"""The journal: what happened to a folder, one batch after another, as text.

    j 1 7 6 48112              format 1, generation 7, follows generation 6 at byte 48112
    v 1732320000               UIDVALIDITY
    b 3e1c...@91aa...          a start of a machine that gives out UIDs here, see boot.py; once for each start
    k 9 $Forwarded             keyword 9 has this name
    u 5000                     no UID above 5000 has been given out; synced before 4001 is
    n 5001                     UIDNEXT is at least this
    a 4711 RS* 1732320000 1732320005 8123/9 1732320000.M1P2.host,S=8000
                               added: UID, flags, received, saved, size with CRLF (-: not known), fingerprint, base
    f 17:19,30 +S -T           flag letters added and removed for a UID set (* recent, ! in new/, 0-9 keywords 26-35)
    y 17 +36,37 -40            keywords that have no bit, by number
    e 12:14                    expunged by a client
    x 15 1732320000            gone by a foreign hand, noticed then; the base keeps its UID should it come back
    m 16 1732320000.M1P2.host,U=3
                               another program renamed the base
    z 20 8123                  size with CRLF, once counted
    z 20 -/9                   another program has written to the file: size (-: not known), fingerprint
    r 4712                     \\Recent claimed below this UID
    s 1 2 3 4 1                mtime and ctime (ns) of cur/, then of new/, that this batch has seen; 0: look again
    c 90210 4712 5f3a77c1      commit: mod-sequence, UIDNEXT, CRC-32 of the batch's bytes before it

A batch is one write at the known end, under the folder's lock. Nothing before its ``c`` line counts, so a
writer that dies leaves bytes and not a batch. A reader needs no lock: a batch that does not verify is
"not yet". Only a lock holder may cut off what follows the last commit, because without the lock its
writer may be alive. A batch that no client can see (``b u n z r s``) keeps the mod-sequence as it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from maildir_imapd.store.maildir.filename import INTERNAL_BITS, LETTERS, SIZE_UNKNOWN

__all__ = ["NEVER", "SIZE_UNKNOWN", "Added", "Batch", "Ranges", "Stamp"]

Ranges = list[tuple[int, int]]

_FLAG_LETTERS: Final = LETTERS + b"*!0123456789"
_BIT: Final = {letter: 1 << n for n, letter in enumerate(_FLAG_LETTERS)}


class Added(NamedTuple):
    """A message as it enters the folder; *fingerprint* see scan.py, 0 if it has none."""

    uid: int
    flags: int
    received: int
    saved: int
    size: int
    base: bytes
    fingerprint: int = 0


class Stamp(NamedTuple):
    """The times of the two directories at a look, in nanoseconds; *settled*: old enough to be trusted."""

    cur_mtime: int
    cur_ctime: int
    new_mtime: int
    new_ctime: int
    settled: bool


NEVER: Final = Stamp(0, 0, 0, 0, False)


@dataclass(slots=True)
class Batch:
    """The changes of one commit. Built up under the folder's lock, never changed once committed."""

    modseq: int = 0
    uidnext: int = 0
    header: tuple[int, int, int] | None = None  # generation, followed generation, position there
    uidvalidity: int | None = None
    boot: bytes | None = None
    keywords: dict[int, bytes] = field(default_factory=dict)
    reserve: int | None = None
    raised: int | None = None
    added: list[Added] = field(default_factory=list)
    flagged: list[tuple[Ranges, int, int]] = field(default_factory=list)
    worded: list[tuple[Ranges, frozenset[int], frozenset[int]]] = field(default_factory=list)
    expunged: Ranges = field(default_factory=list)
    vanished: Ranges = field(default_factory=list)
    vanished_at: int = 0
    renamed: list[tuple[int, bytes]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    rewritten: list[tuple[int, int, int]] = field(default_factory=list)  # UID, size, fingerprint
    claimed: int = 0
    stamp: Stamp | None = None

    def visible(self) -> bool:
        """Say whether a client can tell: only then does the batch get a mod-sequence of its own."""
        return bool(
            self.added
            or self.worded
            or self.expunged
            or self.vanished
            or any((add | remove) & ~INTERNAL_BITS for _, add, remove in self.flagged)
        )

    def touches(self) -> bool:
        """Say whether the mailbox is another one afterwards, be it only in what we know of it."""
        return bool(
            self.added
            or self.flagged
            or self.worded
            or self.expunged
            or self.vanished
            or self.renamed
            or self.sizes
            or self.rewritten
            or self.claimed
            or self.keywords
            or self.raised
            or self.uidvalidity
        )


def to_ranges(uids: Iterable[int]) -> Ranges:
    """Pack rising numbers."""
    found: Ranges = []
    first = last = -1
    for uid in uids:
        if uid == last + 1 and first >= 0:
            last = uid
            continue
        if first >= 0:
            found.append((first, last))
        first = last = uid
    if first >= 0:
        found.append((first, last))
    return found


def render_ranges(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Write ``17:19,30``."""
    return b",".join([b"%d" % lo if lo == hi else b"%d:%d" % (lo, hi) for lo, hi in ranges])


def parse_ranges(text: bytes) -> Ranges:
    """Read ``17:19,30``; ValueError otherwise."""
    found: Ranges = []
    for piece in text.split(b","):
        lo, colon, hi = piece.partition(b":")
        found.append((int(lo), int(hi) if colon else int(lo)))
    return found


@lru_cache(maxsize=8192)
def render_flags(bits: int) -> bytes:
    """Write flag bits as letters, ``-`` for none."""
    found = bytearray()
    while bits:
        low = bits & -bits
        found.append(_FLAG_LETTERS[low.bit_length() - 1])
        bits ^= low
    return bytes(found) or b"-"


def parse_flags(text: bytes) -> int:
    """Read what render_flags wrote; KeyError otherwise."""
    bits = 0
    if text != b"-":
        for letter in text:
            bits |= _BIT[letter]
    return bits


def _render_lines(batch: Batch) -> list[bytes]:
    lines: list[bytes] = []
    if batch.header is not None:
        lines.append(b"j 1 %d %d %d\n" % batch.header)
    if batch.uidvalidity is not None:
        lines.append(b"v %d\n" % batch.uidvalidity)
    if batch.boot is not None:
        lines.append(b"b %b\n" % batch.boot)
    for index, name in batch.keywords.items():
        lines.append(b"k %d %b\n" % (index, name))
    if batch.reserve is not None:
        lines.append(b"u %d\n" % batch.reserve)
    if batch.raised is not None:
        lines.append(b"n %d\n" % batch.raised)
    for uid, flags, received, saved, size, base, fingerprint in batch.added:
        known = b"-" if size == SIZE_UNKNOWN else b"%d" % size
        if fingerprint:
            known += b"/%d" % fingerprint
        lines.append(b"a %d %b %d %d %b %b\n" % (uid, render_flags(flags), received, saved, known, base))
    for ranges, add, remove in batch.flagged:
        signs = b" +" + render_flags(add) if add else b""
        if remove:
            signs += b" -" + render_flags(remove)
        lines.append(b"f %b%b\n" % (render_ranges(ranges), signs))
    for ranges, more, less in batch.worded:
        signs = b" +" + b",".join([b"%d" % n for n in sorted(more)]) if more else b""
        if less:
            signs += b" -" + b",".join([b"%d" % n for n in sorted(less)])
        lines.append(b"y %b%b\n" % (render_ranges(ranges), signs))
    if batch.expunged:
        lines.append(b"e %b\n" % render_ranges(batch.expunged))
    if batch.vanished:
        lines.append(b"x %b %d\n" % (render_ranges(batch.vanished), batch.vanished_at))
    for uid, base in batch.renamed:
        lines.append(b"m %d %b\n" % (uid, base))
    for uid, size in batch.sizes:
        lines.append(b"z %d %d\n" % (uid, size))
    for uid, size, fingerprint in batch.rewritten:
        lines.append(b"z %d %b/%d\n" % (uid, b"-" if size == SIZE_UNKNOWN else b"%d" % size, fingerprint))
    if batch.claimed:
        lines.append(b"r %d\n" % batch.claimed)
    if batch.stamp is not None:
        lines.append(b"s %d %d %d %d %d\n" % batch.stamp)
    return lines


def render(batch: Batch) -> bytes:
    """Write a batch, commit line and all."""
    lines = _render_lines(batch)
    lines.append(b"c %d %d " % (batch.modseq, batch.uidnext))
    body = b"".join(lines)
    return b"%b%08x\n" % (body, zlib.crc32(body))


def _parse_line(batch: Batch, line: bytes) -> None:
    kind, rest = line[:2], line[2:]
    if kind == b"f " or kind == b"y ":
        words = rest.split(b" ")
        ranges = parse_ranges(words[0])
        plus = next((word[1:] for word in words[1:] if word.startswith(b"+")), b"")
        minus = next((word[1:] for word in words[1:] if word.startswith(b"-")), b"")
        if kind == b"f ":
            batch.flagged.append((ranges, parse_flags(plus or b"-"), parse_flags(minus or b"-")))
        else:
            more = frozenset(int(n) for n in plus.split(b",")) if plus else frozenset()
            less = frozenset(int(n) for n in minus.split(b",")) if minus else frozenset()
            batch.worded.append((ranges, more, less))
    elif kind == b"a ":
        uid, flags, received, saved, size, base = rest.split(b" ", 5)
        size, _, fingerprint = size.partition(b"/")
        known = SIZE_UNKNOWN if size == b"-" else int(size)
        batch.added.append(
            Added(int(uid), parse_flags(flags), int(received), int(saved), known, base, int(fingerprint or b"0"))
        )
    elif kind == b"e ":
        batch.expunged += parse_ranges(rest)
    elif kind == b"x ":
        gone, when = rest.split(b" ")
        batch.vanished += parse_ranges(gone)
        batch.vanished_at = int(when)
    elif kind == b"s ":
        cur_mtime, cur_ctime, new_mtime, new_ctime, settled = map(int, rest.split(b" "))
        batch.stamp = Stamp(cur_mtime, cur_ctime, new_mtime, new_ctime, bool(settled))
    elif kind == b"z ":
        uid, size = rest.split(b" ")
        size, slash, fingerprint = size.partition(b"/")
        if slash:
            known = SIZE_UNKNOWN if size == b"-" else int(size)
            batch.rewritten.append((int(uid), known, int(fingerprint)))
        else:
            batch.sizes.append((int(uid), int(size)))
    elif kind == b"r ":
        batch.claimed = int(rest)
    elif kind == b"k ":
        index, name = rest.split(b" ", 1)
        batch.keywords[int(index)] = name
    elif kind == b"m ":
        uid, base = rest.split(b" ", 1)
        batch.renamed.append((int(uid), base))
    elif kind == b"u ":
        batch.reserve = int(rest)
    elif kind == b"n ":
        batch.raised = int(rest)
    elif kind == b"b ":
        batch.boot = rest
    elif kind == b"v ":
        batch.uidvalidity = int(rest)
    elif kind == b"j ":
        version, generation, followed, position = map(int, rest.split(b" "))
        if version != 1:
            raise ValueError("journal of another format")
        batch.header = (generation, followed, position)
    else:
        raise ValueError("unknown record")


def parse_batch(data: bytes) -> Batch | None:
    """Read one batch, from its first byte to the LF of its commit line; None if it does not verify."""
    at = data.rfind(b"\n", 0, len(data) - 1) + 1
    words = data[at:-1].split(b" ")
    if len(words) != 4 or words[0] != b"c":
        return None
    batch = Batch()
    try:
        if zlib.crc32(data[: len(data) - 1 - len(words[3])]) != int(words[3], 16):
            return None
        batch.modseq, batch.uidnext = int(words[1]), int(words[2])
        for line in data[:at].split(b"\n"):
            if line:
                _parse_line(batch, line)
    except (ValueError, KeyError, IndexError):
        # The sum is right, so it was written like this: by another version, or by hand.
        return None
    return batch


def replay(data: bytes, start: int = 0) -> Iterator[tuple[Batch, int]]:
    """Yield every batch that verifies, with the position behind it; stop at the first that does not."""
    while True:
        at = start if data.startswith(b"c ", start) else data.find(b"\nc ", start) + 1
        if at == 0 and not data.startswith(b"c ", start):
            return
        end = data.find(b"\n", at) + 1
        if end == 0:
            return
        batch = parse_batch(data[start:end])
        if batch is None:
            return
        yield batch, end
        start = end


def of_another_version(data: bytes, start: int = 0) -> bool:
    """Say whether what stands at *start* is a whole batch that is not ours to understand: then it is no damage."""
    at = start if data.startswith(b"c ", start) else data.find(b"\nc ", start) + 1
    end = data.find(b"\n", at) + 1
    if not end or not data.startswith(b"c ", at):
        return False
    words = data[at : end - 1].split(b" ")
    try:
        whole = len(words) == 4 and zlib.crc32(data[start : end - 1 - len(words[3])]) == int(words[3], 16)
    except ValueError:
        return False
    return whole and parse_batch(data[start:end]) is None


def salvage(data: bytes, start: int) -> list[Batch]:
    """Find what verifies behind a place that does not: damage, unless there is nothing."""
    found = []
    while (at := data.find(b"\nc ", start)) >= 0:
        end = data.find(b"\n", at + 1) + 1
        if end == 0:
            break
        more = list(replay(data, end))
        if more:
            found += [batch for batch, _ in more]
            end = more[-1][1]
        start = end - 1
    return found
