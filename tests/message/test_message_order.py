from __future__ import annotations

import base64
import datetime as dt

import pytest

from maildir_imapd.message.order import (
    base_subject,
    display_key,
    mailbox_key,
    parse_date,
    sent_date,
    sent_day,
    subject_key,
)


@pytest.mark.parametrize(
    ("subject", "base", "reply"),
    [
        ("", "", False),
        ("foo", "foo", False),
        ("  foo \t bar  ", "foo bar", False),
        ("Re: foo", "foo", True),
        ("RE : foo", "foo", True),
        ("re:foo", "foo", True),
        ("Re[2]: foo", "foo", True),
        ("Re [2] : foo", "foo", True),
        ("Fw: foo", "foo", True),
        ("Fwd: foo", "foo", True),
        ("Re: Fwd: Re: foo", "foo", True),
        ("foo (fwd)", "foo", True),
        ("foo (FWD)  (fwd)", "foo", True),
        ("[list] foo", "foo", False),
        ("[list] Re: [other] foo", "foo", True),
        ("[a][b] re: foo", "foo", True),
        ("[a] [b]", "[b]", False),
        ("[a]", "[a]", False),
        ("Re: [a]", "[a]", True),
        ("[fwd: foo]", "foo", True),
        ("[Fwd: Re: foo (fwd)] (fwd)", "foo", True),
        ("[fwd: [fwd: foo]]", "foo", True),
        ("[list] [fwd: foo]", "foo", True),
        ("[fwd: foo", "[fwd: foo", False),
        ("[unclosed foo", "[unclosed foo", False),
        ("Re:", "", True),
        ("(fwd)", "", True),
        ("[fwd:]", "", True),
        ("Reply: foo", "Reply: foo", False),
        ("AW: foo", "AW: foo", False),
        ("foo Re: bar", "foo Re: bar", False),
        ("Re: foo [x]", "foo [x]", True),
        ("Грüße (fwd)", "Грüße", True),
    ],
)
def test_base_subject(subject: str, base: str, reply: bool) -> None:
    assert base_subject(subject) == (base, reply)


@pytest.mark.parametrize("piece", ["[a]", "re:", "[fwd:", " (fwd)", "[", "re[", "[fwd:[a]"])
def test_base_subject_of_repeated_pieces(piece: str) -> None:
    base_subject(piece * 20_000 + "x" + "]" * 20_000)


def test_what_is_no_text_comes_last() -> None:
    # the example of RFC 5255 4.6, and an unknown charset, which the same section has behind
    words = [
        ("utf-8", "D0C0D0BDD0B4D180D0B5D0B9"),
        ("utf-8", "D181D095D0A0D093D095D099"),
        ("utf-8", "D092D0B0D181D0B8D0BBD0B8FFB9"),
        ("koi8-r", "E1CCC5CBD3C5CA"),
        ("x-unknown", "616161"),
    ]
    spelled = [f"=?{charset}?B?{base64.b64encode(bytes.fromhex(octets)).decode()}?=" for charset, octets in words]
    keys = [subject_key(f"Subject: Re: {word}\r\n\r\n".encode()) for word in spelled]
    assert sorted(range(1, 6), key=lambda n: keys[n - 1]) == [4, 2, 5, 3, 1]
    names = [display_key(f"From: {word} <a@example.com>\r\n\r\n".encode(), b"FROM") for word in spelled]
    assert sorted(range(1, 6), key=lambda n: names[n - 1]) == [4, 2, 5, 3, 1]


def test_subject_key() -> None:
    assert subject_key(b"Subject: Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n") == subject_key(
        "subject: GRÜßE\r\n\r\n".encode()
    )
    assert subject_key(b"\r\n") == ""


@pytest.mark.parametrize(
    ("value", "moment", "day"),
    [
        # RFC 5256 2.2
        (b"31 Dec 2000 16:01:33 -0800", "2001-01-01T00:01:33", "2000-12-31"),
        (b"Mon, 17 Nov 2025 10:00:00 +0100", "2025-11-17T09:00:00", "2025-11-17"),
        (b"Mon, 17 Nov 2025 10:00 +0100", "2025-11-17T09:00:00", "2025-11-17"),
        (b"Mon,17 nov 2025 10:00:00 +0100 (CET)", "2025-11-17T09:00:00", "2025-11-17"),
        (b"1 Jan 2025 00:30:00 +0100", "2024-12-31T23:30:00", "2025-01-01"),
        (b"Sat, 31 Dec 2016 23:59:60 +0000", "2016-12-31T23:59:59", "2016-12-31"),
        (b"Wed, 17 Jul 1996 02:23:25 PDT", "1996-07-17T09:23:25", "1996-07-17"),
        (b"Wed, 17 Jul 1996 02:23:25 Z", "1996-07-17T02:23:25", "1996-07-17"),
        (b"Wed, 17 Jul 1996 02:23:25 A", "1996-07-17T02:23:25", "1996-07-17"),
        (b"17 Jul 96 02:23:25 GMT", "1996-07-17T02:23:25", "1996-07-17"),
        (b"17 Jul 05 02:23:25 GMT", "2005-07-17T02:23:25", "2005-07-17"),
        (b"17 Jul 105 02:23:25 GMT", "2005-07-17T02:23:25", "2005-07-17"),
        (b"17 Jul 1996", "1996-07-17T00:00:00", "1996-07-17"),
        # "If the time zone is invalid, the date and time SHOULD be treated as UTC."
        (b"17 Jul 1996 02:23:25 +9999", "1996-07-17T02:23:25", "1996-07-17"),
        (b"17 Jul 1996 02:23:25 XYZ", "1996-07-17T02:23:25", "1996-07-17"),
        # "If the time is also invalid, the time SHOULD be treated as 00:00:00."
        (b"17 Jul 1996 99:23:25 +0100", "1996-07-17T00:00:00", "1996-07-17"),
        # RFC 5322 A.5, A.6.3
        (b"Thu,      13        Feb          1969      23:32               -0330", "1969-02-14T03:02:00", "1969-02-13"),
        (b"Fri, 21 Nov 97 09(comment):   55  :  06 -0600", "1997-11-21T15:55:06", "1997-11-21"),
        # what senders do
        (b"Mon Nov 17 10:00:00 2025", "2025-11-17T10:00:00", "2025-11-17"),
        (b"2025-11-17T10:00:00+01:00", "2025-11-17T09:00:00", "2025-11-17"),
        (b"Monday, 17-Nov-25 10:00:00 GMT", "2025-11-17T10:00:00", "2025-11-17"),
        (b"1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00", "1970-01-01"),
        (b"Jan 1, 1970", "1970-01-01T00:00:00", "1970-01-01"),
        (b"1972-02-02", "1972-02-02T00:00:00", "1972-02-02"),
    ],
)
def test_parse_date(value: bytes, moment: str, day: str) -> None:
    found = parse_date(value)
    assert found is not None
    assert dt.datetime.fromtimestamp(found[0], dt.UTC).strftime("%Y-%m-%dT%H:%M:%S") == moment
    header = b"Date: " + value + b"\r\n\r\n"
    assert sent_date(header, 0) == found[0]
    assert sent_day(header) == dt.date.fromisoformat(day)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"yesterday", b"31 Feb 2025 10:00:00 +0000 and more", b"\xff\xfe", b"9" * 1000, b"1e400", b"0/0/0"),
        # without a year
        *(b"17 Nov 10:00:00 +0100", b"Mon, 17 Nov 10:00:00", b"17 Nov 10 : 00", b"17 Nov", b"Mon Nov 17 10:00:00"),
        # without a day
        *(b"Nov 2025 10:00:00 +0000", b"Nov 2025", b"2025-11", b"2025", b"Mon 2025 10:00"),
        # with neither
        *(b"10:00:00", b"10:00:00 +0000", b"Mon 10:00", b"Mon, Nov 10:00:00", b"10 am"),
    ],
)
def test_no_date(value: bytes) -> None:
    header = b"Date: " + value + b"\r\n\r\n"
    assert sent_date(header, 4711) == 4711
    assert sent_day(header) is None


def test_absent_date() -> None:
    # RFC 5256 2.2: "the INTERNALDATE for that message is used as the sent date"
    assert sent_date(b"\r\n", 4711) == 4711
    assert sent_day(b"\r\n") is None


@pytest.mark.parametrize(
    ("value", "mailbox", "display"),
    [
        (b"", "", ""),
        (b"a@b, c@d", "A", "A@B"),
        (b"Name <a@b>", "A", "NAME"),
        (b"=?utf-8?q?N=C3=A4me?= <a@b>", "A", "NA\N{COMBINING DIAERESIS}ME"),
        (b'"" <a@b>', "A", "A@B"),
        (b"Group: a@b;", "GROUP", "GROUP"),
        (b"(comment only)", "", ""),
    ],
)
def test_address_keys(value: bytes, mailbox: str, display: str) -> None:
    header = b"From: " + value + b"\r\n\r\n"
    assert mailbox_key(header, b"FROM") == mailbox
    assert display_key(header, b"FROM") == display
    assert mailbox_key(header, b"TO") == ""
    assert display_key(header, b"TO") == ""


def test_address_key_of_the_first_field_with_an_address() -> None:
    assert mailbox_key(b"To:\r\nTo: b@c\r\n\r\n", b"TO") == "B"
    assert mailbox_key(b"To: " + b"x" * 400 + b"@y, b@c\r\n\r\n", b"TO") == "X" * 400
