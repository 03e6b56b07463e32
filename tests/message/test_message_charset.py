import pytest

from maildir_imapd import normal
from maildir_imapd.message import charset
from maildir_imapd.message.charset import CHARSETS, codec_for, decode_charset, decode_mail, preferred


@pytest.mark.parametrize("charset", CHARSETS)
def test_every_charset_decodes(charset: bytes) -> None:
    decode_charset(charset, b"")
    assert preferred(charset.lower()) == charset
    if b"16" not in charset or b"8859" in charset:
        assert decode_charset(charset, b"abc") == "abc"


@pytest.mark.parametrize("charset", [b"UTF-8", b"utf-8", b'"utf-8"', b"utf8", b" UTF8 "])
def test_spellings(charset: bytes) -> None:
    assert decode_charset(charset, "ä".encode()) == "ä"


@pytest.mark.parametrize(
    ("spelled", "name", "octets"),
    [
        (b"Shift-JIS", b"SHIFT_JIS", "日本".encode("cp932")),
        (b"csShiftJIS", b"SHIFT_JIS", "日本".encode("cp932")),
        (b"csISO2022JP", b"ISO-2022-JP", "日本".encode("iso2022_jp")),
        (b"csISO2022JP2", b"ISO-2022-JP-2", "日本".encode("iso2022_jp_2")),
        (b"koi8_r", b"KOI8-R", "Привет".encode("koi8-r")),
        (b"cskoi8r", b"KOI8-R", "Привет".encode("koi8-r")),
        (b"csISOLatinCyrillic", b"ISO-8859-5", "Привет".encode("iso8859-5")),
        (b"ISO_8859-5:1988", b"ISO-8859-5", "Привет".encode("iso8859-5")),
        (b"greek", b"ISO-8859-7", "Ελλάς".encode("iso8859-7")),
        (b"ISO8859-2", b"ISO-8859-2", "Łódź".encode("iso8859-2")),
        (b"iso_8859_2", b"ISO-8859-2", "Łódź".encode("iso8859-2")),
        (b"l2", b"ISO-8859-2", "Łódź".encode("iso8859-2")),
        (b"latin-9", b"ISO-8859-15", "€".encode("iso8859-15")),
        (b"windows_1251", b"WINDOWS-1251", "Привет".encode("cp1251")),
        (b"cswindows1251", b"WINDOWS-1251", "Привет".encode("cp1251")),
        (b"ks_c_5601-1989", b"EUC-KR", "한국".encode("cp949")),
        (b"MS936", b"GBK", "你好".encode("gbk")),
        (b"utf_8", b"UTF-8", "日本".encode()),
    ],
)
def test_names_of_the_registry(spelled: bytes, name: bytes, octets: bytes) -> None:
    assert preferred(spelled) == name
    assert decode_mail(spelled, octets) == octets.decode(codec_for(name))
    assert "\N{REPLACEMENT CHARACTER}" not in decode_mail(spelled, octets)


def test_no_name_stands_for_two_charsets() -> None:
    """Without their signs no two names of different codecs are the same."""
    seen: dict[bytes, str] = {}
    names = [(name, codec) for name, codec in charset._CODECS.items()]
    names += [(alias, charset._CODECS[name]) for name, some in charset._ALIASES.items() for alias in some.split()]
    for name, codec in names:
        assert seen.setdefault(charset._spelled(name.encode()), codec) == codec, name


@pytest.mark.parametrize("charset", [b"zlib_codec", b"idna", b"unicode_escape", b"rot13", b"", b"x-unknown", b"\xff"])
def test_what_python_knows_and_we_do_not(charset: bytes) -> None:
    with pytest.raises(LookupError):
        codec_for(charset)
    assert preferred(charset) == b""


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


SAMPLE = {
    "US-ASCII": "plain words",
    "HZ-GB-2312": "ab 你好 cd",
    "ISO-2022-JP": "ab 日本語 cd",
    "ISO-2022-KR": "ab 한국어 cd",
    "GB2312": "ab 你好",
    "GBK": "ab 你好",
    "BIG5": "ab 你好",
    "EUC-JP": "日本語 ab",
    "SHIFT_JIS": "日本語 ab",
    "EUC-KR": "한국어 ab",
    "KOI8-R": "Привет",
    "WINDOWS-1251": "Привет",
    "WINDOWS-1258": "Vi\u00ea\u0323t",
}


@pytest.mark.parametrize("name", [name.decode() for name in charset.CHARSETS])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_long_text_in_pieces_is_the_same_text(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "UTF-7" and size < 64:
        pytest.skip("a run of base64 that is longer than two pieces is cut")
    codec = charset.codec_for(name.encode())
    try:
        whole = (SAMPLE.get(name, "äöü + - ~ ß 日 \U0001f389") * 3).encode(codec)
    except UnicodeEncodeError:
        whole = (b"abc def+-~{}\n" + bytes(range(160, 255))) * 3
    monkeypatch.setattr(charset, "PIECE_OCTETS", size)
    assert "".join(charset.decode_pieces(name.encode(), whole)) == charset.decode_mail(name.encode(), whole)


def test_a_piece_of_a_text_begins_with_no_mark() -> None:
    text = "Vie\u0323\u0302t " * 20
    for size in (1, 2, 3, 5):
        pieces = list(normal.apart(text[at : at + size] for at in range(0, len(text), size)))
        assert "".join(pieces) == text
        assert not [piece for piece in pieces[1:] if piece and normal._is_mark(piece[0])]
