"""The loop of one handler thread: octets in, answers out, until one side says goodbye."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import Goodbye, IdleTooLong
from maildir_imapd.events import Log

if TYPE_CHECKING:
    from maildir_imapd.server.service import Service
    from maildir_imapd.server.transport import PipeTransport, Transport

log = Log(__name__)

# Seconds.
HANDSHAKE_SECONDS: Final = 60.0


def converse(
    transport: Transport | PipeTransport,
    service: Service,
    *,
    implicit_tls: bool = False,
    leaving: Callable[[], Goodbye | None] = lambda: None,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Serve one client to the end; closes both *service* and *transport*, raises nothing.

    *leaving* is asked after each wake: when the client is to go it gives the goodbye to say.  *ended* is
    called when the service is over and the client cannot know it yet: what it held is free by then.
    """
    started = time.monotonic()
    try:
        if implicit_tls:
            transport.start_tls(HANDSHAKE_SECONDS)
        goodbye = leaving()
        if goodbye is None:
            service.greet()
            _until_over(transport, service, started, leaving)
        else:
            # In place of a greeting (RFC 3501 7.1.5): whoever asks whether clients are taken sees it in the first word.
            service.say_goodbye(goodbye)
    except (ConnectionError, TimeoutError) as error:
        # The transport raises nothing else, and what happens in a service stays there.
        service.note("connection-lost", why=str(error))
    except Exception:
        log.exception("connection failed", **service.who)
    finally:
        try:
            service.close()
        finally:
            try:
                ended()
            finally:
                transport.close()
        service.note("disconnect", sent=service.sent, seconds=round(time.monotonic() - started, 1))


def _until_over(
    transport: Transport | PipeTransport,
    service: Service,
    started: float,
    leaving: Callable[[], Goodbye | None],
) -> None:
    """Turn by turn: become what the service asks for, wait, and give it what has come."""
    heard = outside = spoken = started
    sent = service.sent
    while not service.over:
        if service.upgrade is not None:
            _upgrade(transport, service)
        goodbye = leaving()
        if goodbye is not None:
            service.say_goodbye(goodbye)
            break
        # Before login traffic prolongs nothing: a login comes in its time or not at all.
        inside = service.logged_in
        now = time.monotonic()
        left = (heard if inside else outside) + service.patience - now
        silence = left
        if quiet := service.quiet:
            if service.sent != sent:
                sent, spoken = service.sent, now
            silence = spoken + quiet - now
        if silence <= 0 < left:
            service.keep_alive()
            if service.quiet == quiet:
                spoken = now  # else something was done that is not to be done again, and nothing may have been said
            continue
        woken, data = transport.wait(min(left, silence)) if left > 0 else (False, b"")
        if data is None:
            break
        if woken:
            service.announce()
        if data:
            heard = time.monotonic()
            if inside:
                outside = heard
            service.feed(data)
        elif not woken and service.upgrade is None and (left <= 0 or silence >= left):
            service.say_goodbye(IdleTooLong())


def _upgrade(transport: Transport | PipeTransport, service: Service) -> None:
    kind = service.upgrade
    assert kind is not None
    match kind:
        case b"TLS":
            transport.start_tls(HANDSHAKE_SECONDS)
        case b"DEFLATE":
            transport.start_deflate()
        case b"PLAIN":
            transport.end_deflate()
    service.upgraded(kind)
