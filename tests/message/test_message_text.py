from __future__ import annotations

import base64
import sys
import unicodedata

import pytest

from maildir_imapd.message import mime, text
from maildir_imapd.message.text import (
    Piece,
    body_text,
    contains,
    field_text,
    fold,
    folded_fields,
    header_text,
    pieces,
    preview,
)


def simple_titlecase(char: str) -> str:
    title = char.title()
    return title if len(title) == 1 else char


def test_fold_is_unicode_casemap_for_every_character() -> None:
    """RFC 5051 2: simple titlecase, then decomposition; the short cut by str.upper() must be the same."""
    wrong = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if not 0xD800 <= ord(char) < 0xE000 and not text._UNEQUAL.match(char) and char.upper() != simple_titlecase(char)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("abc", "ABC"),
        ("grüße", "GRÜßE"),
        ("ü", "u\N{COMBINING DIAERESIS}"),
        ("ПРИВЕТ", "привет"),
        ("ǆ", "Ǆ"),
        ("ǅ", "Ǆ"),
        ("σ", "ς"),
        ("Å", "\N{ANGSTROM SIGN}"),
        ("２", "2"),
    ],
)
def test_fold_equal(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("u", "ü"), ("ß", "ss"), ("ﬁ", "FI"), ("ı", "i̇")])
def test_fold_different(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_fold_text_is_folded_character_by_character() -> None:
    sample = "Straße ǆ ﬁ Ünïcödé ქართული"
    assert fold(sample) == unicodedata.normalize("NFKD", "".join(map(simple_titlecase, sample)))


# --- headers --------------------------------------------------------------------------------------


def test_header_text() -> None:
    header = b"Subject: =?utf-8?q?=C3=A4?=\r\n =?utf-8?q?b?=\r\nX: a\r\n\tb\r\n\r\n"
    assert header_text(header) == "Subject: äb\r\nX: a b\r\n\r\n"


def test_field_text() -> None:
    header = b"X: =?utf-8?q?=C3=A4?=\r\nx: a\r\n\tb\r\n\r\n"
    assert field_text(header, b"X") == ["ä", "a b"]
    assert field_text(header, b"Y") == []


# --- bodies ---------------------------------------------------------------------------------------

MESSAGE = (
    b"Subject: outersubject\r\n"
    b"X-Folded: one\r\n two\r\n\tthree =?utf-8?q?f=C3=BCnf?=\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"preamble\r\n"
    b'--x\r\nContent-Type: text/plain; name="plainname"\r\n\r\nPlain Body\r\n'
    b'--x\r\nContent-Type: application/pdf; name="report.pdf"\r\n\r\npdfbody\r\n'
    b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inners=C3=BCbject?=\r\n\r\ninnerbody\r\n"
    b"--x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"PGI+aHRtbGJvZHk8L2I+JmFtcDs=\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"stra=C3=9Fe =C3=9Cb=\r\nermut\r\n"
    b"--x\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n"
    b"--x\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\\x1b(B\r\n"
    b"--x--\r\nepilogue\r\n"
)


def search(needle: str, *, body_only: bool, data: bytes = MESSAGE) -> bool:
    found = pieces(mime.parse(data), data)
    kept = text.parse_pieces(text.render_pieces(found))
    assert kept == found
    return contains(data, lambda: kept, fold(needle), body_only=body_only)


@pytest.mark.parametrize(
    ("needle", "in_body", "in_text"),
    [
        ("", True, True),
        ("plain body", True, True),
        ("PLAIN BODY", True, True),
        ("innerbody", True, True),
        ("innersübject", False, True),
        ("INNERSÜBJECT", False, True),
        ("htmlbody", True, True),
        ("<b>html", True, True),
        ("&amp;", True, True),
        ("STRAßE", True, True),
        ("strasse", False, False),
        ("übermut", True, True),
        ("ubermut", False, False),
        ("5.1.1", True, True),
        ("日本", True, True),
        ("F|K", False, False),
        # headers
        ("outersubject", False, True),
        ("one two three fünf", False, True),
        ("x-folded", False, True),
        ("plainname", False, True),
        ("report.pdf", False, True),
        # neither: "MAY exclude [MIME-IMB] body parts with terminal content media types other than TEXT and MESSAGE"
        ("pdfbody", False, False),
        # around the parts: what stands there in a damaged message is what clients show
        ("preamble", True, True),
        ("epilogue", True, True),
        ("--x", False, False),
        ("stra=C3", False, False),
        ("nowhere", False, False),
    ],
)
def test_contains(needle: str, in_body: bool, in_text: bool) -> None:
    assert search(needle, body_only=True) is in_body
    assert search(needle, body_only=False) is in_text


@pytest.mark.parametrize(
    ("charset", "octets", "needle"),
    [
        ("utf-16", "hello".encode("utf-16"), "HELLO"),
        ("utf-7", b"Hi +AOQ-", "ä"),
        ("windows-1251", "Привет".encode("cp1251"), "привет"),
        ("x-unknown", "Grüße".encode(), "GRÜßE"),
        ("us-ascii", "Grüße".encode("latin-1"), "grüße"),
        ("koi8_r", "Привет".encode("koi8-r"), "привет"),
        ("csISO2022JP", b"\x1b$BF|K\\\x1b(B", "日本"),
        ("Shift-JIS", "日本".encode("cp932"), "日本"),
        ('"iso 8859-5"', "Привет".encode("iso8859-5"), "привет"),
    ],
)
def test_contains_in_charset(charset: str, octets: bytes, needle: str) -> None:
    data = b"Content-Type: text/plain; charset=" + charset.encode() + b"\r\n\r\n" + octets
    assert search(needle, body_only=True, data=data)


@pytest.mark.parametrize(
    ("html", "needle", "there"),
    [
        ("M&uuml;ller", "müller", True),
        ("M&#252;ller", "MÜLLER", True),
        ("M&#xFC;ller", "müller", True),
        ("M&uuml;ller", "M&uuml;ller", True),  # as it stands, too
        ("M&uuml;ller", "muller", False),
        ("one&nbsp;two", "one two", True),
        ("a &amp; b &lt;c&gt;", "a & b <c>", True),
        ("&#" + "9" * 5000 + ";M&uuml;ller", "müller", True),
        ("x" * 200 + "<p>M&uuml;ller&", "müller&", True),
    ],
)
@pytest.mark.parametrize("charset", ["us-ascii", "utf-8", "utf-16"])
def test_entities_are_found(html: str, needle: str, there: bool, charset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1024 * 1024, 64, 7):
        monkeypatch.setattr("maildir_imapd.message.charset.PIECE_OCTETS", size)
        head = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
        data = head + base64.b64encode(html.encode(charset))
        assert search(needle, body_only=True, data=data) is there
        assert search(needle, body_only=False, data=data) is there


def test_more_entities_than_are_remembered() -> None:
    body = b"".join(b"&#%d;" % n for n in range(0x4E00, 0x4E00 + 300)) + b"<p>M&uuml;ller"
    data = b"Content-Type: text/html\r\n\r\n" + body
    assert pieces(mime.parse(data), data)[-1].spelled == b"*"
    assert search("müller", body_only=True, data=data)
    assert search("\u4e01\u4e02", body_only=True, data=data)
    assert not search("maller", body_only=True, data=data)


@pytest.mark.parametrize("needle", ["müller", "üll", "l & s", "s\u00f6", "tm", "ﬁ", "fix", " & ", "söhne™", "mu", "öh"])
def test_what_entities_spell_is_found_as_if_it_stood_there(needle: str) -> None:
    html = "M&uuml;ller&nbsp;&amp;&#x20;S&ouml;hne&trade; &filig;x"
    plain = "Müller\xa0& Söhne™ \ufb01x"
    there = [b"Content-Type: text/html; charset=utf-8\r\n\r\n" + each.encode() for each in (html, plain)]
    found = [search(needle, body_only=True, data=data) for data in there]
    assert found[0] == found[1]


def test_entities_are_of_html_alone() -> None:
    assert not search("müller", body_only=True, data=b"Subject: x\r\n\r\nM&uuml;ller")


NOTE = b"This is a multi-part message in MIME format.\r\n"
DAMAGED = {
    "no delimiter": b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--x\r\nX: y\r\n\r\nTreasure\r\n--x--\r\n",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--x\r\nX: y\r\n\r\nTreasure\r\n--x--\r\n",
    "a blank of one space": b"\r\n".join(
        [
            *(b"Content-Type: multipart/alternative; boundary=x", b" ", b"--x", b"Content-Type: text/plain"),
            *(b"Content-Transfer-Encoding: quoted-printable", b"", b"Trea=", b"sure"),
            *(b"--x", b"Content-Type: image/png", b"", b"png", b"--x--", b""),
        ]
    ),
    "preamble": b"Content-Type: multipart/mixed; boundary=x\r\n\r\nTreasure\r\n--x\r\n\r\n\r\n--x--\r\n",
    "epilogue": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + NOTE + b"--x\r\n\r\n\r\n--x--\r\nTreasure\r\n",
    "html": b"Content-Type: multipart/mixed\r\n\r\n<html><title>x</title><p>Treasure</p></html>",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_the_text_of_a_damaged_multipart(name: str) -> None:
    data = DAMAGED[name]
    assert search("treasure", body_only=True, data=data)
    assert search("treasure", body_only=False, data=data)
    assert not search("multi-part message", body_only=True, data=data)
    assert preview(data, lambda: mime.parse(data)) == "Treasure"


@pytest.mark.parametrize("container", ["rfc822", "mixed"])
def test_what_lies_too_deep_is_searched_as_text(container: str) -> None:
    if container == "rfc822":
        data = b"Content-Type: message/rfc822\r\n\r\n" * (mime.DEPTH_LIMIT + 20)
    else:
        data = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%03d\r\n\r\n--b%03d\r\n" % (n, n)
            for n in range(mime.DEPTH_LIMIT + 20)
        )
    data += b"Subject: deepest\r\n\r\nTreasure\r\n"
    assert search("treasure", body_only=True, data=data)
    assert search("deepest", body_only=True, data=data)
    assert not search("nowhere", body_only=True, data=data)


def test_contains_header_needs_no_tree() -> None:
    def no_pieces() -> list[Piece]:
        raise AssertionError("parsed for nothing")

    assert contains(MESSAGE, no_pieces, "OUTERSUBJECT", body_only=False)


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (b"Ann Ash <ann@example.com>", []),
        (b'"Ash, Ann" <ann@example.com>', ["Ash, Ann <ann@example.com>"]),
        (b"ann@example.com (Ann)", ["Ann <ann@example.com>"]),
        (b"Ann <ann (at work) @ example . com>", ["Ann <ann@example.com>"]),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= <g @ x.org>, b@y", ["Grüße <g@x.org>"]),
        (b'=?utf-8?q?A=2C_B?= <a@x>, "C D" <c@x>', ["C D <c@x>"]),
        (b"Friends: a (one) @x, b@y;", ["one <a@x>"]),
        (b"Ann", []),
        (b"", []),
    ],
)
def test_addresses_as_they_are_shown(field: bytes, found: list[str]) -> None:
    """Beside the text of the field; for what stands there already nothing is kept twice."""
    head = b"From: " + field + b"\r\n\r\n"
    plain = folded_fields(b"X" + head, b"XFROM")
    assert folded_fields(head, b"FROM") == "\n".join([plain or "", *map(fold, found)])


def test_addresses_of_a_long_list() -> None:
    head = b"To: " + b",\r\n ".join(b"a (x) @ b%d.example" % n for n in range(2000)) + b"\r\n\r\n"
    shown = folded_fields(head, b"TO")
    assert shown is not None
    assert "x <a@b1999.example>".upper() in shown


def test_body_text() -> None:
    found = list(body_text(MESSAGE, pieces(mime.parse(MESSAGE), MESSAGE)))
    assert found == [
        "preamble\r\n",
        "epilogue\r\n",
        "Plain Body",
        "innerbody",
        "<b>htmlbody</b>&amp;",
        "straße Übermut",
        "Status: 5.1.1",
        "日本",
    ]


# --- preview --------------------------------------------------------------------------------------


def preview_of(content_type: str, body: bytes) -> str:
    data = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    return preview(data, lambda: mime.parse(data))


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("text/plain", b"", ""),
        ("text/plain", b"  one\r\n\r\n\ttwo  \r\n", "one two"),
        ("text/plain", b"> quoted\r\nown\r\n> more\r\n", "own"),
        ("text/plain", b"> quoted\r\n> only\r\n", "> quoted > only"),
        ("text/plain; charset=utf-8", "Grüße\0\a".encode(), "Grüße"),
        ("text/plain", b"x" * 300, "x" * 200),
        ("text/html", b"<p>one<br>two</p>", "one two"),
        ("text/html", b"<p><B>W</B>ord<wbr>s</p><h1>two</h1><a href=x>th</a>ree", "Words two three"),
        ("text/html", b"<STYLE>p{}</STYLE><script>x<y</script>one &amp; two &euro;", "one & two €"),
        ("text/html", b"<head><title>t</title></head><header>one</header>", "one"),
        ("text/html", b"one<!-- <p>two</p> -->three", "onethree"),
        ("text/html", b"one<!-- two", "one"),
        ("text/html", b"one<style>two", "one"),
        ("text/html", b"<html><head><meta charset=x><body>one", "one"),
        ("text/html", b"<head><title>t</title>one<p>two", "one two"),
        ("text/html", b"<title>t<b></TITLE >one<template>x<template>y</template>z</template>two", "one two"),
        ("text/html", b"<style>" + b"p{color:red}\n" * 20_000 + b"</style>one", "one"),
        ("text/html", b'<img src="data:image/png;base64,' + b"A" * 2_000_000 + b'"><p>one', "one"),
        ("text/html", b"<style>i{background:url(data:image/png;base64," + b"A" * 700_000 + b")}</style>one", "one"),
        ("text/html", b"<a title='x > y' href=\"a>b\">one</a>two", "onetwo"),
        ("text/html", b"<!DOCTYPE html><![if !mso]>one<![endif]><!--[if mso]>x<![endif]--><![bogus[two", "one"),
        ("text/html", b"<![CDATA[x]]>one<?xml x?>two<!-->three<!--->four</>five", "onetwothreefourfive"),
        ("text/html", b"one < two <3 &amp;lt; three & four&copy", "one < two <3 &lt; three & four©"),
        ("text/html", b"\n".join([b"<tr>", b"<td>"] * 2000) + b"one", "one"),
        ("text/html", b"<p>one</p>" * 1000, ("one " * 50).strip()),
        (
            "text/enriched",
            b"<bold>o</bold>ne <color><param>red</param>two</color>\r\n<<b> & three&amp;",
            "one two <b> & three&amp;",
        ),
        ("text/markdown", b"# one\r\n\r\n> quoted\r\n*two*", "# one *two*"),
        (
            "text/calendar; charset=utf-8",
            b"BEGIN:VEVENT\r\nDESCRIPTION:On\r\n e\\, two\\nthree\r\nSUMMARY;LANGUAGE=de:Tre\xc3\xbc\r\nLOCATION:\r\n",
            "Treü, One, two three",
        ),
        ("text/html", b"one<p", "one"),
        ("text/html; charset=utf-8", "<p>İ<STYLE>x</STYLE>ß".encode(), "İ ß"),
        ("text/calendar", b"BEGIN:VCALENDAR", ""),
        ("image/png", b"png", ""),
        (
            "multipart/mixed; boundary=x",
            b"--x\r\n\r\n \r\n--x\r\nContent-Type: text/html\r\n\r\n<b>two\r\n--x--",
            "two",
        ),
        (
            "multipart/mixed; boundary=x",
            b"--x\r\nContent-Disposition: attachment\r\n\r\none\r\n--x\r\n\r\ntwo\r\n--x--",
            "two",
        ),
        ("message/rfc822", b"Subject: x\r\n\r\ninner", "inner"),
        ("text/plain\r\nContent-Disposition: attachment; filename=x.txt", b"one", "one"),
        ("multipart/mixed; boundary=x", b"--x\r\nContent-Disposition: attachment\r\n\r\none\r\n--x--", "one"),
        (
            "multipart/mixed; boundary=x",
            b"--x\r\nContent-Disposition: attachment\r\n\r\none\r\n--x\r\nContent-Type: image/png\r\n\r\n\r\n--x--",
            "",
        ),
    ],
)
def test_preview(content_type: str, body: bytes, shown: str) -> None:
    assert preview_of(content_type, body) == shown


def test_html_of_many_parts_has_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def nothing(html: str, enough: int) -> str:
        read.append(len(html))
        return ""

    monkeypatch.setattr(text, "text_of_html", nothing)
    part = b"--x\r\nContent-Type: text/html\r\n\r\n" + b"<br>" * 750_000 + b"\r\n"
    assert preview_of("multipart/mixed; boundary=x", part * 5 + b"--x--") == ""
    assert read == [3_000_000, text._MARKUP_OCTETS - 3_000_000, *[text._PREVIEW_OCTETS] * 3]


@pytest.mark.parametrize(
    "piece", [b"<!--", b"<", b"<style>", b"&", b"<script", b"> \r\n", b"\0", b"<![", b"<a b='", b"<p>"]
)
def test_preview_of_repeated_pieces(piece: bytes) -> None:
    assert len(preview_of("text/html", piece * 100_000)) <= 200
    assert len(preview_of("text/plain", piece * 100_000)) <= 200
