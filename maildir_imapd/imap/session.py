"""One client's session: its state, what it may do, and the one place where errors become answers.

A session knows no socket.  ``feed`` takes what the client sent and writes the answers to a
:class:`Reply`; ``announce`` tells an idling client what happened; ``upgrade`` asks the transport for
TLS or compression.  Only the thread that owns the connection calls any of it, ``wake`` excepted.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from maildir_imapd import __version__, normal
from maildir_imapd.errors import (
    BadCharsetName,
    BadMailboxName,
    Goodbye,
    ImapdError,
    MailboxMissing,
    ProtocolError,
    Refused,
    StoreError,
    TooLong,
    TooManyErrors,
    UndefinedFilter,
    WrongState,
)
from maildir_imapd.imap.access.capability import capability_code
from maildir_imapd.imap.languages import DEFAULT
from maildir_imapd.imap.mailboxes import filters
from maildir_imapd.imap.mailboxes.metadata import Following, too_big
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.progress import Client, Meanwhile, Progress, at_once, is_there
from maildir_imapd.imap.registry import TABLE, Done, Spec, State
from maildir_imapd.imap.search import results
from maildir_imapd.imap.selected.append import begin
from maildir_imapd.message.text import CHARSETS, decode_charset
from maildir_imapd.phrases import Phrase
from maildir_imapd.wire import render
from maildir_imapd.wire.buffer import (
    AFTER_LOGIN,
    BEFORE_LOGIN,
    CommandBuffer,
    Expects,
    Frame,
    Limits,
    Line,
    LiteralWanted,
    Overflow,
)
from maildir_imapd.wire.names import ancestors, decode_mailbox, encode_mailbox
from maildir_imapd.wire.parse import parse, peek_command
from maildir_imapd.wire.parse_append import AppendReader

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Credential
    from maildir_imapd.imap.mailboxes.name_changes import NameChange
    from maildir_imapd.imap.news.notify import Notify
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.view import View
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.maildir.delivery import Delivery
    from maildir_imapd.wire.commands import Command

logger = logging.getLogger(__name__)

TOO_LONG = {
    "line": "The line is too long",
    "literal": "The literal is too long",
    "command": "The command is too long",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What a good login gives: who, and his mail."""

    user: str
    account: Account
    release: Callable[[], None] = lambda: None
    """Called when he leaves and the connection stays (RFC 8437); raises Goodbye if it can't."""
    groups: frozenset[str] = frozenset()
    """That he is in, for access rights."""


class Gate(Protocol):
    """The door: checks a login, throttles guessing.  Blocks as long as it must."""

    def __call__(self, credential: Credential) -> Access:
        """Raise AuthenticationFailed, AuthorizationFailed, Unavailable; Goodbye after too many tries."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings that a session needs, as plain values.  Sizes in octets, times in seconds."""

    greeting: str = "maildir-imapd ready"
    server_id: tuple[tuple[bytes, bytes], ...] = ((b"name", b"maildir-imapd"), (b"version", __version__.encode()))
    tls_available: bool = False
    plaintext_login: bool = False
    compress: bool = False
    login_timeout: float = 180.0
    idle_timeout: float = 1800.0
    append_limit: int = 100 * 1024 * 1024
    utf8: Literal["lenient", "strict", "no"] = "lenient"
    """Whether UTF8=ACCEPT is there, and refuses UTF-8 headers of others (RFC 6855 4)."""
    server_metadata: tuple[tuple[bytes, bytes], ...] = ()
    acl: bool = True
    language: str = "i-default"
    """The tag of the language that LANGUAGE default chooses."""
    quota_set: bool = False
    """Whether users may set the limits of their quota, where no setting has one."""
    nonsense_before_login: int = 3
    """Lines that are no command of IMAP at all: an HTTP request ends here."""
    errors_in_a_row: int = 20
    before_login: Limits = BEFORE_LOGIN
    after_login: Limits = AFTER_LOGIN


def _no_gate(credential: Credential) -> Access:
    raise WrongState(why="This session cannot log in")


class Session:
    """See the module.  *wake* may be called from any thread: it makes the owner call ``announce``.

    *clock* gives the time of day, *ticks* seconds that never go back.  *meanwhile*: how long work under a lock is done.
    *look* says whether the client is still there.
    """

    def __init__(
        self,
        policy: Policy,
        gate: Gate = _no_gate,
        *,
        secure: bool = False,
        wake: Callable[[], None] = lambda: None,
        preauth: Access | None = None,
        peer: str = "",
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        meanwhile: Meanwhile = at_once,
        look: Client = is_there,
    ) -> None:
        self.policy = policy
        self.gate = gate
        self.secure = secure
        self.wake = wake
        self.peer = peer
        self.clock = clock
        self.progress = Progress(ticks, self.say, meanwhile, look)
        # What NOTIFY has set; without it the rules of RFC 3501 hold.
        self.notify: Notify | None = None
        self.buffer = CommandBuffer(policy.before_login)
        self.state = State.NOT_AUTHENTICATED
        self.user: str | None = None
        self._access: Access | None = None
        self.view: View | None = None
        self.enabled: set[bytes] = set()
        self.upgrade: bytes | None = None
        self.dialogue: Callable[[bytes, Reply], None] | None = None
        self.idling = False
        self.compressed = False
        self.errors = self.nonsense = 0
        self.deliveries: list[Delivery] = []
        self.delivered = 0  # octets of those that are whole
        self.append_reader: AppendReader | None = None
        self.client_id: dict[bytes, bytes | None] | None = None
        self.following: Following | None = None
        self.language = DEFAULT
        self._preauth = preauth

    # --- what the rim asks ------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the connection is to be closed once the reply is sent."""
        return self.state is State.LOGOUT

    @property
    def expects(self) -> Expects:
        """What the next octets from the client are."""
        return Expects.LINE if self.dialogue is not None else Expects.COMMAND

    @property
    def patience(self) -> float:
        """Seconds of silence (before login: seconds in all) after which the client is told BYE."""
        return self.policy.login_timeout if self.state is State.NOT_AUTHENTICATED else self.policy.idle_timeout

    def greet(self, reply: Reply) -> None:
        """Say OK, or PREAUTH when the caller has already been identified."""
        if self._preauth is not None:
            self.log_in(self._preauth)
            self.say(reply, b"PREAUTH", Phrase("Logged in as {user}", user=self.user), capability_code(self))
        else:
            self.say(reply, b"OK", self.policy.greeting, capability_code(self))
        reply.flush()

    def feed(self, data: bytes, reply: Reply) -> None:
        """Take octets from the client and answer every command that is now whole.

        Stops early when the transport must be upgraded first.  The reply is flushed at the end.
        """
        self.buffer.feed(data)
        if self.view is not None:
            self.view.fresh = False
        while self.state is not State.LOGOUT and self.upgrade is None:
            event = self.buffer.next_event(self.expects)
            if event is None:
                break
            self._receive(event, reply)
        if self.notify is not None and self.state is not State.LOGOUT and self.upgrade is None:
            self.announce(reply)
        reply.flush()

    def upgraded(self, kind: bytes) -> None:
        """Note that the transport now speaks TLS, or deflates, or does so no longer.

        RFC 3501 6.2.1: all that was known of the client before TLS is forgotten.
        """
        self.upgrade = None
        if kind != b"TLS":
            self.compressed = kind == b"DEFLATE"
        if kind == b"TLS":
            self.buffer = CommandBuffer(self.policy.before_login)
            self.secure = True
            self.client_id = None
            self.language = DEFAULT
            self.errors = self.nonsense = 0

    def announce(self, reply: Reply) -> None:
        """Tell an idling client what has happened (RFC 2177), and one that asked for it at any time (RFC 5465).

        To any other say nothing: the bell also rings for a goodbye, which is not ours to say.
        """
        if self.notify is not None:
            self._guarded(lambda: self._tell_unasked(reply), None, reply)
            reply.flush()
        elif self.idling and (self.view is not None or self.following is not None):
            self._guarded(lambda: self.tell(reply, expunge=True), None, reply)
            reply.flush()

    def _tell_unasked(self, reply: Reply) -> None:
        notify = self.notify
        assert notify is not None
        if self.view is not None and (notify.messages or self.idling):
            # RFC 5465 6.1: who counts by number asks for a delay, and IDLE ends it.
            updates.tell(self, reply, expunge=self.idling or not notify.delayed)
        notify.tell(self, reply)

    def say_goodbye(self, goodbye: Goodbye, reply: Reply) -> None:
        """Send BYE and end the session."""
        try:
            self.say(reply, b"BYE", goodbye.text, goodbye.code)
        finally:
            self.close()
        reply.flush()

    def close(self) -> None:
        """Let go of the mailbox and of half-made deliveries; safe to call twice."""
        self.idling = False
        self.dialogue = None
        try:
            self._let_go()
        finally:
            self.state = State.LOGOUT

    def _let_go(self) -> None:
        """Keep nothing of the account; what fails does not keep the rest."""
        with ExitStack() as all_of_it:
            all_of_it.callback(self._stop_following)
            all_of_it.callback(self.stop_notify)
            all_of_it.callback(self.leave)
            all_of_it.callback(self.drop_deliveries)

    def _stop_following(self) -> None:
        following, self.following = self.following, None
        if following is not None:
            following.close()

    # --- what a client reads ------------------------------------------------------------------------

    def say(self, reply: Reply, kind: bytes, text: str, code: bytes | None = None, *, tag: bytes = b"*") -> None:
        """Write a status response: OK, NO, BAD, BYE or PREAUTH.

        Here and in ``ask``, and nowhere else, a text gets its language (RFC 5255 3.2).
        """
        said = self.language.translate(text)
        reply.write(render.tagged(tag, kind, said, code, utf8=self.language.utf8))

    def ask(self, reply: Reply, text: str) -> None:
        """Write a continuation request with a text."""
        reply.write(render.continuation(self.language.translate(text), utf8=self.language.utf8))

    # --- what the commands use --------------------------------------------------------------------

    @property
    def account(self) -> Account:
        """The user's mail; only commands of the authenticated state ask."""
        if self._access is None:
            raise WrongState(why="Log in first")
        return self._access.account

    @property
    def groups(self) -> frozenset[str]:
        """The groups that the user is in, for access rights."""
        return frozenset() if self._access is None else self._access.groups

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
    def may_set_quota(self) -> bool:
        """Whether SETQUOTA is there for this user."""
        return self.policy.quota_set and self.account.quota.settable

    @property
    def rev2(self) -> bool:
        """Whether the client has switched to IMAP4rev2 (RFC 9051)."""
        return b"IMAP4REV2" in self.enabled

    @property
    def names_uid(self) -> bool:
        """Whether FETCH responses that were not asked for have the UID.

        RFC 7162 3.2.4 (for CONDSTORE, too, where QRESYNC is there), RFC 5465 5.1, RFC 9051 7.5.2.
        """
        return self.rev2 or self.notify is not None or b"CONDSTORE" in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether the client speaks UTF-8 (RFC 6855, RFC 9051)."""
        return b"UTF8=ACCEPT" in self.enabled or b"IMAP4REV2" in self.enabled

    def log_in(self, access: Access) -> None:
        """Enter the authenticated state."""
        self.user = access.user
        self._access = access
        self.state = State.AUTHENTICATED
        self.buffer.limits = self.policy.after_login
        self.errors = self.nonsense = 0

    @property
    def may_leave(self) -> bool:
        """Whether UNAUTHENTICATE is there: one who did not log in could not come back."""
        return self._preauth is None

    def log_out(self) -> None:
        """Return to the not authenticated state; of the user nothing is left (RFC 8437)."""
        access, self._access, self.user = self._access, None, None
        self.enabled.clear()
        self.language = DEFAULT
        self.buffer.limits = self.policy.before_login
        self.errors = self.nonsense = 0
        if self.compressed:
            self.upgrade = b"PLAIN"
        with ExitStack() as last:
            if access is not None:
                last.callback(access.release)
            try:
                self._let_go()
            finally:
                self.state = State.NOT_AUTHENTICATED

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

    def note_own(self, mailbox: Mailbox, *, made: Collection[int] = (), removed: Iterable[int] = ()) -> None:
        """Note what this client did itself to *mailbox*, by UID: of that it needs no news (RFC 5465 5)."""
        if self.view is not None and self.view.mailbox is mailbox:
            self.view.mine.update(made)
            self.view.removed.update(removed)
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

    def mailbox_name(self, raw: bytes) -> str:
        """Decode a mailbox name from the wire; raises BadMailboxName.

        INBOX in any case is INBOX as a first level too: one mailbox has one name.  UTF-8 that is not in
        Normalization Form C names what it is in that form (RFC 9051 5.1), unless other programs have made just this
        mailbox, or its parent.  A delimiter at the end is dropped: CREATE may have one (6.3.3), and clients that were
        served by nested directories put it elsewhere, too.
        """
        name = decode_mailbox(raw, utf8=self.utf8)
        if len(name) > 1:
            name = name.removesuffix(self.account.delimiter)
        if self.utf8 and not normal.is_composed(name) and not self.account.exists(name):
            there = next(filter(self.account.exists, ancestors(name, self.account.delimiter)), "")
            name = there + normal.composed(name[len(there) :])
        first, delimiter, rest = name.partition(self.account.delimiter)
        return f"INBOX{delimiter}{rest}" if first.isascii() and first.upper() == "INBOX" else name

    def lookup_name(self, raw: bytes) -> str:
        """Decode a name that should exist already: one that cannot be a name names nothing."""
        try:
            return self.mailbox_name(raw)
        except BadMailboxName as error:
            raise MailboxMissing(detail=error.text) from error

    def spell(self, name: str) -> bytes:
        """Spell a mailbox name as this client reads it; ``wire.render`` quotes it."""
        return encode_mailbox(name, utf8=self.utf8)

    def note(self, event: str, **fields: object) -> None:
        """Write one line to the log: *event* and its facts.  Never pass what may be secret."""
        logger.info(event, extra={"fields": {"user": self.user, "peer": self.peer, **fields}})

    def finish(self, cmd: Command, name: bytes, done: Done, reply: Reply) -> None:
        """End a command: tell what may be told now, then its tagged line."""
        spec = TABLE[name]
        if spec.updates:
            self.tell(reply, expunge=spec.may_expunge(cmd))
        code = done.code
        if code is None and self.view is not None and self.view.has_untold and b"QRESYNC" in self.enabled:
            # What this client was told about other messages may be newer than an expunge that it was not.
            # RFC 7162 section 6, rule about delayed VANISHED: say how far it may count itself up to date.
            code = b"HIGHESTMODSEQ %d" % self.view.safe_modseq
        self.say(reply, done.kind, done.text, code, tag=cmd.tag)

    def tell(self, reply: Reply, *, expunge: bool) -> None:
        """Say what has happened, as far as this client wants to hear of it."""
        if self.view is not None:
            updates.tell(self, reply, expunge=expunge)
        if self.following is not None and self.notify is None:
            # Who uses NOTIFY says there what it wants to hear.
            self.following.tell(self, reply)

    # --- events -----------------------------------------------------------------------------------

    def _receive(self, event: Frame | Line | LiteralWanted | Overflow, reply: Reply) -> None:
        if isinstance(event, Frame):
            self._command(event, reply)
        elif isinstance(event, Line):
            dialogue = self.dialogue
            if dialogue is not None:
                self._guarded(lambda: dialogue(event.text, reply), None, reply)
        elif isinstance(event, LiteralWanted):
            self._literal(event, reply)
        else:
            self.drop_deliveries()
            if event.fatal:
                self.say_goodbye(Goodbye(TOO_LONG[event.what]), reply)
            elif self.user is not None and event.what == "literal" and peek_command(event.begin)[1] == b"SETMETADATA":
                self._complain(event.tag, too_big(self), reply)
            else:
                self._complain(event.tag, TooLong(TOO_LONG[event.what]), reply)

    def _command(self, frame: Frame, reply: Reply) -> None:
        tag, name = peek_command(frame.text)
        if name not in TABLE:
            self.nonsense += 1
        try:
            if name is None or tag is None:
                parse(frame)  # says what is wrong
                raise WrongState(why="Expected a tag and a command")
            self._run(self._allowed(name), tag, frame, reply)
        except Exception as error:
            self._failed(error, tag, reply)
        finally:
            self.progress.end()
            if self.deliveries:
                self.drop_deliveries()

    def _run(self, spec: Spec, tag: bytes, frame: Frame, reply: Reply) -> None:
        try:
            cmd = parse(frame, decode_charset, self._stored)
        except (BadCharsetName, UndefinedFilter):
            results.refused(self, frame.text)
            raise
        self.progress.begin(tag, reply)
        try:
            done = spec.handler(self, cmd, reply)
        except (Refused, StoreError):
            # A refusal is an answer like any other: what else happened may be told with it.
            if spec.updates:
                self.tell(reply, expunge=spec.may_expunge(cmd))
            raise
        self.errors = self.nonsense = 0
        if done is not None:
            self.finish(cmd, spec.name, done, reply)

    def _stored(self, name: bytes) -> bytes | None:
        return filters.stored(self, name)

    def _allowed(self, name: bytes | None) -> Spec:
        """Look a command up; its state is checked before its arguments are parsed."""
        spec = TABLE.get(name or b"")
        if spec is None:
            raise WrongState(why="Unknown command")
        if not spec.states.value & self.state.value:
            if self.state is State.NOT_AUTHENTICATED:
                raise WrongState(why="Log in first")
            if spec.states is State.SELECTED:
                raise WrongState(why="No mailbox is selected")
            raise WrongState(why="Not in this state: you are logged in already")
        return spec

    def _literal(self, event: LiteralWanted, reply: Reply) -> None:
        """Decide about a literal before its octets come: take it, stream it to the spool, or refuse."""
        accepted = False

        def decide() -> None:
            nonlocal accepted
            if not event.continued:
                self.append_reader = None
                _, name = peek_command(event.so_far)
                if self._allowed(name).streams:
                    self.append_reader = AppendReader()
            if self.append_reader is not None:
                sink = begin(self, self.append_reader.read(event), event.size)
            else:
                sink = None
                if event.size > self.buffer.limits.literal:
                    raise TooLong("A literal may have {limit} octets here", limit=self.buffer.limits.literal)
            accepted = True
            if event.synchronizing:
                reply.write(b"+ OK\r\n")
            self.buffer.accept(sink)

        try:
            self._guarded(decide, event.tag, reply)
        finally:
            if not accepted:
                self.drop_deliveries()
                self.buffer.refuse()

    def drop_deliveries(self) -> None:
        """Take away what has streamed in and is in no mailbox."""
        with ExitStack() as aborts:
            for delivery in self.deliveries:
                aborts.callback(delivery.abort)
            self.deliveries.clear()
            self.delivered = 0

    # --- errors -----------------------------------------------------------------------------------

    def _guarded(self, act: Callable[[], None], tag: bytes | None, reply: Reply) -> None:
        """Run *act*; what it raises is answered with *tag*, or the tag of the dialogue under way."""
        try:
            act()
        except Exception as error:
            self._failed(error, self._dialogue_tag if tag is None else tag, reply)

    def _failed(self, error: Exception, tag: bytes | None, reply: Reply) -> None:
        """Make of whatever was raised one answer, and one line in the log where it should be."""
        if isinstance(error, Goodbye):
            self.say_goodbye(error, reply)
        elif isinstance(error, ImapdError):
            self._complain(tag, error, reply)
        elif isinstance(error, (ConnectionError, TimeoutError)):
            # The transport broke while a long answer was being sent; there is nobody to tell.
            self.close()
        else:
            reference = secrets.token_hex(4)
            fields = {"reference": reference, "user": self.user}
            logger.error("internal error", exc_info=error, extra={"fields": fields})
            defect = StoreError("Internal error (reference {reference})", reference=reference)
            self._complain(tag, defect, reply, logged=True)

    _dialogue_tag: bytes | None = None

    def begin_dialogue(self, tag: bytes, dialogue: Callable[[bytes, Reply], None]) -> None:
        """Send the client's next lines to *dialogue*, until ``end_dialogue``."""
        self._dialogue_tag = tag
        self.dialogue = dialogue

    def end_dialogue(self) -> None:
        """The next line is a command again."""
        self._dialogue_tag = None
        self.dialogue = None
        self.idling = False

    def _complain(self, tag: bytes | None, error: ImapdError, reply: Reply, *, logged: bool = False) -> None:
        code: bytes | None = getattr(error, "code", None)
        self.end_dialogue()
        if isinstance(error, ProtocolError):
            self.say(reply, b"BAD", error.text, code, tag=tag or b"*")
            self.errors += 1
            nonsense = self.state is State.NOT_AUTHENTICATED and self.nonsense >= self.policy.nonsense_before_login
            if nonsense or self.errors >= self.policy.errors_in_a_row:
                self.say_goodbye(TooManyErrors(), reply)
            return
        if code == b"BADCHARSET":
            code = render.badcharset_code(CHARSETS)
        if isinstance(error, StoreError) and not logged:
            logger.warning(
                error.text, extra={"fields": {"user": self.user, "detail": error.detail, "code": code or b""}}
            )
        self.say(reply, b"NO", error.text, code, tag=tag or b"*")
