"""OAUTHBEARER (RFC 7628), and XOAUTH2, which came before it and which mail programs speak: a token, in one message.

What is wrong is told in two steps: a challenge of JSON that says so, and after a line of the client's the NO.
"""

from __future__ import annotations

import json
import re
from typing import Final

from maildir_imapd.auth.base import Token
from maildir_imapd.auth.mechanisms import USER_LIMIT_CHARACTERS, Exchange, Situation
from maildir_imapd.errors import AuthenticationFailed

# A key of RFC 7628's, and a value.
_PAIR: Final = re.compile(r"([A-Za-z]+)=([\x20-\x7e\t\r\n]*)\Z").match
# b64token of RFC 6750.
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)\Z", re.IGNORECASE).match
_ESCAPE: Final = re.compile(r"=(2C|3D)?")


def oauthbearer(situation: Situation) -> Exchange:
    """Read the message of RFC 7628 3.1: a GS2 header, and pairs between octets of 1."""
    message = _text((yield b""))
    header, mark, rest = message.partition("\x01")
    parts = header.split(",")
    if not mark or len(parts) != 3 or parts[0] not in ("n", "y") or parts[2]:
        raise AuthenticationFailed
    user = parts[1]
    if user:
        if not user.startswith("a="):
            raise AuthenticationFailed
        user = _ESCAPE.sub(_unescaped, user[2:])
    return _token(user, rest, refusal(situation, "invalid_token"))


def xoauth2(situation: Situation) -> Exchange:
    """Read ``user=NAME 01 auth=Bearer TOKEN 01 01``."""
    message = _text((yield b""))
    user, _, rest = message.partition("\x01")
    if not user.startswith("user="):
        raise AuthenticationFailed
    return _token(user[5:], rest, refusal(situation, "401"))


def refusal(situation: Situation, status: str) -> bytes:
    """Make the challenge that says that a token was not good (RFC 7628 3.2.2)."""
    said = {"status": status, "schemes": "bearer"}
    if situation.scope:
        said["scope"] = situation.scope
    if situation.discovery:
        said["openid-configuration"] = situation.discovery
    return json.dumps(said).encode("ascii")


def _text(message: bytes) -> str:
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AuthenticationFailed from error


def _unescaped(match: re.Match[str]) -> str:
    if match[1] is None:
        raise AuthenticationFailed
    return "," if match[1] == "2C" else "="


def _token(user: str, rest: str, refused: bytes) -> Token:
    """Make the credential; *rest* is the pairs, each with an octet of 1 behind, and another one at the end."""
    if not rest.endswith("\x01\x01") or len(user) > USER_LIMIT_CHARACTERS or "\0" in user:
        raise AuthenticationFailed
    pairs = [_PAIR(each) for each in rest[:-2].split("\x01")]
    found = [pair[2] for pair in pairs if pair is not None and pair[1].lower() == "auth"]
    token = _BEARER(found[0]) if len(found) == 1 and None not in pairs else None
    if token is None:
        raise AuthenticationFailed
    return Token(user, token[1].encode("ascii"), user or None, refused)
