"""Secrets as SCRAM has them (RFC 5802): ``iterations,salt,stored_key,server_key`` behind the scheme, as in Dovecot.

The algorithms are scramp's.  Whoever has such a secret can check a proof with it, and also a password.  Without that
library, or with one that is too old (1.4 passes an authorization identity over), there is no SCRAM.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scramp import ScramMechanism

# By scheme, which is the mechanism's name: the octets of a key.
SCHEMES: Final = {"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32}
_LEAST: Final = [1, 5]
# Of secrets that are made here, by Dovecot, and for users whom nobody knows.
ITERATIONS: Final = 4096
# A line of the file must not be able to stop the server; scramp takes no more.
_MOST_ITERATIONS: Final = 10_000_000
# What scramp takes.
_LEAST_SALT_OCTETS: Final = 12
_FORM: Final = re.compile(r"([1-9][0-9]{0,7}),([^,]+),([^,]+),([^,]+)").fullmatch


@dataclass(frozen=True, slots=True)
class ScramSecret:
    """A secret, taken apart."""

    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    iterations: int

    def as_scramp(self) -> tuple[bytes, bytes, bytes, int]:
        """The same in the library's order."""
        return self.salt, self.stored_key, self.server_key, self.iterations


def parse(scheme: str, data: str) -> ScramSecret:
    """Read a secret without the scheme in front; raises ValueError, without anything of it."""
    match = _FORM(data)
    if match is None:
        raise ValueError("not a secret of the form iterations,salt,stored_key,server_key")
    iterations = int(match[1])
    if not ITERATIONS <= iterations <= _MOST_ITERATIONS:
        raise ValueError(f"the iterations are not between {ITERATIONS} and {_MOST_ITERATIONS}")
    try:
        salt, stored_key, server_key = (
            base64.b64decode(part.encode("ascii"), validate=True) for part in match.groups()[1:]
        )
    except (binascii.Error, ValueError) as error:
        raise ValueError("the data is not base64") from error
    if len(salt) < _LEAST_SALT_OCTETS or not len(stored_key) == len(server_key) == SCHEMES[scheme]:
        raise ValueError("salt or keys have the wrong length")
    return ScramSecret(salt, stored_key, server_key, iterations)


def derive(scheme: str, password: bytes, salt: bytes | None = None, iterations: int = ITERATIONS) -> ScramSecret:
    """Make the secret of a password, with a new salt where none is given.

    Raises ValueError for a password that SASLprep (RFC 4013) does not allow, and where there is no library.
    """
    if not available():
        raise ValueError("SCRAM needs the library scramp, 1.5 or newer")
    from scramp import ScramException  # at the first password, or by schemes.load: many commands need none

    try:
        made = _mechanism(scheme).make_auth_info(password.decode("utf-8"), iteration_count=iterations, salt=salt)
    except UnicodeDecodeError:
        raise ValueError("the password is not UTF-8") from None
    except ScramException:
        raise ValueError("the password has characters that SASLprep does not allow") from None
    return ScramSecret(*made)


def verify(scheme: str, data: str, password: bytes) -> bool:
    """Say whether *password* fits; raises ValueError for a secret that is none."""
    secret = parse(scheme, data)
    try:
        made = derive(scheme, password, secret.salt, secret.iterations)
    except ValueError:
        return False
    return hmac.compare_digest(made.stored_key, secret.stored_key)


def make(scheme: str, password: bytes) -> str:
    """Make what is stored of a new password, scheme in front; raises ValueError as ``derive``."""
    secret = derive(scheme, password)
    parts = (base64.b64encode(part).decode("ascii") for part in (secret.salt, secret.stored_key, secret.server_key))
    return f"{{{scheme}}}{secret.iterations},{','.join(parts)}"


@cache
def available() -> bool:
    """Whether there is a library that can do it; loads none."""
    try:
        return [int(part) for part in metadata.version("scramp").split(".")[:2]] >= _LEAST
    except (metadata.PackageNotFoundError, ValueError):
        return False


@cache
def _mechanism(scheme: str) -> ScramMechanism:
    from scramp import ScramMechanism

    return ScramMechanism(scheme)
