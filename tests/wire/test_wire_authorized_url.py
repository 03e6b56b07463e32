"""URLs that carry the right to read what they name (RFC 5092 6.1, RFC 4467 9)."""

from __future__ import annotations

import datetime as dt

import pytest

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.authorized_url import LONGEST_OCTETS, parse_full, parse_rump
from maildir_imapd.wire.commands import Section
from maildir_imapd.wire.url import MessageUrl

TOKEN = b"91354a473744909de610943775f92038"


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "message", "access", "whom"),
    [
        (
            b"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred",
            "joe", "example.com", 143, MessageUrl("INBOX", None, 20, Section((1, 2))), "submit", "fred",
        ),
        (
            b"IMAP://joe%40example.com@MAIL.example.com:1143/a/b;UIDVALIDITY=5/;UID=1/;PARTIAL=0.10;URLAUTH=AUTHUSER",
            "joe@example.com", "mail.example.com", 1143, MessageUrl("a/b", 5, 1, Section(), (0, 10)), "authuser", "",
        ),
        (
            b"imap://joe;AUTH=*@[2001:db8::1]/%C3%BC%3B/;UID=1;URLAUTH=user+fr%65d%2B%C3%BC",
            "joe", "[2001:db8::1]", 143, MessageUrl("ü;", None, 1, Section()), "user", "fred+ü",
        ),
        (
            b"imap://j+o&e=@h/;x/;UID=1;URLAUTH=anonymous".replace(b"/;x/", b"/x/"),
            "j+o&e=", "h", 143, MessageUrl("x", None, 1, Section()), "anonymous", "",
        ),
    ],
)  # fmt: skip
def test_rump(text: bytes, user: str, host: str, port: int, message: MessageUrl, access: str, whom: str) -> None:
    url = parse_rump(text)
    assert (url.user, url.host, url.port, url.message, url.access, url.whom) == (
        user, host, port, message, access, whom,
    )  # fmt: skip
    assert (url.mailbox, url.expires, url.octets) == (message.mailbox, None, text)


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        (b"2026-12-31T23:59:59Z", dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        (b"2026-12-31t23:59:60.25z", dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        (b"2026-06-01T00:30:00+02:00", dt.datetime(2026, 5, 31, 22, 30, tzinfo=dt.UTC)),
        (b"2026-06-01T00:30:00-00:30", dt.datetime(2026, 6, 1, 1, 0, tzinfo=dt.UTC)),
    ],
)
def test_expire(date: bytes, moment: dt.datetime) -> None:
    url = parse_rump(b"imap://joe@h/INBOX/;UID=1;EXPIRE=%b;URLAUTH=authuser" % date)
    assert url.expires == moment.timestamp()


@pytest.mark.parametrize(
    "date",
    [
        b"", b"2026-12-31", b"2026-12-31T23:59Z", b"2026-12-31T23:59:59", b"2026-13-01T00:00:00Z",
        b"2026-02-30T00:00:00Z", b"2026-01-01T24:00:00Z", b"2026-01-01T00:00:61Z", b"0000-01-01T00:00:00Z",
        b"2026-01-01T00:00:00+24:00", b"2026-01-01T00:00:00+01:60", b"2026-01-01 00:00:00Z",
    ],
)  # fmt: skip
def test_no_date(date: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_rump(b"imap://joe@h/INBOX/;UID=1;EXPIRE=%b;URLAUTH=authuser" % date)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"imap://joe@h/INBOX/;UID=1",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=submit",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=submit+",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=user+a@b",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=user+%FF",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=stream",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=authuser;EXPIRE=2026-01-01T00:00:00Z",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=authuser;URLAUTH=anonymous",
        b"imap://joe@h/INBOX/;UID=1/;URLAUTH=authuser",
        b"imap://h/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://@h/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://;AUTH=*@h/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://joe@/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://joe@h:0/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://joe@h:65536/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://joe@h:/INBOX/;UID=1;URLAUTH=authuser",
        b"imap://%FF@h/INBOX/;UID=1;URLAUTH=authuser",
        b"imaps://joe@h/INBOX/;UID=1;URLAUTH=authuser",
        b"//joe@h/INBOX/;UID=1;URLAUTH=authuser",
        # No message: a server, a list, a mailbox, a search, the mailbox that is open.
        b"imap://joe@h/;URLAUTH=authuser",
        b"imap://joe@h;URLAUTH=authuser",
        b"imap://joe@h/INBOX;URLAUTH=authuser",
        b"imap://joe@h/INBOX;UIDVALIDITY=1;URLAUTH=authuser",
        b"imap://joe@h/INBOX?SUBJECT%20x;URLAUTH=authuser",
        b"imap://joe@h/;UID=1;URLAUTH=authuser",
        b"imap://joe@h//;UID=1;URLAUTH=authuser",
        b"imap://joe@h/IN BOX/;UID=1;URLAUTH=authuser",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=authuser\n",
        b"imap://joe@h/INBOX/;UID=1;URLAUTH=authuser:internal:" + TOKEN,
        b"imap://joe@h/%b/;UID=1;URLAUTH=authuser" % (b"x" * LONGEST_OCTETS),
    ],
)  # fmt: skip
def test_no_rump(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_rump(text)


def test_full() -> None:
    rump = b"imap://joe@example.com:143/INBOX/;uid=20;urlauth=submit+fred"
    url = parse_full(rump + b":Internal:" + TOKEN)
    assert (url.rump.octets, url.mechanism, url.token) == (rump, b"INTERNAL", TOKEN)
    assert TOKEN.decode() not in repr(url)


@pytest.mark.parametrize(
    "tail",
    [
        b"", b":", b":internal", b":internal:", b":internal:" + TOKEN[1:], b":internal:" + TOKEN + b"g",
        b":internal:" + TOKEN + b":x", b"::" + TOKEN, b":in ternal:" + TOKEN, b":" + TOKEN,
        b":internal:" + TOKEN + b"\n", b":internal:" + TOKEN + b"0" * LONGEST_OCTETS,
    ],
)  # fmt: skip
def test_not_full(tail: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_full(b"imap://joe@example.com/INBOX/;uid=20;urlauth=submit+fred" + tail)


def test_every_octet_counts() -> None:
    """What is read of a URL is all of it: no octet can be put in, taken out or changed without another value."""
    text = b"imap://joe@h:143/IN;UIDVALIDITY=7/;UID=1/;SECTION=1.MIME/;PARTIAL=0.9;EXPIRE=2026-01-01T00:00:00Z"
    text += b";URLAUTH=user+a:internal:" + TOKEN
    whole = parse_full(text)
    for place in range(len(text)):
        for other in (text[:place] + text[place + 1 :], text[:place] + b"\n" + text[place:], text[:place]):
            try:
                assert parse_full(other) != whole
            except BadSyntax:
                continue
