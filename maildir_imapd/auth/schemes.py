"""Password schemes: what stands in a passwd-file, and whether a password fits it.

The hashing is libpass's (the maintained passlib), argon2-cffi's and bcrypt's.  Names are Dovecot's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from passlib import hash as handlers
from passlib.exc import PasslibSecurityError

# bcrypt looks at no more, and its library refuses more.
_BCRYPT_LIMIT = 72


def _plain(stored: str, password: bytes) -> bool:
    return hmac.compare_digest(stored.encode("utf-8", "surrogateescape"), password)


def _bcrypt(stored: str, password: bytes) -> bool:
    return bool(handlers.bcrypt.verify(password[:_BCRYPT_LIMIT], stored))


def _pbkdf2(stored: str, password: bytes) -> bool:
    """Dovecot's ``$1$salt$rounds$hex`` (SHA-1); passlib's own forms begin otherwise."""
    if not stored.startswith("$1$"):
        return bool(handlers.pbkdf2_sha256.verify(password, stored))
    _, _, salt, rounds, digest = stored.split("$")
    # Bounded: a line of the file must not be able to stop the server.
    made = hashlib.pbkdf2_hmac("sha1", password, salt.encode(), min(int(rounds), 10_000_000))
    return hmac.compare_digest(made.hex(), digest)


def _handler(name: str, prefix: str = "") -> Callable[[str, bytes], bool]:
    handler = getattr(handlers, name)
    return lambda stored, password: bool(handler.verify(password, prefix + stored))


VERIFY: dict[str, Callable[[str, bytes], bool]] = {
    "ARGON2ID": _handler("argon2"),
    "ARGON2I": _handler("argon2"),
    "BLF-CRYPT": _bcrypt,
    "SHA512-CRYPT": _handler("sha512_crypt"),
    "SHA256-CRYPT": _handler("sha256_crypt"),
    "SSHA": _handler("ldap_salted_sha1", "{SSHA}"),
    "SSHA256": _handler("ldap_salted_sha256", "{SSHA256}"),
    "SSHA512": _handler("ldap_salted_sha512", "{SSHA512}"),
    "PBKDF2": _pbkdf2,
    "PBKDF2-SHA256": _handler("ldap_pbkdf2_sha256", "{PBKDF2-SHA256}"),
    "PLAIN": _plain,
    "PLAINTEXT": _plain,
    "CLEARTEXT": _plain,
}
VERIFY["BCRYPT"] = VERIFY["BLF-CRYPT"]

# A hash without a scheme in front is a crypt(3) string, told by its beginning.
_CRYPT = (
    ("$argon2id$", "ARGON2ID"),
    ("$argon2i$", "ARGON2I"),
    ("$2", "BLF-CRYPT"),
    ("$6$", "SHA512-CRYPT"),
    ("$5$", "SHA256-CRYPT"),
)

# Schemes that ``user add`` and ``passwd`` write.
WRITTEN = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SSHA", "PLAIN")


def split(stored: str) -> tuple[str, str]:
    """Take a stored password apart into its scheme, in capitals, and the rest; raises ValueError."""
    if stored.startswith("{"):
        scheme, brace, rest = stored[1:].partition("}")
        if not brace:
            raise ValueError("the scheme is not closed with }")
        scheme = scheme.upper().removesuffix(".B64").removesuffix(".HEX")
        if scheme == "CRYPT":
            return split(rest)
        if scheme not in VERIFY:
            raise ValueError(f"the scheme {scheme} is not supported")
        return scheme, rest
    for beginning, scheme in _CRYPT:
        if stored.startswith(beginning):
            return scheme, stored
    raise ValueError("the scheme is missing")


def verify(stored: str, password: bytes) -> bool:
    """Say whether *password* fits; raises ValueError when the stored one cannot be understood."""
    scheme, rest = split(stored)
    try:
        return VERIFY[scheme](rest, password)
    except (PasslibSecurityError, IndexError) as error:
        raise ValueError(str(error)) from error


def make(password: bytes, scheme: str = "ARGON2ID") -> str:
    """Hash a new password, scheme in front; raises ValueError for a scheme that is not written."""
    match scheme:
        case "ARGON2ID":
            return "{ARGON2ID}" + str(handlers.argon2.using(type="ID").hash(password))
        case "BLF-CRYPT":
            return "{BLF-CRYPT}" + str(handlers.bcrypt.hash(password[:_BCRYPT_LIMIT]))
        case "SHA512-CRYPT":
            return "{SHA512-CRYPT}" + str(handlers.sha512_crypt.hash(password))
        case "SHA256-CRYPT":
            return "{SHA256-CRYPT}" + str(handlers.sha256_crypt.hash(password))
        case "SSHA":
            return str(handlers.ldap_salted_sha1.hash(password))
        case "PLAIN":
            return "{PLAIN}" + password.decode("utf-8", "surrogateescape")
    raise ValueError(f"the scheme {scheme} is not written; choose one of {', '.join(WRITTEN)}")
