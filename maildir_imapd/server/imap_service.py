"""IMAP as a service: the only file of ``server`` that knows how the engine is made and driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from maildir_imapd.budget import UNLIMITED, Budget
from maildir_imapd.imap.columns.danger import Notes, danger
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.server import settings
from maildir_imapd.server.background import meanwhile
from maildir_imapd.server.networks import among
from maildir_imapd.server.rawlog import RawLogs, Tap
from maildir_imapd.server.sessions import peer_name

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.errors import Goodbye
    from maildir_imapd.server.door import Door
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import PipeTransport, Transport
    from maildir_imapd.store.account import Account

_LOOPBACK: Final = ("127.", "::1", "::ffff:127.")


class ImapService:
    """As ``service.Service``, over one engine; *send* and *send_all* take what it answers (imap/reply.py).

    *visit*, *rawlogs*: whose dialogue it is, and whose are written down.
    """

    def __init__(
        self,
        engine: Engine,
        send: Callable[[bytes], None],
        send_all: Callable[[Sequence[bytes]], None] | None = None,
        visit: Visit | None = None,
        rawlogs: RawLogs | None = None,
    ) -> None:
        self._engine = engine
        self._reply = Reply(send, send_all)
        self._send, self._send_all = send, send_all
        self._visit = visit
        self._rawlogs = RawLogs() if rawlogs is None else rawlogs
        self._tap: Tap | None = None
        engine.session.tally.answers = self._reply

    def look(self) -> dict[str, object]:
        """As ``Visit.look``: attributes are read that the connection's own thread replaces as a whole."""
        session = self._engine.session
        view = session.view
        found: dict[str, object] = {"client": session.client, "compressed": session.compressed}
        found["mailbox"] = None if view is None else view.name
        if session.idling:
            found |= {"state": "idle", "command": "IDLE"}
        return found

    def amid(self) -> bool:
        """As ``Visit.amid``."""
        session = self._engine.session
        return session.buffer.pending or (session.dialogue is not None and not session.idling)

    @property
    def over(self) -> bool:
        """As ``Service.over``."""
        return self._engine.over

    @property
    def logged_in(self) -> bool:
        """As ``Service.logged_in``."""
        return self._engine.logged_in

    @property
    def patience(self) -> float:
        """As ``Service.patience``."""
        return self._engine.patience

    @property
    def quiet(self) -> float:
        """As ``Service.quiet``."""
        return self._engine.quiet

    @property
    def upgrade(self) -> bytes | None:
        """As ``Service.upgrade``."""
        return self._engine.upgrade

    @property
    def who(self) -> dict[str, object]:
        """As ``Service.who``."""
        return {"peer": self._engine.session.peer, "user": self._engine.session.user}

    @property
    def sent(self) -> int:
        """As ``Service.sent``."""
        return self._reply.sent

    def greet(self) -> None:
        """As ``Service.greet``."""
        self._engine.greet(self._reply)

    def feed(self, data: bytes) -> None:
        """As ``Service.feed``."""
        if self._rawlogs.orders or self._tap is not None:
            self._write_down(data)
        self._engine.feed(data, self._reply)

    def _write_down(self, data: bytes) -> None:
        """Open this session's raw log, or close it, and put down what has come."""
        tap, visit, session = self._tap, self._visit, self._engine.session
        if visit is None:
            return
        order = self._rawlogs.orders.get(session.user or "")
        if tap is not None and (tap.over or tap.order is not order):
            tap.close()
            # One that is full is not begun again by the same order.
            if order is not tap.order:
                self._tap = tap = None
                self._reply.through(self._send, self._send_all)
        if tap is None and order is not None and not session.buffer.pending:
            self._tap = tap = self._rawlogs.tap(visit)
            if tap is not None:
                self._reply.through(self._both(tap))
        if tap is not None:
            tap.heard(data, secret=session.dialogue is not None and not session.idling)

    def _both(self, tap: Tap) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            if not tap.over:
                tap.said(data)
            self._send(data)

        return send

    def announce(self) -> None:
        """As ``Service.announce``."""
        self._engine.announce(self._reply)

    def keep_alive(self) -> None:
        """As ``Service.keep_alive``."""
        self._engine.keep_alive(self._reply)

    def upgraded(self, kind: bytes) -> None:
        """As ``Service.upgraded``."""
        self._engine.upgraded(kind)

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """As ``Service.say_goodbye``."""
        self._engine.say_goodbye(goodbye, self._reply)

    def close(self) -> None:
        """As ``Service.close``."""
        if self._tap is not None:
            self._tap.close()
        self._engine.close()

    def note(self, event: str, **fields: object) -> None:
        """As ``Service.note``."""
        self._engine.session.note(event, **fields)


class ImapPort:
    """As ``service.Port``: IMAP as the settings have it, with STARTTLS where *tls*.  Raises ConfigError.

    *budget*: what large messages may take in memory.
    """

    def __init__(
        self, config: Config, door: Door, *, tls: bool, budget: Budget = UNLIMITED, rawlogs: RawLogs | None = None
    ) -> None:
        self._rawlogs = rawlogs
        metadata = settings.server_metadata(config)
        self._door = door
        self._budget = budget
        self._logins = settings.logins(config)
        self._near = settings.policy(config, tls=tls, loopback=True, metadata=metadata)
        self._far = settings.policy(config, tls=tls, loopback=False, metadata=metadata)
        # Of clients who may speak for others.
        self._trusted = replace(self._far, plaintext_login=True)
        self._networks = settings.webmail(config)

    def refusal(self, text: str) -> bytes:
        """As ``Port.refusal``."""
        return b"* BYE [UNAVAILABLE] %b\r\n" % text.encode("ascii")

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> ImapService:
        """As ``Port.open``."""
        visit.shared = trusted = among(visit.host, self._networks)
        engine = Engine(
            self._trusted if trusted else self._near if visit.host.startswith(_LOOPBACK) else self._far,
            self._door.gate(visit),
            self._door.ways(visit, transport, self._logins),
            secure=secure,
            wake=transport.bell.ring,
            peer=visit.peer,
            meanwhile=meanwhile,
            look=transport.look,
            budget=self._budget,
            tally=visit.tally,
        )
        if trusted:
            engine.session.forward = lambda host, port: self._forward(visit, host, port)
        service = ImapService(engine, transport.send, transport.send_all, visit, self._rawlogs)
        visit.amid = service.amid
        visit.look = lambda: {**service.look(), "tls": transport.secured or None}
        return service

    def _forward(self, visit: Visit, host: str, port: int) -> str:
        """As ``Session.forward``."""
        self._door.forward(visit, host, peer_name(host, port))
        return visit.peer


def logged_in_already(
    policy: Policy, access: Access, transport: PipeTransport, peer: str, budget: Budget = UNLIMITED
) -> ImapService:
    """Begin to serve somebody who is known before the first word."""
    engine = Engine(
        policy,
        secure=True,
        wake=transport.bell.ring,
        preauth=access,
        peer=peer,
        meanwhile=meanwhile,
        look=transport.look,
        budget=budget,
    )
    return ImapService(engine, transport.send, transport.send_all)


# What most clients begin with.
_REHEARSED: Final = (
    b'a LIST "" *',
    b"a STATUS INBOX (MESSAGES UNSEEN)",
    b"a SELECT INBOX",
    b"a UID FETCH 1:* (FLAGS)",
    b"a FETCH 1:* (UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
    b"a FETCH 1 (BODY.PEEK[])",
    b"a UID SEARCH UNSEEN",
    b"a NOOP",
    b"a SELECT INBOX",
    b"a LOGOUT",
)


def rehearse(account: Account) -> None:
    """Play a session with *account*, whose answers nobody reads."""
    engine = Engine(Policy(), preauth=Access("rehearsal", account), secure=True)
    reply = Reply(lambda _: None)
    try:
        engine.greet(reply)
        for line in _REHEARSED:
            engine.feed(line + b"\r\n", reply)
    finally:
        engine.close()


def note_dangers(notes: Notes) -> None:
    """Have this process note in *notes* at which message it is, for when it dies of it."""
    danger.notes = notes
