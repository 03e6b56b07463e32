"""The first look at a folder: an index for what lies there, with the UIDs another server gave if one has been here."""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.folder.reconcile import Reconciler
from maildir_imapd.store.index.constants import LAST_UID
from maildir_imapd.store.index.snapshot import Snapshot, empty
from maildir_imapd.store.maildir import filename, keywords, scan
from maildir_imapd.store.maildir.filename import RECENT
from maildir_imapd.store.neighbours.seed import Seed

log = Log(__name__)


def begin(seed: Seed | None, letters: dict[int, bytes], another: Callable[[], int]) -> Snapshot:
    """Return a mailbox without messages, with the numbers and keywords that are known.

    *letters*: what the file of keywords in the folder says; *another*: gives a UIDVALIDITY where nobody gave one.
    """
    rows = empty(seed.uidvalidity if seed else another())
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
    _read(rows, work)
    count = len(rows.names)
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


def _read(rows: Snapshot, work: Reconciler) -> None:
    """Fill all columns but UIDs and mod-sequences, in the order of arrival.

    The loop that a first SELECT of a huge folder spends its time in: columns, and no object per message.
    """
    files, here = work.files, work.here
    longest = filename.LONGEST_BASE
    look, regular, known, fingerprint = os.lstat, stat.S_ISREG, filename.known_size, scan.fingerprint
    fresh = set(files.names(b"new"))
    plain: dict[bytes, int] = {}  # info part -> flags, for those in canonical form
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    cur = descriptors.open(b"cur", flags, dir_fd=files.fd, owner=files.owner)
    try:
        for name in filename.in_arrival_order([*files.names(b"cur"), *fresh]):
            base, colon, rest = name.partition(b":")
            if not colon:
                base = filename.parse(name).base
                rest = name[len(base) :]
            if not base or base in here:
                if not work.read_only:
                    files.suspect()  # the next scan gives it a name of its own
                continue
            try:
                # A path of one step where it can be: the kernel looks up nothing else.
                status = look(b"new/" + name, dir_fd=files.fd) if name in fresh else look(name, dir_fd=cur)
            except FileNotFoundError:
                continue
            if not regular(status.st_mode):
                path = (b"new/" if name in fresh else b"cur/") + name
                behind = files.inspect(path)
                if behind is None:
                    files.pass_over(path)
                    continue
                status = behind
            bits = plain.get(rest)
            if bits is None or name in fresh or len(base) > longest:
                parsed = filename.parse(name)
                bits = parsed.bits
                if name in fresh:
                    moved = work.into_cur(parsed, b"new/" + name)
                    if moved is None:
                        continue
                    base, bits = moved[0].base, bits | RECENT | moved[1]
                elif parsed.canonical and parsed.mark == files.mark and not filename.cramped(base):
                    plain[rest] = bits
                else:
                    work.canonical(parsed, b"cur/" + name)
            here.add(base)
            rows.names.append(base)
            rows.flags.append(bits)
            rows.received.append(int(status[stat.ST_MTIME]))
            rows.saved.append(int(status[stat.ST_CTIME]))
            rows.sizes.append(known(base, status.st_size))
            rows.fingerprints.append(fingerprint(status))
    finally:
        os.close(cur)


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
    for column in (rows.flags, rows.received, rows.saved, rows.sizes, rows.fingerprints):
        column[:] = array(column.typecode, [column[at] for _, at in order])
    rows.names[:] = [rows.names[at] for _, at in order]
    return found
