"""The first look at a folder: an index for what lies there, with the UIDs another server gave if one has been here."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.folder.reconcile import Reconciler
from maildir_imapd.store.index.constants import LAST_UID
from maildir_imapd.store.index.snapshot import Snapshot, empty
from maildir_imapd.store.maildir import filename, keywords
from maildir_imapd.store.maildir.filename import RECENT
from maildir_imapd.store.neighbours.seed import Seed

log = Log(__name__)

# The files of so many are looked at at once: that takes less than it takes to put it off.
FEW_MESSAGES: Final = 64


def begin(seed: Seed | None, letters: dict[int, bytes], another: Callable[[], int]) -> Snapshot:
    """Return a mailbox without messages, with the numbers and keywords that are known.

    *letters*: what the file of keywords in the folder says; *another*: gives a UIDVALIDITY where nobody gave one.
    """
    nothing = empty(seed.uidvalidity if seed else another())
    # Of files nothing is known yet.
    rows = Snapshot(
        {"uids": nothing.uids, "flags": nothing.flags, "modseqs": nothing.modseqs},
        [],
        uidvalidity=nothing.uidvalidity,
        uidnext=nothing.uidnext,
        modseq=nothing.modseq,
    )
    if seed is not None:
        rows.modseq = max(seed.modseq, 1)
        rows.uidnext = max([seed.uidnext, *[uid + 1 for uid in seed.uids.values()]])
    names = keywords.merge((), {**(seed.keywords if seed else {}), **letters})
    rows.keywords = tuple(names.get(number, b"") for number in range(max(names, default=-1) + 1))
    return rows


def fill(rows: Snapshot, work: Reconciler, seed: Seed | None, another: Callable[[], int]) -> None:
    """Put every message there is into *rows*, which ``begin`` has made; it is immutable from then on.

    *another*: gives a UIDVALIDITY above that of *rows*, for when the seed leaves fewer UIDs than there are messages.
    """
    names, flags = _read(work)
    count = len(names)
    rows.names, rows.flags = names, array("Q", flags)
    rows.modseqs.extend(array("Q", [rows.modseq]) * count)
    uids = _give(rows, seed.uids if seed is not None else {})
    first_recent = seed.first_recent if seed is not None else 0
    if first_recent:
        for at in range(bisect_left(uids, first_recent), count):
            rows.flags[at] |= RECENT
    if count and uids[-1] > LAST_UID:
        uids = list(range(1, count + 1))
        rows.uidvalidity, rows.uidnext = another(), 1
        log.warning("UIDs used up, numbered anew", path=work.files.path, messages=count, uidvalidity=rows.uidvalidity)
    rows.uids.extend(uids)
    rows.uidnext = max(rows.uidnext, uids[-1] + 1 if count else 1)


def _read(work: Reconciler) -> tuple[list[bytes], list[int]]:
    """Return bases and flags of all messages, in the order of arrival.

    What a first SELECT of a huge folder spends its time in: by the names alone, and no object per message.
    """
    files, here = work.files, work.here
    longest = filename.LONGEST_BASE
    fresh, fresh_odd = files.listing(b"new")
    names, odd = files.listing(b"cur")
    if not fresh and not odd and files.mark == filename.COLON and (found := _read_plain(names)) is not None:
        return found
    among_new = set(fresh)
    odd.update(fresh_odd)
    bases: list[bytes] = []
    flags: list[int] = []
    plain: dict[bytes, int] = {}  # info part -> flags, for those in canonical form
    for name in filename.in_arrival_order([*names, *fresh]):
        base, colon, rest = name.partition(b":")
        if not colon:
            base = filename.parse(name).base
            rest = name[len(base) :]
        if not base or base in here:
            if not work.read_only:
                files.suspect()  # the next scan gives it a name of its own
            continue
        if name in odd:
            path = (b"new/" if name in among_new else b"cur/") + name
            if files.inspect(path) is None:
                files.pass_over(path)
                continue
        bits = plain.get(rest)
        if bits is None or name in among_new or len(base) > longest:
            parsed = filename.parse(name)
            bits = parsed.bits
            if name in among_new:
                moved = work.into_cur(parsed, b"new/" + name)
                if moved is None:
                    continue
                base, bits = moved[0].base, bits | RECENT | moved[1]
            elif parsed.canonical and parsed.mark == files.mark and not filename.cramped(base):
                plain[rest] = bits
            else:
                work.canonical(parsed, b"cur/" + name)
        here.add(base)
        bases.append(base)
        flags.append(bits)
    return bases, flags


def _read_plain(names: list[bytes]) -> tuple[list[bytes], list[int]] | None:
    """As ``_read``, column by column, if there is nothing out of the ordinary; None otherwise."""
    parts = [name.partition(b":") for name in filename.in_arrival_order(names)]
    bases = [part[0] for part in parts]
    different = set(bases)
    if len(different) < len(bases) or b"" in different or (bases and len(max(bases, key=len)) > filename.LONGEST_BASE):
        return None
    bits: dict[bytes, int] = {}
    for rest in {part[2] for part in parts}:
        parsed = filename.parse(b"base:" + rest)
        if not rest or not parsed.canonical:
            return None
        bits[rest] = parsed.bits
    return bases, [bits[part[2]] for part in parts]


def _give(rows: Snapshot, uids: dict[bytes, int]) -> Sequence[int]:
    """Put the messages in the order of the UIDs that another server gave, the rest behind; return all their UIDs.

    There may be more than there are UIDs.
    """
    if not uids:
        return range(rows.uidnext, rows.uidnext + len(rows.names))
    given = [uids.get(base, 0) for base in rows.names]
    if 0 in given:
        stems = {filename.stem(filename.parse(base).base): uid for base, uid in uids.items()}
        given = [uid or stems.get(filename.stem(base), 0) for uid, base in zip(given, rows.names, strict=True)]
    taken: set[int] = set()
    late: list[int] = []
    order: list[tuple[int, int]] = []
    for at, uid in enumerate(given):
        if uid and uid not in taken:
            taken.add(uid)
            order.append((uid, at))
        else:
            late.append(at)
    order.sort()
    order += [(uid, at) for uid, at in enumerate(late, rows.uidnext)]
    found = [uid for uid, _ in order]
    if [at for _, at in order] == list(range(len(order))):
        return found  # the other server gave them in the order of arrival, too
    rows.flags[:] = array("Q", [rows.flags[at] for _, at in order])
    rows.names[:] = [rows.names[at] for _, at in order]
    return found
