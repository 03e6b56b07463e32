"""The list of shares: who shares mailboxes with whom, one file for all users and servers, as Dovecot's acl_shared_dict.

    shared/shared-boxes/user/bob/ann        bob may find something among the mailboxes of ann
    1
    shared/shared-boxes/group/staff/ann
    1
    shared/shared-boxes/anyone/ann          also for "authenticated"
    1

A key and its value, each on a line; the octets 0, 1, TAB, CR and LF are written as the octet 1 and a letter.  Whoever
changes it holds ``FILE.lock`` and puts another file in its place.  It says only where to look: what somebody may do is
in the access control lists of the mailboxes.  So an entry too many is harmless, and a line that is none is no reason to
overlook the others.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.neighbours.dotlock import DotLock
from maildir_imapd.store.records.acl import GRAIN_SECONDS, Kind, Who

log = Log(__name__)

_PREFIX: Final = b"shared/shared-boxes/"
# With what the keys of a dictionary begin; whatever else stands where a key is to be is none.
_KEYS: Final = (b"shared/", b"priv/")
_ANYONE: Final = b"anyone"
_LOCK_SECONDS: Final = 10.0
_STALE_SECONDS: Final = 60.0  # as Dovecot has it
_NAME_CHARACTERS: Final = 255

_ESCAPES: Final = {b"\0": b"0", b"\1": b"1", b"\t": b"t", b"\r": b"r", b"\n": b"n"}
_MEANINGS: Final = {letter: octet for octet, letter in _ESCAPES.items()}
_TO_ESCAPE: Final = re.compile(rb"[\x00\x01\t\r\n]")
_ESCAPED: Final = re.compile(rb"\x01(.)", re.DOTALL)

# A line of the file, and the one behind it.
_Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ShareStamp:
    """Tells one state of the file from the next."""

    device: int
    inode: int
    mtime_ns: int
    ctime_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class _Known:
    """A state of the file; *settled*: it is what the stamp says."""

    stamp: ShareStamp | None = None
    settled: bool = False
    data: bytes | None = None
    """What was read, until that is settled."""
    owners: Mapping[bytes, list[bytes]] = field(default_factory=dict)
    """Who shares with each identifier, both as they are written: most are never asked for."""
    anyone: tuple[str, ...] = ()


def listed_as(to: Iterable[Who], owner: str) -> frozenset[Who]:
    """Return with whom the list says that *owner* shares, if he shares with *to*: it has fewer kinds."""
    names = {key for who in to if (key := _identifier(who)) is not None and who != Who(Kind.USER, owner)}
    return frozenset(who for name in names if (who := _who(name)) is not None)


def parse(data: bytes) -> list[_Pair]:
    """Read the file: keys and values as they are written.

    What is no key is passed over, and a key without a value counts all the same; never fails.
    """
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    keys, values = lines[0::2], lines[1::2]
    if len(keys) == len(values) and all(map(_is_key, keys)) and not any(map(_is_key, values)):
        return list(zip(keys, values, strict=True))
    pairs = []
    key: bytes | None = None
    for line in lines:
        if _is_key(line):
            if key is not None:
                pairs.append((key, b"1"))
            key = line
        elif key is not None:
            pairs.append((key, line))
            key = None
    if key is not None:
        pairs.append((key, b"1"))
    return pairs


def render(pairs: Iterable[_Pair]) -> bytes:
    """Write what ``parse`` reads."""
    return b"".join([b"%b\n%b\n" % pair for pair in pairs])


def _is_key(line: bytes) -> bool:
    return line.startswith(_KEYS)


def _identifier(who: Who) -> bytes | None:
    """Write an identifier as a key has it; None for one that no key has."""
    match who.kind:
        case Kind.ANYONE | Kind.AUTHENTICATED:
            return _ANYONE
        case Kind.USER:
            return _escaped(b"user/" + who.name.encode("utf-8", "surrogateescape"))
        case Kind.GROUP | Kind.GROUP_OVERRIDE:
            return _escaped(b"group/" + who.name.encode("utf-8", "surrogateescape"))
        case _:
            return None


def _who(identifier: bytes) -> Who | None:
    kind, _, name = _unescaped(identifier).partition(b"/")
    text = _text(name)
    if text is not None and kind in (b"user", b"group"):
        return Who(Kind.USER if kind == b"user" else Kind.GROUP, text)
    return Who(Kind.ANYONE) if identifier == _ANYONE else None


def _escaped(text: bytes) -> bytes:
    return _TO_ESCAPE.sub(lambda found: b"\1" + _ESCAPES[found[0]], text)


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: _MEANINGS.get(found[1], found[1]), text) if b"\1" in text else text


def _text(name: bytes) -> str | None:
    """Return a name that somebody may have; None for any other."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and 0 < len(text) <= _NAME_CHARACTERS else None


def _by_identifier(pairs: Iterable[_Pair]) -> dict[bytes, list[bytes]]:
    """Return who shares with each identifier, all as they are written."""
    found: dict[bytes, list[bytes]] = {}
    start = len(_PREFIX)
    for key, _ in pairs:
        if key.startswith(_PREFIX):
            # Of the names in it that of the owner alone has no slash.
            identifier, _, owner = key[start:].rpartition(b"/")
            known = found.get(identifier)
            if known is None:
                found[identifier] = [owner]
            else:
                known.append(owner)
    return found


def _names(written: Iterable[bytes]) -> tuple[str, ...]:
    """Return the names that somebody may have, in order."""
    return tuple(sorted({text for name in written if (text := _text(_unescaped(name))) is not None}))


class ShareList:
    """The list at *path*; safe from any thread, and beside any other program that keeps to its lock.

    *acting* makes the thread act as whom the file belongs to.  Where the file cannot be read what was known of it
    counts, with a line in the log.
    """

    def __init__(self, path: bytes, acting: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.path = path
        self._directory, self._name = os.path.split(os.path.abspath(path))
        self._acting = acting
        self._known = _Known()  # replaced whole, so no lock is needed
        self._told: str | None = None  # what the log has been told of last, so that each trouble is told once

    def owners(self, user: str, groups: Iterable[str]) -> tuple[str, ...]:
        """Return who shares something with *user*, who is in *groups*, in order; never himself, and perhaps too many.

        Who shares with nobody but anyone costs nothing: it is the list's own object.
        """
        known = self._look()
        keys = [_identifier(Who(Kind.USER, user)), *[_identifier(Who(Kind.GROUP, group)) for group in groups]]
        others = [owner for key in keys if key is not None for owner in known.owners.get(key, ())]
        if others or user in known.anyone:
            return tuple(sorted({*_names(others), *known.anyone} - {user}))
        return known.anyone

    def everybody(self) -> tuple[str, ...]:
        """Return all who share something, in order, as far as the list knows them."""
        return _names({owner for owners in self._look().owners.values() for owner in owners})

    def of(self, owner: str) -> frozenset[Who]:
        """Return with whom *owner* shares something; where "anyone" is among them "authenticated" may be meant."""
        name = _escaped(owner.encode("utf-8", "surrogateescape"))
        found = [key for key, owners in self._look().owners.items() if name in owners]
        return frozenset(who for key in found if (who := _who(key)) is not None)

    def stamp(self) -> ShareStamp | None:
        """Return another value when the list has changed since: one look at the disk.  None: there is no list."""
        try:
            state = os.lstat(self.path)
        except PermissionError:
            try:
                with self._acting():
                    state = os.lstat(self.path)
            except OSError:
                return None
        except OSError:
            return None
        return ShareStamp(state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)

    def put(self, owner: str, to: Collection[Who]) -> None:
        """Let the list say that *owner* shares with *to* and with nobody else; nothing is written where it does.

        Raises StoreError.  Waits for another writer: no lock may be held.
        """
        self.put_all({owner: to})

    def put_all(self, shares: Mapping[str, Collection[Who]], *, alone: bool = False) -> None:
        """As ``put`` for several owners at once; *alone*: there are no others, what the list says of them goes.

        Raises StoreError.
        """
        wanted = {}
        for owner, to in shares.items():
            name = owner.encode("utf-8", "surrogateescape")
            if b"/" in name or not name:
                raise ValueError("a user's name has no slash")
            himself = _identifier(Who(Kind.USER, owner))
            wanted[_escaped(name)] = {_identifier(who) for who in to} - {None, himself}
        with self._acting(), durable.as_store_error(self.path):
            if self._changed(self._pairs(), wanted, alone=alone) is None:
                return
            directory = descriptors.open_directory(self._directory)
            try:
                with DotLock(self._name + b".lock", directory, _LOCK_SECONDS, _STALE_SECONDS):
                    pairs = self._changed(self._pairs(), wanted, alone=alone)
                    if pairs is not None:
                        self._write(render(pairs), directory)
            finally:
                os.close(directory)

    @staticmethod
    def _changed(pairs: list[_Pair], wanted: Mapping[bytes, set[bytes | None]], *, alone: bool) -> list[_Pair] | None:
        """Return the list with what is *wanted* of some owners; None where it says so already."""
        kept: list[_Pair] = []
        missing = {owner: set(identifiers) for owner, identifiers in wanted.items()}
        start = len(_PREFIX)
        for pair in pairs:
            if pair[0].startswith(_PREFIX):
                identifier, _, owner = pair[0][start:].rpartition(b"/")
                if owner in missing:
                    if identifier not in missing[owner]:
                        continue
                    missing[owner].remove(identifier)
                elif alone:
                    continue
            kept.append(pair)
        new = [
            (_PREFIX + identifier + b"/" + owner, b"1")
            for owner, identifiers in missing.items()
            for identifier in sorted(filter(None, identifiers))
        ]
        return kept + new if new or len(kept) != len(pairs) else None

    def _pairs(self) -> list[_Pair]:
        """Read what is in the file now; raises OSError."""
        data, _ = durable.read_dated(self._directory, self._name, durable.LARGE_OCTETS)
        return [] if data is None else parse(data)

    def _write(self, data: bytes, directory: int) -> None:
        """Put another file in its place, under its lock: whose the one before is, or its directory, and as open."""
        if len(data) > durable.LARGE_OCTETS:
            raise OSError(errno.EDQUOT, f"it would have more than {durable.LARGE_OCTETS} octets")
        try:
            like = os.stat(self._name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            # Root may be the first to write it, and the workers somebody else.
            like = os.fstat(directory)
        else:
            if not stat.S_ISREG(like.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
        durable.put(self._name, data, directory, durable=True, like=like)
        durable.sync(directory)

    def _look(self) -> _Known:
        """Return what the list says now, or what was known where it cannot be read."""
        known, stamp = self._known, self.stamp()
        if stamp == known.stamp and known.settled:
            return known
        if stamp is None:
            self._known = _Known()
            return self._known
        try:
            with self._acting():
                data, _ = durable.read_dated(self._directory, self._name, durable.LARGE_OCTETS)
        except OSError as error:
            if self._told != str(error):
                self._told = str(error)
                log.error("list of shares not read", path=self.path, why=error.strerror)
            return known
        self._told = None
        data = data or b""
        if data == known.data:
            owners, anyone = known.owners, known.anyone
        else:
            owners = _by_identifier(parse(data))
            anyone = _names(owners.get(_ANYONE, ()))
        # A file that is too young may change again within its clock's grain.
        settled = time.time() - max(stamp.mtime_ns, stamp.ctime_ns) / 1e9 > GRAIN_SECONDS
        self._known = _Known(stamp, settled, None if settled else data, owners, anyone)
        return self._known
