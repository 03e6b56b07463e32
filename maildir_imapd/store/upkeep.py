"""The face for an administrator: how large an index is, whether it is sound, what has happened to a message.

And making an index anew, of which the UIDs stay, and names that tell true sizes.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import MessageGone
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.folder.folder import locked
from maildir_imapd.store.folder.reading import crlf_octets
from maildir_imapd.store.index import cache, checkpoint, damage, journal, loading
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL, OLD
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.loading import Unfit
from maildir_imapd.store.maildir import filename, packed, scan

if TYPE_CHECKING:
    from maildir_imapd.store.folder.folder import Folder
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.index.state import IndexState
    from maildir_imapd.store.mailbox import Mailbox

_LETTERED: Final = filename.INFO_BITS
_WITHOUT_SIZES: Final = re.compile(rb",[SW]=[0-9]{1,15}(?=,|\Z)").sub


@dataclass(frozen=True, slots=True)
class IndexSizes:
    """The files of an index, in octets; None for one that is not there."""

    checkpoint: int | None
    old: int | None
    journal: int | None
    cache: int | None
    damaged: int
    """What was set aside because it did not verify."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with an index, or, *pending*, that the next look at the folder brings up to date."""

    kind: str
    words: str
    uid: int | None = None
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A line in the history of a message: *modseq* is that of the batch, *words* are for people."""

    modseq: int
    kind: str
    words: str = ""


def extent(mailbox: Mailbox) -> IndexSizes:
    """Say how large the files of a mailbox's index are."""
    folder = mailbox._folder

    def octets(directory: bytes, name: bytes) -> int | None:
        try:
            return os.lstat(os.path.join(directory, name)).st_size
        except OSError:
            return None

    path = folder.directories.index_path
    damaged = sum(octets(path, name + damage.DAMAGED) or 0 for name in (CHECKPOINT, OLD, JOURNAL))
    sizes = {name: octets(path, name) for name in (CHECKPOINT, OLD, JOURNAL)}
    name = cache.name_in(mailbox.cache_path, folder.keeping.shared_spool)
    return IndexSizes(sizes[CHECKPOINT], sizes[OLD], sizes[JOURNAL], octets(mailbox.cache_path, name), damaged)


# --- is it sound? ---------------------------------------------------------------------------------------


def faults(mailbox: Mailbox) -> list[Fault]:
    """Compare all that is on record of a mailbox with its checksums, with itself and with the directory.

    Under the folder's lock; nothing is changed. Raises LockTimeout, StoreError.
    """
    folder = mailbox._folder
    with locked(folder), durable.as_store_error(folder.path):
        directory = folder.ground.index.number
        if not loading.exists(directory):
            return [Fault("no-index", "no server of ours has opened the folder yet", pending=True)]
        found = list(_of_files(directory))
        try:
            state = loading.read_checkpoint(directory)
            opened = loading.open_journal(directory)
            try:
                state = loading.joined(state, opened)
            finally:
                opened.file.close()
        except (Unfit, FileNotFoundError) as error:
            why = "one of them is missing" if isinstance(error, FileNotFoundError) else "they do not fit together"
            return [*found, Fault("unfit", f"checkpoint and journal: {why}")]
        if any(each.kind == "damaged" for each in found):
            return found
        found += _of_numbers(folder, state)
        found += _of_directory(folder, state)
        return found


def _of_files(directory: int) -> Iterator[Fault]:
    for name in (CHECKPOINT, OLD):
        try:
            data = durable.read_file(name, directory, checkpoint.LARGEST_OCTETS)
        except FileNotFoundError:
            continue
        if checkpoint.parse(data) is None:
            other = checkpoint.of_another_version(data)
            why = "it is of another version" if other else "a checksum is wrong"
            yield Fault("damaged" if name == CHECKPOINT else "old-damaged", f"{os.fsdecode(name)}: {why}")
    try:
        data = durable.read_file(JOURNAL, directory, durable.LARGE_OCTETS)
    except FileNotFoundError:
        return
    end = max((end for _, end in journal.replay(data)), default=0)
    if end == len(data):
        return
    if journal.of_another_version(data, end):
        yield Fault("damaged", f"the journal: from byte {end} on it is of another version")
    elif journal.salvage(data, end) or end == 0:
        yield Fault("damaged", f"the journal: what stands at byte {end} does not verify")
    else:
        words = f"the journal: {len(data) - end} octets of a writer that has died, which the next one cuts off"
        yield Fault("half-batch", words, pending=True)


def _of_numbers(folder: Folder, state: IndexState) -> Iterator[Fault]:
    rows = state.snapshot
    uids = list(rows.uids)
    if any(one >= other for one, other in itertools.pairwise(uids)) or (uids and uids[0] < 1):
        yield Fault("uids", "UIDs do not rise")
    if uids and uids[-1] >= rows.uidnext:
        yield Fault("uids", f"UID {uids[-1]} is not below UIDNEXT {rows.uidnext}", uids[-1])
    if not rows.uidvalidity:
        yield Fault("uids", "there is no UIDVALIDITY")
    if len(set(rows.names)) < len(uids):
        yield Fault("names", "two UIDs have the same file")
    highest = max(rows.modseqs, default=0)
    if highest > rows.modseq:
        yield Fault("modseqs", f"a message has the mod-sequence {highest}, above the mailbox's {rows.modseq}")
    if rows.damaged:
        yield Fault("damaged", "a column of the checkpoint: a checksum is wrong")
    rung = folder.lock.rung()
    if rung > rows.modseq:
        yield Fault("bell", f"others have been told of mod-sequence {rung}, the journal ends at {rows.modseq}")
    noted = folder.lock.reserve()
    if noted is not None and noted[0] != rows.uidvalidity:
        yield Fault("reserve", f"the lock file has UIDVALIDITY {noted[0]}, the index {rows.uidvalidity}")


def _of_directory(folder: Folder, state: IndexState) -> Iterator[Fault]:
    """Compare rows and files; where something has happened since the last look, that is only news."""
    rows = state.snapshot
    pending = not state.stamp.settled or folder.files.look() != state.stamp[:4]
    there: dict[bytes, filename.Name] = {}
    in_new: set[bytes] = set()
    for sub in (b"cur", b"new"):
        for name in folder.files.names(sub):
            parsed = filename.parse(name)
            if parsed.base in there:
                yield Fault("twice", f"two files have the base {os.fsdecode(parsed.base)}", pending=pending)
            there[parsed.base] = parsed
            if sub == b"new":
                in_new.add(parsed.base)
    for uid, base, flags in zip(rows.uids, rows.names, rows.flags, strict=True):
        parsed_ = there.pop(base, None)
        if parsed_ is None:
            yield Fault("file-missing", f"no file has the base {os.fsdecode(base)}", uid, pending)
        elif base not in in_new and not filename.cramped(base) and (parsed_.bits ^ flags) & _LETTERED:
            yield Fault("flags", f"the letters of {os.fsdecode(base)} are not its flags on record", uid, pending)
    for base in there:
        yield Fault("row-missing", f"no UID has been given to {os.fsdecode(base)}", None, pending)


# --- made anew ------------------------------------------------------------------------------------------


def rebuild(mailbox: Mailbox) -> Snapshot:
    """Throw away what can be: sizes, fingerprints, the cache, what was set aside; UIDs and flags stay.

    An index that does not verify is mended first, as by any look at it (index/damage.py): there UIDs stay where it is
    known which were given out. Other processes go on. Raises ReadOnly, MailboxMissing, StoreError.
    """
    folder = mailbox._folder
    with mailbox._changing(), folder.exclusive(settles=True):
        mailbox._demand_writable()
        try:
            folder.refresh(look=True)
            rows = folder.rows
            batch = Batch()
            for at, uid in enumerate(rows.uids):
                found = folder.files.inspect(folder.place(at))
                if found is not None:
                    size = filename.known_size(rows.name(at), found.st_size)
                    batch.rewritten.append((uid, size, scan.fingerprint(found)))
            if batch.rewritten:
                folder.commit(batch)
            folder.index.rotate()
            directory = folder.ground.index.number
            for name in (CHECKPOINT, OLD, JOURNAL):
                _remove(name + damage.DAMAGED, directory)
        finally:
            after = mailbox._adopt_rows()
    with durable.as_store_error(folder.path):
        mailbox.cache.remove()
    return after


def renumber(mailbox: Mailbox) -> Snapshot:
    """Give all messages new UIDs under another UIDVALIDITY: clients forget what they knew, and ask again.

    For a folder that is not what it was when UIDs were given last: an older state that was brought back from a backup
    would give the UIDs of newer messages once more. Raises OutOfUids, ReadOnly, MailboxMissing, StoreError.
    """
    folder = mailbox._folder
    with mailbox._changing(), folder.exclusive(settles=True), durable.as_store_error(folder.path):
        mailbox._demand_writable()
        try:
            folder.refresh(look=True)
            folder.index.number_anew("numbered anew, as it was asked for")
            folder.refresh(look=True)
        finally:
            after = mailbox._adopt_rows()
    return after


def _remove(name: bytes, directory: int) -> None:
    try:
        durable.unlink(name, directory)
    except FileNotFoundError:
        pass


# --- sizes in names ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Size:
    """A message whose name does not tell its size; *octets* on the disk, *wire* with CRLF line ends."""

    uid: int
    base: bytes
    octets: int
    wire: int


def wrong_sizes(mailbox: Mailbox, *, deep: bool) -> list[Size]:
    """Find names whose S= is not the size of the file; *deep*: each file with W= is read, too. Packed ones pass.

    Raises StoreError.
    """
    folder, rows = mailbox._folder, mailbox.snapshot
    found = []
    with folder.directories.in_use(), durable.as_store_error(folder.path):
        for at, uid in enumerate(rows.uids):
            base = rows.name(at)
            said, wire = filename.disk_size(base), filename.wire_size(base)
            if said is None and wire is None:
                continue
            status = folder.files.inspect(folder.place(at))
            if status is None or (said in (None, status.st_size) and not (deep and wire is not None)):
                continue
            true = _measured(folder, at)
            if true is not None and (said not in (None, true[0]) or wire not in (None, true[1])):
                found.append(Size(uid, base, *true))
    return found


def _measured(folder: Folder, at: int) -> tuple[int, int] | None:
    """Return the sizes of a message's file; None where that is packed, or cannot be read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    path = folder.place(at)
    try:
        number = descriptors.open(path, flags, dir_fd=folder.fd, owner=folder.files.owner)
    except OSError:
        return None
    try:
        octets = os.fstat(number).st_size
        first = os.pread(number, packed.MARK_OCTETS, 0)
        if packed.may_be(first) or packed.encrypted(first):
            return None
        return octets, crlf_octets(number, os.fsdecode(folder.path + b"/" + path))
    finally:
        os.close(number)


def correct_sizes(mailbox: Mailbox, sizes: Sequence[Size]) -> int:
    """Give messages names that tell their sizes, and return how many; the UIDs stay. Raises ReadOnly, StoreError.

    Should we die between the two, the next look knows the file by its fingerprint (folder/compare.py).
    """
    folder = mailbox._folder
    batch = Batch()
    with mailbox._changing(), folder.exclusive(settles=True):
        mailbox._demand_writable()
        folder.refresh(look=True)
        try:
            rows = folder.rows
            unseen_change = folder.unseen_change()
            for size in sizes:
                at = rows.position(size.uid)
                if at < 0 or rows.name(at) != size.base:
                    continue  # somebody has been here since
                plain = _WITHOUT_SIZES(b"", size.base)
                base = filename.sized(plain, size.octets, size.wire)
                path = folder.place(at)
                target = path[:4] + base + path[4 + len(size.base) :]
                try:
                    durable.rename(path, target, folder.fd, folder.fd)
                except (FileNotFoundError, FileExistsError):
                    continue
                folder.files.odd.pop(size.base, None)
                batch.renamed.append((size.uid, base))
                batch.sizes.append((size.uid, size.wire))
            if batch.renamed:
                folder.stamp_own(batch, unseen_change)
                folder.commit(batch)
        finally:
            mailbox._adopt_rows()
    return len(batch.renamed)


# --- a message's history --------------------------------------------------------------------------------


def history(mailbox: Mailbox, uid: int) -> list[Event]:
    """Tell what is on record of a UID, the oldest first, since the journal was begun; of before what is still known.

    Needs no lock: a batch that is being written is not yet. Raises StoreError.
    """
    folder = mailbox._folder
    found: list[Event] = []
    with folder.directories.in_use(), durable.as_store_error(folder.path):
        directory = folder.ground.index.number
        try:
            before = loading.read_checkpoint(directory)
            at = before.snapshot.position(uid)
            if at >= 0:
                words = f"in the checkpoint, as {os.fsdecode(before.snapshot.name(at))}"
                found.append(Event(before.snapshot.modseqs[at], "known", words))
            found += [Event(modseq, "gone") for modseq, lo, hi in before.history if lo <= uid <= hi]
        except (Unfit, FileNotFoundError):
            pass
        try:
            data = durable.read_file(JOURNAL, directory, durable.LARGE_OCTETS)
        except FileNotFoundError:
            data = b""
    words_of = mailbox.snapshot.keywords
    for batch, _ in journal.replay(data):
        found += [Event(batch.modseq, kind, words) for kind, words in _of_batch(batch, uid, words_of)]
    return found


def _within(uid: int, ranges: journal.Ranges) -> bool:
    return any(lo <= uid <= hi for lo, hi in ranges)


def _of_batch(batch: Batch, uid: int, keywords: tuple[bytes, ...]) -> Iterator[tuple[str, str]]:
    for row in batch.added:
        if row.uid == uid:
            yield "added", f"as {os.fsdecode(row.base)}, flags {journal.render_flags(row.flags).decode()}"
    for ranges, add, remove in batch.flagged:
        if _within(uid, ranges):
            yield "flags", _signs(journal.render_flags(add).decode(), journal.render_flags(remove).decode())
    for ranges, more, less in batch.worded:
        if _within(uid, ranges):
            yield "keywords", _signs(_spelled(more, keywords), _spelled(less, keywords))
    for number, base in batch.renamed:
        if number == uid:
            yield "renamed", f"by another program, to {os.fsdecode(base)}"
    if any(each[0] == uid for each in batch.rewritten):
        yield "rewritten", "by another program"
    for number, size in batch.sizes:
        if number == uid:
            yield "size", f"{size} octets, counted"
    if _within(uid, batch.expunged):
        yield "expunged", "by a client"
    if _within(uid, batch.vanished):
        yield "vanished", "its file was removed by another program"


def _signs(more: str, less: str) -> str:
    return " ".join(sign + each for sign, each in (("+", more), ("-", less)) if each not in ("", "-"))


def _spelled(numbers: frozenset[int], keywords: tuple[bytes, ...]) -> str:
    names = [keywords[n] if n < len(keywords) else b"%d" % n for n in sorted(numbers)]
    return b",".join(names).decode("utf-8", "replace")


def uid_of(mailbox: Mailbox, name: bytes) -> int | None:
    """Return the UID of the file of that name, whatever flags it has by now; None for no message."""
    rows = mailbox.sync(look=True, keep_new=True)
    base = filename.parse(name).base
    return next((uid for uid, each in zip(rows.uids, rows.names, strict=True) if each == base), None)


def file_of(mailbox: Mailbox, uid: int) -> bytes:
    """Return the path of a message's file; raises MessageGone."""
    folder, rows = mailbox._folder, mailbox.snapshot
    at = rows.position(uid)
    if at < 0:
        raise MessageGone
    with folder.directories.in_use():
        path = folder.place(at) if rows is folder.rows else folder.files.place(rows, at)
        if folder.files.inspect(path) is None:
            path = folder.files.locate().get(rows.name(at), path)
    return folder.path + b"/" + path


def octets_of(mailbox: Mailbox, uid: int) -> int | None:
    """Return the size of a message's file; None where it cannot be seen."""
    try:
        return os.lstat(file_of(mailbox, uid)).st_size
    except (MessageGone, OSError):
        return None
