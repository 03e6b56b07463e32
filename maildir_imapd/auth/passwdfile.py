"""Users in a file, in Dovecot's passwd-file format.

    user:{SCHEME}hash:uid:gid:gecos:home:shell:extra fields

Fields after the password may be left out; uid and gid are numbers or names; the extra fields are those of
``fields.py``.  Lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import grp
import os
import pwd
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from maildir_imapd.auth import fields, schemes
from maildir_imapd.auth.base import Credential, Identity, Password, Registered
from maildir_imapd.auth.names import valid_user
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)


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
    entries, passed_over = _read(text)
    _say(passed_over, source)
    return entries


def _say(passed_over: Iterable[PassedOver], source: str) -> None:
    for over in passed_over:
        log.warning("passwd-file line passed over", line=f"{source}:{over.number}", user=over.user, why=over.why)


def _read(text: str) -> tuple[dict[str, PasswdEntry], list[PassedOver]]:
    entries: dict[str, PasswdEntry] = {}
    passed_over = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        line = line.removesuffix("\r")
        try:
            user, entry = _line(line)
            if user in entries:
                raise ValueError("another line of this user stands before it")
            entries[user] = entry
        except ValueError as error:
            name, colon, _ = line.partition(":")
            # A torn line may have the password in front.
            passed_over.append(PassedOver(number, name if colon and valid_user(name) else "", str(error), line))
    return entries, passed_over


def _line(line: str) -> tuple[str, PasswdEntry]:
    parts = line.split(":", 7)
    parts += [""] * (8 - len(parts))
    user, stored, uid, gid, _, home, _, extra = parts
    if not user:
        raise ValueError("no user name")
    if stored:
        schemes.split(stored)
    words = fields.words(extra)
    identity = fields.identity(user, words, home=home or None, uid=_uid(uid), gid=_gid(gid))
    return user, PasswdEntry(stored, identity, fields.may_log_in(words))


# The messages hold nothing of the line: where a field is missing, the password may stand in its place.


def _uid(written: str) -> int | None:
    if not written:
        return None
    try:
        return _number(written) if written.isdigit() else pwd.getpwnam(written).pw_uid
    except (KeyError, OverflowError):
        raise ValueError("the third field is not a user of this machine") from None


def _gid(written: str) -> int | None:
    if not written:
        return None
    try:
        return _number(written) if written.isdigit() else grp.getgrnam(written).gr_gid
    except (KeyError, OverflowError):
        raise ValueError("the fourth field is not a group of this machine") from None


def _number(written: str) -> int:
    number = int(written) if written.isascii() and len(written) <= 10 else 1 << 32
    if number >= (1 << 32) - 1:
        raise OverflowError
    return number


class PasswdFile:
    """The back end over one file, which is read again whenever it has changed.  Safe from any thread."""

    takes = (Password,)

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        self._lock = threading.Lock()  # guards everything below
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, PasswdEntry] = {}
        self._passed_over: list[PassedOver] = []
        self._dummy: str | None = None
        try:
            self._current()
        except OSError as error:
            raise ConfigError(f"passwd_file {path}: {error.strerror}") from error

    def _current(self) -> dict[str, PasswdEntry]:
        state = os.stat(self.path)
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        with self._lock:
            if stamp == self._stamp:
                return self._entries
        with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
            entries, passed_over = _read(file.read())
        with self._lock:
            said = {(over.line, over.why) for over in self._passed_over}
            self._stamp, self._entries, self._passed_over, self._dummy = stamp, entries, passed_over, _dummy(entries)
        _say((over for over in passed_over if (over.line, over.why) not in said), self.path)
        return entries

    def _entry(self, user: str) -> PasswdEntry | None:
        """Find the line of *user* as it stands now; raises Unavailable when the file cannot be read."""
        try:
            return self._current().get(user)
        except OSError as error:
            log.error("passwd-file cannot be read", path=self.path, why=error.strerror)
            raise Unavailable(detail=f"{self.path}: {error.strerror}") from error

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``."""
        entry = self._entry(user)
        return Registered(entry.identity, entry) if entry is not None else None

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``; the hash waits for its turn (``schemes.turn``)."""
        if not isinstance(credential, Password):
            raise AuthenticationFailed
        user, password = credential.user, credential.password
        with schemes.turn():
            entry = self._entry(user)
            stored = entry.stored if entry is not None and entry.stored else self._stand_in()
            try:
                good, why = schemes.verify(stored, password), ""
            except ValueError as error:
                log.warning("stored password cannot be used", user=user, why=error)
                good, why = False, "stored-password"
        if entry is None:
            raise AuthenticationFailed(detail=self._why_not(user))
        if not entry.stored or not good or not password or not entry.may_log_in:
            raise AuthenticationFailed(detail=why if entry.stored else "")
        return entry.identity

    def _why_not(self, user: str) -> str:
        """Note what is wrong with the line of somebody who has one and is not known; "" where he has none."""
        with self._lock:
            found = [over for over in self._passed_over if over.user and over.user in (user, user.lower())]
        if not found:
            return ""
        where = f"{self.path}:{found[0].number}"
        log.warning("the user's line is passed over", user=user, line=where, why=found[0].why)
        return "line-passed-over"

    def _stand_in(self) -> str:
        """A hash that an unknown user's password is compared with, so that the time taken tells nothing."""
        with self._lock:
            if self._dummy is None:
                self._dummy = schemes.make(os.urandom(16).hex().encode())
            return self._dummy

    def users(self) -> list[str]:
        """As ``Authenticator.users``, in the file's order."""
        try:
            return list(self._current())
        except OSError as error:
            raise Unavailable(detail=f"{self.path}: {error.strerror}") from error


def _dummy(entries: dict[str, PasswdEntry]) -> str | None:
    """The stored password that is dearest to check: no known user's takes longer than an unknown one's."""
    return max((entry.stored for entry in entries.values() if entry.stored), key=schemes.cost, default=None)
