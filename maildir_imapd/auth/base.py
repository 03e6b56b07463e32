"""The questions that login asks, and the shape of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in.  ``None`` where the user database is silent and the server's settings decide."""

    user: str
    home: str | None = None
    uid: int | None = None
    gid: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


# --- what a client shows --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password; *authzid*: as whom the client wants to act, None for himself."""

    user: str
    password: bytes = field(repr=False)
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of an issuer's; *user*: whom the client says it is for, "" where it says nothing."""

    user: str
    token: bytes = field(repr=False)
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class External:
    """What the connection itself has proved: *user* is the name in the client's certificate."""

    user: str
    authzid: str | None = None


Credential: TypeAlias = Password | Token | External


class Authenticator(Protocol):
    """A user database."""

    def check(self, user: str, password: bytes) -> Identity:
        """Say who *user* is when *password* is his.

        Raises AuthenticationFailed for a wrong password and for an unknown user alike, after the same
        amount of work; Unavailable when the database cannot be asked.
        """
        ...

    def look_up(self, user: str) -> Identity | None:
        """Say who *user* is without a password, for the command line and PREAUTH."""
        ...
