"""Users in a file, in Dovecot's passwd-file format.

    user:{SCHEME}hash:uid:gid:gecos:home:shell:extra fields

Fields after the password may be left out; uid and gid are numbers or names.  ``extra`` holds ``key=value``
words, of which the server knows ``userdb_mail`` or ``mail`` (the user's mail_location), ``nologin`` and
``allow_nets`` (addresses the user may log in from), and ``userdb_quota_rule`` or ``quota_rule`` (limits, as
``*:storage=1G:messages=1000``).  Lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import grp
import ipaddress
import logging
import os
import pwd
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
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            user, entry = _line(line.removesuffix("\r"))
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
    networks(words.get("allow_nets", ""))
    identity = Identity(user, home=home or None, uid=_uid(uid), gid=_gid(gid), extra=words)
    return user, Entry(stored, identity)


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


def networks(written: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Read ``allow_nets``: addresses and networks, joined by commas; raises ValueError."""
    try:
        return [ipaddress.ip_network(word, strict=False) for word in written.split(",") if word]
    except ValueError:
        raise ValueError("allow_nets is not a list of networks such as 192.0.2.0/24,2001:db8::/32") from None


def allowed_from(identity: Identity, host: str) -> bool:
    """Whether the user may log in from the address *host*."""
    written = identity.extra.get("allow_nets")
    if written is None:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address.version == network.version and address in network for network in networks(written))


class PasswdFile:
    """A user database over one file, read again whenever it has changed.  Safe from any thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()  # guards everything below
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, Entry] = {}
        self._dummy: str | None = None
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
            self._stamp, self._entries, self._dummy = stamp, entries, _dummy(entries)
        return entries

    def entry(self, user: str) -> Entry | None:
        """The line of *user* as it stands now; raises Unavailable when the file cannot be read."""
        try:
            return self._current().get(user)
        except OSError as error:
            logger.error("passwd-file cannot be read", extra={"fields": {"path": self.path, "why": error.strerror}})
            raise Unavailable(detail=f"{self.path}: {error}") from error

    def check(self, user: str, password: bytes) -> Identity:
        """As ``Authenticator.check``."""
        entry = self.entry(user)
        stored = entry.stored if entry is not None and entry.stored else self._stand_in()
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

    def _stand_in(self) -> str:
        """What an unknown user's password is compared with, so that the time taken tells nothing."""
        with self._lock:
            if self._dummy is None:
                self._dummy = schemes.make(os.urandom(16).hex().encode())
            return self._dummy

    def look_up(self, user: str) -> Identity | None:
        """As ``Authenticator.look_up``."""
        entry = self.entry(user)
        return entry.identity if entry is not None else None

    def users(self) -> list[str]:
        """Every user's name, in the file's order."""
        return list(self._current())


def _dummy(entries: dict[str, Entry]) -> str | None:
    """The stored password that is dearest to check: no known user's takes longer than an unknown one's."""
    return max((entry.stored for entry in entries.values() if entry.stored), key=schemes.cost, default=None)
