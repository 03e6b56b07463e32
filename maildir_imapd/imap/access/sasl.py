"""How IMAP carries a SASL exchange: base64, the initial response, and a lone ``*`` that cancels (RFC 3501 6.2.2).

The mechanisms are ``auth/mechanisms.py``'s; a line that is not base64 is BAD, and so is what is cancelled.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from maildir_imapd.auth.base import Token
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, BadArgument, ProtocolError
from maildir_imapd.wire import render

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Credential
    from maildir_imapd.auth.mechanisms import Exchange
    from maildir_imapd.imap.reply import Done, Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Authenticate


def decode(line: bytes) -> bytes:
    """Strict base64 of RFC 3501 section 9; raises BadArgument."""
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadArgument("base64") from error


def converse(
    session: Session, cmd: Authenticate, exchange: Exchange, enter: Callable[[Credential], Done], reply: Reply
) -> Done | None:
    """Run *exchange* until it ends, and give what it returns to *enter*; at once when the initial response is all."""
    try:
        challenge = next(exchange)
        if cmd.initial is not None:
            challenge = exchange.send(cmd.initial)
    except StopIteration as stop:
        return _end(session, stop.value, enter, reply)

    def on_line(line: bytes, reply: Reply) -> Done | None:
        if line == b"*":
            raise ProtocolError("Authentication cancelled")
        try:
            challenge = exchange.send(decode(line))
        except StopIteration as stop:
            return _end(session, stop.value, enter, reply)
        reply.write(render.challenge(base64.b64encode(challenge)))
        return None

    session.dialogue = on_line
    reply.write(render.challenge(base64.b64encode(challenge)))
    return None


def _end(session: Session, credential: Credential, enter: Callable[[Credential], Done], reply: Reply) -> Done | None:
    """Give *credential* to *enter*; where it is wrong and has a refusal, the NO waits for a line of the client's."""
    try:
        return enter(credential)
    except (AuthenticationFailed, AuthorizationFailed) as error:
        if not isinstance(credential, Token) or not credential.refusal:
            raise
        failure = error

    def on_line(line: bytes, reply: Reply) -> Done | None:
        raise failure

    session.dialogue = on_line
    reply.write(render.challenge(base64.b64encode(credential.refusal)))
    return None
