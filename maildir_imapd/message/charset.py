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
    "EUC-JP": "euc_jp",
    "SHIFT_JIS": "cp932",
    "ISO-2022-KR": "iso2022_kr",
    "EUC-KR": "cp949",
}

# Names seen in mail that are no preferred name.
_ALIASES = {
    "ASCII": "US-ASCII",
    "ANSI_X3.4-1968": "US-ASCII",
    "ISO646-US": "US-ASCII",
    "UTF8": "UTF-8",
    "UNICODE-1-1-UTF-7": "UTF-7",
    "LATIN1": "ISO-8859-1",
    "LATIN-1": "ISO-8859-1",
    "ISO8859-1": "ISO-8859-1",
    "ISO8859-15": "ISO-8859-15",
    "ISO_8859-1": "ISO-8859-1",
    "ISO-8859-8-I": "ISO-8859-8",
    "ISO-8859-8-E": "ISO-8859-8",
    "ISO-8859-6-I": "ISO-8859-6",
    **{f"CP125{number}": f"WINDOWS-125{number}" for number in range(9)},
    "CP437": "IBM437",
    "CP850": "IBM850",
    "CP852": "IBM852",
    "CP866": "IBM866",
    "CP874": "WINDOWS-874",
    "KOI8-RU": "KOI8-U",
    "CP932": "SHIFT_JIS",
    "WINDOWS-31J": "SHIFT_JIS",
    "X-SJIS": "SHIFT_JIS",
    "SJIS": "SHIFT_JIS",
    "X-EUC-JP": "EUC-JP",
    "EUCJP": "EUC-JP",
    "CP936": "GBK",
    "X-GBK": "GBK",
    "GB_2312-80": "GB2312",
    "EUC-CN": "GB2312",
    "CP950": "BIG5",
    "X-BIG5": "BIG5",
    "BIG5-HKSCS": "BIG5",
    "KS_C_5601-1987": "EUC-KR",
    "KSC5601": "EUC-KR",
    "CP949": "EUC-KR",
    "X-WINDOWS-949": "EUC-KR",
    "MACROMAN": "MACINTOSH",
    "X-MAC-ROMAN": "MACINTOSH",
}

# What [BADCHARSET (..)] lists.
CHARSETS: tuple[bytes, ...] = tuple(name.encode() for name in _CODECS)

_BY_NAME = {name.encode(): codec for name, codec in _CODECS.items()}
_BY_NAME.update((alias.encode(), _CODECS[name]) for alias, name in _ALIASES.items())

# In these an octet below 128 may be other than its ASCII character.
STATEFUL = frozenset(("utf-16", "utf-16-be", "utf-16-le", "utf-7", "hz", "iso2022_jp_ext", "iso2022_kr", "cp932"))


# Octets that are decoded at once: one that is no character costs a hundred times one that is, and the lock is held.
PIECE_OCTETS = 1024 * 1024
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]").search


def codec_for(charset: bytes) -> str:
    """Find the codec for a charset's name; LookupError where it is not in the list."""
    try:
        return _BY_NAME[charset.strip(b" \t'\"").upper()]
    except KeyError:
        raise LookupError("charset not supported") from None


def load() -> None:
    """Load the codec of every charset: Python does so at the first use, when it may not be able to any more."""
    for codec in {*_BY_NAME.values()}:
        codecs.lookup(codec)


def is_known(charset: bytes) -> bool:
    return charset.upper() in _BY_NAME


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
