"""Dovecot's auth protocol, from the asking side: its socket for clients, and the one for look-ups of users.

Lines of words with tabs between them.  Both sides say their version first; then a client says its process, and a server
what it can do until DONE.  A question has a number, and so has its answer.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from maildir_imapd.auth.base import address
from maildir_imapd.auth.waiting import LineBroken, Until
from maildir_imapd.errors import ConfigError

_MAJOR: Final = b"1"
_LINE_OCTETS: Final = 16384
# How these characters stand in a word.
_ESCAPED: Final = {b"\0": b"\x010", b"\x01": b"\x011", b"\t": b"\x01t", b"\r": b"\x01r", b"\n": b"\x01n"}
_PLAIN: Final = {escaped[1:]: plain for plain, escaped in _ESCAPED.items()}
# Of 2.3, and of 2.4.
_PROTOCOL: Final = (b"service=imap", b"protocol=imap")
_STEPS: Final = (b"CONT", b"OK", b"FAIL")
# RFC 4422 3.1.
_MECHANISM: Final = re.compile(rb"[A-Z0-9_-]{1,20}\Z").match
_ESCAPE: Final = re.compile(rb"\x01(.)", re.DOTALL).sub


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


def challenge(said: Sequence[bytes]) -> bytes:
    """Read what CONT has for the client; raises LineBroken."""
    try:
        return base64.b64decode(b"".join(said[2:3]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LineBroken("a challenge that is not base64") from error


def _from(host: str | None) -> list[bytes]:
    """Say from which address, if it is one."""
    found = address(host)
    return [] if found is None else [b"rip=" + str(found).encode()]


class Talk(ABC):
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


class Checks(Talk):
    """The socket for clients."""

    mechanisms: tuple[str, ...] = ()
    """The names of those that it offers, in its order."""

    def _greet(self, until: Until) -> None:
        self.version(until, (b"CPID", b"%d" % os.getpid()))
        found: dict[str, None] = {}
        while (said := self.line(until))[0] != b"DONE":
            if said[0] == b"MECH" and (name := _MECHANISM(b"".join(said[1:2]).upper())):
                found[name[0].decode("ascii")] = None
        self.mechanisms = tuple(found)

    def check(self, user: str, password: bytes, host: str | None, until: Until) -> list[bytes]:
        """Ask whether a password is right, and return OK or FAIL with what is said."""
        if "PLAIN" not in self.mechanisms:
            raise LineBroken("Dovecot does not offer PLAIN")
        response = base64.b64encode(b"\0" + user.encode("utf-8", "surrogateescape") + b"\0" + password)
        self._begin("PLAIN", host, [b"resp=" + response], until)
        return self.answer((b"OK", b"FAIL"), until)

    def begin(self, mechanism: str, host: str | None, until: Until) -> list[bytes]:
        """Begin an exchange, and return CONT, OK or FAIL with what is said."""
        self._begin(mechanism, host, [], until)
        return self.answer(_STEPS, until)

    def go_on(self, response: bytes, until: Until) -> list[bytes]:
        """Hand on what the client has answered to the last CONT; returns as ``begin``."""
        self.send(b"CONT", b"%d" % self._number, base64.b64encode(response), until=until)
        return self.answer(_STEPS, until)

    def _begin(self, mechanism: str, host: str | None, initial: Sequence[bytes], until: Until) -> None:
        # That the client's own connection is safe has been seen to before.
        more = (*_PROTOCOL, *_from(host), b"secured", b"no-penalty", *initial)
        self.send(b"AUTH", self.next_number(), mechanism.encode("ascii"), *more, until=until)


class LooksUp(Talk):
    """The socket for look-ups of users."""

    def _greet(self, until: Until) -> None:
        self.version(until)

    def user(self, user: str, until: Until) -> list[bytes]:
        """Ask who a user is, and return USER, NOTFOUND or FAIL with what is said."""
        name = escaped(user.encode("utf-8", "surrogateescape"))
        self.send(b"USER", self.next_number(), name, *_PROTOCOL, until=until)
        return self.answer((b"USER", b"NOTFOUND", b"FAIL"), until)

    def may_log_in(self, user: str, host: str | None, until: Until) -> list[bytes]:
        """Ask what is known of a user's password, and return PASS, NOTFOUND or FAIL with what is said."""
        name = escaped(user.encode("utf-8", "surrogateescape"))
        self.send(b"PASS", self.next_number(), name, *_PROTOCOL, *_from(host), until=until)
        return self.answer((b"PASS", b"NOTFOUND", b"FAIL"), until)

    def names(self, until: Until) -> list[str]:
        """Ask who there is."""
        number = self.next_number()
        self.send(b"LIST", number, *_PROTOCOL, b"user=*", until=until)
        found: list[str] = []
        while True:
            said = self.answer((b"LIST", b"DONE"), until)
            if said[0] == b"DONE":
                if b"fail" in said[2:]:
                    raise ConfigError("its users cannot be listed")
                return found
            found += [name.decode("utf-8", "replace") for name in said[2:3]]
