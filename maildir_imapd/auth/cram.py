"""CRAM-MD5 (RFC 2195), for programs that know nothing newer: the server must have the password itself."""

from __future__ import annotations

import hmac
import secrets

from maildir_imapd.auth import schemes
from maildir_imapd.auth.base import Proven
from maildir_imapd.auth.mechanisms import USER_LIMIT_CHARACTERS, Exchange, Situation
from maildir_imapd.errors import AuthenticationFailed


def exchange(situation: Situation) -> Exchange:
    """Send a challenge that was never sent before, and compare what comes back; of a stranger with nobody's."""
    challenge = f"<{secrets.token_hex(16)}@maildir-imapd>".encode("ascii")
    message = yield challenge
    user, _, digest = message.rpartition(b" ")
    try:
        name = user.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AuthenticationFailed from error
    if not name or len(name) > USER_LIMIT_CHARACTERS or "\0" in name:
        raise AuthenticationFailed
    stored = situation.stored(name) or ""
    password = schemes.readable(stored) if stored else None
    made = hmac.new(password or secrets.token_bytes(16), challenge, "md5").hexdigest().encode("ascii")
    holds = hmac.compare_digest(made, digest.lower()) and bool(password)
    return Proven(name, "CRAM-MD5", holds, stored)
