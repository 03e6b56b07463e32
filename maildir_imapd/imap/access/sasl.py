"""SASL exchanges: each a generator that yields challenges and is sent responses, in decoded form.

RFC 3501 6.2.2: a line that is not base64 is BAD, a lone ``*`` cancels (BAD as well).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from maildir_imapd.errors import AuthenticationFailed, BadArgument, ProtocolError
from maildir_imapd.imap.access import login
from maildir_imapd.wire import render

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Done, Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Authenticate

# Yields a challenge, is sent the response, returns (authorization identity, user, password).
Exchange = Generator[bytes, bytes, tuple[bytes, bytes, bytes]]


def plain() -> Exchange:
    """RFC 4616: ``[authzid] NUL authcid NUL passwd``."""
    message = yield b""
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise AuthenticationFailed
    return parts[0], parts[1], parts[2]


def login_exchange() -> Exchange:
    """The LOGIN mechanism, never standardised, still what Outlook sends: name, then password."""
    user = yield b"Username:"
    password = yield b"Password:"
    return b"", user, password


MECHANISMS: dict[bytes, Callable[[], Exchange]] = {b"PLAIN": plain, b"LOGIN": login_exchange}


def decode(line: bytes) -> bytes:
    """Strict base64 of RFC 3501 section 9; raises BadArgument."""
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadArgument("base64") from error


def converse(session: Session, cmd: Authenticate, exchange: Exchange, reply: Reply) -> Done | None:
    """Run *exchange* until it ends: at once when the initial response is all it needs."""
    challenge = next(exchange)
    if cmd.initial is not None:
        try:
            challenge = exchange.send(cmd.initial)
        except StopIteration as stop:
            return _finish(session, cmd.mechanism, stop.value)

    def on_line(line: bytes, reply: Reply) -> Done | None:
        if line == b"*":
            raise ProtocolError("Authentication cancelled")
        try:
            challenge = exchange.send(decode(line))
        except StopIteration as stop:
            return _finish(session, cmd.mechanism, stop.value)
        reply.write(render.challenge(base64.b64encode(challenge)))
        return None

    session.dialogue = on_line
    reply.write(render.challenge(base64.b64encode(challenge)))
    return None


def _finish(session: Session, mechanism: bytes, answer: tuple[bytes, bytes, bytes]) -> Done:
    authzid, user, password = answer
    login.enter(session, user, password, mechanism.decode("ascii"), authzid)
    return login.logged_in(session)
