"""The table of commands: which states know a command, what may be told while it runs, what it announces.

All policy stands here and is read by the engine; no handler decides for itself whether an EXPUNGE
may be sent (RFC 3501 7.4.1) or whether it may run before login.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from maildir_imapd.imap.reply import Done, Reply
from maildir_imapd.imap.session import Session, State

if TYPE_CHECKING:
    from maildir_imapd.errors import ImapdError
    from maildir_imapd.store.maildir.delivery import Delivery
    from maildir_imapd.wire.parse_append import AppendStart

ANY = State.NOT_AUTHENTICATED | State.AUTHENTICATED | State.SELECTED
LOGGED_IN = State.AUTHENTICATED | State.SELECTED

# A handler returns what its tagged line says; None when a dialogue goes on (IDLE, AUTHENTICATE).
Handler = Callable[[Session, Any, Reply], Done | None]
# Decides about a literal before its octets come, by what stands before it and its size in octets: where they go, None
# for one that is only an argument; raises what speaks against it.
Literal = Callable[[Session, "AppendStart", int], "Delivery | None"]
# Capabilities: always the same, or those that this session has.
Announces = Iterable[bytes] | Callable[[Session], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Spec:
    """One row; each column but the first three as ``command`` says.

    *expunge*: whether EXPUNGE may be told when the command ends; *counts*: what finds in a command the sequence numbers
    that forbid it although its kind does not.
    """

    name: bytes
    states: State
    handler: Handler
    expunge: bool
    updates: bool
    counts: Callable[[Any], bool] | None
    literal: Literal | None
    refused: Callable[[Session, bytes], None] | None
    oversize: Callable[[Session], ImapdError] | None
    announces: Announces
    mail: bool
    impersonal: bool
    idle: Done | None
    changes: bool
    bits: int
    """The states' value, to compare with ``State.bits``."""
    numbered: bool
    """Whether it names or tells messages by sequence numbers, whatever its arguments (RFC 9586)."""

    def may_expunge(self, cmd: object) -> bool:
        """Whether EXPUNGE may be told when this very command ends."""
        return self.expunge and not self.numbers(cmd)

    def numbers(self, cmd: object) -> bool:
        """Whether sequence numbers stand in the arguments of a command whose kind can do without."""
        return self.counts is not None and self.counts(cmd)

    def announced(self, session: Session) -> Iterable[bytes]:
        """The capabilities that this command stands for in this session, be they of use now or after login."""
        now = State.NOT_AUTHENTICATED if session.state is State.NOT_AUTHENTICATED else LOGGED_IN
        if not self.states & now and not (self.impersonal and now is State.NOT_AUTHENTICATED):
            return ()
        return self.announces(session) if callable(self.announces) else self.announces


TABLE: dict[bytes, Spec] = {}

H = TypeVar("H", bound=Handler)


def command(
    *names: bytes,
    states: State,
    uses_numbers: bool | Callable[[Any], bool] = False,
    updates: bool = True,
    literal: Literal | None = None,
    refused: Callable[[Session, bytes], None] | None = None,
    oversize: Callable[[Session], ImapdError] | None = None,
    announces: Announces = (),
    mail: bool | None = None,
    impersonal: bool = False,
    idle: Done | None = None,
    changes: bool = False,
    takes_numbers: bool = False,
) -> Callable[[H], H]:
    """Enter a handler under its names; ``UID X`` is a name of its own, with its own policy.

    *uses_numbers*: the client counts by sequence numbers while it waits, so no EXPUNGE; or what tells so of
    one command.  *updates*: whether anything may be told when it ends.  *literal*: its literals are messages, and go to
    the spool as they come.  *refused*: called with the command's text when it is NO before it could be carried out.
    *oversize*: what to answer, in a state that knows the command, when a literal of it is too long to be read.
    *announces*: capabilities that are whole with this command, in the states that know it; SELECTED means after login.
    Those after login are told before it, too, when they are a list, or *impersonal*: what is called to make it asks for
    nobody's account.  There are clients that ask once (Python's imaplib), and a login takes back nothing of it.
    *idle*: the answer, known before, where it is sent without arguments and no mailbox is open.
    *changes*: it is refused to who may change nothing.
    *takes_numbers*: without UID before it its messages are named by sequence numbers, as wherever *uses_numbers* is
    True: who has enabled UIDONLY may not use it.
    *mail*: whether it is refused while the account's directory is not there; where a mailbox must be selected, that
    one tells, and of the other commands after login all do unless they say so.
    """
    always = uses_numbers is True
    needs = states is LOGGED_IN if mail is None else mail
    counts = None if isinstance(uses_numbers, bool) else uses_numbers
    fixed = impersonal or not callable(announces)

    def enter(handler: H) -> H:
        for name in names:
            TABLE[name] = Spec(
                name,
                states,
                handler,
                not always,
                updates,
                counts,
                literal,
                refused,
                oversize,
                announces,
                needs,
                fixed,
                idle,
                changes,
                states.value,
                (always or takes_numbers) and not name.startswith(b"UID "),
            )
        return handler

    return enter


def announced(session: Session) -> list[bytes]:
    """The capabilities of all commands, as far as they are known by now; the protocol's name first."""
    found = dict.fromkeys(name for spec in TABLE.values() for name in spec.announced(session))
    return sorted(found, key=lambda name: not name.startswith(b"IMAP"))
