"""Annotations of mailboxes and of the account (RFC 5464): named values, and who changed what when.

A mailbox's are in ``maildir-imapd.metadata`` in its folder, so that they go where it goes.  The user's own
entries of the server, and those of names that are no folder, are in ``maildir-imapd.account-metadata`` beside
INBOX.  Both are text:

    maildir-imapd metadata 1
    <mailbox>TAB<entry>TAB<value>

The mailbox, in modified UTF-7, is left out with its TAB in a folder's file, and empty for the server; in a
value ``\\\\``, ``\\n``, ``\\r``, ``\\t`` and ``\\0`` stand for the octets they mean elsewhere.

``maildir-imapd.metadata-changes`` has a line <serial>TAB<mailbox>TAB<entry> for the last change of each entry,
so that sessions of other processes hear of it.  All three are written under the account's lock.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from maildir_imapd import mutf7
from maildir_imapd.errors import AnnotationTooBig, MailboxMissing, TooManyAnnotations
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir.layout import GRAIN_SECONDS
from maildir_imapd.store.threads.listeners import Listener, Listeners

log = Log(__name__)

FILE: Final = b"maildir-imapd.metadata"
ACCOUNT: Final = b"maildir-imapd.account-metadata"
CHANGES: Final = b"maildir-imapd.metadata-changes"
HEADER: Final = b"maildir-imapd metadata 1\n"

# For one mailbox, or the server.  RFC 5464 4.1 asks for 10 entries of 1024 octets at the least.
VALUE_LIMIT_OCTETS: Final = 64 * 1024
ENTRIES_LIMIT: Final = 200
TOTAL_LIMIT_OCTETS: Final = 1024 * 1024
# Entries of which the last change is remembered.
REMEMBERED: Final = 2000

_ESCAPES: Final = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0"}
_UNESCAPES: Final = {value: b"\\" + key for key, value in _ESCAPES.items()}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
# RFC 5464 3.2.1.1: /shared/admin is one.
_URI = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+").fullmatch
_SPECIAL = re.compile(rb"[\\\n\r\t\0]")


class Entries(dict[bytes, tuple[bytes, bytes]]):
    """Values by entry, without regard to case: the name in small letters to (name as it was set, value)."""

    def put(self, entry: bytes, value: bytes | None) -> bool:
        """Set a value, or with None remove it; says whether that changed anything."""
        key = entry.lower()
        before = self.get(key)
        if value is None:
            self.pop(key, None)
        elif before is None or before[1] != value:
            self[key] = (entry, value)
        return (None if before is None else before[1]) != value

    def value(self, entry: bytes) -> bytes | None:
        """The value of an entry, if it has one."""
        found = self.get(entry.lower())
        return None if found is None else found[1]


def parse(data: bytes, fields: int) -> tuple[list[list[bytes]], bool]:
    """Read the lines of a file that have *fields* fields each; also says whether all of it was sound."""
    sound = data.startswith(HEADER) and data.endswith(b"\n")
    rows = []
    for line in data.removeprefix(HEADER).split(b"\n"):
        if not line:
            continue
        row = line.split(b"\t")
        if len(row) != fields or not row[-2].startswith(b"/") or not _sound(row[-1]):
            sound = False
            continue
        row[-1] = _ESCAPED.sub(lambda m: _ESCAPES[m[1]], row[-1])
        rows.append(row)
    return rows, sound


def _sound(value: bytes) -> bool:
    return all(m[1] in _ESCAPES for m in _ESCAPED.finditer(value)) and (len(value) - len(value.rstrip(b"\\"))) % 2 == 0


def render(rows: Iterable[Sequence[bytes]]) -> bytes:
    """Write what ``parse`` reads."""
    lines = [b"\t".join([*row[:-1], _SPECIAL.sub(lambda m: _UNESCAPES[m[0]], row[-1])]) for row in rows]
    return HEADER + b"".join([line + b"\n" for line in lines])


class _Changes(NamedTuple):
    """The file of changes: its octets, and what they say.  *stamp*: as long as it has this one, it need not be read."""

    stamp: tuple[int, ...] | None
    data: bytes
    serials: dict[tuple[str, bytes], int]


class Metadata:
    """The annotations of one account; safe from any thread.  A mailbox named "" is the server.

    *find* gives the folder of a mailbox, *lock* is the account's lock and yields a descriptor of *root*.
    """

    def __init__(
        self, root: bytes, find: Callable[[str], bytes | None], lock: Callable[[], AbstractContextManager[int]]
    ) -> None:
        self._root = root
        self._find = find
        self._lock = lock
        self._listeners = Listeners()
        # The file of changes as it was read last; replaced whole, so no lock is needed.
        self._known: _Changes | None = None

    # --- values -----------------------------------------------------------------------------------

    def entries(self, mailbox: str) -> Entries:
        """All entries that have a value; raises StoreError.  For a name that is no folder see ``change``."""
        with durable.as_store_error(self._root):
            root = descriptors.open_directory(self._root)
            try:
                found, sound = self._load(root, mailbox)
            finally:
                os.close(root)
        if not sound:
            self._mend(mailbox)
        return found

    def change(self, mailbox: str, values: Sequence[tuple[bytes, bytes | None]]) -> int:
        """Set all *values*, or none of them; None removes one.  Returns the serial of the change.

        Raises AnnotationTooBig, TooManyAnnotations, StoreError.  The caller has seen that the mailbox exists.
        """
        for _, value in values:
            if value is not None and len(value) > VALUE_LIMIT_OCTETS:
                raise AnnotationTooBig(code=b"METADATA MAXSIZE %d" % VALUE_LIMIT_OCTETS)
        with self._lock() as root:
            entries, sound = self._load(root, mailbox)
            if not sound:
                self._set_aside(root, mailbox)
            before = len(entries), _total(entries)
            changed = [entry for entry, value in values if entries.put(entry, value)]
            count, total = len(entries), _total(entries)
            if (count > ENTRIES_LIMIT and count > before[0]) or (total > TOTAL_LIMIT_OCTETS and total > before[1]):
                raise TooManyAnnotations
            if not changed:
                return 0
            self._save(root, mailbox, entries)
            serial = self._note(root, mailbox, changed)
        self.wake()
        return serial

    def _load(self, root: int, mailbox: str) -> tuple[Entries, bool]:
        """Read what a mailbox has, in either file; the folder's goes before the account's."""
        found = Entries()
        rows, sound = _read(ACCOUNT, root, 3)
        name = mutf7.encode(mailbox)
        for owner, entry, value in rows:
            if owner == name:
                found.put(entry, value)
        path = self._find(mailbox) if mailbox else None
        if path is not None:
            try:
                directory = _open(path)
            except FileNotFoundError:
                raise MailboxMissing from None
            try:
                rows, whole = _read(FILE, directory, 2)
            finally:
                os.close(directory)
            for entry, value in rows:
                found.put(entry, value)
            sound = sound and whole
        return found, sound

    def _save(self, root: int, mailbox: str, entries: Entries) -> None:
        path = self._find(mailbox) if mailbox else None
        name = mutf7.encode(mailbox)
        rows, _ = _read(ACCOUNT, root, 3)
        others = [row for row in rows if row[0] != name]
        if path is None:
            others += [[name, entry, value] for entry, value in entries.values()]
        else:
            directory = _open(path)
            try:
                _write(FILE, directory, list(entries.values()))
            finally:
                os.close(directory)
        if others != rows:
            _write(ACCOUNT, root, others)

    def _mend(self, mailbox: str) -> None:
        with self._lock() as root:
            entries, sound = self._load(root, mailbox)
            if not sound:
                self._set_aside(root, mailbox)
                try:
                    self._save(root, mailbox, entries)
                except OSError as error:
                    if not durable.cannot_write(error):
                        raise

    def _set_aside(self, root: int, mailbox: str) -> None:
        """Keep a copy of a damaged file, and say so; what verifies of it is used."""
        directories = [(ACCOUNT, 3, root, self._root)]
        path = self._find(mailbox) if mailbox else None
        opened = -1
        if path is not None:
            opened = _open(path)
            directories.append((FILE, 2, opened, path))
        try:
            for name, fields, directory, where in directories:
                if _read(name, directory, fields)[1]:
                    continue
                place = os.fsdecode(os.path.join(where, name))
                log.error("metadata damaged, set aside", path=place)
                try:
                    durable.put(name + b".damaged", durable.read_file(name, directory), directory, durable=True)
                    rows, _ = _read(name, directory, fields)
                    _write(name, directory, rows)
                except OSError as error:
                    log.warning("damaged metadata cannot be replaced", path=place, why=error)
        finally:
            if opened >= 0:
                os.close(opened)

    # --- mailboxes come and go (the caller holds the account's lock) -----------------------------------

    def deleted(self, root: int, name: str, exists: Callable[[str], bool]) -> None:
        """Forget the entries of *name*, and of every name that has gone with its last child."""
        rows, _ = _read(ACCOUNT, root, 3)
        if not rows:
            return
        kept = []
        for row in rows:
            try:
                owner = mutf7.decode(row[0])
            except ValueError:
                continue
            if not owner or (owner != name and exists(owner)):
                kept.append(row)
        if kept != rows:
            _write(ACCOUNT, root, kept)

    # --- changes ----------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> Listener:
        """Call *wake*, without locks and from any thread, when this process has changed an entry.

        Other processes' changes show in ``changes`` alone.
        """
        return self._listeners.add(wake)

    def wake(self) -> None:
        """Tell everybody who listens."""
        self._listeners.wake()

    def note(self, root: int, changed: Mapping[str, Sequence[bytes]]) -> int:
        """Write down that entries have changed whose values are elsewhere; under the lock.  Then call ``wake``."""
        return max((self._note(root, mailbox, entries) for mailbox, entries in changed.items()), default=0)

    def _note(self, root: int, mailbox: str, entries: Iterable[bytes]) -> int:
        known = self._changes(root)
        # The clock, so that no number comes again if the file is deleted.
        serial = max(time.time_ns() // 1000, max(known.values(), default=0) + 1)
        known = dict(known)
        known.update({(mailbox, entry.lower()): serial for entry in entries})
        latest = sorted(known.items(), key=lambda item: item[1])[-REMEMBERED:]
        lines = [b"%d\t%b\t%b\n" % (when, mutf7.encode(name), entry) for (name, entry), when in latest]
        # Only sessions that run now ask for it.
        durable.put(CHANGES, b"".join(lines), root, durable=False)
        return serial

    def latest(self) -> int:
        """The serial of the last change."""
        return max(self._all_changes().values(), default=0)

    def changes(self, since: int, *, ours: frozenset[int] | set[int]) -> tuple[int, dict[str, list[bytes]]]:
        """Return the last serial, and by mailbox the entries changed after *since*, but for those of *ours*."""
        known = self._all_changes()
        last = since
        found: dict[str, list[bytes]] = {}
        for (mailbox, entry), serial in known.items():
            if serial > since:
                last = max(last, serial)
                if serial not in ours:
                    found.setdefault(mailbox, []).append(entry)
        return last, found

    def _all_changes(self) -> dict[tuple[str, bytes], int]:
        with durable.as_store_error(self._root):
            root = descriptors.open_directory(self._root)
            try:
                return self._changes(root)
            finally:
                os.close(root)

    def _changes(self, root: int) -> dict[tuple[str, bytes], int]:
        began = time.time()
        try:
            state = os.stat(CHANGES, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            return {}
        stamp = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        known = self._known
        if known is not None and known.stamp == stamp:
            return known.serials
        try:
            data = durable.read_file(CHANGES, root)
        except FileNotFoundError:
            return {}
        if known is not None and known.data == data:
            serials = known.serials
        else:
            serials = _parse_changes(data)
        # A file that takes the place of this one may have its inode, its size and, within the clock's grain, its time.
        settled = began - max(state.st_mtime_ns, state.st_ctime_ns) / 1e9 > GRAIN_SECONDS
        self._known = _Changes(stamp if settled else None, data, serials)
        return serials


def _parse_changes(data: bytes) -> dict[tuple[str, bytes], int]:
    found: dict[tuple[str, bytes], int] = {}
    for line in data.split(b"\n"):
        serial, _, rest = line.partition(b"\t")
        name, tab, entry = rest.partition(b"\t")
        if tab and serial.isdigit():
            try:
                found[mutf7.decode(name), entry] = int(serial)
            except ValueError:
                continue
    return found


def renamed(root: int, old: str, new: str, delimiter: str) -> None:
    """Let the entries of names that are no folder go along with a RENAME; folders have theirs in them.

    The caller holds the account's lock.
    """
    rows, _ = _read(ACCOUNT, root, 3)
    prefix, name = mutf7.encode(old + delimiter), mutf7.encode(old)
    moved = []
    for row in rows:
        if row[0] == name or row[0].startswith(prefix):
            try:
                row = [mutf7.encode(new + mutf7.decode(row[0])[len(old) :]), *row[1:]]
            except ValueError:
                continue
        moved.append(row)
    if moved != rows:
        _write(ACCOUNT, root, moved)


def _total(entries: Entries) -> int:
    return sum(len(entry) + len(value) for entry, value in entries.values())


def _open(path: bytes) -> int:
    return descriptors.open_directory(path, follow=False)


def _read(name: bytes, directory: int, fields: int) -> tuple[list[list[bytes]], bool]:
    try:
        return parse(durable.read_file(name, directory), fields)
    except FileNotFoundError:
        return [], True


def _write(name: bytes, directory: int, rows: Sequence[Sequence[bytes]]) -> None:
    """Replace a file, or remove it when nothing is left to say."""
    durable.put_or_remove(name, render(rows) if rows else b"", directory)


def parse_server(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Read the administrator's file of /shared entries of the server: entry, blanks, value; # begins a comment.

    Raises ValueError, naming the line.
    """
    found: dict[bytes, tuple[bytes, bytes]] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        entry, *rest = line.split(None, 1)
        name = entry.lower()
        if not name.startswith(b"/shared/") or name.endswith(b"/") or b"//" in name or not rest:
            raise ValueError(f"line {number} must be an entry below /shared/, a blank and its value")
        if not name.isascii() or b"*" in name or b"%" in name:
            raise ValueError(f"line {number} has an entry name that cannot be")
        if name == b"/shared/admin" and not _URI(rest[0]):
            raise ValueError(f"line {number}: /shared/admin must be a URI, for example mailto:postmaster@example.org")
        found[name] = (entry, rest[0])
    return tuple(found.values())
