"""GENURLAUTH, RESETKEY and URLFETCH: what is no such command; what is one stands in test_wire_parse.py."""

from __future__ import annotations

import pytest

from maildir_imapd.errors import BadSyntax, TooLong
from maildir_imapd.wire.authorized_url import LONGEST_OCTETS
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.parse import parse
from maildir_imapd.wire.parse_urls import URLS_LIMIT


@pytest.mark.parametrize(
    "text",
    [
        b"RESETKEY (a)",
        b"RESETKEY a (b)",
        b'RESETKEY a "internal"',
        b"GENURLAUTH",
        b"GENURLAUTH ",
        b"GENURLAUTH a",
        b'GENURLAUTH a "internal"',
        b"GENURLAUTH a internal b",
        b"GENURLAUTH (a) internal",
        b"URLFETCH",
        b"URLFETCH ",
        b"URLFETCH ()",
        b"URLFETCH (a",
        b"URLFETCH (a b)",
        b"URLFETCH (a BODY BODY)",
        b"URLFETCH (a BODY BINARY)",
        b"URLFETCH (a BINARY BODYPARTSTRUCTURE BODY)",
        b"URLFETCH (a BODY[])",
        b"URLFETCH (a)(b)",
        b"URLFETCH a NIL)",
    ],
)
def test_bad(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse(Frame(b"a " + text))


@pytest.mark.parametrize(("command", "each"), [(b"URLFETCH", b" u"), (b"GENURLAUTH", b" u internal")])
def test_not_too_many(command: bytes, each: bytes) -> None:
    parse(Frame(b"a " + command + each * URLS_LIMIT))
    with pytest.raises(TooLong):
        parse(Frame(b"a " + command + each * (URLS_LIMIT + 1)))


def test_not_too_long() -> None:
    parse(Frame(b"a URLFETCH " + b"u" * LONGEST_OCTETS))
    with pytest.raises(TooLong):
        parse(Frame(b"a URLFETCH " + b"u" * (LONGEST_OCTETS + 1)))
