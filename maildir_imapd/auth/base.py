"""The questions that login asks, and the shape of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in.  ``None`` where the user database is silent and the server's settings decide."""

    user: str
    home: str | None = None
    uid: int | None = None
    gid: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


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
