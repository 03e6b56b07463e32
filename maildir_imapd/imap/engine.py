"""The engine: octets in, commands out of the table, and the one place where errors become answers.

It knows no socket.  ``feed`` takes what the client sent and writes the answers to a :class:`Reply`; ``announce`` tells
an idling client what happened; ``upgrade`` asks the transport for TLS or compression.  Only the thread that owns the
connection calls any of it.  What it drives is a ``Session``, which handlers get; they never see the engine.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth import mechanisms
from maildir_imapd.budget import UNLIMITED, Budget
from maildir_imapd.errors import (
    BadCharsetName,
    Goodbye,
    ImapdError,
    MailboxMissing,
    MailGone,
    NoPermission,
    ProtocolError,
    Refused,
    SelectedGone,
    StoreError,
    TooLong,
    TooManyErrors,
    TryCreate,
    UidRequired,
    UndefinedFilter,
    UnknownCommand,
    WrongState,
)
from maildir_imapd.events import Log
from maildir_imapd.imap import commands as _commands  # noqa: F401  # fills the table
from maildir_imapd.imap import gate as gates
from maildir_imapd.imap.access.capability import capability_code
from maildir_imapd.imap.languages import DEFAULT
from maildir_imapd.imap.mailboxes import filters
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.progress import at_once, is_there
from maildir_imapd.imap.registry import TABLE, Literal, Spec
from maildir_imapd.imap.session import Session, State
from maildir_imapd.imap.tally import LONG_SECONDS, Tally
from maildir_imapd.message.text import CHARSETS, decode_charset
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.mailbox import rest
from maildir_imapd.wire import render
from maildir_imapd.wire.abnf import HEAD
from maildir_imapd.wire.buffer import Event, Expects, Frame, GoOn, Line, LiteralWanted, Overflow
from maildir_imapd.wire.parse import parse, parse_rest, peek_command, peek_tag
from maildir_imapd.wire.parse_append import AppendReader

if TYPE_CHECKING:
    from maildir_imapd.auth.mechanisms import SaslOffer
    from maildir_imapd.imap.gate import Access, Gate
    from maildir_imapd.imap.policy import Policy
    from maildir_imapd.imap.progress import Client, Meanwhile
    from maildir_imapd.imap.reply import Done, Reply
    from maildir_imapd.store.maildir.delivery import Delivery
    from maildir_imapd.wire.commands import Command

log = Log(__name__)

_PASSWORDS: Final = mechanisms.Passwords()
# RFC 3501 7.5: the client may send its literal.
_GO_ON: Final = b"+ OK\r\n"
# A client is silent for so long after SELECT before the mailbox settles in.
SETTLE_SECONDS: Final = 0.02
# One that is not has it done after so long: until then a file that another program renames is known by less.
SETTLE_AT_LATEST_SECONDS: Final = 1.0

# Nothing has happened for so long before a mailbox lets go of its files: it costs what waits a descriptor or three, and
# what is at work two calls to open each anew.
REST_SECONDS: Final = 1.0

TOO_LONG: Final = {
    "line": "The line is too long",
    "literal": "The literal is too long",
    "command": "The command is too long",
}


class Engine:
    """One client's dialogue from greeting to goodbye.

    *wake* may be called from any thread: it makes the owner call ``announce``.  *preauth*: who is logged in from the
    beginning.  The others as for ``Session``.
    """

    def __init__(
        self,
        policy: Policy,
        gate: Gate = gates.closed,
        ways: SaslOffer = _PASSWORDS,
        *,
        secure: bool = False,
        wake: Callable[[], None] = lambda: None,
        preauth: Access | None = None,
        peer: str = "",
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        meanwhile: Meanwhile = at_once,
        look: Client = is_there,
        budget: Budget = UNLIMITED,
        tally: Tally | None = None,
    ) -> None:
        self.session = Session(
            policy,
            gate,
            ways,
            secure=secure,
            wake=wake,
            peer=peer,
            clock=clock,
            ticks=ticks,
            meanwhile=meanwhile,
            look=look,
            may_leave=preauth is None,
            budget=budget,
            tally=tally,
        )
        self._policy = policy
        self._ticks = ticks
        self._rested = False  # the mailbox has let go of its files since the client, or anybody, last did something
        self._settle_by: float | None = None  # when the mailbox that was opened last is to settle in at the latest
        self._preauth = preauth
        # Errors since the last command that was carried out, and lines among them that were no command at all.
        self._errors = self._nonsense = 0
        # Where the literals of the command under way stream: what reads its arguments, and what decides about each.
        self._streaming: tuple[AppendReader, Literal] | None = None
        # Why a literal was refused that is being thrown away, and the tag to say it with.
        self._refusal: tuple[Exception, bytes | None] | None = None
        # The command whose dialogue goes on.
        self._waiting: tuple[Spec, Command] | None = None

    # --- what the rim asks ------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the connection is to be closed once the reply is sent."""
        return self.session.state is State.LOGOUT

    @property
    def logged_in(self) -> bool:
        """Whether the client has shown who it is."""
        return self.session.state is not State.NOT_AUTHENTICATED

    @property
    def upgrade(self) -> bytes | None:
        """The name of what the transport is to become now: b"TLS", b"DEFLATE", b"PLAIN"; None for what it is."""
        return self.session.upgrade

    @property
    def patience(self) -> float:
        """Seconds of silence (before login: seconds in all) after which the client is told BYE."""
        return self._policy.idle_timeout if self.logged_in else self._policy.login_timeout

    @property
    def quiet(self) -> float:
        """Seconds for which nothing need be said, after which ``keep_alive`` is to be called; 0 for ever so long."""
        view = self.session.view
        if view is not None and view.opening:
            return SETTLE_SECONDS
        if view is not None and not self._rested:
            return REST_SECONDS
        return self._policy.idle_keepalive if self.session.idling else 0.0

    def keep_alive(self, reply: Reply) -> None:
        """Do what can wait until a client is silent, or say something to one in IDLE that has heard nothing for long.

        A router that translates addresses forgets a connection on which nothing goes, often after five minutes, and
        whatever is sent then is lost.  RFC 2177 lets any untagged response come.
        """
        view = self.session.view
        if view is not None and view.opening:
            # Whoever has opened a mailbox mostly has the next question ready, which need not wait for this.
            self._guarded(view.settle_in, None, reply)
            reply.flush()
        elif view is not None and not self._rested:
            self._rested = True
            self._guarded(lambda: rest(view.mailbox), None, reply)
        elif self.session.idling:
            self._guarded(lambda: self.session.say(reply, b"OK", "Still here"), None, reply)
            reply.flush()

    def greet(self, reply: Reply) -> None:
        """Say OK, or PREAUTH when the caller has already been identified."""
        session = self.session
        if self._preauth is not None:
            session.log_in(self._preauth)
            session.say(reply, b"PREAUTH", Phrase("Logged in as {user}", user=session.user), capability_code(session))
        else:
            session.say(reply, b"OK", self._policy.greeting, capability_code(session))
        reply.flush()

    def feed(self, data: bytes, reply: Reply) -> None:
        """Take octets from the client and answer every command that is now whole.

        Stops early when the transport must be upgraded first.  The reply is flushed at the end.
        """
        session = self.session
        self._rested = False
        session.tally.heard += len(data)
        session.buffer.feed(data)
        if session.view is not None:
            session.view.look_again()
        while session.state is not State.LOGOUT and session.upgrade is None:
            event = session.buffer.next_event(Expects.COMMAND if session.dialogue is None else Expects.LINE)
            if event is None:
                break
            if isinstance(event, Frame):
                self._command(event, reply)
            else:
                self._receive(event, reply)
        if session.notify is not None and session.state is not State.LOGOUT and session.upgrade is None:
            self.announce(reply)
        reply.flush()
        self._settle_in_time(reply)

    def _settle_in_time(self, reply: Reply) -> None:
        """Have the mailbox settle in, if its client has not been silent for too long."""
        view = self.session.view
        if view is None or not view.opening:
            self._settle_by = None
        elif self._settle_by is None:
            self._settle_by = self._ticks() + SETTLE_AT_LATEST_SECONDS
        elif self._ticks() >= self._settle_by:
            self._guarded(view.settle_in, None, reply)
            reply.flush()

    def upgraded(self, kind: bytes) -> None:
        """Note that the transport now speaks TLS, or deflates, or does so no longer.

        RFC 3501 6.2.1: all that was known of the client before TLS is forgotten.
        """
        session = self.session
        session.upgrade = None
        if kind != b"TLS":
            session.compressed = kind == b"DEFLATE"
            return
        session.buffer = session.new_buffer()
        session.secure = True
        session.language = DEFAULT
        self._errors = self._nonsense = 0

    def announce(self, reply: Reply) -> None:
        """Tell an idling client what has happened (RFC 2177), and one that asked for it at any time (RFC 5465).

        To any other say nothing: the bell also rings for a goodbye, which is not ours to say.
        """
        session = self.session
        self._rested = False
        if session.notify is not None:
            self._guarded(lambda: updates.tell_unasked(session, reply), None, reply)
            reply.flush()
        elif session.idling and (session.view is not None or session.following is not None):
            self._guarded(lambda: updates.tell_all(session, reply, expunge=True), None, reply)
            reply.flush()

    def say_goodbye(self, goodbye: Goodbye, reply: Reply) -> None:
        """Send BYE and end the session."""
        try:
            self.session.say(reply, b"BYE", goodbye.text, goodbye.code)
        finally:
            self.close()
        reply.flush()

    def close(self) -> None:
        """Let go of all that the session holds; safe to call twice."""
        self.session.close()

    # --- events -----------------------------------------------------------------------------------

    def _receive(self, event: Event, reply: Reply) -> None:
        """Take in what is no whole command."""
        if isinstance(event, Line):
            self._guarded(lambda: self._line(event.text, reply), None, reply)
        elif isinstance(event, LiteralWanted):
            self._literal(event, reply)
        elif isinstance(event, Overflow):
            self._overflow(event, reply)
        elif isinstance(event, GoOn):
            reply.write(_GO_ON)
        else:
            self._refused(reply)

    def _command(self, frame: Frame, reply: Reply) -> None:
        """Carry a command out and answer it.  All of them come by here, so what is asked for twice is asked once."""
        session = self.session
        head = HEAD(frame.text)
        if head is None:
            self._nonsense += 1
            self._guarded(lambda: self._headless(frame), peek_tag(frame.text), reply)
            return
        tag, uid, name = head.groups()
        word = name.upper()
        name = word if uid is None else b"UID " + word
        ready = TABLE.get(name)
        if (
            ready is not None
            and ready.idle is not None
            and session.view is None
            and session.following is None
            and head.end() == len(frame.text)
        ):
            # Most of a client's turns in between: nothing to do, nothing to tell, and nothing that could fail.
            self._errors = self._nonsense = 0
            done = ready.idle
            session.say(reply, done.kind, done.text, tag=tag)
            session.tally.noops += 1
            return
        tally = session.tally
        tally.running = name
        tally.began = began = self._ticks()
        try:
            spec = self._allowed(name)
            try:
                cmd = parse_rest(frame, tag, word, uid is not None, head.end(), decode_charset, self._stored)
            except (BadCharsetName, UndefinedFilter):
                if spec.refused is not None:
                    spec.refused(session, frame.text)
                raise
            if session.uid_only and spec.numbers(cmd):
                raise UidRequired
            session.progress.begin(tag, reply, session.say)
            self._run(spec, cmd, reply)
        except Exception as error:
            if name not in TABLE:
                self._nonsense += 1
            self._failed(error, tag, reply)
        finally:
            session.progress.end()
            if session.deliveries:
                session.drop_deliveries()
            tally.running = None
            tally.began = ended = self._ticks()
            _count(session, name, ended - began)

    def _headless(self, frame: Frame) -> None:
        """Say what is wrong with a line that is no command."""
        parse(frame)
        raise ProtocolError("Expected a tag and a command")

    def _run(self, spec: Spec, cmd: Command, reply: Reply) -> None:
        session = self.session
        try:
            done = spec.handler(session, cmd, reply)
        except (Refused, StoreError):
            # A refusal is an answer like any other: what else happened may be told with it.
            if spec.updates:
                updates.tell_all(session, reply, expunge=spec.may_expunge(cmd))
            raise
        self._errors = self._nonsense = 0
        if done is None:
            self._waiting = spec, cmd
        else:
            self._finish(spec, cmd, done, reply)

    def _finish(self, spec: Spec, cmd: Command, done: Done, reply: Reply) -> None:
        """End a command: tell what may be told now, then its tagged line."""
        session = self.session
        view = session.view
        goodbye: Goodbye | None = None
        code = done.code
        if spec.updates and (view is not None or session.following is not None):
            try:
                updates.tell_all(session, reply, expunge=spec.may_expunge(cmd))
            except Goodbye as error:
                if code is None:
                    raise
                # What has been put in is not put in again by a client that never heard so.
                goodbye = error
            view = session.view
        if code is None and view is not None and view.has_untold and b"QRESYNC" in session.enabled:
            # What this client was told about other messages may be newer than an expunge that it was not.
            # RFC 7162 section 6, rule about delayed VANISHED: say how far it may count itself up to date.
            code = b"HIGHESTMODSEQ %d" % view.safe_modseq
        session.say(reply, done.kind, done.text, code, tag=cmd.tag)
        if goodbye is not None:
            raise goodbye

    def _line(self, line: bytes, reply: Reply) -> None:
        """Pass a line to the dialogue that goes on; where it is the last one the command ends."""
        dialogue, waiting = self.session.dialogue, self._waiting
        assert dialogue is not None
        assert waiting is not None
        done = dialogue(line, reply)
        if done is not None:
            self._waiting = None
            self.session.end_dialogue()
            self._finish(*waiting, done, reply)

    def _stored(self, name: bytes) -> bytes | None:
        return filters.stored(self.session, name)

    def _allowed(self, name: bytes | None) -> Spec:
        """Look a command up; its state, and that the mail is there, is checked before its arguments are parsed."""
        state = self.session.state
        spec = TABLE.get(name or b"")
        if spec is None:
            raise UnknownCommand
        if not spec.bits & state.bits:
            if state is State.NOT_AUTHENTICATED:
                raise WrongState(why="Log in first")
            if spec.states is State.SELECTED:
                raise WrongState(why="No mailbox is selected")
            raise WrongState(why="Not in this state: you are logged in already")
        if spec.numbered and self.session.uid_only:
            raise UidRequired
        if spec.changes and self.session.read_only:
            raise NoPermission
        if spec.mail:
            self.session.account.demand_there()
        return spec

    def _literal(self, event: LiteralWanted, reply: Reply) -> None:
        """Take a literal, or refuse it: before its octets come, or once they are thrown away."""
        session = self.session
        try:
            sink = self._decide(event)
        except Exception as error:
            session.drop_deliveries()
            if session.buffer.refuse() or isinstance(error, (Goodbye, ConnectionError, TimeoutError)):
                self._failed(error, event.tag, reply)
                return
            self._refusal = error, event.tag
        else:
            session.buffer.accept(sink)
        if event.synchronizing:
            reply.write(_GO_ON)

    def _refused(self, reply: Reply) -> None:
        """Say why the literal was refused that is thrown away by now."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            self._failed(*refusal, reply)

    def _decide(self, event: LiteralWanted) -> Delivery | None:
        """Say where a literal streams to, None for one that is only an argument; raises what speaks against it."""
        session = self.session
        if not event.continued:
            decides = self._allowed(peek_command(event.so_far)[1]).literal
            self._streaming = None if decides is None else (AppendReader(), decides)
        if self._streaming is not None:
            reader, decides = self._streaming
            return decides(session, reader.read(event), event.size)
        if event.size > session.buffer.limits.literal:
            raise TooLong("A literal may have {limit} octets here", limit=session.buffer.limits.literal)
        return None

    def _overflow(self, event: Overflow, reply: Reply) -> None:
        """Answer what is too long to be read."""
        self.session.drop_deliveries()
        if event.fatal:
            self._refused(reply)
            self.say_goodbye(Goodbye(TOO_LONG[event.what]), reply)
            return
        spec = TABLE.get(peek_command(event.begin)[1] or b"")
        known = spec is not None and spec.bits & self.session.state.bits
        if spec is not None and spec.oversize is not None and known and event.what == "literal":
            self._complain(event.tag, spec.oversize(self.session), reply)
        else:
            self._complain(event.tag, TooLong(TOO_LONG[event.what]), reply)

    # --- errors -----------------------------------------------------------------------------------

    def _guarded(self, act: Callable[[], None], tag: bytes | None, reply: Reply) -> None:
        """Run *act*; what it raises is answered with *tag*, or the tag of the dialogue under way."""
        if tag is None and self.session.dialogue is not None and self._waiting is not None:
            tag = self._waiting[1].tag
        try:
            act()
        except Exception as error:
            self._failed(error, tag, reply)

    def _failed(self, error: Exception, tag: bytes | None, reply: Reply) -> None:
        """Make of whatever was raised one answer, and one line in the log where it should be."""
        if isinstance(error, (SelectedGone, MailboxMissing, TryCreate, StoreError)) and self.logged_in:
            error = self._of_all_mail(error)
        if isinstance(error, Goodbye):
            self.say_goodbye(error, reply)
        elif isinstance(error, ImapdError):
            self._complain(tag, error, reply)
        elif isinstance(error, (ConnectionError, TimeoutError)):
            # The transport broke while a long answer was being sent; there is nobody to tell.
            self.close()
        else:
            reference = secrets.token_hex(4)
            fields = {"reference": reference, "user": self.session.user}
            log.error("internal error", failure=error, **fields)
            defect = StoreError("Internal error (reference {reference})", reference=reference)
            self._complain(tag, defect, reply, logged=True)

    def _of_all_mail(self, error: Exception) -> Exception:
        """Say of a mailbox that is not there that none is, where that is so: it is undone, and no mailbox deleted."""
        try:
            self.session.account.demand_there()
        except StoreError as gone:
            if not isinstance(error, SelectedGone):
                return gone
            log.warning(gone.text, user=self.session.user, detail=gone.detail, code=gone.code or b"")
            return MailGone()
        return error

    def _complain(self, tag: bytes | None, error: ImapdError, reply: Reply, *, logged: bool = False) -> None:
        session = self.session
        code: bytes | None = getattr(error, "code", None)
        session.end_dialogue()
        if isinstance(error, ProtocolError):
            session.say(reply, b"BAD", error.text, code, tag=tag or b"*")
            self._errors += 1
            nonsense = not self.logged_in and self._nonsense >= self._policy.nonsense_before_login
            if nonsense or self._errors >= self._policy.errors_in_a_row:
                self.say_goodbye(TooManyErrors(), reply)
            return
        if code == b"BADCHARSET":
            code = render.badcharset_code(CHARSETS)
        if isinstance(error, StoreError) and not logged:
            log.warning(error.text, user=session.user, detail=error.detail, code=code or b"")
        session.say(reply, b"NO", error.text, code, tag=tag or b"*")


def _count(session: Session, name: bytes, seconds: float) -> None:
    """Count a command, and say so where it was slow; what is no command has one name, for clients make these up."""
    session.tally.count(name if name in TABLE else b"UNKNOWN", seconds)
    if seconds < LONG_SECONDS or name not in TABLE:
        return
    mailbox = None if session.view is None else session.view.name
    session.tally.note_long(name, seconds, session.user, mailbox)
    slow = session.policy.slow_command
    if slow and seconds >= slow:
        session.note("slow command", command=name.decode("ascii"), mailbox=mailbox, seconds=round(seconds, 3))
