"""Charsets by name: an allow-list, because names come from mail and from clients.

Python's codec registry also knows ``zip``, ``idna`` (quadratic) and ``unicode_escape``; so a name is looked
up here and nowhere else, and every codec in the list is linear.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

# Preferred MIME names (RFC 2978 registry), in the order [BADCHARSET (..)] tells them, and Python's codec for each.
_CODECS = {
    "US-ASCII": "ascii",
    "UTF-8": "utf-8",
    "UTF-16": "utf-16",
    "UTF-16BE": "utf-16-be",
    "UTF-16LE": "utf-16-le",
    "UTF-7": "utf-7",
    **{f"ISO-8859-{number}": f"iso8859-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    **{f"WINDOWS-125{number}": f"cp125{number}" for number in range(9)},
    "WINDOWS-874": "cp874",
    "TIS-620": "tis-620",
    "KOI8-R": "koi8-r",
    "KOI8-U": "koi8-u",
    "IBM437": "cp437",
    "IBM850": "cp850",
    "IBM852": "cp852",
    "IBM866": "cp866",
    "MACINTOSH": "mac-roman",
    "GB2312": "gb18030",  # labels lie; GB18030 contains GBK, which contains GB2312
    "GBK": "gb18030",
    "GB18030": "gb18030",
    "HZ-GB-2312": "hz",
    "BIG5": "big5hkscs",
    "ISO-2022-JP": "iso2022_jp_ext",
    "ISO-2022-JP-2": "iso2022_jp_2",
    "EUC-JP": "euc_jp",
    "SHIFT_JIS": "cp932",
    "ISO-2022-KR": "iso2022_kr",
    "EUC-KR": "cp949",
}

# Names that are no preferred name.  One that differs from another in signs alone needs no line (``_spelled``).
_ALIASES = {
    # The registry of IANA ("Character Sets", RFC 2978), its names and aliases, and what is seen in mail besides.
    "US-ASCII": "ISO-IR-6 ANSI_X3.4-1968 ANSI_X3.4-1986 ISO_646.IRV:1991 ISO646-US US IBM367 CP367 CSASCII ASCII",
    "UTF-8": "CSUTF8",
    "UTF-16": "CSUTF16",
    "UTF-16BE": "CSUTF16BE",
    "UTF-16LE": "CSUTF16LE",
    "UTF-7": "CSUTF7 UNICODE-1-1-UTF-7 CSUNICODE11UTF7",
    "ISO-8859-1": "ISO_8859-1:1987 ISO-IR-100 LATIN1 L1 IBM819 CP819 CSISOLATIN1",
    "ISO-8859-2": "ISO_8859-2:1987 ISO-IR-101 LATIN2 L2 CSISOLATIN2",
    "ISO-8859-3": "ISO_8859-3:1988 ISO-IR-109 LATIN3 L3 CSISOLATIN3",
    "ISO-8859-4": "ISO_8859-4:1988 ISO-IR-110 LATIN4 L4 CSISOLATIN4",
    "ISO-8859-5": "ISO_8859-5:1988 ISO-IR-144 CYRILLIC CSISOLATINCYRILLIC",
    "ISO-8859-6": "ISO_8859-6:1987 ISO-IR-127 ECMA-114 ASMO-708 ARABIC CSISOLATINARABIC ISO-8859-6-I ISO-8859-6-E "
    "CSISO88596I CSISO88596E",
    "ISO-8859-7": "ISO_8859-7:1987 ISO-IR-126 ELOT_928 ECMA-118 GREEK GREEK8 CSISOLATINGREEK",
    "ISO-8859-8": "ISO_8859-8:1988 ISO-IR-138 HEBREW CSISOLATINHEBREW ISO-8859-8-I ISO-8859-8-E CSISO88598I "
    "CSISO88598E",
    "ISO-8859-9": "ISO_8859-9:1989 ISO-IR-148 LATIN5 L5 CSISOLATIN5",
    "ISO-8859-10": "ISO_8859-10:1992 ISO-IR-157 LATIN6 L6 CSISOLATIN6",
    "ISO-8859-13": "CSISO885913",
    "ISO-8859-14": "ISO_8859-14:1998 ISO-IR-199 LATIN8 L8 ISO-CELTIC CSISO885914",
    "ISO-8859-15": "LATIN-9 CSISO885915",
    "ISO-8859-16": "ISO_8859-16:2001 ISO-IR-226 LATIN10 L10 CSISO885916",
    **{f"WINDOWS-125{number}": f"CSWINDOWS125{number} CP125{number} X-CP125{number}" for number in range(9)},
    "WINDOWS-874": "CSWINDOWS874 CP874",
    "TIS-620": "CSTIS620",
    "KOI8-R": "CSKOI8R",
    "KOI8-U": "CSKOI8U KOI8-RU",
    "IBM437": "CP437 437 CSPC8CODEPAGE437",
    "IBM850": "CP850 850 CSPC850MULTILINGUAL",
    "IBM852": "CP852 852 CSPCP852",
    "IBM866": "CP866 866 CSIBM866",
    "MACINTOSH": "MAC CSMACINTOSH MACROMAN X-MAC-ROMAN",
    "GB2312": "CSGB2312 GB_2312-80 ISO-IR-58 CHINESE CSISO58GB231280 EUC-CN",
    "GBK": "CP936 MS936 WINDOWS-936 CSGBK X-GBK",
    "GB18030": "CSGB18030",
    "BIG5": "CSBIG5 BIG5-HKSCS CSBIG5HKSCS CP950 WINDOWS-950 X-BIG5",
    "ISO-2022-JP": "CSISO2022JP ISO-2022-JP-1",
    "ISO-2022-JP-2": "CSISO2022JP2",
    "EUC-JP": "EXTENDED_UNIX_CODE_PACKED_FORMAT_FOR_JAPANESE CSEUCPKDFMTJAPANESE X-EUC-JP",
    "SHIFT_JIS": "MS_KANJI CSSHIFTJIS WINDOWS-31J CSWINDOWS31J CP932 MS932 SJIS X-SJIS",
    "ISO-2022-KR": "CSISO2022KR",
    "EUC-KR": "CSEUCKR KS_C_5601-1987 KS_C_5601-1989 KSC_5601 KOREAN ISO-IR-149 CSKSC56011987 CP949 WINDOWS-949 "
    "X-WINDOWS-949",
}

# What [BADCHARSET (..)] lists.
CHARSETS: tuple[bytes, ...] = tuple(name.encode() for name in _CODECS)

# Signs in which names of one charset differ from sender to sender: utf8, iso8859-1, koi8_r, Shift-JIS.
_SIGNS = b" \t'\"-_.:"


def _spelled(charset: bytes) -> bytes:
    """Bring a name to the form it is looked up by: small or capital, with signs or without, it is the same charset."""
    return charset.upper().translate(None, _SIGNS)


# The preferred name of each.
_NAMES = {_spelled(name): name for name in CHARSETS}
_NAMES.update((_spelled(alias.encode()), name.encode()) for name, some in _ALIASES.items() for alias in some.split())
_BY_NAME = {spelled: _CODECS[name.decode()] for spelled, name in _NAMES.items()}

# In these an octet below 128 may be other than its ASCII character.
STATEFUL = frozenset(
    ("utf-16", "utf-16-be", "utf-16-le", "utf-7", "hz", "iso2022_jp_ext", "iso2022_jp_2", "iso2022_kr", "cp932")
)


# Octets that are decoded at once: one that is no character costs a hundred times one that is, and the lock is held.
PIECE_OCTETS = 1024 * 1024
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]").search


def codec_for(charset: bytes) -> str:
    """Find the codec for a charset's name; LookupError where it is not in the list."""
    try:
        return _BY_NAME[_spelled(charset)]
    except KeyError:
        raise LookupError("charset not supported") from None


def load() -> None:
    """Load the codec of every charset: Python does so at the first use, when it may not be able to any more."""
    for codec in {*_BY_NAME.values()}:
        codecs.lookup(codec)


def preferred(charset: bytes) -> bytes:
    """Give the preferred name of a charset; b"" for one that is not in the list."""
    return _NAMES.get(_spelled(charset), b"")


def decode_charset(charset: bytes, data: bytes) -> str:
    """Decode what a client sent; LookupError for an unknown charset, UnicodeDecodeError for octets not of it."""
    return data.decode(codec_for(charset))


def _mail_codec(charset: bytes | None) -> str:
    """Return the codec to begin with: ascii where none is named, or one that is not known."""
    if charset is None:
        return "ascii"
    try:
        return codec_for(charset)
    except LookupError:
        return "ascii"


def decode_mail(charset: bytes | None, data: bytes) -> str:
    """Decode what stands in a mail: never fails.

    Without a charset, with one that is not known, and with a US-ASCII that is not ASCII: UTF-8 if it is
    that, else ISO-8859-1.
    """
    codec = _mail_codec(charset)
    if codec not in ("ascii", "utf-8"):
        return data.decode(codec, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("iso8859-1") if codec == "ascii" else data.decode("utf-8", "replace")


def decode_pieces(charset: bytes | None, data: bytes) -> Iterator[str]:
    """Give what ``decode_mail`` gives, a long one in pieces."""
    codec = _mail_codec(charset)
    if len(data) <= PIECE_OCTETS or codec in ("ascii", "utf-8"):  # the latter two are quick whatever comes
        yield decode_mail(charset, data)
    elif codec == "utf-7":
        # Its decoder would begin again at the last shift each time.  Behind what is not of base64 there is none.
        start = 0
        while start < len(data):
            end = _NOT_BASE64(data, start + PIECE_OCTETS, start + 2 * PIECE_OCTETS)
            stop = end.end() if end is not None else start + 2 * PIECE_OCTETS
            yield data[start:stop].decode(codec, "replace")
            start = stop
    else:
        decoder = codecs.getincrementaldecoder(codec)("replace")
        for start in range(0, len(data), PIECE_OCTETS):
            yield decoder.decode(data[start : start + PIECE_OCTETS], start + PIECE_OCTETS >= len(data))
