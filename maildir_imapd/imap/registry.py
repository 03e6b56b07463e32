"""The table of commands: which states know a command, and what may be told while it runs.

All policy stands here and is read by the session; no handler decides for itself whether an EXPUNGE
may be sent (RFC 3501 7.4.1) or whether it may run before login.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session


class State(enum.Flag):
    """RFC 3501 section 3."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()
    LOGOUT = enum.auto()


ANY = State.NOT_AUTHENTICATED | State.AUTHENTICATED | State.SELECTED
LOGGED_IN = State.AUTHENTICATED | State.SELECTED


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended well: the text of its tagged OK, and a response code.

    *kind* is NO where a command did part of its work and must say so (RFC 2180 4).
    """

    text: str
    code: bytes | None = None
    kind: bytes = b"OK"


# A handler returns what its tagged line says; None when a dialogue goes on (IDLE, AUTHENTICATE).
Handler = Callable[["Session", Any, "Reply"], "Done | None"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One row: *expunge* is whether EXPUNGE may be told when the command ends, *updates* whether
    anything may; *streams*: its literals are messages, and go to the spool as they come; *counts*: what
    finds in a command the sequence numbers that forbid EXPUNGE although its kind does not.
    """

    name: bytes
    states: State
    handler: Handler
    expunge: bool
    updates: bool
    streams: bool = False
    counts: Callable[[Any], bool] | None = None

    def may_expunge(self, cmd: object) -> bool:
        """Whether EXPUNGE may be told when this very command ends."""
        return self.expunge and not (self.counts is not None and self.counts(cmd))


TABLE: dict[bytes, Spec] = {}

H = TypeVar("H", bound=Handler)


def command(
    *names: bytes,
    states: State,
    uses_numbers: bool | Callable[[Any], bool] = False,
    updates: bool = True,
    streams: bool = False,
) -> Callable[[H], H]:
    """Enter a handler under its names; ``UID X`` is a name of its own, with its own policy.

    *uses_numbers*: the client counts by sequence numbers while it waits, so no EXPUNGE; or what tells so of
    one command.
    """
    always = uses_numbers is True
    counts = None if isinstance(uses_numbers, bool) else uses_numbers

    def enter(handler: H) -> H:
        for name in names:
            TABLE[name] = Spec(
                name, states, handler, expunge=not always, updates=updates, streams=streams, counts=counts
            )
        return handler

    return enter
