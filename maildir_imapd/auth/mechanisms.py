"""SASL mechanisms: each a generator that yields challenges, is sent responses, and returns a credential.

All octets are in decoded form, and nothing here knows the protocol that carries them: base64, cancelling and the
initial response are its own.  What raises AuthenticationFailed in a mechanism could be nobody's credential: it comes
out as ``NoCredential`` (``counted``), for whoever counts wrong passwords counts that as well.  Whoever may log in at
all may use what is here: it is for connections over which a password may be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, cast

from maildir_imapd.auth.base import Authenticator, Credential, External, NoCredential, Password, Vouched
from maildir_imapd.errors import AuthenticationFailed, PrivacyRequired, Refused

Exchange: TypeAlias = Generator[bytes, bytes, Credential]

# A slow hash over a megabyte is a way to stop a server.
PASSWORD_LIMIT_OCTETS: Final = 1024
USER_LIMIT_CHARACTERS: Final = 255
# 255 characters (RFC 4505 2).
_TRACE_LIMIT_OCTETS: Final = 1020


@dataclass(frozen=True, slots=True)
class Situation:
    """All that an exchange may know of where it happens, when it begins: STARTTLS changes it.

    *bindings*: what binds an exchange to this connection, by the name of the kind (RFC 5929).  *stored*: gives the
    secret that is kept of a user, None where there is none that could let him in from here.  *salt*: makes up a salt
    for a user, the same each time.
    *certified*: whom the client's certificate names; *anonymous*: who anybody may be.
    *offered*: the names of the mechanisms that there are.  *host*: the address that the client comes from.
    *scope*, *discovery*: where to get which tokens, for a client that has shown a bad one (RFC 7628 3.2.2).
    """

    bindings: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    stored: Callable[[str], str | None] = lambda user: None
    salt: Callable[[str], bytes] = lambda user: bytes(16)
    certified: str | None = None
    anonymous: str | None = None
    scope: str = ""
    discovery: str = ""
    offered: frozenset[str] = frozenset()
    host: str | None = None


class SaslOffer(Protocol):
    """The mechanisms by which one connection may log in."""

    def offered(self, *, private: bool) -> Sequence[bytes]:
        """Name those to announce; *private*: whether a password may be sent over the connection as it is."""
        ...

    def begin(self, name: bytes, *, private: bool) -> Exchange:
        """Begin one; raises Refused, PrivacyRequired."""
        ...


class Relay(Authenticator, Protocol):
    """A back end that takes ``Vouched``: it has mechanisms of its own, and leads their exchanges itself."""

    @property
    def relayed(self) -> tuple[str, ...]:
        """Name them, those that are announced first; never waits for long."""
        ...

    def relay(self, name: str, situation: Situation) -> Exchange:
        """Lead an exchange of one of them: Vouched, or NoCredential.  Raises Unavailable in each step."""
        ...


def relay(back_end: Authenticator) -> Relay | None:
    """The same one as one that leads exchanges, if it does."""
    return cast(Relay, back_end) if Vouched in back_end.takes else None


def password(user: bytes, secret: bytes, authzid: bytes = b"") -> Password:
    """Make a credential of what a client sent.

    What no name or password can be gets the empty password, which is never right: the back end is asked all the same,
    for it keeps count, and its time must not tell one case from another.
    """
    name = user.decode("utf-8", "replace")
    other = authzid.decode("utf-8", "replace") or None
    if name.encode() != user or (other or "").encode() != authzid:
        secret = b""
    if not name or len(name) > USER_LIMIT_CHARACTERS or len(secret) > PASSWORD_LIMIT_OCTETS or b"\0" in secret:
        secret = b""
    return Password(name, secret, other)


def plain() -> Exchange:
    """RFC 4616: ``[authzid] NUL authcid NUL passwd``."""
    message = yield b""
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise AuthenticationFailed
    authzid, user, secret = parts
    return password(user, secret, authzid)


def login() -> Exchange:
    """LOGIN, never standardised, still what Outlook sends: the name, then the password."""
    user = yield b"Username:"
    secret = yield b"Password:"
    return password(user, secret)


def external(situation: Situation) -> Exchange:
    """EXTERNAL (RFC 4422): the client's certificate says who it is; the message, as whom it wants to act."""
    message = yield b""
    if not situation.certified:
        raise AuthenticationFailed
    try:
        return External(situation.certified, message.decode("utf-8") or None)
    except UnicodeDecodeError as error:
        raise AuthenticationFailed from error


def anonymous(situation: Situation) -> Exchange:
    """ANONYMOUS (RFC 4505): the message says who it is to whoever wants to believe it, and is not kept."""
    message = yield b""
    try:
        message.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AuthenticationFailed from error
    if not situation.anonymous or len(message) > _TRACE_LIMIT_OCTETS:
        raise AuthenticationFailed
    return External(situation.anonymous, anonymous=True)


def counted(exchange: Exchange) -> Exchange:
    """Run *exchange*, and return NoCredential where it comes to nothing that could be somebody's."""
    try:
        return (yield from exchange)
    except AuthenticationFailed:
        return NoCredential()


_BY_PASSWORD: Final[Mapping[bytes, Callable[[], Exchange]]] = {b"PLAIN": plain, b"LOGIN": login}


class Passwords:
    """The ways of who knows nothing but passwords."""

    def offered(self, *, private: bool) -> tuple[bytes, ...]:
        """As ``SaslOffer.offered``."""
        return tuple(_BY_PASSWORD) if private else ()

    def begin(self, name: bytes, *, private: bool) -> Exchange:
        """As ``SaslOffer.begin``."""
        begin = _BY_PASSWORD.get(name)
        if begin is None:
            raise unknown()
        if not private:
            raise PrivacyRequired
        return counted(begin())


def unknown() -> Refused:
    """The answer to a mechanism that is not there."""
    return Refused("This authentication mechanism is not supported")
