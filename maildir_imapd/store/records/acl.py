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

What an administrator says of all mailboxes of a name (acl_global.py) counts after all of these, for the owner, too.
"""

from __future__ import annotations

import enum
import os
import re
import time
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from maildir_imapd.errors import BadArgument, MailboxMissing, NoPermission, StoreError
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.neighbours.dotlock import DotLock
from maildir_imapd.store.threads import locks

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
# RFC 4314 2.1.1: what the rights of RFC 2086 mean.
VIRTUAL: Final = {"c": frozenset("kx"), "d": frozenset("et")}
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
    """A file: entries, and lines that are none, in their order.  Not *sound*: something in it is not understood.

    *general*: what the administrator says of mailboxes of this name.  *otherwise*: what counts for who is not the owner
    and is not meant by any of these.
    """

    lines: tuple[Entry | bytes, ...] = ()
    sound: bool = True
    general: tuple[Entry, ...] = ()
    otherwise: Acl | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The lines that say something."""
        return tuple(line for line in self.lines if isinstance(line, Entry))

    @property
    def limits(self) -> bool:
        """Whether anything is said that may take a right from the owner."""
        return bool(self.lines or self.general)

    def rights(self, user: str, groups: Iterable[str] = (), *, owner: bool) -> frozenset[str]:
        """Return the rights of *user*; *owner*: it is his mailbox.

        Who is not the owner may do nothing while a line is not understood: it may be the one that keeps him out.
        """
        if not owner and not self.sound:
            return NONE
        given, taken, somebody = ALL if owner else NONE, NONE, False
        for entries, general in ((self.entries, False), (self.general, True)):
            first = general
            for kind in Kind if entries else ():
                if owner and kind < Kind.OWNER and not general:
                    continue
                meant = [
                    entry
                    for entry in entries
                    if entry.who.kind is kind and (entry.who.means(user, groups) or (owner and kind is Kind.OWNER))
                ]
                if not meant:
                    continue
                plus = [entry.rights for entry in meant if not entry.negative]
                minus = [entry.rights for entry in meant if entry.negative]
                if plus:
                    given = frozenset().union(*plus)
                if minus or first:
                    # What the mailbox's own list takes nobody can take who is given it here.
                    taken = frozenset().union(*minus)
                first, somebody = False, True
        if not somebody and not owner and self.otherwise is not None:
            return self.otherwise.rights(user, groups, owner=False)
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
        entry, understood = read_line(line)
        sound = sound and understood
        lines.append(line if entry is None else entry)
    if lines and lines[-1] == b"":
        lines.pop()
    return Acl(tuple(lines), sound)


def read_line(line: bytes) -> tuple[Entry | None, bool]:
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
    identifier = spelled(entry.who, negative=entry.negative).encode()
    if _BLANKS.search(identifier) or identifier.startswith((b'"', b"#")):
        identifier = b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", identifier)
    rights = b"%b %b" % (identifier, in_order(entry.rights).encode())
    return rights + (b" :" + b" ".join(entry.others) if entry.others else b"")


def spelled(who: Who, *, negative: bool) -> str:
    """Write an identifier as the file has it, without quotes."""
    kind = who.kind.name.lower().replace("_", "-")
    name = "" if who.kind in (Kind.ANYONE, Kind.AUTHENTICATED, Kind.OWNER) else f"={who.name}"
    return "-" * negative + kind + name


def identifier(written: str) -> tuple[Who, bool] | None:
    """Read what ``spelled`` writes: whom it means, and whether it is negative; None for what is none."""
    if not written.isprintable():
        return None
    who = _who(written.removeprefix("-").encode("utf-8", "surrogateescape"))
    return None if who is None or ("=" in written and not who.name) else (who, written.startswith("-"))


def modification(raw: bytes) -> tuple[str, frozenset[str]]:
    """Read mod-rights: "+", "-" or "", and the rights; raises BadArgument for one that there is not."""
    text = raw.decode("latin-1")
    mode = text[:1] if text[:1] in ("+", "-") else ""
    rights: set[str] = set()
    for letter in text.removeprefix(mode):
        if letter in VIRTUAL:
            rights |= VIRTUAL[letter]
        elif letter in ALL:
            rights.add(letter)
        else:
            raise BadArgument("rights out of lrswipkxteacd")
    return mode, frozenset(rights)


def in_order(rights: Iterable[str]) -> str:
    """Rights as a string."""
    return "".join([letter for letter in LETTERS if letter in rights])


NO_FILE: Final = Acl()


def shown_to(lists: Iterable[Acl]) -> frozenset[Who]:
    """Whom these lists show a mailbox, the owner apart: the identifiers that are given the right "l"."""
    found = set()
    for acl in lists:
        for entry in (*acl.entries, *acl.general, *(() if acl.otherwise is None else acl.otherwise.entries)):
            if not entry.negative and "l" in entry.rights and entry.who != OWNER:
                found.add(entry.who)
    return frozenset(found)


class General(Protocol):
    """Knows the rights to mailboxes of all users by their names, as an administrator says; safe from any thread."""

    def turn(self) -> int:
        """Another number when it may have changed since."""

    def of(self, mailbox: str) -> tuple[Entry, ...]:
        """The entries that a mailbox has by its name.  Raises StoreError: then nothing may be done."""

    def otherwise(self) -> tuple[Entry, ...]:
        """The entries for who is meant by no other, the owner apart.  Raises StoreError."""


@dataclass(frozen=True, slots=True)
class AclRules:
    """Rules about the rights to all mailboxes of an account, beside their files."""

    general: General | None = None
    files: bool = True
    """Whether the files count at all, and may be changed."""
    from_inbox: bool = False
    """Whether the list of INBOX counts for those whom a mailbox's own does not mean, the owner apart."""


FILES_ALONE: Final = AclRules()

# A file's inode, modification time and size.
_Stamp = tuple[int, int, int]


class Acls:
    """The access control lists of one account; safe from any thread.

    *find* gives the folder of a mailbox, *lock* is the account's lock and yields a descriptor of *root*, *folders* are
    those of all mailboxes, by their names.
    """

    rules: AclRules = FILES_ALONE
    """What counts beside the files."""
    shared: Callable[[frozenset[Who], bool], None] | None = None
    """Is told whom some mailbox is shown to, when that may have changed, and whether that is all: where a list cannot
    be read it may be more.  No lock is held then; it raises nothing.  None: nobody wants to hear."""

    def __init__(
        self,
        find: Callable[[str], bytes | None],
        lock: Callable[[], AbstractContextManager[int]],
        folders: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        self._find = find
        self._lock = lock
        self._folders = folders
        # What stands before names where rights are given by names: that of a namespace.
        self.prefix = ""
        # By folder, with the file's stamp; an entry is replaced whole, so no lock is needed.
        self._known: dict[bytes, tuple[_Stamp, Acl]] = {}
        self._names: dict[bytes, str] = {}  # by folder; where one is its name never changes

    def read(self, mailbox: str) -> Acl | None:
        """The list of a mailbox, empty where there is no file; None for what is no mailbox.  Raises StoreError."""
        path = self._find(mailbox)
        return None if path is None else self.at(path)

    def among(self, paths: Iterable[bytes]) -> set[bytes]:
        """Those of these folders of which something is said: one quick look each, for LIST asks about all of them."""
        access, name = os.access, b"/" + FILE
        if self.rules is not FILES_ALONE:
            return {path for path in paths if self._is_limited(path)}
        return {path for path in paths if access(path + name, os.F_OK, effective_ids=True, follow_symlinks=False)}

    def turn(self) -> int:
        """Return another number when ``among`` may say otherwise although nothing has changed in a folder."""
        return 0 if self.rules.general is None else self.rules.general.turn()

    def at(self, path: bytes) -> Acl:
        """The list of the mailbox whose folder is *path*.  Raises StoreError: then nothing may be done."""
        rules = self.rules
        if rules is FILES_ALONE:
            return self._in_file(path)
        acl = self._in_file(path) if rules.files else NO_FILE
        return self._ruled(path, acl)

    def _in_file(self, path: bytes) -> Acl:
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

    def _ruled(self, path: bytes, acl: Acl) -> Acl:
        """Add to what stands in a mailbox's file what the rules say of it.  Raises StoreError."""
        general, otherwise = self.rules.general, None
        entries = () if general is None else general.of(self.prefix + self._name(path))
        if self.rules.from_inbox:
            inbox = self._find("INBOX")
            if inbox is not None and inbox != path:
                own = self._in_file(inbox) if self.rules.files else NO_FILE
                otherwise = replace(own, general=() if general is None else general.of("INBOX"))
        elif general is not None and (default := general.otherwise()):
            otherwise = Acl(general=default)
        return replace(acl, general=entries, otherwise=otherwise)

    def _name(self, path: bytes) -> str:
        """Return the name of the mailbox whose folder is *path*; raises StoreError."""
        name = self._names.get(path)
        if name is None:
            self._names.update({folder: each for each, folder in self._folders().items()})
            name = self._names.get(path)
        if name is None:
            raise StoreError(detail=f"{os.fsdecode(path)}: which mailbox it is cannot be told, nor so its rights")
        return name

    def _is_limited(self, path: bytes) -> bool:
        if self.rules.files and os.access(path + b"/" + FILE, os.F_OK, effective_ids=True, follow_symlinks=False):
            return True
        try:
            return self.rules.general is not None and bool(self.rules.general.of(self.prefix + self._name(path)))
        except StoreError:
            return True  # whoever asks for the list hears why

    def forget_but(self, paths: Container[bytes]) -> None:
        """Remember no list of a folder that is not among *paths*."""
        for known in (self._known, self._names):
            for path in list(known):
                if path not in paths:
                    known.pop(path, None)

    def change(self, mailbox: str, work: Callable[[Acl], Acl]) -> None:
        """Replace the list of a mailbox by what *work* makes of it; raises MailboxMissing, NoPermission, StoreError.

        Under the account's lock, and Dovecot's.
        """
        if not self.rules.files:
            raise NoPermission
        with self._lock() as root:
            path = self._find(mailbox)
            if path is None:
                raise MailboxMissing
            directory = descriptors.open_directory(path, follow=False)
            try:
                with DotLock(FILE + b".lock", directory):
                    before = _read(directory)
                    if self.rules is not FILES_ALONE:
                        before = self._ruled(path, before)
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
        if after != before:
            self.tell()

    def tell(self) -> None:
        """Have who wants to hear of it learn whom some mailbox is shown to; no lock may be held."""
        told = self.shared
        if told is None:
            return
        try:
            found = self.shown()
        except StoreError:
            found = frozenset(), False
        locks.calls_back("shared")
        told(*found)

    def named_anew(self) -> None:
        """Note that there are names that were not there, of which something may be said; no lock may be held."""
        if self.rules.general is not None:
            self.tell()

    def shown(self) -> tuple[frozenset[Who], bool]:
        """Return whom some mailbox of the account is shown to, the owner apart, and whether that is all.

        Where a list cannot be read it may be more.  Raises StoreError where the mailboxes cannot be seen.
        """
        lists, whole = [], True
        for path in self._folders().values():
            try:
                lists.append(self.at(path))
            except StoreError:
                whole = False
        return shown_to(lists), whole

    def inherit(self, parent: bytes, path: bytes) -> None:
        """Give a new folder the list of its parent (RFC 4314 4, CREATE); under the account's lock.  Raises OSError.

        A directory that was there before, and has a list that somebody put there, keeps it.
        """
        acl = self._in_file(parent) if self.rules.files else NO_FILE
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
