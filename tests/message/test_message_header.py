import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maildir_imapd.message.header import (
    HEADER_LIMIT_OCTETS,
    decode_rfc2047,
    every,
    fields,
    first,
    split,
    split_raw,
    unfold,
)
from maildir_imapd.message.lines import to_crlf


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"", 0),
        (b"\r\n", 2),
        (b"\r\nbody", 2),
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\r\n", 6),
        (b"A: b", 4),
        (b"A: b\r\nno colon\r\n\r\n\r\nbody", 18),
        (b"A: b\n\nbody", 10),  # bare LFs are gone before anything gets here
    ],
)
def test_split(data: bytes, body: int) -> None:
    assert split(data) == body


@given(st.lists(st.sampled_from([b"A: b", b"\n", b"\r\n", b"\r", b"x"])).map(b"".join))
@example(b"A: " + b"b" * 20_000 + b"\nC: d\n\nbody\n")
@example(b"A: " + b"b" * (16 * 1024 - 4) + b"\n\r\nbody\r\n")
def test_split_raw_finds_what_split_finds_in_the_crlf_form(raw: bytes) -> None:
    data = to_crlf(raw)
    assert to_crlf(raw[: split_raw(raw)]) == data[: split(data)]


def test_fields() -> None:
    header = b"Subject: a\r\n b\r\njunk\r\n\tmore junk\r\n: no name\r\nFrom : x\r\nX:y\r\nEmpty:\r\n\r\n"
    assert [(name, value) for name, value, _, _ in fields(header)] == [
        (b"Subject", b" a\r\n b"),
        (b"From", b" x"),
        (b"X", b"y"),
        (b"Empty", b""),
    ]
    assert [header[start:end] for _, _, start, end in fields(header)] == [
        b"Subject: a\r\n b\r\n",
        b"From : x\r\n",
        b"X:y\r\n",
        b"Empty:\r\n",
    ]


def test_fields_of_a_header_that_ends_within_a_line() -> None:
    assert fields(b"A: b\r\nC: d") == [(b"A", b" b", 0, 6), (b"C", b" d", 6, 10)]


def test_first_and_every() -> None:
    header = b"Received: one\r\nX-Received: no\r\nRECEIVED:\r\n two\r\nTo: a,\r\n\tb \r\n\r\n"
    assert first(header, b"RECEIVED") == b"one"
    assert every(header, b"RECEIVED") == [b"one", b"two"]
    assert first(header, b"TO") == b"a,\tb"
    assert first(header, b"CC") is None
    assert every(header, b"CC") == []


def test_a_name_with_special_characters_is_no_pattern() -> None:
    assert first(b"abc: x\r\n", b".*") is None
    assert first(b"X+(y): x\r\n", b"X+(Y)") == b"x"


def test_unfold_removes_the_line_end_only() -> None:
    # RFC 5322 2.2.3: "Unfolding is accomplished by simply removing any CRLF that is immediately followed by WSP."
    assert unfold(b" a\r\n b\r\n\tc \r") == b"a b\tc"


def test_fields_beyond_the_limit_are_not_looked_at() -> None:
    header = b"A: " + b"x" * HEADER_LIMIT_OCTETS + b"\r\nSubject: y\r\n\r\n"
    assert first(header, b"SUBJECT") is None
    assert [name for name, *_ in fields(header)] == [b"A"]


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        # RFC 2047 8
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?iso-8859-8?b?7eXs+SDv4SDp7Oj08A==?=", "םולש ןב ילטפנ"),
        # charsets
        (b"=?koi8-r?B?8NLJ18XU?=", "Привет"),
        (b"=?windows-1251?Q?=CF=F0=E8=E2=E5=F2?=", "Привет"),
        (b"=?gb2312?B?xOO6ww==?=", "你好"),
        (b"=?big5?B?p0GmbqFB?=", "你好，"),
        (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?Shift_JIS?B?k/qWew==?=", "日本"),
        (b"=?euc-kr?B?vsiz5w==?=", "안녕"),
        (b"=?iso-8859-15?Q?100_=A4?=", "100 €"),
        (b"=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        # a character cut in two, which section 5 forbids and senders do
        (b"=?utf-8?B?4oI=?= =?utf-8?B?rA==?=", "€"),
        # laxer than the grammar
        (b"x=?utf-8?q?y?=z", "xyz"),
        (b"=?utf-8?Q?with space?=", "with space"),
        (b"(=?utf-8?q?y?=)", "(y)"),
        # of a word in an unknown charset its octets count (RFC 5255 4.6)
        (b"=?x-klingon?Q?nuqneH?=", "nuqneH"),
        (b"=?x-klingon?Q?a?= =?utf-8?Q?b?=", "ab"),
        (b"=?zlib_codec?B?eJw=?=", "x\x9c"),
        # damage stays as it is
        (b"=?utf-8?B?a?=", "=?utf-8?B?a?="),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?Q?a", "=?utf-8?Q?a"),
        (b"=?utf-8?Q?=FF?=", "\N{REPLACEMENT CHARACTER}"),
        # 8-bit octets
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("latin-1"), "Grüße"),
        ("ä =?utf-8?q?=C3=B6?= ü".encode(), "ä ö ü"),
        (b"", ""),
    ],
)
def test_decode_rfc2047(encoded: bytes, text: str) -> None:
    assert decode_rfc2047(encoded) == text
