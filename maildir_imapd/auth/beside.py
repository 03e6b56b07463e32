"""Checks that are made in a process of their own: by PAM, or by a program of the administrator's.

What they run may hold on for long, crash, or need rights that whoever serves mail has given up.  So a process beside
the workers forks one for each question (``server/aside.py``) and kills it when its time is over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from maildir_imapd.auth.base import Credential, Identity, Password, Registered
from maildir_imapd.auth.names import valid_user
from maildir_imapd.auth.waiting import Pool, Until
from maildir_imapd.errors import AuthenticationFailed, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

# How an answer begins; behind it comes more.
RIGHT: Final = b"+"
WRONG: Final = b"-"
DOWN: Final = b"!"

# Answers a question in a process of its own, which it may spoil: by one of the above and what belongs to it.
Answer: TypeAlias = Callable[[Sequence[bytes], Until], bytes]

# Not a user's name anywhere: a stranger is to cost what a known user does.
_STRANGER: Final = "-"
# What one question may have in it, in octets: no password is longer.
MOST_OCTETS: Final = 4096


class Asks(Protocol):
    """Whoever has questions answered, by their names."""

    def put(self, name: str, parts: Sequence[bytes], until: Until) -> bytes:
        """Return the answer; raises OSError when there is none until then."""
        ...


class _Nothing:
    def close(self) -> None:
        pass


class CheckedBeside(ABC):
    """A back end whose passwords are checked so.  It knows nobody: whoever can be a user may be one."""

    takes = (Password,)
    name = ""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``."""
        return Registered(Identity(user)) if valid_user(user) else None

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``; whoever is asked may say another name for the user."""
        if not isinstance(credential, Password) or not credential.password:
            raise AuthenticationFailed
        known = valid_user(credential.user)
        identity = self._ask(credential.user if known else _STRANGER, credential)
        if not known or not valid_user(identity.user):
            raise AuthenticationFailed
        return identity

    @abstractmethod
    def _ask(self, user: str, credential: Password) -> Identity:
        """Put the question for *user*, and read the answer to a password that is right; raises as ``check``."""

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``: it has no list."""
        return ()


class Questions:
    """One kind of question, so many at a time."""

    def __init__(self, name: str, asks: Asks, *, most: int, seconds: float) -> None:
        self._name = name
        self._asks = asks
        self._pool = Pool(name, lambda until: _Nothing(), most=most, seconds=seconds)

    def put(self, user: str, password: bytes, *more: bytes) -> bytes:
        """Return what belongs to a password that is right; raises AuthenticationFailed, Unavailable."""
        parts = (user.encode("utf-8", "surrogateescape"), password, *more)
        if b"\0" in parts[0] or b"\0" in password or sum(map(len, parts)) > MOST_OCTETS:
            raise AuthenticationFailed
        said = self._pool.ask(lambda _, until: self._asks.put(self._name, parts, until))
        kind, rest = said[:1], said[1:]
        if kind == RIGHT:
            return rest
        why = rest.decode("utf-8", "replace")
        if kind == WRONG:
            raise AuthenticationFailed(detail=why)
        log.error("back end cannot be asked", name=self._name, why=why or "no answer")
        raise Unavailable(detail=f"{self._name}: {why}")
