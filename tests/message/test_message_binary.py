"""Binary parts made base64: what comes out decodes to what went in, and nothing else changes."""

from __future__ import annotations

import pytest
from growth import demand_linear
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message import mime, section
from maildir_imapd.message.binary import without_binary

HEAD = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=X\r\n"
PART = b"--X\r\nContent-Type: application/octet-stream\r\ncontent-transfer-encoding :\r\n binary\r\nX-A: b\r\n\r\n"


def multipart(*bodies: bytes) -> bytes:
    return HEAD + b"\r\n" + b"".join(PART + body + b"\r\n" for body in bodies) + b"--X--\r\n"


@given(st.lists(st.binary(min_size=1).filter(lambda body: b"--X" not in body), min_size=1, max_size=3))
def test_parts_decode_to_what_they_were(bodies: list[bytes]) -> None:
    encoded = without_binary(multipart(*bodies))
    assert b"\0" not in encoded
    assert encoded.count(b"\n") == encoded.count(b"\r\n")
    assert [section.decode_part(encoded, part) for part in mime.parse(encoded).children] == bodies


def test_the_header_says_so_and_stays_otherwise() -> None:
    encoded = without_binary(multipart(b"a\0b", b"plain\r\ntext"))
    assert encoded.startswith(HEAD)
    assert b"octet-stream\r\ncontent-transfer-encoding : base64\r\nX-A: b\r\n\r\nYQBi\r\n" in encoded
    # Lines of text are lines of text, whatever they are called.
    assert encoded.endswith(PART + b"plain\r\ntext\r\n--X--\r\n")


@pytest.mark.parametrize("body", [b"a\nb", b"a\rb", b"x" * 999, b"\0"])
def test_what_would_not_come_back_as_it_was(body: bytes) -> None:
    whole = b"Content-Transfer-Encoding: BINARY\r\n\r\n" + body
    encoded = without_binary(whole)
    assert encoded.startswith(b"Content-Transfer-Encoding: base64\r\n\r\n")
    assert section.decode_part(encoded, mime.parse(encoded)) == body


@pytest.mark.parametrize(
    "data",
    [
        b"A: b\r\n\r\n\0",
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\0",
        b"Content-Transfer-Encoding: binary\r\n\r\nx" + b"y" * 997,
        b"A: \0\r\nContent-Transfer-Encoding: binary\r\n\r\nx",
        b"",
        b"\0",
    ],
)
def test_what_is_not_binary_stays(data: bytes) -> None:
    assert without_binary(data) == data


def test_an_embedded_message() -> None:
    inner = b"Subject: in\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n"
    encoded = without_binary(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n" + inner)
    assert b"\0" not in encoded
    tree = mime.parse(encoded)
    assert tree.message is not None
    assert tree.message.encoding == b"base64"


def test_growth() -> None:
    demand_linear(without_binary, lambda size: multipart(b"\0" * size), "NUL")
    demand_linear(without_binary, lambda size: multipart(*[b"\0"] * (size // 100)), "parts")
