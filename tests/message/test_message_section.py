from __future__ import annotations

from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import UnknownCte
from maildir_imapd.message import mime
from maildir_imapd.message.section import decode_part, extract, header_fields

DATA = (
    b"Subject: outer\r\nFrom: a@b\r\nnot a field\r\n and more\r\nTo: c@d,\r\n\te@f\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n--x\r\n\r\nfirst\r\n--x\r\n"
    b"Content-Type: message/rfc822\r\nX-Mime: y\r\n\r\nSubject: inner\r\nTo: z@w\r\n\r\n"
    b"inner body\r\n--x--\r\nepilogue\r\n"
)


def take(data: bytes, part: tuple[int, ...], kind: bytes, names: tuple[bytes, ...] = ()) -> bytes | None:
    return extract(data, part, kind, names, lambda: mime.parse(data))


@pytest.mark.parametrize(
    ("part", "kind", "names", "octets"),
    [
        ((), b"", (), DATA),
        ((), b"HEADER", (), DATA[: DATA.index(b"preamble")]),
        ((), b"TEXT", (), DATA[DATA.index(b"preamble") :]),
        ((), b"HEADER.FIELDS", (b"to", b"SUBJECT"), b"Subject: outer\r\nTo: c@d,\r\n\te@f\r\n\r\n"),
        ((), b"HEADER.FIELDS", (b"Nope",), b"\r\n"),
        (
            (),
            b"HEADER.FIELDS.NOT",
            (b"to", b"Content-Type"),
            b"Subject: outer\r\nFrom: a@b\r\nnot a field\r\n and more\r\n\r\n",
        ),
        ((1,), b"", (), b"first"),
        ((1,), b"MIME", (), b"\r\n"),
        ((2,), b"", (), b"Subject: inner\r\nTo: z@w\r\n\r\ninner body"),
        ((2,), b"MIME", (), b"Content-Type: message/rfc822\r\nX-Mime: y\r\n\r\n"),
        ((2,), b"HEADER", (), b"Subject: inner\r\nTo: z@w\r\n\r\n"),
        ((2,), b"TEXT", (), b"inner body"),
        ((2,), b"HEADER.FIELDS", (b"subject",), b"Subject: inner\r\n\r\n"),
        ((2,), b"HEADER.FIELDS.NOT", (b"subject",), b"To: z@w\r\n\r\n"),
        ((2, 1), b"", (), b"inner body"),
        ((2, 1), b"MIME", (), b"Subject: inner\r\nTo: z@w\r\n\r\n"),
        # "provided that the numeric part specifier refers to a part of type MESSAGE/RFC822"
        ((1,), b"HEADER", (), None),
        ((1,), b"TEXT", (), None),
        ((1,), b"HEADER.FIELDS", (b"subject",), None),
        ((2, 1), b"HEADER", (), None),
        ((3,), b"", (), None),
        ((1, 1), b"", (), None),
        ((1, 1), b"MIME", (), None),
    ],
)
def test_extract(part: tuple[int, ...], kind: bytes, names: tuple[bytes, ...], octets: bytes | None) -> None:
    assert take(DATA, part, kind, names) == octets


@pytest.mark.parametrize("kind", [b"", b"HEADER", b"TEXT", b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"])
def test_the_whole_message_needs_no_tree(kind: bytes) -> None:
    def no_tree() -> NoReturn:
        raise AssertionError("parsed for nothing")

    assert extract(DATA, (), kind, (b"subject",), no_tree)


@pytest.mark.parametrize(
    ("data", "header", "text"),
    [
        (b"", b"", b""),
        (b"\r\nbody", b"\r\n", b"body"),
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"A: b", b"A: b", b""),
    ],
)
def test_header_and_text_make_the_message(data: bytes, header: bytes, text: bytes) -> None:
    assert take(data, (), b"HEADER") == header
    assert take(data, (), b"TEXT") == text
    assert header + text == data


MANY = frozenset(b"X-%d" % number for number in range(100))


@pytest.mark.parametrize("more", [frozenset(), MANY], ids=["expression", "set"])
@pytest.mark.parametrize(
    ("header", "names", "fields", "others"),
    [
        (b"", {b"A"}, b"", b""),
        (b"\r\n", {b"A"}, b"", b""),
        (b"A: b\r\n\r\n", {b"A"}, b"A: b\r\n", b""),
        (b"A: b\r\n\r\n", {b"B"}, b"", b"A: b\r\n"),
        # the message ends within its header
        (b"A: b\r\n", {b"A"}, b"A: b\r\n", b""),
        (b"A: b\r\nC: d", {b"C"}, b"C: d\r\n", b"A: b\r\n"),
        (b"A: b\r\nC: d", {b"A"}, b"A: b\r\n", b"C: d\r\n"),
        # "The field-matching is case-insensitive but otherwise exact."
        (b"a: 1\r\nAB: 2\r\nA : 3\r\nA\r\n\r\n", {b"A"}, b"a: 1\r\nA : 3\r\n", b"AB: 2\r\nA\r\n"),
        (b"A: 1\r\n two\r\n\tthree\r\nB: 4\r\n\r\n", {b"A"}, b"A: 1\r\n two\r\n\tthree\r\n", b"B: 4\r\n"),
        (b" A: 1\r\nA: 2\r\n\r\n", {b"A"}, b"A: 2\r\n", b" A: 1\r\n"),
        (b"A.B: 1\r\nAxB: 2\r\n\r\n", {b"A.B"}, b"A.B: 1\r\n", b"AxB: 2\r\n"),
    ],
)
def test_header_fields(header: bytes, names: set[bytes], fields: bytes, others: bytes, more: frozenset[bytes]) -> None:
    assert header_fields(header, more | names, False) == fields + b"\r\n"
    assert header_fields(header, more | names, True) == others + b"\r\n"


def test_no_names_at_all() -> None:
    assert header_fields(b"A: b\r\n\r\n", frozenset(), True) == b"A: b\r\n\r\n"
    assert header_fields(b"A: b\r\n\r\n", frozenset(), False) == b"\r\n"


@given(st.lists(st.sampled_from([b"A: 1\r\n", b"b : 2\r\n", b"C:\r\n", b" folded\r\n", b"junk\r\n"])).map(b"".join))
def test_fields_and_the_others_make_the_header(lines: bytes) -> None:
    some, others = (header_fields(lines + b"\r\n", frozenset((b"A", b"B")), invert)[:-2] for invert in (False, True))
    assert sorted((some + others).split(b"\r\n")) == sorted(lines.split(b"\r\n"))


@pytest.mark.parametrize(
    ("encoding", "body", "decoded"),
    [
        (b"7bit", b"body", b"body"),
        (b"BINARY", b"a\0b", b"a\0b"),
        (b"Base64", b"Ym9\r\nkeQ==\r\n", b"body"),
        (b"quoted-printable", b"b=6Fdy=\r\n!", b"body!"),
    ],
)
def test_decode_part(encoding: bytes, body: bytes, decoded: bytes) -> None:
    data = b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    assert decode_part(data, mime.parse(data)) == decoded


@pytest.mark.parametrize(("encoding", "body"), [(b"x-uuencode", b"begin"), (b"x-unknown", b"Ym9k")])
def test_decode_part_refuses(encoding: bytes, body: bytes) -> None:
    data = b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    with pytest.raises(UnknownCte):
        decode_part(data, mime.parse(data))


def test_containers_have_no_encoding_of_their_own() -> None:
    # RFC 2045 6.4: only 7bit, 8bit and binary are allowed there
    data = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDog"
    assert decode_part(data, mime.parse(data)) == b"U3ViamVjdDog"


@pytest.mark.parametrize("cut", [(0, 4), (3, 100), (5, 0), (1000, 10)])
@pytest.mark.parametrize("kind", [b"", b"HEADER", b"TEXT", b"MIME", b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"])
@pytest.mark.parametrize("part", [(), (1,), (2,), (2, 1)])
def test_a_cut_is_a_piece_of_the_whole(part: tuple[int, ...], kind: bytes, cut: tuple[int, int]) -> None:
    def tree() -> mime.Part:
        return mime.parse(DATA)

    whole = extract(DATA, part, kind, (b"subject",), tree)
    piece = extract(DATA, part, kind, (b"subject",), tree, cut)
    assert piece == (None if whole is None else whole[cut[0] : cut[0] + cut[1]])
