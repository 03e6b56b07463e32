"""message/global: an embedded message to IMAP4rev2 (RFC 9051 6.4.5.1, 7.5.2, 9), one more part to IMAP4rev1."""

from __future__ import annotations

import base64

import pytest

from maildir_imapd.message import mime
from maildir_imapd.message.section import decode_part, extract
from maildir_imapd.message.structure import render_body, render_bodystructure
from maildir_imapd.message.text import body_text, contains, fold, pieces, preview

INNER = (
    "Subject: Grüße\r\nFrom: Jürgen <jürgen@exämple.org>\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n"
    "--y\r\n\r\nfirst ä\r\n--y\r\nContent-Type: text/html\r\n\r\n<b>second</b>\r\n--y--\r\n"
).encode()


def outer(encoding: bytes, body: bytes, subtype: bytes = b"Global") -> bytes:
    return (
        b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n"
        b"Content-Type: Message/%b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n--x--\r\n" % (subtype, encoding, body)
    )


DATA = outer(b"8bit", INNER)
ENCODED = outer(b"base64", base64.encodebytes(INNER).replace(b"\n", b"\r\n").removesuffix(b"\r\n"))


def take(data: bytes, part: tuple[int, ...], kind: bytes = b"", names: tuple[bytes, ...] = ()) -> bytes | None:
    return extract(data, part, kind, names, lambda: mime.parse(data))


@pytest.mark.parametrize("render", [render_body, render_bodystructure])
@pytest.mark.parametrize("encoding", [b"8bit", b"binary", b"7BIT"])
def test_rev2_describes_it_as_it_does_message_rfc822(render: object, encoding: bytes) -> None:
    assert callable(render)
    data, like = outer(encoding, INNER), outer(encoding, INNER, b"RFC822")
    described = render(mime.parse(data), data, rev2=True)
    expected = render(mime.parse(like), like, rev2=True)
    assert described == expected.replace(b'"Message" "RFC822"', b'"Message" "Global"')
    assert render(mime.parse(like), like) == expected


def test_rev1_gets_a_part_like_any_other() -> None:
    # RFC 3501 9: body-type-basic, for media-message is RFC822 only.
    data = DATA
    size = len(INNER)
    assert render_body(mime.parse(data), data) == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 0)'
        b'("Message" "Global" NIL NIL NIL "8bit" %d) "mixed")' % size
    )


def test_a_whole_message_of_the_type() -> None:
    data = b"Content-Type: message/global\r\n\r\nSubject: s\r\n\r\nbody\r\n"
    assert render_body(mime.parse(data), data) == b'("message" "global" NIL NIL NIL "7bit" 20)'
    assert render_body(mime.parse(data), data, rev2=True) == (
        b'("message" "global" NIL NIL NIL "7bit" 20 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) '
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1) 3)'
    )


def test_sections() -> None:
    header = INNER[: INNER.index(b"\r\n\r\n") + 4]
    assert take(DATA, (2,)) == INNER
    assert take(DATA, (2,), b"HEADER") == header
    assert take(DATA, (2,), b"TEXT") == INNER[len(header) :]
    assert take(DATA, (2,), b"HEADER.FIELDS", (b"subject",)) == "Subject: Grüße\r\n\r\n".encode()
    assert take(DATA, (2, 1)) == "first ä".encode()
    assert take(DATA, (2, 2)) == b"<b>second</b>"
    assert take(DATA, (2, 2), b"MIME") == b"Content-Type: text/html\r\n\r\n"
    assert take(DATA, (2, 3)) is None


def test_text() -> None:
    assert preview(DATA, lambda: mime.parse(DATA)) == "text"
    assert contains(DATA, lambda: pieces(mime.parse(DATA), DATA), fold("first ä"), body_only=True)
    assert "first ä" in "".join(body_text(DATA, pieces(mime.parse(DATA), DATA)))


def test_under_a_transfer_encoding() -> None:
    """RFC 6532 3.7 allows it, where RFC 2045 6.4 forbids it for message/rfc822."""
    root = mime.parse(ENCODED)
    part = mime.find(root, (2,))
    assert part is not None
    assert part.encoded
    assert decode_part(ENCODED, part) == INNER
    assert contains(ENCODED, lambda: pieces(root, ENCODED), fold("first ä"), body_only=True)
    # The grammar has no other form for it; what is described lies under the encoding and is not looked into.
    assert b'"Message" "Global" NIL NIL NIL "base64"' in render_body(root, ENCODED, rev2=True)
    assert b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)" in render_body(root, ENCODED, rev2=True)
