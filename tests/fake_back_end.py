"""A back end in memory, and a clock that tests wind."""

from __future__ import annotations

from collections.abc import Iterable

from maildir_imapd.auth.base import Credential, External, Identity, Password, Registered, Token
from maildir_imapd.errors import AuthenticationFailed, Unavailable


class Fake:
    """A back end of a few users; *down* makes it one that cannot be asked."""

    name = "fake"

    def __init__(self, secrets: dict[str, bytes], *, takes: tuple[type[Credential], ...] = (Password,)) -> None:
        self.secrets = secrets
        self.takes = takes
        self.identities: dict[str, Identity] = {}
        self.asked: list[str] = []
        self.down = False

    def identity(self, user: str) -> Identity:
        return self.identities.get(user, Identity(user))

    def look_up(self, user: str) -> Registered | None:
        if self.down:
            raise Unavailable
        return Registered(self.identity(user), self.secrets[user]) if user in self.secrets else None

    def check(self, credential: Credential) -> Identity:
        self.asked.append(credential.user)
        match credential:
            case Password(user, secret) if self.secrets.get(user) == secret:
                return self.identity(user)
            case Token(_, token):
                for user, secret in self.secrets.items():
                    if secret == token:
                        return self.identity(user)
            case External(user) if user in self.secrets:
                return self.identity(user)
        raise AuthenticationFailed

    def users(self) -> Iterable[str]:
        return list(self.secrets)


class Clock:
    """Time as a test has it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
