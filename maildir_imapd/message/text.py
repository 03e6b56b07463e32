"""The text of a message as people mean it: for SEARCH, SORT, THREAD and PREVIEW.

Strings are compared by i;unicode-casemap (RFC 5051), which RFC 5255 4.3 and RFC 5256 7 ask for: each
character to its simple titlecase, then decomposed.  Both sides of a comparison go through ``fold``.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator

from maildir_imapd.message import transfer
from maildir_imapd.message.charset import (
    CHARSETS,
    STATEFUL,
    codec_for,
    decode_charset,
    decode_mail,
)
from maildir_imapd.message.header import decode_rfc2047, every, split
from maildir_imapd.message.mime import Part

__all__ = [
    "CHARSETS",
    "PREVIEW_LENGTH",
    "body_text",
    "contains",
    "decode_charset",
    "field_text",
    "fold",
    "header_text",
    "preview",
]

# RFC 8970 3.3: "The server SHOULD limit the length of the preview text to 200 preview characters."
PREVIEW_LENGTH = 200
# Robustness: a preview looks at the first KiB of a part only, and at the first parts of a message.
_PREVIEW_OCTETS = 64 * 1024
_PREVIEW_PARTS = 20

# The characters whose str.upper() is not their simple titlecase mapping: one that becomes several, and
# the digraphs and scripts where titlecase is not uppercase.
_UNEQUAL = re.compile(
    "[\u00df\u0149\u01c4-\u01cc\u01f0-\u01f3\u0390\u03b0\u0587\u10d0-\u10fa\u10fd-\u10ff\u1e96-\u1e9a\u1f50\u1f52\u1f54"
    "\u1f56\u1f80-\u1faf\u1fb2-\u1fb4\u1fb6-\u1fb7\u1fbc\u1fc2-\u1fc4\u1fc6-\u1fc7\u1fcc\u1fd2-\u1fd3\u1fd6-\u1fd7"
    "\u1fe2-\u1fe4\u1fe6-\u1fe7\u1ff2-\u1ff4\u1ff6-\u1ff7\u1ffc\ufb00-\ufb06\ufb13-\ufb17]"
)
_UNEQUAL_RUN = re.compile(f"({_UNEQUAL.pattern}+)")


class _Titlecase(dict[int, str]):
    """Simple titlecase, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        title = char.title()
        self[code] = char if len(title) != 1 else title
        return self[code]


_TITLECASE = _Titlecase()


def fold(text: str) -> str:
    """Bring *text* to the form that i;unicode-casemap compares; ordering and substrings work on the result."""
    if text.isascii():
        return text.upper()
    if _UNEQUAL.search(text):
        # For these only, for str.translate is slow: of a text with a few of them it took half of the time in here.
        pieces = _UNEQUAL_RUN.split(text)
        pieces[::2] = [piece.upper() for piece in pieces[::2]]
        pieces[1::2] = [run.translate(_TITLECASE) for run in pieces[1::2]]
        text = "".join(pieces)
    else:
        text = text.upper()
    return unicodedata.normalize("NFKD", text)


# --- headers --------------------------------------------------------------------------------------


def header_text(header: bytes) -> str:
    """Give a whole header block, unfolded and decoded, one line per field."""
    return decode_rfc2047(_unfolded(header))


def field_text(header: bytes, name: bytes) -> list[str]:
    """Give the decoded values of all fields called *name* (in capitals); a TAB of folding is a space here."""
    return [decode_rfc2047(value.replace(b"\t", b" ")) for value in every(header, name)]


def _unfolded(header: bytes) -> bytes:
    return header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")


# --- bodies ---------------------------------------------------------------------------------------


def body_text(data: bytes, tree: Callable[[], Part]) -> Iterator[str]:
    """Give the decoded text of the body: text and message parts, and the headers of embedded messages.

    RFC 3501 6.4.4: servers "MAY exclude [MIME-IMB] body parts with terminal content media types other than
    TEXT and MESSAGE".  HTML comes with its tags.
    """
    for octets, charset in _pieces(data, tree(), mime=False):
        yield header_text(octets) if charset is _HEADER else decode_mail(charset, octets)


def contains(data: bytes, tree: Callable[[], Part], needle: str, *, body_only: bool) -> bool:
    """Tell whether a message contains *needle*, which ``fold`` has been through: SEARCH BODY, SEARCH TEXT.

    TEXT also looks at the message's header and at the MIME headers of its parts.
    """
    if not needle:
        return True
    ascii_needle = needle.encode() if needle.isascii() else None
    if not body_only and _found(data[: split(data)], _HEADER, needle, ascii_needle):
        return True
    return any(
        _found(octets, charset, needle, ascii_needle) for octets, charset in _pieces(data, tree(), mime=not body_only)
    )


_HEADER = b"(header)"


def _found(octets: bytes, charset: bytes | None, needle: str, ascii_needle: bytes | None) -> bool:
    if charset is _HEADER:
        octets = _unfolded(octets)
        plain = b"=?" not in octets
    else:
        plain = _is_plain(charset)
    if plain and octets.isascii():
        # ASCII text folds to ASCII, so a needle that is not can't be in it
        return ascii_needle is not None and ascii_needle in octets.upper()
    return needle in fold(decode_rfc2047(octets) if charset is _HEADER else decode_mail(charset, octets))


def _is_plain(charset: bytes | None) -> bool:
    """Tell whether ASCII octets in *charset* are ASCII characters."""
    if charset is None:
        return True
    try:
        return codec_for(charset) not in STATEFUL
    except LookupError:
        return True


def _pieces(data: bytes, root: Part, *, mime: bool) -> Iterator[tuple[bytes, bytes | None]]:
    """Give the octets of each text, transfer encoding off, with its charset, or ``_HEADER`` for a header."""
    left = [root]
    while left:
        part = left.pop()
        if mime and part is not root:
            yield data[part.header_start : part.body_start], _HEADER
        if part.children:
            left.extend(reversed(part.children))
        elif part.message is not None and not part.encoded:
            inner = part.message
            if not mime:  # else it is given when its turn comes
                yield data[inner.header_start : inner.body_start], _HEADER
            left.append(inner)
        elif part.type.lower() in (b"text", b"message"):
            body = data[part.body_start : part.end]
            yield transfer.decode_lenient(body, part.encoding), part.param(b"charset")


# --- preview --------------------------------------------------------------------------------------


def preview(data: bytes, tree: Callable[[], Part]) -> str:
    """Make the PREVIEW of a message (RFC 8970): the beginning of its text on one line, or "".

    What was quoted from others is left out where there is anything else.
    """
    left, seen = [tree()], 0
    while left and seen < _PREVIEW_PARTS:
        part = left.pop()
        if part.children:
            left.extend(reversed(part.children))
        elif part.message is not None and not part.encoded:
            left.append(part.message)
        elif part.type.lower() == b"text" and (
            part.disposition is None or part.disposition[0].lower() != b"attachment"
        ):
            seen += 1
            text = _preview_of(data, part)
            if text:
                return text
    return ""


def _preview_of(data: bytes, part: Part) -> str:
    body = data[part.body_start : min(part.end, part.body_start + _PREVIEW_OCTETS)]
    text = decode_mail(part.param(b"charset"), transfer.decode_lenient(body, part.encoding))
    subtype = part.subtype.lower()
    if subtype == b"html":
        text = _without_tags(text)
    elif subtype == b"plain":
        if ">" in text:
            own = [line for line in text.splitlines() if not line.startswith(">")]
            text = "\n".join(own) if any(map(str.strip, own)) else text
    else:
        return ""
    text = " ".join(text.lstrip()[: PREVIEW_LENGTH * 40].split())[: PREVIEW_LENGTH * 4]
    if not text.isprintable():
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text[:PREVIEW_LENGTH].rstrip()


_HIDDEN = ("style", "script", "head", "title", "template")


def _without_tags(text: str) -> str:
    """Take the markup out, in one pass; what is not closed reaches to the end."""
    out = []
    lower = text.lower() if text.isascii() else text.translate(_LOWER)
    at = 0
    while (tag := text.find("<", at)) >= 0:
        out.append(text[at:tag])
        if text.startswith("<!--", tag):
            end = text.find("-->", tag + 4)
            at = end + 3
        else:
            hidden = next((name for name in _HIDDEN if lower.startswith(name, tag + 1)), None)
            if hidden is not None and not lower[tag + 1 + len(hidden) : tag + 2 + len(hidden)].isalnum():
                end = lower.find("</" + hidden, tag)
                tag = max(end, tag)
                if end < 0:
                    break
            end = text.find(">", tag)
            at = end + 1
            out.append(" ")
        if end < 0:
            break
    else:
        out.append(text[at:])
    return html.unescape("".join(out))


# ASCII only: str.lower() may change the length
_LOWER = {code: code + 32 for code in range(65, 91)}
