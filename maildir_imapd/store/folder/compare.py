"""Changes in cur/ and new/ since we looked.

The problems, and why the simple way fails:

a) A rename during readdir. A directory is read in pieces; a file that another program renames meanwhile
   may show under its old name, its new name, both, or neither. Believing "neither" expunges a message that
   is there and gives it a new UID a moment later. So a name that one listing lacks is only a suspect. It is
   gone when two whole listings lack it, with the directory's mtime and ctime the same before, between and
   after, and older than the clock's grain before we began: then nothing was renamed while we read.
b) The clock's grain. A change within the same tick as one that we have seen leaves the stamp as it was.
   So a stamp younger than two seconds is not settled, and the directory is listed again once it is (scan.py).
c) Our own renames change the stamp too, and a foreign one between our last look and the stamp we take
   afterwards would hide behind ours. So a stamp taken after our own change is never settled.
d) The name behind the base belongs to everybody (flags, tails), the base sometimes too: mbsync appends
   ``,U=7`` to it, offlineimap makes a new one. A rename keeps the inode and the nanoseconds of the time: the
   fingerprint (scan.py). A file of an unknown base that has a missing message's, with its time and size, is that
   message. The inode alone says nothing, for the next file that is made often has it, and nor does a time of whole
   seconds, which somebody has set: then the file must be older than what we know of the message. Without a
   fingerprint, or with another one (a copy), it is one whose base is the message's but for what mbsync adds, or
   whose part before the first comma is, if time and size agree.
e) The same base twice, from a copy by hand: two messages. The second gets a new name. "Both" in (a) looks
   the same, so this is believed under the same conditions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from maildir_imapd.store.index.chunks import find
from maildir_imapd.store.index.journal import Added, Stamp
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import filename, scan
from maildir_imapd.store.maildir.filename import IN_NEW, INFO_BITS


@dataclass(slots=True)
class Difference:
    """How a listing of cur/ differs from a snapshot."""

    # (UID, name): a known message under another name than expected
    moved: list[tuple[int, bytes]] = field(default_factory=list)
    fresh: list[bytes] = field(default_factory=list)  # names of bases we do not know
    doubtful: list[bytes] = field(default_factory=list)  # the same, but perhaps only a renamed base listed twice
    twice: list[tuple[int, bytes]] = field(default_factory=list)  # a second name for a message that has its own
    missing: list[int] = field(default_factory=list)  # UIDs that this listing lacks


def stamp(seen: tuple[int, int, int, int], now: int, *, ours: bool = False, shared: bool = False) -> Stamp:
    """Make the record of a look at *now*; *ours*: we changed something after we listed; *shared*: as of ``settled``."""
    cur, new = scan.settled(seen[0], seen[1], now, shared=shared), scan.settled(seen[2], seen[3], now, shared=shared)
    old = not ours and cur and new
    return Stamp(*seen, old)


def expected(rows: Snapshot, odd: dict[bytes, bytes], mark: bytes) -> Sequence[bytes | None]:
    """Return the name in cur/ that each message should have, None for one that lies in new/."""
    infos = {bits: filename.info(bits, mark) for bits in set(rows.flags)}
    if not odd and not any(bits & IN_NEW for bits in infos):
        return [base + infos[bits] for base, bits in zip(rows.names, rows.flags, strict=True)]
    found: list[bytes | None] = []
    for base, bits in zip(rows.names, rows.flags, strict=True):
        if bits & IN_NEW:
            found.append(None)
        elif base in odd:
            path = odd[base]
            found.append(path[4:] if path.startswith(b"cur/") else None)
        else:
            found.append(base + infos[bits])
    return found


def compare(
    rows: Snapshot, cur: Iterable[bytes], new: Iterable[bytes], odd: dict[bytes, bytes], mark: bytes
) -> Difference:
    """Compare a listing of cur/ with what we know. *odd*: bases whose file is named out of the ordinary.

    *mark*: what ordinary names have before the flags; *new*: a listing of new/, which matters only for messages that
    are known to lie there.
    """
    here = set(cur)
    wanted = expected(rows, odd, mark)
    every = set(wanted)
    if every == here and len(every) == len(wanted):
        return Difference()
    unseen = every - here
    lacking = [at for at, name in enumerate(wanted) if name in unseen and name is not None]
    if rows.in_new:
        there = set(new)
        lacking += [
            at
            for at, base in enumerate(rows.names)
            if wanted[at] is None and odd.get(base, b"new/" + base)[4:] not in there
        ]
    surplus = here - every
    found = Difference()
    if not lacking and not surplus:
        return found
    unplaced = {rows.names[at]: at for at in lacking}
    unknown: list[tuple[bytes, bytes]] = []
    for name in surplus:
        base = filename.parse(name).base
        at = unplaced.pop(base, -1)
        if at >= 0:
            found.moved.append((rows.uids[at], name))
        else:
            unknown.append((base, name))
    if unknown:
        _place(rows, unknown, unplaced, found)
    found.missing = sorted(rows.uids[at] for at in unplaced.values())
    return found


def _by(key: Callable[[bytes], bytes], bases: Iterable[bytes]) -> dict[bytes, bytes | None]:
    """Return *bases* by their key; two with one key are None: no telling which."""
    found: dict[bytes, bytes | None] = {}
    for base in bases:
        at = key(base)
        found[at] = None if at in found else base
    return found


def _place(rows: Snapshot, unknown: list[tuple[bytes, bytes]], unplaced: dict[bytes, int], found: Difference) -> None:
    """Sort out names that are no missing message's: renamed bases, second names, new messages."""
    known = positions(rows, [base for base, _ in unknown])
    taken = {filename.stem(base) for base in rows.names}
    exact = _by(filename.unmarked, unplaced)
    stems = _by(filename.stem, unplaced)
    for base, name in sorted(unknown, key=lambda pair: filename.arrival(pair[1])):
        at = known.get(base, -1)
        partner = exact.get(filename.unmarked(base)) or stems.get(filename.stem(base))
        if partner not in unplaced:
            partner = None
        if at >= 0:
            found.twice.append((rows.uids[at], name))
        elif partner is not None and base:
            found.moved.append((rows.uids[unplaced.pop(partner)], name))
        elif filename.stem(base) in taken:
            found.doubtful.append(name)
        else:
            found.fresh.append(name)


def positions(rows: Snapshot, bases: list[bytes]) -> dict[bytes, int]:
    """Return where those of *bases* stand that are known."""
    if len(bases) <= 3:
        found = {}
        for base in bases:
            at = find(rows.names, base)
            if at >= 0:
                found[base] = at
        return found
    wanted = set(bases)
    return {base: at for at, base in enumerate(rows.names) if base in wanted}


def describe(uid: int, base: bytes, status: os.stat_result, flags: int, *, saved: int | None = None) -> Added:
    """Make the row of a message that we see for the first time; *saved*: when it came here, if that is known."""
    size = filename.known_size(base, status.st_size)
    received = int(status[stat.ST_MTIME])
    saved = int(status[stat.ST_CTIME]) if saved is None else saved
    return Added(uid, flags, received, saved, size, base, scan.fingerprint(status))


def moved_bits(old: int, name: bytes) -> int:
    """Return the flags of a known message whose file now has this name in cur/."""
    parsed = filename.parse(name)
    if filename.cramped(parsed.base):
        return old & ~IN_NEW
    return old & ~(INFO_BITS | IN_NEW) | parsed.bits
