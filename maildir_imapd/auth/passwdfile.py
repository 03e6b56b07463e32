"""Users in a file, in Dovecot's passwd-file format.

    user:{SCHEME}hash:uid:gid:gecos:home:shell:extra fields

Fields after the password may be left out; uid and gid are numbers or names; the extra fields are those of
``fields.py``.  Lines that begin with ``#`` are comments.

A file that has changed is only cut into lines while others wait; a line is understood when its user comes, and all of
them, for what is to be said of them, by a thread of its own, a few at a time: of 50 000 lines that is a second's work.
"""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from maildir_imapd.auth import fields, schemes
from maildir_imapd.auth.base import Credential, External, Identity, Password, Proven, Registered
from maildir_imapd.auth.names import filled, valid_user, variables
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

# Lines that are understood before others get their turn.
_LINES_AT_ONCE: Final = 200
# Files, one a domain, that are kept in memory.
_FILES: Final = 1000


@dataclass(frozen=True, slots=True)
class PasswdEntry:
    """One line; *stored* is the password as it stands there, "" for none."""

    stored: str = field(repr=False)
    identity: Identity
    may_log_in: bool = True


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A line that cannot be used, why not, and whose it is, "" where that is not to be seen."""

    number: int
    user: str
    why: str
    line: str = field(repr=False)


def parse(text: str, source: str = "passwd-file") -> dict[str, PasswdEntry]:
    """Read a whole file; a line that cannot be understood is logged and passed over."""
    lines = _Lines(text)
    _say(lines.passed_over(), source)
    return lines.entries()


def _say(passed_over: Iterable[PassedOver], source: str) -> None:
    for over in passed_over:
        log.warning("passwd-file line passed over", line=f"{source}:{over.number}", user=over.user, why=over.why)


class _Lines:
    """The lines of a file at one time.  Two threads may understand the same line, and come to the same."""

    def __init__(self, text: str = "") -> None:
        self._all: list[tuple[int, str]] = []
        # By what stands before the colon: where in the list, the first first.
        self._by_name: dict[str, int | list[int]] = {}
        self._entries: dict[str, PasswdEntry | None] = {}
        by_name, every = self._by_name, self._all
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name = line.partition(":")[0]
            before = by_name.get(name)
            if before is None:
                by_name[name] = len(every)
            elif isinstance(before, int):
                by_name[name] = [before, len(every)]
            else:
                before.append(len(every))
            every.append((number, line.removesuffix("\r")))

    def entry(self, user: str) -> PasswdEntry | None:
        """The first line of *user* that can be understood."""
        try:
            return self._entries[user]
        except KeyError:
            pass
        found = None
        for number, line in self._of(user):
            understood = _understood(number, line)
            if isinstance(understood, PasswdEntry):
                found = understood
                break
        else:
            if user not in self._by_name:
                return None  # of those who are not there none is noted
        self._entries[user] = found
        return found

    def _of(self, user: str) -> list[tuple[int, str]]:
        places = self._by_name.get(user, [])
        return [self._all[place] for place in ([places] if isinstance(places, int) else places)]

    def first_passed_over(self, user: str) -> PassedOver | None:
        """Why there is no line of *user*, who has one."""
        for number, line in self._of(user) or self._of(user.lower()):
            understood = _understood(number, line)
            if isinstance(understood, PassedOver) and understood.user:
                return understood
        return None

    def passed_over(self) -> list[PassedOver]:
        """All lines that are not used, in their order; lets other threads run now and then."""
        found: list[PassedOver] = []
        seen: set[str] = set()
        for k, (number, line) in enumerate(self._all):
            if k % _LINES_AT_ONCE == _LINES_AT_ONCE - 1:
                time.sleep(0)
            name = line.partition(":")[0]
            known = self._entries.get(name)
            once = isinstance(self._by_name[name], int)
            understood = known if known is not None and once else _understood(number, line)
            if isinstance(understood, PassedOver):
                found.append(understood)
            elif name in seen:
                found.append(PassedOver(number, _shown(line), "another line of this user stands before it", line))
            else:
                seen.add(name)
                self._entries[name] = understood
        return found

    def entries(self) -> dict[str, PasswdEntry]:
        """All of them, in the file's order."""
        found = {}
        for name in self._by_name:
            entry = self.entry(name)
            if entry is not None:
                found[name] = entry
        return found

    def dearest(self) -> str | None:
        """The stored password that is dearest to check: no known user's takes longer than an unknown one's."""
        stored = (entry.stored for entry in list(self._entries.values()) if entry is not None and entry.stored)
        return max(stored, key=schemes.cost, default=None)

    def schemes(self) -> frozenset[str]:
        """The schemes of all stored passwords."""
        return frozenset(
            schemes.split(entry.stored)[0]
            for entry in list(self._entries.values())
            if entry is not None and entry.stored
        )


def _understood(number: int, line: str) -> PasswdEntry | PassedOver:
    try:
        return _line(line)
    except ValueError as error:
        return PassedOver(number, _shown(line), str(error), line)


def _shown(line: str) -> str:
    """Whose line it is; a torn one may have the password in front."""
    name, colon, _ = line.partition(":")
    return name if colon and valid_user(name) else ""


def _line(line: str) -> PasswdEntry:
    parts = line.split(":", 7)
    parts += [""] * (8 - len(parts))
    user, stored, uid, gid, _, home, _, extra = parts
    if not user:
        raise ValueError("no user name")
    if stored:
        schemes.split(stored)
    words = fields.words(extra)
    identity = fields.identity(user, words, home=home or None, uid=fields.owner(uid), gid=fields.group(gid))
    return PasswdEntry(stored, identity, fields.may_log_in(words))


class PasswdFile:
    """The back end over one file, which is read again whenever it has changed.  Safe from any thread."""

    takes = (Password, Proven, External)

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        self._reading = threading.Lock()  # held while the file is cut into lines
        self._lock = threading.Lock()  # guards everything below
        self._stamp: tuple[int, int, int] | None = None
        self._lines = _Lines()
        self._looking: threading.Thread | None = None
        self._passed_over: list[PassedOver] = []
        self._dummy: str | None = None
        self._schemes: frozenset[str] = frozenset()
        try:
            self._current()
        except OSError as error:
            raise ConfigError(f"passwd_file {path}: {error.strerror}") from error

    def _current(self) -> _Lines:
        stamp = self._stamp_now()
        with self._lock:
            if stamp == self._stamp:
                return self._lines
        with self._reading:
            stamp = self._stamp_now()
            with self._lock:
                if stamp == self._stamp:
                    return self._lines
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                lines = _Lines(file.read())
            with self._lock:
                first, self._stamp, self._lines = self._stamp is None, stamp, lines
            self._have_looked_through(lines, now=first)
        return lines

    def _have_looked_through(self, lines: _Lines, *, now: bool) -> None:
        """Have the lines looked through, one file after the other; *now*: before this returns."""
        before = self._looking

        def look() -> None:
            if before is not None:
                before.join()
            self._look_through(lines)

        if now:
            look()
            return
        self._looking = threading.Thread(target=look, name="passwd-file", daemon=True)
        self._looking.start()

    def looked_through(self) -> None:
        """Wait until all has been said of the file as it was read last."""
        looking = self._looking
        if looking is not None:
            looking.join()

    def _stamp_now(self) -> tuple[int, int, int]:
        state = os.stat(self.path)
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _look_through(self, lines: _Lines) -> None:
        """Say which lines are passed over, those that were said before left out."""
        passed_over, dearest, kept = lines.passed_over(), lines.dearest(), lines.schemes()
        with self._lock:
            if lines is not self._lines:
                return  # it has changed again
            said = {(over.line, over.why) for over in self._passed_over}
            self._passed_over, self._dummy, self._schemes = passed_over, dearest, kept
        _say((over for over in passed_over if (over.line, over.why) not in said), self.path)

    def _read(self) -> _Lines:
        """Return the file as it stands now; raises Unavailable when it cannot be read."""
        try:
            return self._current()
        except OSError as error:
            log.error("passwd-file cannot be read", path=self.path, why=error.strerror)
            raise Unavailable(detail=f"{self.path}: {error.strerror}") from error

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``."""
        entry = self._read().entry(user)
        return Registered(entry.identity, entry, entry.may_log_in) if entry is not None else None

    def stored(self, user: str) -> str | None:
        """As ``SecretKeeper.stored``."""
        entry = self._read().entry(user)
        return (entry.stored or None) if entry is not None else None

    def all_kept_as(self, schemes: Container[str]) -> bool:
        """As ``SecretKeeper.all_kept_as``, of the file as it was read last."""
        with self._lock:
            kept = self._schemes
        return bool(kept) and all(scheme in schemes for scheme in kept)

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``; the hash waits for its turn (``schemes.turn``)."""
        if not isinstance(credential, Password):
            return self._check_proof(credential)
        user, password = credential.user, credential.password
        with schemes.turn():
            lines = self._read()
            entry = lines.entry(user)
            stored = entry.stored if entry is not None and entry.stored else self.stand_in()
            try:
                good, why = schemes.verify(stored, password), ""
            except ValueError as error:
                log.warning("stored password cannot be used", user=user, why=error)
                good, why = False, "stored-password"
        if entry is None:
            raise AuthenticationFailed(detail=self._why_not(user, lines))
        if not entry.stored or not good or not password or not entry.may_log_in:
            raise AuthenticationFailed(detail=why if entry.stored else "")
        return entry.identity

    def _check_proof(self, credential: Credential) -> Identity:
        """Check what needs no hash."""
        lines = self._read()
        entry = lines.entry(credential.user)
        if entry is None:
            raise AuthenticationFailed(detail=self._why_not(credential.user, lines))
        match credential:
            case External():
                good = True
            case Proven(holds=holds, stored=stored):
                # What it was compared with may have been changed meanwhile.
                good = holds and bool(stored) and stored == entry.stored
            case _:
                good = False
        if not good or not entry.may_log_in:
            raise AuthenticationFailed
        return entry.identity

    def _why_not(self, user: str, lines: _Lines) -> str:
        """Note what is wrong with the line of somebody who has one and is not known; "" where he has none."""
        over = lines.first_passed_over(user) if user else None
        if over is None:
            return ""
        log.warning("the user's line is passed over", user=user, line=f"{self.path}:{over.number}", why=over.why)
        return "line-passed-over"

    def stand_in(self) -> str:
        """A hash that an unknown user's password is compared with, so that the time taken tells nothing."""
        with self._lock:
            if self._dummy is None:
                self._dummy = schemes.make(os.urandom(16).hex().encode())
            return self._dummy

    def users(self) -> list[str]:
        """As ``Authenticator.users``, in the file's order."""
        return list(self._read().entries())


class PasswdFiles:
    """The back end over one file for each domain, or user: a path with %d, %n or %u in it.  Safe from any thread.

    In the file of a domain a user may stand with his domain or without.  A file that is not there has nobody in it.
    """

    takes = (Password, Proven, External)

    def __init__(self, template: str) -> None:
        self.name = template
        self._domains = "d" in variables(template)
        self._lock = threading.Lock()  # guards _files
        self._files: OrderedDict[str, PasswdFile] = OrderedDict()

    def _file(self, path: str) -> PasswdFile | None:
        if not os.path.exists(path):
            # What cannot be looked at is said to be missing, too: then nobody knows.
            try:
                os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise Unavailable(detail=f"{path}: {error.strerror}") from error
        with self._lock:
            found = self._files.get(path)
            if found is not None:
                self._files.move_to_end(path)
                return found
        try:
            found = PasswdFile(path)
        except ConfigError as error:
            log.error("passwd-file cannot be read", path=path, why=error.text)
            raise Unavailable(detail=error.text) from error
        with self._lock:
            found = self._files.setdefault(path, found)
            while len(self._files) > _FILES:
                self._files.popitem(last=False)
        return found

    def _find(self, user: str) -> tuple[PasswdFile, Registered] | None:
        """The file that *user* stands in, and what it says, under the name that it has for him."""
        if not valid_user(user) or (self._domains and "@" not in user):
            return None
        file = self._file(filled(self.name, user))
        if file is None:
            return None
        for name in dict.fromkeys((user, user.partition("@")[0])) if self._domains else (user,):
            found = file.look_up(name)
            if found is not None:
                return file, found
        return None

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``."""
        found = self._find(user)
        if found is None:
            return None
        _, registered = found
        return replace(registered, identity=replace(registered.identity, user=user))

    def stored(self, user: str) -> str | None:
        """As ``SecretKeeper.stored``."""
        found = self._find(user)
        return found[0].stored(found[1].identity.user) if found is not None else None

    def all_kept_as(self, schemes: Container[str]) -> bool:
        """As ``SecretKeeper.all_kept_as``: False, for nobody knows all files."""
        return False

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``."""
        found = self._find(credential.user)
        if found is None:
            if isinstance(credential, Password):
                with schemes.turn():
                    schemes.verify(self._stand_in(), credential.password)
            raise AuthenticationFailed
        file, registered = found
        identity = file.check(replace(credential, user=registered.identity.user))
        return replace(identity, user=credential.user)

    def _stand_in(self) -> str:
        with self._lock:
            files = list(self._files.values())
        stored = [file.stand_in() for file in files] or [schemes.make(os.urandom(16).hex().encode())]
        return max(stored, key=schemes.cost)

    def users(self) -> Iterator[str]:
        """As ``Authenticator.users``, of all files that are there."""
        pattern = re.compile(_pattern(self.name, r"(?P<\1>[^/]+)", re.escape))
        for path in sorted(glob.iglob(_pattern(self.name, "*", glob.escape))):
            match = pattern.fullmatch(path)
            file = self._file(path) if match is not None else None
            if match is None or file is None:
                continue
            domain = match.groupdict().get("d", "")
            for name in file.users():
                whole = name if "@" in name or not domain else f"{name}@{domain}"
                if valid_user(whole) and filled(self.name, whole) == path:
                    yield whole


def _pattern(template: str, variable: str, escape: Callable[[str], str]) -> str:
    """Make of a path with variables a pattern that finds all; in *variable* \\1 is the letter, the first time."""
    seen: set[str] = set()
    parts = []
    for plain, low, which in _PARTS(template):
        parts.append(escape(plain))
        if which == "%":
            parts.append(escape("%"))
        elif which:
            named = which not in seen and not low
            seen.add(which if named else "")
            parts.append(variable.replace("\\1", which) if named or variable == "*" else "[^/]+")
    return "".join(parts)


_PARTS = re.compile(r"([^%]*)(?:%(L?)([und%]))?").findall
