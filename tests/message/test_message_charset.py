import pytest

from maildir_imapd.message.charset import CHARSETS, codec_for, decode_charset, decode_mail, is_known


@pytest.mark.parametrize("charset", CHARSETS)
def test_every_charset_decodes(charset: bytes) -> None:
    decode_charset(charset, b"")
    assert is_known(charset.lower())
    if b"16" not in charset or b"8859" in charset:
        assert decode_charset(charset, b"abc") == "abc"


@pytest.mark.parametrize("charset", [b"UTF-8", b"utf-8", b'"utf-8"', b"utf8", b" UTF8 "])
def test_spellings(charset: bytes) -> None:
    assert decode_charset(charset, "ä".encode()) == "ä"


@pytest.mark.parametrize("charset", [b"zlib_codec", b"idna", b"unicode_escape", b"rot13", b"", b"x-unknown", b"\xff"])
def test_what_python_knows_and_we_do_not(charset: bytes) -> None:
    with pytest.raises(LookupError):
        codec_for(charset)
    assert not is_known(charset)


def test_octets_not_of_the_charset() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_charset(b"utf-8", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        decode_charset(b"us-ascii", b"\xff")


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        (None, b"abc", "abc"),
        (None, "ä".encode(), "ä"),
        (None, b"\xe4", "ä"),
        (b"us-ascii", "ä".encode(), "ä"),
        (b"us-ascii", b"\xe4", "ä"),
        (b"x-unknown", b"\xe4", "ä"),
        (b"utf-8", b"\xe4x", "\N{REPLACEMENT CHARACTER}x"),
        (b"windows-1252", b"\x80", "€"),
        (b"iso-2022-jp", b"\x1b$BF|K\\\x1b(B", "日本"),
    ],
)
def test_decode_mail(charset: bytes | None, octets: bytes, text: str) -> None:
    assert decode_mail(charset, octets) == text
