"""One client's session at the ground of ``imap``: who the client is, what it has open and enabled, and how it is told.

State, and what every command needs of it; no command, and nothing of what commands keep here: that hangs on the
session by the small protocols below, and each attribute says whose it is.  The engine (engine.py) drives it.
Only the thread that owns the connection touches it; ``wake`` may be called from any.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from maildir_imapd.budget import UNLIMITED, Budget
from maildir_imapd.errors import BadMailboxName, MailboxMissing, WrongState
from maildir_imapd.events import Log
from maildir_imapd.imap.languages import DEFAULT, TAILS
from maildir_imapd.imap.naming import name_of
from maildir_imapd.imap.progress import Progress
from maildir_imapd.imap.tally import Tally
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.namespaces import Namespaces
from maildir_imapd.wire import render
from maildir_imapd.wire.buffer import CommandBuffer
from maildir_imapd.wire.names import decode_mailbox, encode_mailbox
from maildir_imapd.wire.parse import begins_command

if TYPE_CHECKING:
    from collections.abc import Collection

    from maildir_imapd.auth.mechanisms import SaslOffer
    from maildir_imapd.imap.gate import Access, Gate
    from maildir_imapd.imap.name_changes import NameChange
    from maildir_imapd.imap.policy import Policy
    from maildir_imapd.imap.progress import Client, Meanwhile
    from maildir_imapd.imap.reply import Done, Reply
    from maildir_imapd.imap.view import View
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.maildir.delivery import Delivery

log = Log(__name__)


class State(enum.Flag):
    """RFC 3501 section 3."""

    bits: int
    """The value of a single state; asked for at each command, where ``value`` is a call."""

    def __init__(self, value: int) -> None:
        self.bits = value

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()
    LOGOUT = enum.auto()


# Takes one line of the client's; Done ends the dialogue, and with it the command that began it.
Dialogue = Callable[[bytes, "Reply"], "Done | None"]


def unheard(client: str) -> None:
    """Tell nobody which program the client is."""


class Reader(Protocol):
    """One who comes to mailboxes, with what his rights depend on: a session, or a user on whose word it reads."""

    @property
    def progress(self) -> Progress:
        """Told when it may take long."""
        ...

    @property
    def policy(self) -> Policy:
        """The settings."""
        ...

    @property
    def user(self) -> str | None:
        """The name of the user."""
        ...

    @property
    def account(self) -> Namespaces:
        """The mail that there is for him."""
        ...

    @property
    def groups(self) -> frozenset[str]:
        """The groups that he is in."""
        ...

    def note(self, event: str, **fields: object) -> None:
        """Write one line to the log."""
        ...


class Following(Protocol):
    """Changes of annotations that a client which has enabled METADATA is told of (RFC 5464 4.4)."""

    ours: set[int]
    """Serials of this session's own changes, of which it is not told."""

    def tell(self, session: Session, reply: Reply) -> None:
        """Tell what has changed since the last time."""
        ...

    def close(self) -> None:
        """Listen no longer."""
        ...


class Notified(Protocol):
    """The settings of NOTIFY, as far as others go by them (RFC 5465)."""

    messages: bool
    """Whether the client hears of new and expunged messages of the open mailbox."""
    flags: bool
    delayed: bool
    """Whether EXPUNGE comes only with commands that allow it."""
    ours: set[int]

    @property
    def plan(self) -> Any:
        """The columns that new messages of the open mailbox are fetched with (columns/plan.py, Plan)."""
        ...

    @property
    def mailboxes(self) -> Sequence[Mailbox]:
        """Those that are watched for messages."""
        ...

    def tell(self, session: Session, reply: Reply) -> None:
        """Tell what has happened in other mailboxes, and to names."""
        ...

    def close(self) -> None:
        """Listen no longer."""
        ...

    def note_messages(self, mailbox: Mailbox, made: int) -> None:
        """Note that this client has put messages into a mailbox that is not open."""
        ...

    def note_names(self, session: Session, changes: Iterable[NameChange]) -> None:
        """Note that this client knows of these changes, for it has made them."""
        ...

    def note_subscription(self, session: Session, name: str) -> None:
        """Note that this client has subscribed a name itself, or taken that back."""
        ...


class Session:
    """See the module.

    *clock* gives the time of day, *ticks* seconds that never go back.  *meanwhile*: how long work under a lock is
    done.  *look* says whether the client is still there.  *may_leave*: whether somebody could log in again.
    *budget*: what large things may take in memory, of all sessions.  *tally*: where it is counted what it does.
    """

    urls_refused = 0
    """URLs that this client was refused since the last one that it was not (selected/urlfetch.py)."""

    def __init__(
        self,
        policy: Policy,
        gate: Gate,
        ways: SaslOffer,
        *,
        secure: bool,
        wake: Callable[[], None],
        peer: str,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        meanwhile: Meanwhile,
        look: Client,
        may_leave: bool,
        budget: Budget = UNLIMITED,
        tally: Tally | None = None,
    ) -> None:
        self.policy = policy
        self.tally = Tally() if tally is None else tally  # what it has done, in figures
        # Who logs in is asked for here, which may block for as long as the door wants; and by which mechanisms.
        self.gate, self.ways = gate, ways
        # Whether the line is safe from others' eyes: TLS, or the same machine.
        self.secure = secure
        # Makes the thread that owns the connection call the engine's ``announce``.
        self.wake = wake
        self.peer, self.clock = peer, clock
        # Takes the address and port for which the client has come, and returns its new name for the log; None for a
        # client who may not say that.
        self.forward: Callable[[str, int], str] | None = None
        # Told by every command that works message by message.
        self.progress = Progress(ticks, meanwhile, look, budget)
        # RFC 8437: UNAUTHENTICATE is no use where nobody could log in again.
        self.may_leave = may_leave
        # What the client has sent and nobody has read yet.
        self.buffer = self.new_buffer()
        self.state = State.NOT_AUTHENTICATED
        self.user: str | None = None
        self.access: Access | None = None  # what the login gave
        self._namespaces: Namespaces | None = None
        # Whether the user may change nothing at all; the client's program by ID, and who is told of it.
        self.read_only, self.client = False, ""
        self.used: Callable[[str], None] = unheard
        self.view: View | None = None  # the open mailbox
        # What ENABLE, or a command that implies it, has switched on (RFC 5161), in capitals.
        self.enabled: set[bytes] = set()
        # The language of the texts that people read (RFC 5255).
        self.language = DEFAULT
        # What the transport is to become once the reply is sent: b"TLS", b"DEFLATE" or b"PLAIN".
        self.upgrade: bytes | None = None
        self.compressed = self.idling = False
        # Gets the client's lines as long as a dialogue goes on, AUTHENTICATE's or IDLE's.
        self.dialogue: Dialogue | None = None
        # APPEND's: messages of the command under way, in the spool and in no mailbox; octets of those that are whole;
        # the mailbox that they are for.
        self.deliveries: list[Delivery] = []
        self.delivered = 0
        self.filled: Mailbox | None = None
        # Set by ENABLE METADATA; set by NOTIFY, without which the rules of RFC 3501 hold.
        self.following: Following | None = None
        self.notify: Notified | None = None

    # --- what a client reads ------------------------------------------------------------------------

    def say(self, reply: Reply, kind: bytes, text: str, code: bytes | None = None, *, tag: bytes = b"*") -> None:
        """Write a status response: OK, NO, BAD, BYE or PREAUTH.

        Here and in ``ask``, and nowhere else, a text gets its language (RFC 5255 3.2).
        """
        language = self.language
        if code is not None or isinstance(text, Phrase):
            said = language.translate(text)
            reply.write(render.tagged(tag, kind, said, code, utf8=language.utf8))
            return
        tail = language.tails.get((kind, text))
        if tail is None:
            tail = render.tagged(b"", kind, language.translate(text), utf8=language.utf8)
            if len(language.tails) < TAILS:
                language.tails[kind, text] = tail
        reply.write(tag + tail)

    def ask(self, reply: Reply, text: str) -> None:
        """Write a continuation request with a text."""
        reply.write(render.continuation(self.language.translate(text), utf8=self.language.utf8))

    def note(self, event: str, **fields: object) -> None:
        """Write one line to the log: *event* and its facts.  Never pass what may be secret."""
        log.info(event, user=self.user, peer=self.peer, **fields)

    # --- who is here, and what may be done ----------------------------------------------------------

    @property
    def account(self) -> Namespaces:
        """The mail that there is for the user; only commands of the authenticated state ask."""
        if self._namespaces is None:
            raise WrongState(why="Log in first")
        return self._namespaces

    @property
    def groups(self) -> frozenset[str]:
        """The groups that the user is in, for access rights."""
        return frozenset() if self.access is None else self.access.groups

    @property
    def selected(self) -> View:
        """The open mailbox; only commands of the selected state ask."""
        if self.view is None:
            raise WrongState(why="No mailbox is selected")
        return self.view

    @property
    def may_start_tls(self) -> bool:
        """Whether STARTTLS would be obeyed."""
        return self.policy.tls_available and not self.secure and self.state is State.NOT_AUTHENTICATED

    @property
    def may_log_in(self) -> bool:
        """Whether a password may be sent over this connection as it is."""
        return self.secure or self.policy.plaintext_login

    @property
    def rev2(self) -> bool:
        """Whether the client has switched to IMAP4rev2 (RFC 9051)."""
        return b"IMAP4REV2" in self.enabled

    @property
    def uid_only(self) -> bool:
        """Whether messages are named by their UIDs and in no other way (RFC 9586)."""
        return b"UIDONLY" in self.enabled

    @property
    def names_uid(self) -> bool:
        """Whether FETCH responses that were not asked for have the UID.

        RFC 7162 3.2.4 (for CONDSTORE, too, where QRESYNC is there), RFC 5465 5.1, RFC 9051 7.5.2.  Those of UIDONLY
        begin with it (RFC 9586 3.3).
        """
        if self.uid_only:
            return False
        return self.rev2 or self.notify is not None or b"CONDSTORE" in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether the client speaks UTF-8 (RFC 6855, RFC 9051)."""
        return b"UTF8=ACCEPT" in self.enabled or b"IMAP4REV2" in self.enabled

    def enable(self, name: bytes, reply: Reply) -> None:
        """Switch an extension on for the rest of the connection (RFC 5161).

        QRESYNC brings CONDSTORE with it.  The first CONDSTORE-enabling command with a mailbox open is told
        its HIGHESTMODSEQ (RFC 7162 3.1).
        """
        if name in self.enabled:
            return
        self.enabled.add(name)
        if name == b"QRESYNC":
            self.enable(b"CONDSTORE", reply)
        elif name == b"CONDSTORE" and self.view is not None:
            self.say(reply, b"OK", "Highest mod-sequence", b"HIGHESTMODSEQ %d" % self.view.safe_modseq)

    # --- in and out -----------------------------------------------------------------------------------

    def log_in(self, access: Access) -> None:
        """Enter the authenticated state."""
        self.user = access.user
        self.access = access
        mail = access.account
        self._namespaces = mail if isinstance(mail, Namespaces) else Namespaces(mail, user=access.user)
        self.read_only, self.used = access.read_only, access.used
        self.state = State.AUTHENTICATED
        self.buffer.limits = self.policy.after_login
        self.tally.logins += 1
        self.tally.mark(self.clock())

    def log_out(self) -> None:
        """Return to the not authenticated state; of the user nothing is left (RFC 8437)."""
        _note_logout(self)
        access, self.access, self._namespaces, self.user = self.access, None, None, None
        self.read_only, self.used = False, unheard
        self.enabled.clear()
        self.language = DEFAULT
        self.buffer.limits = self.policy.before_login
        if self.compressed:
            self.upgrade = b"PLAIN"
        with ExitStack() as last:
            if access is not None:
                last.callback(access.release)
            try:
                self._let_go()
            finally:
                self.state = State.NOT_AUTHENTICATED

    def close(self) -> None:
        """Let go of the mailbox and of half-made deliveries; safe to call twice."""
        self.end_dialogue()
        try:
            self._let_go()
        finally:
            here, self.state = self.state in State.AUTHENTICATED | State.SELECTED, State.LOGOUT
            if here:
                _note_logout(self)

    def _let_go(self) -> None:
        """Keep nothing of the account; what fails does not keep the rest."""
        with ExitStack() as all_of_it:
            all_of_it.callback(self._stop_following)
            all_of_it.callback(self.stop_notify)
            all_of_it.callback(self.leave)
            all_of_it.callback(self.drop_deliveries)

    def leave(self) -> None:
        """Close the view, if one is open, without expunging."""
        view, self.view = self.view, None
        if self.state is State.SELECTED:
            self.state = State.AUTHENTICATED
        if view is not None:
            view.close()

    def stop_notify(self) -> None:
        """Forget what NOTIFY has set."""
        notify, self.notify = self.notify, None
        if notify is not None:
            notify.close()

    def _stop_following(self) -> None:
        following, self.following = self.following, None
        if following is not None:
            following.close()

    def drop_deliveries(self) -> None:
        """Take away what has streamed in and is in no mailbox."""
        with ExitStack() as aborts:
            for delivery in self.deliveries:
                aborts.callback(delivery.abort)
            self.deliveries.clear()
            self.delivered = 0
            self.filled = None

    def new_buffer(self) -> CommandBuffer:
        """An empty buffer for what the client sends before login."""
        return CommandBuffer(self.policy.before_login, begins_command=begins_command)

    def end_dialogue(self) -> None:
        """The client's next line is a command again."""
        self.dialogue = None
        self.idling = False

    # --- what this client did itself ------------------------------------------------------------------

    def note_own(self, mailbox: Mailbox, *, made: Collection[int] = (), removed: Iterable[int] = ()) -> None:
        """Note what this client did itself to *mailbox*, by UID: of that it needs no news (RFC 5465 5)."""
        if self.view is not None and self.view.mailbox is mailbox:
            self.view.note_own(made=made, removed=removed)
        elif self.notify is not None:
            self.notify.note_messages(mailbox, len(made))

    def note_names(self, *changes: NameChange) -> None:
        """Note that this client has done itself what unasked LIST responses would tell it."""
        if self.notify is not None:
            self.notify.note_names(self, changes)

    def note_subscription(self, name: str) -> None:
        """Note that this client has subscribed a name itself, or taken that back."""
        if self.notify is not None:
            self.notify.note_subscription(self, name)

    # --- names of mailboxes ---------------------------------------------------------------------------

    def mailbox_name(self, raw: bytes) -> str:
        """Decode a mailbox name from the wire, and find its one spelling (naming.py); raises BadMailboxName."""
        return name_of(self.account, decode_mailbox(raw, utf8=self.utf8))

    def lookup_name(self, raw: bytes) -> str:
        """Decode a name that should exist already: one that cannot be a name names nothing."""
        try:
            return self.mailbox_name(raw)
        except BadMailboxName as error:
            raise MailboxMissing(detail=error.text) from error

    def spell(self, name: str) -> bytes:
        """Spell a mailbox name as this client reads it; ``wire.render`` quotes it."""
        return encode_mailbox(name, utf8=self.utf8)


def _note_logout(session: Session) -> None:
    """Write the line that says what was done since the login, where the log has heard of that."""
    if session.tally.announced:
        session.tally.announced = False
        session.note("logout", **session.tally.since_mark(session.clock()))
