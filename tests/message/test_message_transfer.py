import base64
import binascii
import quopri
import re

import pytest
from growth import demand_linear, repeated
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message import transfer
from maildir_imapd.message.transfer import decode, decode_base64, decode_lenient, decode_quoted_printable


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"", b""),
        (b"QUJD", b"ABC"),
        (b"QU\r\nJD\r\n", b"ABC"),
        (b"QUI=", b"AB"),
        (b"QQ==", b"A"),
        (b"QUI", b"AB"),
        (b"QQ", b"A"),
        # RFC 2045 6.8: "All line breaks or other characters not found in Table 1 must be ignored"
        (b"Q*U-J\0D", b"ABC"),
        # '"=" ... is taken as evidence that the end of the data has been reached'
        (b"QQ==QUJD", b"A"),
        (b"QUJD=", b"ABC"),
    ],
)
def test_base64(encoded: bytes, decoded: bytes) -> None:
    assert decode_base64(encoded) == decoded


def test_base64_cut_off() -> None:
    with pytest.raises(ValueError):
        decode_base64(b"QUJDQ")
    assert decode_lenient(b"QUJDQ", b"base64") == b"ABC"
    # BINARY has what can be decoded
    assert decode(b"QUJDQ", b"base64") == b"ABC"
    assert decode(b"QUJD\r\nQ=\r\n", b"BASE64") == b"ABC"
    assert decode(b"Q", b"base64") == b""


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"", b""),
        (b"a=3Db=\r\nc\r\n", b"a=bc\r\n"),
        (b"=e9=E9", b"\xe9\xe9"),
        # RFC 2045 6.7 (3): "any trailing white space on a line must be deleted"
        (b"a \t\r\nb= \r\nc ", b"a\r\nbc"),
        # damage stays
        (b"a=zz=3", b"a=zz=3"),
        (b"under_score", b"under_score"),
    ],
)
def test_quoted_printable(encoded: bytes, decoded: bytes) -> None:
    assert decode_quoted_printable(encoded) == decoded


@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"=", b"=3D"])))
def test_white_space_at_line_ends_goes_whatever_the_line_ends(pieces: list[bytes]) -> None:
    """RFC 2045 6.7 (3); in the form that mail has here the lines are taken one by one, else by an expression."""
    encoded = b"".join(pieces)
    assert decode_quoted_printable(encoded) == binascii.a2b_qp(re.sub(rb"[ \t]+(?=\r?\n)|[ \t]+\Z", b"", encoded))


def test_unknown_encoding() -> None:
    with pytest.raises(LookupError):
        decode(b"x", b"x-uuencode")
    assert decode_lenient(b"x", b"x-uuencode") == b"x"


@given(st.binary(), st.sampled_from([b"base64", b"quoted-printable", b"7bit", b"8bit", b"binary"]))
def test_round_trip(octets: bytes, encoding: bytes) -> None:
    encoded = octets
    if encoding == b"base64":
        encoded = base64.encodebytes(octets)
    elif encoding == b"quoted-printable":
        encoded = quopri.encodestring(octets.replace(b"\r", b"").replace(b"\n", b""), quotetabs=True)
        octets = octets.replace(b"\r", b"").replace(b"\n", b"")
    assert decode(encoded, encoding.upper()) == octets
    assert decode_lenient(encoded, encoding) == octets


@given(st.binary(), st.sampled_from([b"base64", b"quoted-printable", b"x-nothing"]))
def test_any_octets(octets: bytes, encoding: bytes) -> None:
    decode_lenient(octets, encoding)


@pytest.mark.parametrize(
    "body",
    [
        b"a \r\nb\t \n c  x\n \n\t\r\n",
        b"  a\n b \r c \r\n",
        b" \t \n",
        b"x  ",
        b" ",
        b"a \t\r\r\nb\n",
    ],
)
def test_blanks_at_the_ends_of_mixed_lines(body: bytes) -> None:
    assert transfer._TRAILING.sub(b"", body) == re.sub(rb"[ \t]+(?=\r?\n)|[ \t]+\Z", b"", body)


def test_a_row_of_blanks_costs_what_it_is_long() -> None:
    for begin, end in ((b"\n", b"x \r\n"), (b"\n", b"x"), (b"\n \r\n", b"")):
        demand_linear(transfer.decode_quoted_printable, repeated(b" ", begin, end), "blanks")


@given(st.lists(st.text(alphabet="AZaz09+/=\r\n* ", max_size=9).map(str.encode), max_size=12))
def test_base64_in_pieces_is_base64_in_one(pieces: list[bytes]) -> None:
    assert b"".join(transfer.base64_pieces(pieces)) == decode(b"".join(pieces), b"base64")
