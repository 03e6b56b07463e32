from __future__ import annotations

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
    found = pieces(mime.parse(data))
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
        ("preamble", False, False),
        ("epilogue", False, False),
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
    ],
)
def test_contains_in_charset(charset: str, octets: bytes, needle: str) -> None:
    data = b"Content-Type: text/plain; charset=" + charset.encode() + b"\r\n\r\n" + octets
    assert search(needle, body_only=True, data=data)


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
    found = list(body_text(MESSAGE, pieces(mime.parse(MESSAGE))))
    assert found == [
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
    ],
)
def test_preview(content_type: str, body: bytes, shown: str) -> None:
    assert preview_of(content_type, body) == shown


@pytest.mark.parametrize("piece", [b"<!--", b"<", b"<style>", b"&", b"<script", b"> \r\n", b"\0"])
def test_preview_of_repeated_pieces(piece: bytes) -> None:
    assert len(preview_of("text/html", piece * 100_000)) <= 200
    assert len(preview_of("text/plain", piece * 100_000)) <= 200
