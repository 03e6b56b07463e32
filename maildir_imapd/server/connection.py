"""The loop of one handler thread: octets in, answers out, until one side says goodbye."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from maildir_imapd.errors import Goodbye, IdleTooLong
from maildir_imapd.imap.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from maildir_imapd.imap.engine import Engine
    from maildir_imapd.server.transport import PipeTransport, Transport

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 60.0


def converse(
    transport: Transport | PipeTransport,
    engine: Engine,
    *,
    implicit_tls: bool = False,
    leaving: Callable[[], Goodbye | None] = lambda: None,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Serve one client to the end; closes both *engine* and *transport*, raises nothing.

    *leaving* is asked after each wake: when the process is to end it gives the BYE to send.  *ended* is
    called when the session is over and the client cannot know it yet: what it held is free by then.
    """
    reply, session = Reply(transport.send), engine.session
    started = heard = outside = time.monotonic()
    try:
        if implicit_tls:
            transport.start_tls(HANDSHAKE_TIMEOUT)
        engine.greet(reply)
        while not engine.over:
            if engine.upgrade is not None:
                _upgrade(transport, engine)
            goodbye = leaving()
            if goodbye is not None:
                engine.say_goodbye(goodbye, reply)
                break
            # Before login traffic prolongs nothing: a login comes in its time or not at all.
            since = outside if not engine.logged_in else heard
            left = since + engine.patience - time.monotonic()
            woken, data = transport.wait(left) if left > 0 else (False, b"")
            if data is None:
                break
            if woken:
                engine.announce(reply)
            if data:
                heard = time.monotonic()
                if engine.logged_in:
                    outside = heard
                engine.feed(data, reply)
            elif not woken and engine.upgrade is None:
                engine.say_goodbye(IdleTooLong(), reply)
    except (ConnectionError, TimeoutError) as error:
        # The transport raises nothing else, and what happens in a session stays there.
        session.note("connection-lost", why=str(error))
    except Exception:
        logger.exception("connection failed", extra={"fields": {"peer": session.peer, "user": session.user}})
    finally:
        try:
            engine.close()
        finally:
            try:
                ended()
            finally:
                transport.close()
        session.note("disconnect", sent=reply.sent, seconds=round(time.monotonic() - started, 1))


def _upgrade(transport: Transport | PipeTransport, engine: Engine) -> None:
    kind = engine.upgrade
    assert kind is not None
    match kind:
        case b"TLS":
            transport.start_tls(HANDSHAKE_TIMEOUT)
        case b"DEFLATE":
            transport.start_deflate()
        case b"PLAIN":
            transport.end_deflate()
    engine.upgraded(kind)
