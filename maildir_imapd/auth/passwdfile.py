"""Users in a file, in Dovecot's passwd-file format.

    user:{SCHEME}hash:uid:gid:gecos:home:shell:extra fields

Fields after the password may be left out.  ``extra`` holds ``key=value`` words; ``userdb_mail`` and
``mail`` name the user's mail_location.  Lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass

from maildir_imapd.auth import schemes
from maildir_imapd.auth.base import Identity
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    stored: str
    identity: Identity


def parse(text: str, source: str = "passwd-file") -> dict[str, Entry]:
    """Read a whole file; a line that cannot be understood is logged and passed over."""
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            user, entry = _line(line)
        except ValueError as error:
            logger.warning(
                "passwd-file line passed over", extra={"fields": {"line": f"{source}:{number}", "why": error}}
            )
            continue
        if user in entries:
            logger.warning("passwd-file names a user twice", extra={"fields": {"line": f"{source}:{number}"}})
            continue
        entries[user] = entry
    return entries


def _line(line: str) -> tuple[str, Entry]:
    fields = line.split(":", 7)
    fields += [""] * (8 - len(fields))
    user, stored, uid, gid, _, home, _, extra = fields
    if not user:
        raise ValueError("no user name")
    if stored:
        schemes.split(stored)
    words = {}
    for word in extra.split():
        key, _, value = word.partition("=")
        words[key] = value or "yes"
    identity = Identity(
        user,
        home=home or None,
        uid=int(uid) if uid else None,
        gid=int(gid) if gid else None,
        extra=words,
    )
    return user, Entry(stored, identity)


class PasswdFile:
    """A user database over one file, read again whenever it has changed.  Safe from any thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()  # guards _stamp and _entries
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, Entry] = {}
        # What an unknown user's password is compared with: the time taken tells nothing.
        self._dummy = schemes.make(os.urandom(16).hex().encode())
        try:
            self._current()
        except OSError as error:
            raise ConfigError(f"passwd_file {path}: {error.strerror}") from error

    def _current(self) -> dict[str, Entry]:
        state = os.stat(self.path)
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        with self._lock:
            if stamp == self._stamp:
                return self._entries
        with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
            entries = parse(file.read(), self.path)
        with self._lock:
            self._stamp, self._entries = stamp, entries
        return entries

    def _entry(self, user: str) -> Entry | None:
        try:
            return self._current().get(user)
        except OSError as error:
            raise Unavailable(detail=f"{self.path}: {error}") from error

    def check(self, user: str, password: bytes) -> Identity:
        """As ``Authenticator.check``."""
        entry = self._entry(user)
        stored = entry.stored if entry is not None and entry.stored else self._dummy
        try:
            good = schemes.verify(stored, password)
        except ValueError as error:
            logger.warning("stored password cannot be used", extra={"fields": {"user": user, "why": error}})
            good = False
        if entry is None or not entry.stored or not good or not password:
            raise AuthenticationFailed
        if "nologin" in entry.identity.extra:
            raise AuthenticationFailed
        return entry.identity

    def look_up(self, user: str) -> Identity | None:
        """As ``Authenticator.look_up``."""
        entry = self._entry(user)
        return entry.identity if entry is not None else None

    def users(self) -> list[str]:
        """Every user's name, in the file's order."""
        return list(self._current())

    def stored(self, user: str) -> str:
        """What the file holds for *user*'s password: it changes when the password does.  "" for nobody."""
        entry = self._entry(user)
        return entry.stored if entry is not None else ""
