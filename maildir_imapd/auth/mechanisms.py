"""SASL mechanisms: each a generator that yields challenges, is sent responses, and returns a credential.

All octets are in decoded form, and nothing here knows the protocol that carries them: base64, cancelling and the
initial response are its own.  What raises AuthenticationFailed here could be nobody's credential, so no back end is
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeAlias

from maildir_imapd.auth.base import Credential, Password
from maildir_imapd.errors import AuthenticationFailed

Exchange: TypeAlias = Generator[bytes, bytes, Credential]

# A slow hash over a megabyte is a way to stop a server.
PASSWORD_LIMIT_OCTETS: Final = 1024
USER_LIMIT_CHARACTERS: Final = 255


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One row of the table; *bare*: who listens on the line could use what is sent, so it is for TLS."""

    name: bytes
    begin: Callable[[], Exchange]
    bare: bool


def password(user: bytes, secret: bytes, authzid: bytes = b"") -> Password:
    """Make a credential of what a client sent; raises AuthenticationFailed for names that are not UTF-8.

    What no password can be becomes the empty one, which is never right: the back end is asked all the same, for it
    keeps count, and its time must not tell one case from another.
    """
    try:
        name = user.decode("utf-8")
        other = authzid.decode("utf-8") or None
    except UnicodeDecodeError as error:
        raise AuthenticationFailed from error
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


# In the order in which they are announced.
MECHANISMS: Final[dict[bytes, Mechanism]] = {
    row.name: row
    for row in (
        Mechanism(b"PLAIN", plain, bare=True),
        Mechanism(b"LOGIN", login, bare=True),
    )
}


def offered(*, private: bool) -> tuple[bytes, ...]:
    """Name the mechanisms to announce; *private*: a password may be sent over this connection as it is."""
    return tuple(row.name for row in MECHANISMS.values() if private or not row.bare)
