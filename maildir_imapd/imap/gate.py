"""The gate that a login has to pass, and the access that it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from maildir_imapd.errors import MailboxMissing, WrongState

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from maildir_imapd.auth.base import Credential
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.namespaces import Namespaces


def nobody_else(user: str) -> AbstractContextManager[Access]:
    """As ``Access.reach``, where nobody's mail is reached but the user's own."""
    raise MailboxMissing


@dataclass(frozen=True, slots=True)
class Access:
    """The outcome of a good login: a user, and his mail."""

    user: str
    account: Account | Namespaces
    release: Callable[[], None] = lambda: None
    """Called when he leaves and the connection stays (RFC 8437); raises Goodbye if it can't."""
    groups: frozenset[str] = frozenset()
    """That he is in, for access rights."""
    read_only: bool = False
    """Whether he may change nothing."""
    used: Callable[[str], None] = lambda client: None
    """Called with the name of the client's program, "" where it has not said: at the login, and when it says so."""
    reach: Callable[[str], AbstractContextManager[Access]] = nobody_else
    """Gives the access of another user, as whom the calling thread acts while the block lasts.

    Raises MailboxMissing where there is no such user or no mail of his, Unavailable; Goodbye where the thread cannot be
    who it was again."""
    spelled: Callable[[str], str] = str
    """Says what the user is called whom a client calls so."""

    def is_called(self, name: str) -> bool:
        """Whether the user of the session is meant by what a client has written."""
        return self.user in (name, self.spelled(name))


class Gate(Protocol):
    """The door: checks a login, throttles guessing.  Blocks as long as it must."""

    def __call__(self, credential: Credential) -> Access:
        """Raise AuthenticationFailed, AuthorizationFailed, Unavailable; Goodbye after too many tries."""
        ...


def closed(credential: Credential) -> Access:
    """As ``Gate``, for a session that nobody can log in to: it began with PREAUTH."""
    raise WrongState(why="This session cannot log in")
