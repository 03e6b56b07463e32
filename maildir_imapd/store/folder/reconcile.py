"""Bringing a folder's index to agree with its directories: what compare.py found, turned into a batch.

Runs under the folder's lock. Other programs hold no lock of ours, so every rename here may find that its
file is not there any more; then the folder is suspicious and is listed again.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import compare
from maildir_imapd.store.folder.compare import Difference
from maildir_imapd.store.folder.files import Files
from maildir_imapd.store.index.index import Index
from maildir_imapd.store.index.journal import Added, Batch, to_ranges
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import filename, scan
from maildir_imapd.store.maildir.filename import IN_NEW, INFO_BITS, LETTER_KEYWORDS, RECENT

log = Log(__name__)

_LONGEST_WAIT_NS: Final = 25_000_000


class Reconciler:
    """One comparison of the directories with the index, and what it finds; runs under the folder's lock.

    *keep_new*: files in new/ stay there. *read_only*: nothing is renamed. *lettered*: whether a name without letters
    for keywords says that the message has none. *foreign*: the UIDs, by base, that another server has given meanwhile.
    """

    def __init__(
        self,
        files: Files,
        index: Index,
        batch: Batch,
        *,
        keep_new: bool,
        read_only: bool,
        lettered: bool,
        foreign: dict[bytes, int],
        restoring: bool = False,
    ) -> None:
        self.files = files
        self.index = index
        self.batch = batch
        self.keep_new = keep_new
        self.read_only = read_only
        self._lettered = lettered
        self._foreign = foreign
        self._restoring = restoring  # also those below UIDNEXT
        self.renamed = False  # we changed a directory ourselves
        self._uid = 0  # next to give out
        self._reserved: bool | None = None
        self.out_of_uids = False  # there are not so many left
        self.here: set[bytes] = set()  # bases of this batch
        self._paired: set[bytes] = set()  # files in new/ that are known messages under a new base

    @property
    def _rows(self) -> Snapshot:
        return self.index.state.snapshot

    # cur/

    def scan_cur(self, seen: tuple[int, int, int, int], now: int) -> tuple[tuple[int, int, int, int], int]:
        files = self.files
        found = compare.compare(self._rows, *self._list(), files.odd, files.mark)
        sure = False
        self._pair(found)
        if found.missing or found.twice or found.doubtful:
            found, sure, seen, now = self._look_twice()
            self._pair(found)
        for uid, name in found.moved:
            self._move(uid, name)
        if sure:
            self._vanish(found.missing)
            for uid, name in found.twice:
                if not self.read_only:
                    self._part(uid, name, found.fresh)
        self._add_fresh(found.fresh + (found.doubtful if sure else []))
        return seen, now

    def _pair(self, found: Difference) -> None:
        """Match missing messages with files of an unknown base: by fingerprint, else by what the name reminds of.

        offlineimap gives a message a base that has nothing of the old one, mbsync adds to it; a rename keeps inode,
        time and size (scan.py).  A file to which the other server has given a UID of its own is another message.
        """
        rows = self._rows
        guessed = {
            name: uid for uid, name in found.moved if filename.parse(name).base != rows.names[rows.position(uid)]
        }
        if not guessed and not (found.missing and (found.fresh or found.doubtful)):
            return
        lost = {*found.missing, *guessed.values()}
        there = self._inspect(b"cur", [*guessed, *found.fresh, *found.doubtful])
        sure = self._match(b"cur", there, lost)
        for name, uid in guessed.items():
            at = rows.position(uid)
            if name in sure or uid not in lost:
                continue
            # One that is gone again is looked for by the rename that follows.
            if name not in there or (not self._given_elsewhere(name) and self._same(at, there[name])):
                sure[name] = uid
                lost.discard(uid)
        found.moved = [(uid, name) for uid, name in found.moved if name not in guessed]
        found.moved += [(uid, name) for name, uid in sure.items()]
        found.missing = sorted(lost)
        found.fresh = [name for name in [*found.fresh, *guessed] if name not in sure]
        found.doubtful = [name for name in found.doubtful if name not in sure]

    def _inspect(self, directory: bytes, names: list[bytes]) -> dict[bytes, os.stat_result]:
        looked = ((name, self.files.inspect(directory + b"/" + name)) for name in names)
        return {name: status for name, status in looked if status is not None}

    def _match(self, directory: bytes, there: dict[bytes, os.stat_result], lost: set[int]) -> dict[bytes, int]:
        """Find those of *lost* that lie under another name now, by their fingerprints, and take them out of it."""
        rows = self._rows
        wanted: dict[int, list[int]] = {}
        for uid in sorted(lost):
            # Links to one file, as COPY makes within a folder, have one fingerprint.
            wanted.setdefault(rows.fingerprints[rows.position(uid)], []).append(uid)
        matched = {}
        for name, status in there.items():
            for uid in wanted.get(scan.fingerprint(status), ()):
                at = rows.position(uid)
                if uid not in lost or not self._same(at, status) or self._given_elsewhere(name):
                    continue
                if status.st_mtime_ns % 1_000_000_000 == 0:
                    born = scan.born(self.files.fd, directory + b"/" + name)
                    if born is None or born // 1_000_000_000 >= rows.saved[at]:
                        continue
                matched[name] = uid
                lost.discard(uid)
                break
        return matched

    def _same(self, at: int, status: os.stat_result) -> bool:
        rows = self._rows
        if not rows.fingerprints[at] and not rows.received[at]:
            return True  # it was renamed before anybody had looked at it (unseen.py): its name is all that is known
        return scan.same(rows.received[at], rows.sizes[at], status, rows.names[at])

    def _given_elsewhere(self, name: bytes) -> bool:
        """Whether the other server has given a UID to this file since we looked."""
        return self._foreign.get(filename.parse(name).base, 0) >= self._rows.uidnext

    def _look_twice(self) -> tuple[Difference, bool, tuple[int, int, int, int], int]:
        """List cur/ until two listings with the same stamps around them agree, or give up for now."""
        files = self.files
        width = 4 if self._rows.in_new else 2  # new/ matters only if known messages lie there
        for _ in range(3):
            before = files.look()
            wait = scan.quiet_in(before[:width], time.time_ns())
            if wait:
                # A change within this tick of the clock would not show in the stamp: let the tick pass.
                time.sleep(min(wait, _LONGEST_WAIT_NS) / 1e9)
            now = time.time_ns()
            cur, new = self._list()
            between = files.look()
            cur_again, new_again = self._list()
            after = files.look()
            if before[:width] == between[:width] == after[:width] and scan.quiet_in(before[:width], now) == 0:
                both = compare.compare(self._rows, {*cur, *cur_again}, {*new, *new_again}, files.odd, files.mark)
                return both, True, before, now
        # Somebody is busy in there. What is missing stays a suspect until it is quiet.
        files.suspect()
        return compare.compare(self._rows, cur_again, new_again, files.odd, files.mark), False, before, now

    def _list(self) -> tuple[list[bytes], list[bytes]]:
        """List cur/, and new/ if known messages lie there."""
        files = self.files
        return files.names(b"cur"), files.names(b"new") if self._rows.in_new else []

    def _move(self, uid: int, name: bytes) -> None:
        """Note the new flags, or the new base, of a message that another program has renamed."""
        files, rows = self.files, self._rows
        at = rows.position(uid)
        parsed = filename.parse(name)
        old, new = rows.flags[at], compare.moved_bits(rows.flags[at], name)
        lettered = old & LETTER_KEYWORDS and not new & LETTER_KEYWORDS
        if lettered and not self._lettered and not self.read_only:
            # The other server has no letters for keywords and drops all it finds: its own files say what there is.
            new |= old & LETTER_KEYWORDS
            parsed = parsed._replace(bits=new & INFO_BITS, canonical=False)
        if parsed.base != rows.names[at]:
            self.batch.renamed.append((uid, parsed.base))
            files.odd.pop(rows.names[at], None)
        if old != new:
            self.batch.flagged.append(([(uid, uid)], new & ~old, old & ~new))
        self.canonical(parsed, b"cur/" + name)

    def canonical(self, parsed: filename.Name, path: bytes) -> None:
        """See to it that the file is where its base and flags say, or remember where it is."""
        files = self.files
        files.odd.pop(parsed.base, None)
        elsewise = parsed.mark not in (b"", files.mark) or filename.cramped(parsed.base)
        if parsed.canonical and not elsewise:
            return
        if parsed.tail or elsewise or self.read_only:
            files.odd[parsed.base] = path
            return
        try:
            durable.rename(path, filename.render(parsed.base, parsed.bits, files.mark), files.fd, files.fd)
            self.renamed = True
        except FileNotFoundError:
            files.suspect()  # Race: another program has renamed it since we listed.
        except OSError:
            files.odd[parsed.base] = path

    def _vanish(self, missing: list[int]) -> None:
        if not missing:
            return
        files, rows = self.files, self._rows
        # Some programs put a message back into new/; take_new() deals with it.
        back = {filename.parse(name).base: name for name in files.names(b"new")}
        gone = [uid for uid in missing if rows.names[rows.position(uid)] not in back]
        if gone and back:
            gone = self._pair_in_new(gone, back)
        if not gone:
            return
        self.batch.vanished = to_ranges(gone)
        self.batch.vanished_at = int(time.time())
        for uid in gone:
            files.odd.pop(rows.names[rows.position(uid)], None)

    def _pair_in_new(self, missing: list[int], back: dict[bytes, bytes]) -> list[int]:
        """Find those of *missing* that another program has given a new base in new/; return the rest."""
        files, rows = self.files, self._rows
        known = compare.positions(rows, list(back))
        lost = set(missing)
        there = self._inspect(b"new", [name for base, name in back.items() if base not in known])
        for name, uid in self._match(b"new", there, lost).items():
            at = rows.position(uid)
            moved = self.into_cur(filename.parse(name), b"new/" + name, rows.flags[at])
            if moved is None:
                continue  # it is gone from here, and looked for again
            self._paired.add(name)
            files.odd.pop(rows.names[at], None)
            self.batch.renamed.append((uid, moved[0].base))
            if moved[1] != rows.flags[at] & IN_NEW:
                self.batch.flagged.append(([(uid, uid)], moved[1], IN_NEW & ~moved[1]))
        return sorted(lost)

    def _part(self, uid: int, name: bytes, fresh: list[bytes]) -> None:
        """Give a second file of one base a name of its own; a second name of one file was left by a crash, and goes."""
        try:
            if uid and self._drop_second(self._rows.position(uid), b"cur/" + name):
                return
            fresh.append(self.files.make_way(b"cur/" + name)[4:])
            self.renamed = True
        except OSError:
            pass  # it stays hidden behind the first; nothing is lost

    def _add_fresh(self, names: list[bytes]) -> None:
        files = self.files
        for name in filename.in_arrival_order(names):
            parsed = filename.parse(name)
            path = b"cur/" + name
            status = files.inspect(path)
            if status is None:
                files.pass_over(path)
                continue
            if not parsed.base or parsed.base in self.here:
                if not self.read_only:
                    files.suspect()  # the next scan finds the second, sure of it or under its new name
                    if not parsed.base:
                        self._part(0, name, [])
                continue
            if not self._room(len(names)):
                continue
            self._add(parsed, status, parsed.bits)
            self.canonical(parsed, path)

    def _room(self, wanted: int) -> bool:
        """Make sure of UIDs, once; without room on the disk new messages wait."""
        if self._reserved is None:
            try:
                index, foreign = self.index, self._foreign
                # UIDs that another server gave are taken as they are; ours begin above them.
                above = max(foreign.values(), default=0) + 1 - index.state.snapshot.uidnext
                self._uid = index.allocate(wanted + max(0, above)) + max(0, above)
                self._reserved = True
            except errors.OutOfUids:
                self.out_of_uids = True
                self._reserved = False
            except OSError as error:
                if not durable.cannot_write(error):
                    raise
                log.warning("no room for new messages", path=self.files.path, why=error)
                self._reserved = False
        if not self._reserved:
            self.files.suspect()
        return self._reserved

    def _add(self, parsed: filename.Name, status: os.stat_result, bits: int) -> Added:
        state = self.index.state
        tomb = state.tombs.get(parsed.base)
        if tomb is not None and not (
            scan.same(tomb.received, tomb.size, status, parsed.base) and state.snapshot.position(tomb.uid) < 0
        ):
            tomb = None
        if tomb is not None:
            row = compare.describe(tomb.uid, parsed.base, status, bits & ~RECENT)
        else:
            uid = self._foreign.get(parsed.base, 0)
            if uid < state.snapshot.uidnext and not (uid and self._restoring and state.snapshot.position(uid) < 0):
                uid = self._uid
                self._uid += 1
            row = compare.describe(uid, parsed.base, status, bits)
        self.here.add(parsed.base)
        self.batch.added.append(row)
        return row

    # new/

    def take_new(self) -> None:
        files, rows = self.files, self._rows
        listed = filename.in_arrival_order(set(files.names(b"new")) - self._paired)
        if not listed:
            return
        known = compare.positions(rows, [filename.parse(name).base for name in listed])
        for name in listed:
            parsed = filename.parse(name)
            path = b"new/" + name
            status = files.inspect(path)
            if status is None:
                files.pass_over(path)
                continue
            at = known.get(parsed.base, -1)
            if at >= 0 or parsed.base in self.here:
                self._take_known(at, parsed, path, status)
            elif self._room(len(listed)):
                moved = self.into_cur(parsed, path)
                if moved is not None:
                    self._add(moved[0], status, moved[0].bits | RECENT | moved[1])

    def _take_known(self, at: int, parsed: filename.Name, path: bytes, status: os.stat_result) -> None:
        """Deal with a file in new/ whose base we know."""
        files, rows = self.files, self._rows
        if at >= 0 and rows.flags[at] & IN_NEW:
            if self.keep_new:
                files.odd.pop(parsed.base, None)
                if path != b"new/" + parsed.base:
                    files.odd[parsed.base] = path
            elif self.into_cur(parsed, path, rows.flags[at]) is not None:
                self.batch.flagged.append(([(rows.uids[at], rows.uids[at])], 0, IN_NEW))
            return
        if self.read_only:
            return
        if at >= 0 and files.inspect(files.place(rows, at)) is None:
            if not self._same(at, status):
                # Another message under a base that was free again: the one we knew is missed by the next scan.
                self._make_way_in_new(path)
                files.suspect()
            elif self.into_cur(parsed, path, rows.flags[at]) is not None:
                files.suspect()  # it was put back into new/: look whether all agrees now
            return
        try:
            if self._drop_second(at, path):
                return
        except OSError:
            return  # it stays hidden behind the first
        self._make_way_in_new(path)

    def _drop_second(self, at: int, path: bytes) -> bool:
        """Take away a name that the file of a message has beside its own (``durable.rename``); say whether it had."""
        files = self.files
        if at < 0 or not durable.same_file(path, files.place(self._rows, at), files.fd, files.fd):
            return False
        durable.unlink(path, files.fd)
        self.renamed = True
        return True

    def _make_way_in_new(self, path: bytes) -> None:
        try:
            self.files.make_way(path)
            self.renamed = True
        except OSError:
            pass  # it stays hidden behind the first; nothing is lost

    def _target(self, parsed: filename.Name, path: bytes, flags: int) -> bytes:
        """Return where a file in new/ goes: what others have in its name, and a name without room, stay as they are."""
        if filename.cramped(parsed.base):
            return b"cur/" + path[4:]
        return filename.render(parsed.base, flags, parsed.mark or self.files.mark) + parsed.tail

    def into_cur(self, parsed: filename.Name, path: bytes, bits: int | None = None) -> tuple[filename.Name, int] | None:
        """Move a file from new/ to cur/; return what it is called and IN_NEW if it had to stay, None if it is gone."""
        files = self.files
        flags = parsed.bits if bits is None else bits & INFO_BITS
        if not parsed.base:
            parsed = parsed._replace(base=filename.unique())
            if self.keep_new:
                return None
        if not self.keep_new:
            for _ in range(2):
                target = self._target(parsed, path, flags)
                try:
                    durable.rename(path, target, files.fd, files.fd)
                except FileNotFoundError:
                    files.suspect()  # Race: another program took it; the next scan finds it in cur/.
                    return None
                except FileExistsError:
                    size, wire = filename.disk_size(parsed.base), filename.wire_size(parsed.base)
                    parsed = parsed._replace(base=filename.sized(filename.unique(), size, wire))
                except OSError as error:
                    # cur/ may be a link to another disk.
                    if not durable.cannot_write(error) and error.errno != errno.EXDEV:
                        raise
                    break
                else:
                    self.renamed = True
                    if target != filename.render(parsed.base, flags, files.mark):
                        files.odd[parsed.base] = target
                    return parsed, 0
        if path != b"new/" + parsed.base:
            files.odd[parsed.base] = path
        return parsed, IN_NEW
