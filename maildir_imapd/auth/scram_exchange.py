"""The server's side of a SCRAM exchange (RFC 5802, 7677), by scramp: no password is sent, and the client knows us, too.

Whoever is not known gets a salt that is made up, the same each time, and learns at the end that user or password is
wrong, as everybody else does.  An authorization identity is refused: scramp has no room for it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth import schemes, scram
from maildir_imapd.auth.base import Proven
from maildir_imapd.auth.mechanisms import PASSWORD_LIMIT_OCTETS, USER_LIMIT_CHARACTERS, Exchange, Situation
from maildir_imapd.errors import AuthenticationFailed
from maildir_imapd.events import Log

if TYPE_CHECKING:
    from scramp.core import ScramServer

log = Log(__name__)

# As long as the name and a nonce may be, and some more.
_MESSAGE_LIMIT_OCTETS: Final = 4096
_PLUS: Final = "-PLUS"


def usable(scheme: str) -> frozenset[str]:
    """Name the schemes of stored secrets that a mechanism can do with."""
    return schemes.READABLE | {scheme.removesuffix(_PLUS)}


def exchange(name: str, situation: Situation) -> Exchange:
    """Run the mechanism *name*.

    Where its -PLUS is offered, a client that can bind and says that we cannot has been lied to (RFC 5802 6).
    """
    from scramp import ScramException  # an optional library

    first = _text((yield b""))
    user = _User(name.removesuffix(_PLUS), situation)
    binds = name.endswith(_PLUS) or name + _PLUS in situation.offered
    bindings = situation.bindings if binds else {}
    try:
        server = _server(name, first, bindings, user)
        server.set_client_first(first)
        challenge = server.get_server_first().encode("utf-8")
    except ScramException as error:
        user.raise_failure()
        raise AuthenticationFailed from error
    final = _text((yield challenge))
    try:
        server.set_client_final(final)
    except ScramException:
        return Proven(user.name, name, False, user.stored)
    if not user.stored:
        return Proven(user.name, name, False, "")
    yield server.get_server_final().encode("utf-8")
    return Proven(user.name, name, True, user.stored)


def _text(message: bytes) -> str:
    if len(message) > _MESSAGE_LIMIT_OCTETS:
        raise AuthenticationFailed
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AuthenticationFailed from error


def _server(name: str, first: str, bindings: Mapping[str, bytes], user: _User) -> ScramServer:
    """Make the library's server, with the binding that the client names, or one of ours; raises ScramException."""
    from scramp import ScramMechanism

    flag = first.partition(",")[0]
    kind = flag.removeprefix("p=")
    if kind != flag and not name.endswith(_PLUS):
        # The library would go over to -PLUS by itself.
        raise AuthenticationFailed
    if kind not in bindings:
        kind = next(iter(bindings), "")
    binding = (kind, bindings[kind]) if kind else None
    return ScramMechanism(name).make_server(user.secret, channel_binding=binding)


class _User:
    """Whoever the client says it is, once it has, and what is kept of him."""

    def __init__(self, scheme: str, situation: Situation) -> None:
        self._scheme = scheme
        self._situation = situation
        self._failure: Exception | None = None
        self.name = ""
        # As the back end has it; "" for one of whom there is nothing that could be proved.
        self.stored = ""

    def secret(self, name: str) -> tuple[bytes, bytes, bytes, int]:
        """Give the library what it is to check a proof with."""
        try:
            return self._secret(name).as_scramp()
        except Exception as error:
            self._failure = error
            raise

    def _secret(self, name: str) -> scram.ScramSecret:
        if len(name) > USER_LIMIT_CHARACTERS:
            raise AuthenticationFailed
        self.name = name
        stored = self._situation.stored(name)
        # Of everybody, as of those whose password can be read: how long it takes says nothing.
        with schemes.turn():
            made, readable = self._made(stored)
        if stored is not None and readable:
            self.stored = stored
        elif stored is not None:
            try:
                scheme, _, data = schemes.split(stored)
                if scheme == self._scheme:
                    made, self.stored = scram.parse(scheme, data), stored
            except ValueError as error:
                log.warning("stored password cannot be used", user=name, why=error)
        return made

    def _made(self, stored: str | None) -> tuple[scram.ScramSecret, bool]:
        """Derive a secret with a salt that is made up, of the password if it can be read, or else of nobody's."""
        salt = self._situation.salt(self.name)
        password = schemes.readable(stored) if stored is not None else None
        if password and len(password) <= PASSWORD_LIMIT_OCTETS:
            try:
                return scram.derive(self._scheme, password, salt), True
            except ValueError:
                pass  # no client can send it either
        nobodys = hmac.digest(os.urandom(32), salt, "sha256").hex().encode()
        return scram.derive(self._scheme, nobodys, salt), False

    def raise_failure(self) -> None:
        """Raise what ``secret`` has, if that is what failed: the library makes one error of all."""
        if self._failure is not None:
            raise self._failure
