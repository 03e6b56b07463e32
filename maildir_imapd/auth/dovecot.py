"""The back end that asks a running Dovecot: its auth process, by the socket for clients and the one for user look-ups.

Lines of words with tabs between them.  Both sides say their version first; then a client says its process, and a server
what it can do until DONE.  A question has a number, and so has its answer.
"""

from __future__ import annotations

import base64
import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

from maildir_imapd.auth import fields
from maildir_imapd.auth.base import Credential, External, Identity, Password, Registered, address
from maildir_imapd.auth.names import valid_user
from maildir_imapd.auth.waiting import LineBroken, Pool, Until
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

_MAJOR: Final = b"1"
_LINE_OCTETS: Final = 16384
_PASSWORD_OCTETS: Final = 4096
# How these characters stand in a word.
_ESCAPED: Final = {b"\0": b"\x010", b"\x01": b"\x011", b"\t": b"\x01t", b"\r": b"\x01r", b"\n": b"\x01n"}
_PLAIN: Final = {escaped[1:]: plain for plain, escaped in _ESCAPED.items()}
_ESCAPE: Final = re.compile(rb"\x01(.)", re.DOTALL).sub
_STRANGER: Final = "-"


def escaped(word: bytes) -> bytes:
    """Write a word so that it ends neither itself nor its line."""
    return b"".join(_ESCAPED.get(bytes((octet,)), bytes((octet,))) for octet in word)


def words(line: bytes) -> list[bytes]:
    """Take a line apart."""
    return [_unescaped(word) for word in line.split(b"\t")]


def _unescaped(word: bytes) -> bytes:
    return _ESCAPE(lambda found: _PLAIN.get(found[1], found[1]), word)


def named(parts: Sequence[bytes]) -> dict[str, str]:
    """Read ``name=value`` words; one without a value is "yes"."""
    found = {}
    for part in parts:
        name, equals, value = part.decode("utf-8", "surrogateescape").partition("=")
        found[name] = value if equals else "yes"
    return found


def _from(host: str | None) -> list[bytes]:
    """Say from which address, if it is one."""
    found = address(host)
    return [] if found is None else [b"rip=" + str(found).encode()]


class _Talk(ABC):
    """A connection to one of Dovecot's sockets; raises LineBroken for what is no word of its."""

    def __init__(self, path: str, until: Until) -> None:
        self._number = 0
        self._read = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(until.left)
            self._socket.connect(path)
            self._greet(until)
        except BaseException:
            self._socket.close()
            raise

    @abstractmethod
    def _greet(self, until: Until) -> None:
        """Begin the dialogue; raises LineBroken."""

    def send(self, *parts: bytes, until: Until) -> None:
        """Send a line of words that are escaped already."""
        self._socket.settimeout(until.left)
        self._socket.sendall(b"\t".join(parts) + b"\n")

    def line(self, until: Until) -> list[bytes]:
        """Receive a line, as its words."""
        while b"\n" not in self._read:
            self._socket.settimeout(until.left)
            more = self._socket.recv(_LINE_OCTETS)
            if not more or len(self._read) > _LINE_OCTETS:
                raise LineBroken("the connection was closed" if not more else "a line without end")
            self._read += more
            if until.over:
                raise TimeoutError("no answer in time")
        line, _, self._read = self._read.partition(b"\n")
        return words(line)

    def version(self, until: Until, *more: Sequence[bytes]) -> None:
        """Say our version and *more*, and hear the other's; raises LineBroken for one that we do not know."""
        self._socket.settimeout(until.left)
        lines = [(b"VERSION", _MAJOR, b"1"), *more]
        self._socket.sendall(b"".join(b"\t".join(line) + b"\n" for line in lines))
        said = self.line(until)
        if said[:2] != [b"VERSION", _MAJOR]:
            raise LineBroken("another version of the protocol")

    def answer(self, kinds: Sequence[bytes], until: Until) -> list[bytes]:
        """Receive the answer to the last question; lines that are for nobody are passed over."""
        while True:
            said = self.line(until)
            if said[0] in kinds and said[1:2] == [b"%d" % self._number]:
                return said

    def next_number(self) -> bytes:
        """Count the questions; their numbers have 32 bits there."""
        self._number = self._number % 0x7FFFFFFF + 1
        return b"%d" % self._number

    def close(self) -> None:
        """As ``BackEndLine.close``."""
        self._socket.close()


class _Checks(_Talk):
    """The socket for clients."""

    def _greet(self, until: Until) -> None:
        self.version(until, (b"CPID", b"%d" % os.getpid()))
        mechanisms = set()
        while (said := self.line(until))[0] != b"DONE":
            if said[0] == b"MECH":
                mechanisms.add(said[1:2] and said[1].upper())
        if b"PLAIN" not in mechanisms:
            raise LineBroken("Dovecot does not offer PLAIN")

    def check(self, user: str, password: bytes, host: str | None, until: Until) -> list[bytes]:
        """Ask whether a password is right, and return OK or FAIL with what is said."""
        number = self.next_number()
        response = base64.b64encode(b"\0" + user.encode("utf-8", "surrogateescape") + b"\0" + password)
        # That the client's own connection is safe has been seen to before.
        more = (b"service=imap", *_from(host), b"secured", b"no-penalty")
        self.send(b"AUTH", number, b"PLAIN", *more, b"resp=" + response, until=until)
        return self.answer((b"OK", b"FAIL"), until)


class _LooksUp(_Talk):
    """The socket for look-ups of users."""

    def _greet(self, until: Until) -> None:
        self.version(until)

    def user(self, user: str, until: Until) -> list[bytes]:
        """Ask who a user is, and return USER, NOTFOUND or FAIL with what is said."""
        name = escaped(user.encode("utf-8", "surrogateescape"))
        self.send(b"USER", self.next_number(), name, b"service=imap", until=until)
        return self.answer((b"USER", b"NOTFOUND", b"FAIL"), until)

    def may_log_in(self, user: str, host: str | None, until: Until) -> list[bytes]:
        """Ask what is known of a user's password, and return PASS, NOTFOUND or FAIL with what is said."""
        name = escaped(user.encode("utf-8", "surrogateescape"))
        self.send(b"PASS", self.next_number(), name, b"service=imap", *_from(host), until=until)
        return self.answer((b"PASS", b"NOTFOUND", b"FAIL"), until)

    def names(self, until: Until) -> list[str]:
        """Ask who there is."""
        number = self.next_number()
        self.send(b"LIST", number, b"service=imap", until=until)
        found: list[str] = []
        while True:
            said = self.answer((b"LIST", b"DONE"), until)
            if said[0] == b"DONE":
                if b"fail" in said[2:]:
                    raise ConfigError("its users cannot be listed")
                return found
            found += [name.decode("utf-8", "replace") for name in said[2:3]]


class DovecotAuth:
    """The back end over a running Dovecot.  Safe from any thread.

    *checks*: the path of its socket for clients, *knows*: of that for look-ups; None: it cannot be asked that.  Without
    *knows* whoever can be a user may be one.
    """

    name = "dovecot"

    def __init__(self, checks: str | None, knows: str | None, *, most: int, seconds: float) -> None:
        self._checking = (
            None
            if checks is None
            else Pool(self.name, lambda until: _Checks(checks, until), most=most, seconds=seconds)
        )
        self._knowing = (
            None if knows is None else Pool(self.name, lambda until: _LooksUp(knows, until), most=most, seconds=seconds)
        )

    @property
    def takes(self) -> tuple[type[Credential], ...]:
        """As ``Authenticator.takes``: who is locked out its socket for look-ups says."""
        return (Password,) if self._knowing is None else (Password, External)

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``; user databases do not say all of who is locked out, ``check`` does."""
        if not valid_user(user):
            return None
        if self._knowing is None:
            return Registered(Identity(user))
        said = self._knowing.ask(lambda talk, until: talk.user(user, until))
        if said[0] == b"NOTFOUND":
            return None
        if said[0] == b"FAIL":
            raise self._unavailable(named(said[2:]).get("reason", "it cannot say who a user is"))
        name = said[2].decode("utf-8", "surrogateescape") if len(said) > 2 else user
        said_of_him = named(said[3:])
        return Registered(self._identity(name, said_of_him), may_log_in=fields.may_log_in(said_of_him))

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``."""
        if isinstance(credential, External):
            return self._check_without_password(credential.user, credential.host)
        if self._checking is None or not isinstance(credential, Password) or not credential.password:
            raise AuthenticationFailed
        user, password = credential.user, credential.password
        known = valid_user(user)
        if b"\0" in password or len(password) > _PASSWORD_OCTETS:
            raise AuthenticationFailed
        asked = user if known else _STRANGER
        said = self._checking.ask(lambda talk, until: talk.check(asked, password, credential.host, until))
        words = named(said[2:])
        if said[0] == b"FAIL":
            # The first of these is 2.2's, the second 2.3's.
            if "temp" in words or words.get("code") == "temp_fail":
                raise self._unavailable("its own back ends cannot be asked")
            raise AuthenticationFailed(detail=words.get("code", "").replace("_", "-"))
        if not known or not fields.may_log_in(words):
            raise AuthenticationFailed
        name = words.pop("user", user)
        found = self.look_up(name) if self._knowing is not None else None
        if found is not None and not found.may_log_in:
            raise AuthenticationFailed
        if found is not None:
            return found.identity
        if self._knowing is not None:
            log.warning("Dovecot's userdb does not know the user", user=name)
            raise AuthenticationFailed(detail="not-in-userdb")
        return self._identity(name, words)

    def _check_without_password(self, user: str, host: str | None) -> Identity:
        """Say who a user is whom Dovecot would let in, as far as its back ends can tell without a password."""
        found = self.look_up(user)
        if self._knowing is None or found is None or not found.may_log_in:
            raise AuthenticationFailed
        said = self._knowing.ask(lambda talk, until: talk.may_log_in(user, host, until))
        if said[0] == b"FAIL":
            raise self._unavailable("it cannot say without a password whether a user may log in")
        if said[0] == b"NOTFOUND" or not fields.may_log_in(named(said[2:])):
            raise AuthenticationFailed
        return found.identity

    def _identity(self, user: str, words: dict[str, str]) -> Identity:
        try:
            if not valid_user(user):
                raise ValueError("its name cannot be a user's")
            return fields.identity(user, words)
        except ValueError as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, why: str) -> Unavailable:
        log.error("back end cannot be asked", name=self.name, why=why)
        return Unavailable(detail=f"{self.name}: {why}")

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``, as far as its user databases have lists."""
        if self._knowing is None:
            return []
        try:
            found = self._knowing.ask(lambda talk, until: talk.names(until))
        except ConfigError as error:
            raise self._unavailable(error.text) from error
        return [name for name in found if valid_user(name)]
