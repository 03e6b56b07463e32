"""STARTTLS, LOGIN, AUTHENTICATE and LOGOUT: the ways in and out of the not authenticated state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.auth import mechanisms
from maildir_imapd.errors import Goodbye, PrivacyRequired, WrongState
from maildir_imapd.imap.access import sasl
from maildir_imapd.imap.access.capability import capability_code
from maildir_imapd.imap.registry import ANY, LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.session import State

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Credential
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Authenticate, Login, Logout, StartTls, Unauthenticate


@command(
    b"STARTTLS",
    states=State.NOT_AUTHENTICATED,
    updates=False,
    announces=lambda session: [b"STARTTLS"] if session.may_start_tls else [],
)
def starttls(session: Session, cmd: StartTls, reply: Reply) -> Done:
    """Begin TLS (RFC 3501 6.2.1).  Octets behind the command line are an attack (CVE-2011-0411 and its children)."""
    if session.secure:
        raise WrongState(why="TLS is already active")
    if not session.policy.tls_available:
        raise WrongState(why="STARTTLS is not available here")
    if session.buffer.pending:
        session.note("starttls-injection")
        raise Goodbye("Nothing may follow STARTTLS before TLS has begun")
    session.upgrade = b"TLS"
    return Done("Begin TLS negotiation now")


@command(
    b"LOGIN",
    states=State.NOT_AUTHENTICATED,
    updates=False,
    announces=lambda session: [] if session.may_log_in else [b"LOGINDISABLED"],
)
def login(session: Session, cmd: Login, reply: Reply) -> Done:
    """Log in by name and password (RFC 3501 6.2.3)."""
    if not session.may_log_in:
        raise PrivacyRequired
    return enter(session, mechanisms.password(cmd.user, cmd.password), "LOGIN")


@command(
    b"AUTHENTICATE",
    states=State.NOT_AUTHENTICATED,
    updates=False,
    announces=lambda session: [b"AUTH=" + name for name in session.ways.offered(private=session.may_log_in)],
)
def authenticate(session: Session, cmd: Authenticate, reply: Reply) -> Done | None:
    """Log in by a SASL mechanism (RFC 3501 6.2.2), with or without an initial response (RFC 4959)."""
    exchange = session.ways.begin(cmd.mechanism, private=session.may_log_in)
    how = cmd.mechanism.decode("ascii")
    return sasl.converse(session, cmd, exchange, lambda credential: enter(session, credential, how), reply)


def enter(session: Session, credential: Credential, how: str) -> Done:
    """Have the gate check *credential*, and enter the authenticated state; *how* is for the log.

    Raises AuthenticationFailed with one and the same text whatever was wrong.  The OK carries the capabilities: a
    client need not ask (RFC 3501 7.1).
    """
    session.log_in(session.gate(credential))
    session.used(session.client)
    session.note("login", method=how, tls=session.secure)
    session.tally.announced = True
    return Done("Logged in", capability_code(session))


@command(
    b"UNAUTHENTICATE",
    states=LOGGED_IN,
    updates=False,
    mail=False,
    announces=lambda session: [b"UNAUTHENTICATE"] if session.may_leave else [],
    impersonal=True,
)
def unauthenticate(session: Session, cmd: Unauthenticate, reply: Reply) -> Done:
    """End the user's turn for the next one on the same connection (RFC 8437).  Never NO."""
    if not session.may_leave:
        raise WrongState(why="Nobody could log in here again")
    session.note("unauthenticate")
    session.log_out()
    return Done("Unauthenticated", capability_code(session))


@command(b"LOGOUT", states=ANY, updates=False)
def logout(session: Session, cmd: Logout, reply: Reply) -> Done:
    """End the session: BYE, then the tagged OK (RFC 3501 6.1.3)."""
    session.say(reply, b"BYE", "Logging out")
    session.close()
    return Done("Logout completed")
