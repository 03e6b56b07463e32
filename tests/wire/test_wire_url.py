"""IMAP URLs, as CATENATE takes them (RFC 5092 section 11)."""

from __future__ import annotations

import pytest

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.commands import Section
from maildir_imapd.wire.url import MessageUrl, parse_url, render_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (b";UID=20", MessageUrl(None, None, 20, Section())),
        (b"/;uid=20/;section=1.2.MIME", MessageUrl(None, None, 20, Section((1, 2), b"MIME"))),
        (b"/A/B/;UID=1", MessageUrl("A/B", None, 1, Section())),
        (b"A/B/;UID=1/;PARTIAL=7", MessageUrl("A/B", None, 1, Section(), (7, None))),
        (
            b"/gr%C3%BC%3B;UIDVALIDITY=4294967295/;UID=4294967295/;SECTION=TEXT/;PARTIAL=0.10",
            MessageUrl("grü;", 4294967295, 4294967295, Section((), b"TEXT"), (0, 10)),
        ),
        (
            b";UID=1/;SECTION=HEADER.FIELDS%20(a%20%22b%22)",
            MessageUrl(None, None, 1, Section((), b"HEADER.FIELDS", (b"a", b"b"))),
        ),
    ],
)
def test_parse(text: bytes, url: MessageUrl) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"/INBOX",
        b"imap://host/INBOX/;UID=1",
        b"//host/INBOX/;UID=1/;WHAT=1",
        b";UID=0",
        b";UID=4294967296",
        b"INBOX;UID=1",
        b"/;UIDVALIDITY=1/;UID=1",
        b"/INBOX;UIDVALIDITY=0/;UID=1",
        b";UID=1/;SECTION=",
        b";UID=1/;SECTION=1]x",
        b";UID=1/;SECTION=HEADER.FIELDS",
        b";UID=1/;PARTIAL=1.0",
        b";UID=1;URLAUTH=anonymous",
        b"/a%/;UID=1",
        b"/a%FF/;UID=1",
        b"/a b/;UID=1",
        "/ü/;UID=1".encode(),
    ],
)
def test_not_ours(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_url(text)


def test_render() -> None:
    assert render_url(b"/A/;UID=1/;SECTION=1]\r\n\xff") == b"/A/;UID=1/;SECTION=1%5D%0D%0A%FF"
