"""Rights to a mailbox: ``dovecot-acl`` in its folder, as Dovecot reads and writes it.

    owner lrwstipekxa
    user=bob lrs :custom
    -group=interns r
    "user=a name with blanks" lr
    # a comment

A line is an identifier, quoted if it has blanks, a blank, letters, and behind a colon rights by their names.
Identifiers are ``anyone`` (also ``anonymous``), ``authenticated``, ``group=``, ``owner``, ``user=`` and
``group-override=``; with ``-`` in front the rights are taken.  Of those that mean a user the last kind in this
order counts, and within a kind all of them together; to the owner only those from ``owner`` on apply.  Where none
does the owner has all rights and everybody else none.
"""

from __future__ import annotations

import enum
import os
import re
import time
from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from maildir_imapd.errors import MailboxMissing
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.neighbours.dotlock import DotLock

log = Log(__name__)

FILE: Final = b"dovecot-acl"
# Dovecot's list of mailboxes that others may see; it is made anew when it is not there.
SEEN_BY_OTHERS: Final = b"dovecot-acl-list"
# It comes and goes in the account's directory when a list has changed: other processes watch that, not every folder.
_BELL: Final = b"maildir-imapd.acl"

# RFC 4314 2.1, in the order that Dovecot writes them.
LETTERS: Final = "lrwstipekxa"
ALL: Final = frozenset(LETTERS)
NONE: Final[frozenset[str]] = frozenset()
WORDS: Final = {
    b"lookup": "l",
    b"read": "r",
    b"write": "w",
    b"write-seen": "s",
    b"write-deleted": "t",
    b"insert": "i",
    b"post": "p",
    b"expunge": "e",
    b"create": "k",
    b"delete": "x",
    b"admin": "a",
}
# A file stamped less than this many seconds ago may change again within its clock's grain.
GRAIN_SECONDS: Final = 2.0

_BLANKS = re.compile(rb"[ \t]+")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"(?=[ \t]|\Z)', re.DOTALL).match


class Kind(enum.IntEnum):
    """The kind of an identifier; the later one counts."""

    ANYONE = 0
    AUTHENTICATED = 1
    GROUP = 2
    OWNER = 3
    USER = 4
    GROUP_OVERRIDE = 5


@dataclass(frozen=True, slots=True)
class Who:
    """An identifier; *name* is the user's or group's."""

    kind: Kind
    name: str = ""

    def means(self, user: str, groups: Iterable[str]) -> bool:
        """Whether this is *user*, who is logged in and in these groups.  Of OWNER the caller knows."""
        if self.kind is Kind.USER:
            return self.name == user
        if self.kind in (Kind.GROUP, Kind.GROUP_OVERRIDE):
            return self.name in groups
        return self.kind is not Kind.OWNER


_PLAIN: Final = {
    b"anyone": Who(Kind.ANYONE),
    b"anonymous": Who(Kind.ANYONE),
    b"authenticated": Who(Kind.AUTHENTICATED),
    b"owner": Who(Kind.OWNER),
}
_NAMED: Final = {b"user": Kind.USER, b"group": Kind.GROUP, b"group-override": Kind.GROUP_OVERRIDE}
OWNER: Final = Who(Kind.OWNER)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: rights that are given, or with *negative* taken.  *others* are rights by name that we do not know."""

    who: Who
    negative: bool
    rights: frozenset[str]
    others: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Acl:
    """A file: entries, and lines that are none, in their order.  Not *sound*: something in it is not understood."""

    lines: tuple[Entry | bytes, ...] = ()
    sound: bool = True

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The lines that say something."""
        return tuple(line for line in self.lines if isinstance(line, Entry))

    def rights(self, user: str, groups: Iterable[str] = (), *, owner: bool) -> frozenset[str]:
        """Return the rights of *user*; *owner*: it is his mailbox.

        Who is not the owner may do nothing while a line is not understood: it may be the one that keeps him out.
        """
        if not owner and not self.sound:
            return NONE
        given = ALL if owner else NONE
        entries = self.entries
        if not entries:
            return given
        taken = NONE
        for kind in Kind:
            if owner and kind < Kind.OWNER:
                continue
            meant = [
                entry
                for entry in entries
                if entry.who.kind is kind and (entry.who.means(user, groups) or (owner and kind is Kind.OWNER))
            ]
            plus = [entry.rights for entry in meant if not entry.negative]
            minus = [entry.rights for entry in meant if entry.negative]
            if plus:
                given = frozenset().union(*plus)
            if minus:
                taken = frozenset().union(*minus)
        return given - taken

    def of(self, who: Who, *, negative: bool) -> frozenset[str] | None:
        """Return the rights under an identifier; None when it is not there."""
        found = [entry.rights for entry in self.entries if entry.who == who and entry.negative == negative]
        return frozenset().union(*found) if found else None

    def put(self, who: Who, rights: frozenset[str] | None, *, negative: bool) -> Acl:
        """The file with other rights under an identifier; with None without it."""
        lines: list[Entry | bytes] = []
        done = rights is None
        for line in self.lines:
            if isinstance(line, Entry) and line.who == who and line.negative == negative:
                if done or rights is None:
                    continue
                line, done = replace(line, rights=rights), True
            lines.append(line)
        if not done and rights is not None:
            lines.append(Entry(who, negative, rights))
        return replace(self, lines=tuple(lines))


def parse(data: bytes) -> Acl:
    """Read a file; never fails."""
    lines: list[Entry | bytes] = []
    sound = True
    for line in data.split(b"\n"):
        if not line or line.startswith(b"#"):
            lines.append(line)
            continue
        entry, understood = _entry(line)
        sound = sound and understood
        lines.append(line if entry is None else entry)
    if lines and lines[-1] == b"":
        lines.pop()
    return Acl(tuple(lines), sound)


def _entry(line: bytes) -> tuple[Entry | None, bool]:
    """Read one line: None when it has to be kept as it is; and whether it was understood."""
    quoted = _QUOTED(line)
    if quoted is not None:
        identifier, rest = _ESCAPED.sub(rb"\1", quoted[1]), line[quoted.end() :]
    else:
        identifier, *others = _BLANKS.split(line, maxsplit=1)
        rest = b" " + others[0] if others else b""
    negative = identifier.startswith(b"-")
    who = _who(identifier.removeprefix(b"-"))
    if who is None:
        return None, False
    letters, _, names = rest.strip(b" \t").partition(b":")
    rights = set()
    unknown = []
    for letter in letters.rstrip(b" \t").decode("latin-1"):
        if letter not in ALL:
            # What it gives or takes we cannot say, nor may we write it anew.
            return None, False
        rights.add(letter)
    for name in re.split(rb"[ \t,]+", names.strip()):
        if name in WORDS:
            rights.add(WORDS[name])
        elif name:
            unknown.append(name)
    return Entry(who, negative, frozenset(rights), tuple(unknown)), True


def _who(identifier: bytes) -> Who | None:
    plain = _PLAIN.get(identifier)
    if plain is not None:
        return plain
    kind, equals, name = identifier.partition(b"=")
    if not equals or kind not in _NAMED:
        return None
    try:
        return Who(_NAMED[kind], name.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def render(acl: Acl) -> bytes:
    """Write what ``parse`` reads."""
    return b"".join([(line if isinstance(line, bytes) else _render(line)) + b"\n" for line in acl.lines])


def _render(entry: Entry) -> bytes:
    identifier = b"-" if entry.negative else b""
    if entry.who.kind in (Kind.ANYONE, Kind.AUTHENTICATED, Kind.OWNER):
        identifier += entry.who.kind.name.lower().encode()
    else:
        identifier += entry.who.kind.name.lower().replace("_", "-").encode() + b"=" + entry.who.name.encode()
    if _BLANKS.search(identifier) or identifier.startswith((b'"', b"#")):
        identifier = b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", identifier)
    rights = b"%b %b" % (identifier, in_order(entry.rights).encode())
    return rights + (b" :" + b" ".join(entry.others) if entry.others else b"")


def in_order(rights: Iterable[str]) -> str:
    """Rights as a string."""
    return "".join([letter for letter in LETTERS if letter in rights])


NO_FILE: Final = Acl()

# A file's inode, modification time and size.
_Stamp = tuple[int, int, int]


class Acls:
    """The access control lists of one account; safe from any thread.

    *find* gives the folder of a mailbox, *lock* is the account's lock and yields a descriptor of *root*.
    """

    def __init__(self, find: Callable[[str], bytes | None], lock: Callable[[], AbstractContextManager[int]]) -> None:
        self._find = find
        self._lock = lock
        # By folder, with the file's stamp; an entry is replaced whole, so no lock is needed.
        self._known: dict[bytes, tuple[_Stamp, Acl]] = {}

    def read(self, mailbox: str) -> Acl | None:
        """The list of a mailbox, empty where there is no file; None for what is no mailbox.  Raises StoreError."""
        path = self._find(mailbox)
        return None if path is None else self.at(path)

    def among(self, paths: Iterable[bytes]) -> set[bytes]:
        """Those of these folders that have a file: one quick look each, for LIST asks about all of them."""
        access, name = os.access, b"/" + FILE
        return {path for path in paths if access(path + name, os.F_OK, effective_ids=True, follow_symlinks=False)}

    def at(self, path: bytes) -> Acl:
        """The list of the mailbox whose folder is *path*.  Raises StoreError: then nothing may be done."""
        place = path + b"/" + FILE
        try:
            state = os.lstat(place)
        except FileNotFoundError:
            return NO_FILE
        except OSError as error:
            raise durable.store_error(error, place) from error
        stamp = _stamp(state)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        with durable.as_store_error(place):
            directory = descriptors.open_directory(path, follow=False)
            try:
                acl = parse(durable.read_file(FILE, directory))
            except FileNotFoundError:
                return NO_FILE
            finally:
                os.close(directory)
        if not acl.sound:
            log.warning("dovecot-acl not understood, nobody but the owner may come in", path=place)
        # A file that is too young may change again within its clock's grain.
        if time.time() - state.st_mtime > GRAIN_SECONDS:
            self._known[path] = (stamp, acl)
        return acl

    def forget_but(self, paths: Container[bytes]) -> None:
        """Remember no list of a folder that is not among *paths*."""
        for path in list(self._known):
            if path not in paths:
                self._known.pop(path, None)

    def change(self, mailbox: str, work: Callable[[Acl], Acl]) -> None:
        """Replace the list of a mailbox by what *work* makes of it; raises MailboxMissing, StoreError.

        Under the account's lock, and Dovecot's.
        """
        with self._lock() as root:
            path = self._find(mailbox)
            if path is None:
                raise MailboxMissing
            directory = descriptors.open_directory(path, follow=False)
            try:
                with DotLock(FILE + b".lock", directory):
                    before = _read(directory)
                    after = work(before)
                    if after != before:
                        _write(directory, after)
            finally:
                os.close(directory)
            self._known.pop(path, None)
            try:
                durable.unlink(SEEN_BY_OTHERS, root)
            except FileNotFoundError:
                pass
            if after != before:
                os.close(durable.open_lasting(_BELL, root))
                durable.unlink(_BELL, root)

    def inherit(self, parent: bytes, path: bytes) -> None:
        """Give a new folder the list of its parent (RFC 4314 4, CREATE); under the account's lock.  Raises OSError.

        A directory that was there before, and has a list that somebody put there, keeps it.
        """
        acl = self.at(parent)
        if acl.lines and not os.path.lexists(os.path.join(path, FILE)):
            directory = descriptors.open_directory(path, follow=False)
            try:
                _write(directory, acl)
            finally:
                os.close(directory)


def _stamp(state: os.stat_result) -> _Stamp:
    return state.st_ino, state.st_mtime_ns, state.st_size


def _read(directory: int) -> Acl:
    try:
        return parse(durable.read_file(FILE, directory))
    except FileNotFoundError:
        return NO_FILE


def _write(directory: int, acl: Acl) -> None:
    # As open as the folder: who may read the mail may see who may.
    durable.put_or_remove(FILE, render(acl), directory)
