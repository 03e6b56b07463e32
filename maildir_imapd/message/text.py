"""The text of a message as people mean it: for SEARCH, SORT, THREAD and PREVIEW.

Strings are compared by i;unicode-casemap (RFC 5051), which RFC 5255 4.3 and RFC 5256 7 ask for: each
character to its simple titlecase, then decomposed.  Both sides of a comparison go through ``fold``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import NamedTuple

from maildir_imapd import normal
from maildir_imapd.message import transfer
from maildir_imapd.message.address import MISSING_DOMAIN, MISSING_MAILBOX, parse_addresses
from maildir_imapd.message.blocks import Octets
from maildir_imapd.message.charset import (
    CHARSETS,
    PIECE_OCTETS,
    STATEFUL,
    codec_for,
    decode_charset,
    decode_mail,
    decode_pieces,
    preferred,
)
from maildir_imapd.message.header import HEADER_LIMIT_OCTETS, VALUE_LIMIT_OCTETS, decode_rfc2047, every, split
from maildir_imapd.message.markup import characters, text_of_enriched, text_of_html, unescaped, unescaped_pieces
from maildir_imapd.message.mime import Part

__all__ = [
    "ADDRESS_FIELDS",
    "CHARSETS",
    "PREVIEW_CHARACTERS",
    "Piece",
    "body_text",
    "contains",
    "decode_charset",
    "field_text",
    "fold",
    "folded_contains",
    "folded_fields",
    "folded_texts",
    "header_text",
    "parse_pieces",
    "pieces",
    "preview",
    "render_pieces",
]

# RFC 8970 3.3: "The server SHOULD limit the length of the preview text to 200 preview characters."
PREVIEW_CHARACTERS = 200
# Robustness: a preview looks at the first KiB of a part only, and at the first parts of a message.
_PREVIEW_OCTETS = 64 * 1024
_PREVIEW_PARTS = 20
# Of HTML more, for style sheets and images stand before the text: so much of all parts together; what of a part is
# parsed has a bound in markup.py.
_MARKUP_OCTETS = 4 * 1024 * 1024
_ENOUGH_CHARACTERS = PREVIEW_CHARACTERS * 4
# RFC 2046 5.1.1: "an explanatory note to non-MIME conformant readers"; no longer than this.
_NOTE_OCTETS = 1024
# Characters that are folded at once.
_WINDOW_OCTETS = 64 * 1024

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
    return normal.decomposed(text)


def folded_contains(text: str, needle: str) -> bool:
    """Tell whether *needle*, which ``fold`` has been through, is in *text* folded."""
    return any(needle in folded for folded in _folded(text, len(needle) - 1))


def _contain(pieces: Iterable[str], needle: str) -> bool:
    """Tell whether *needle* is in the pieces of a text, joined and folded."""
    return any(needle in folded for folded in _windows(pieces, len(needle) - 1))


def _folded(text: str, overlap: int) -> Iterable[str]:
    """Fold what is short in one go, and else as ``_windows``."""
    return (fold(text),) if len(text) <= 2 * _WINDOW_OCTETS else _windows((text,), overlap)


def _windows(pieces: Iterable[str], overlap: int) -> Iterator[str]:
    """Fold the pieces of a text, joined, and give it in windows that begin with *overlap* characters of the one before.

    So each call into C ends soon, and a character that becomes 18 (U+FDFA) costs memory for one window only.
    """
    behind = ""
    for piece in normal.apart(pieces):
        for window in normal.windows(piece, _WINDOW_OCTETS):
            folded = behind + fold(window)
            yield folded
            behind = folded[-overlap:] if overlap > 0 else ""


# --- headers --------------------------------------------------------------------------------------


def header_text(header: bytes) -> str:
    """Give a header block, as far as it is looked at, unfolded and decoded, one line per field."""
    return decode_rfc2047(_unfolded(header[:HEADER_LIMIT_OCTETS]))


def field_text(header: bytes, name: bytes) -> list[str]:
    """Give the decoded values of all fields called *name* (in capitals); a TAB of folding is a space here."""
    return [decode_rfc2047(value.replace(b"\t", b" ")) for value in every(header, name)]


def folded_fields(header: bytes, name: bytes) -> str | None:
    """Give what SEARCH finds in the fields called *name*, folded, a line for each; None where there is none.

    That is what ``field_text`` gives, and of a field of addresses also each address as ENVELOPE shows it, where it is
    written otherwise.  Each of the two is bounded once more, for U+FDFA folds to 18 letters; what Korean decomposes to
    is within the bound.
    """
    values = field_text(header, name)
    if not values:
        return None
    folded = fold("\n".join(values))[:VALUE_LIMIT_OCTETS]
    if name in ADDRESS_FIELDS and (shown := _shown_otherwise(header, name, values)):
        folded += "\n" + fold("\n".join(shown))[:VALUE_LIMIT_OCTETS]
    return folded


def _shown_otherwise(header: bytes, name: bytes, values: Iterable[str]) -> list[str]:
    """List addresses as ``name <mailbox@host>``, if they do not stand so in the decoded *values*."""
    found = []
    for raw, decoded in zip(every(header, name), values, strict=True):
        compared = len(decoded) <= _COMPARED_CHARACTERS
        for label, _, mailbox, host in parse_addresses(raw):
            if mailbox is None or mailbox == MISSING_MAILBOX:
                continue
            one = decode_rfc2047(mailbox if host is None or host == MISSING_DOMAIN else mailbox + b"@" + host)
            if label is not None:
                one = f"{decode_rfc2047(label)} <{one}>"
            if not compared or one not in decoded:
                found.append(one)
    return found


# Of a longer field all addresses are kept twice, for looking for thousands in it would take long.
_COMPARED_CHARACTERS = 8192
# Fields whose addresses ENVELOPE shows.
ADDRESS_FIELDS = frozenset([b"FROM", b"SENDER", b"REPLY-TO", b"TO", b"CC", b"BCC"])


def _unfolded(header: bytes) -> bytes:
    return header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")


# --- bodies ---------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Where in a message's CRLF form a text stands that SEARCH looks at."""

    kind: bytes
    start: int
    end: int
    encoding: bytes = b""  # in small letters, where it has to be taken off
    charset: bytes = b""  # its preferred name, where it is one that we know
    # What entities in it stand for, folded: in UTF-8, between NULs, in hexadecimal; ``_ANYTHING`` for too many.
    spelled: bytes = b""


# SEARCH TEXT alone looks at the headers: BODY "doesn't match any header fields" (RFC 9051 6.4.4).
_EMBEDDED = b"e"  # the header of an embedded message
_MIME = b"m"  # the header of any other part
_TEXT = b"t"
_HTML = b"h"
_ANYTHING = b"*"
_SPELLED_LIMIT = 200


def pieces(root: Part, data: Octets) -> list[Piece]:
    """List the texts of the message *data* behind its own header: text and message parts, and the headers of all parts.

    RFC 3501 6.4.4: servers "MAY exclude [MIME-IMB] body parts with terminal content media types other than
    TEXT and MESSAGE".  HTML comes with its tags, and what lies too deep as it stands.  So does
    what stands before and behind the parts of a multipart, for of a damaged one that is what clients show; the note to
    readers without MIME is left out.
    """
    found = []
    left = [(root, b"")]
    while left:
        part, header = left.pop()
        if header:
            found.append(Piece(header, part.header_start, part.body_start))
        if part.children:
            left.extend([(child, _MIME) for child in reversed(part.children)])
            encoding = _taken_off(part)
            found.extend([Piece(_TEXT, start, end, encoding) for start, end in _gaps(data, part)])
        elif part.message is not None and not part.encoded:
            left.append((part.message, _EMBEDDED))
        elif part.opaque:
            found.append(Piece(_TEXT, part.body_start, part.end))
        elif part.type.lower() in (b"text", b"message"):
            kind = _HTML if b"html" in part.subtype.lower() else _TEXT
            charset = preferred(part.param(b"charset") or b"")
            piece = Piece(kind, part.body_start, part.end, _taken_off(part), charset)
            found.append(piece._replace(spelled=_spelled(_octets(data, piece), charset)) if kind == _HTML else piece)
    return found


def _spelled(octets: bytes, charset: bytes) -> bytes:
    """Tell what the entities in HTML stand for: to decode them each time would take longer than the search."""
    if b"&" not in octets:
        return b""
    if len(octets) > PIECE_OCTETS:
        return _ANYTHING
    found = characters(decode_mail(charset or None, octets))
    return "\0".join(sorted(map(fold, found))).encode().hex().encode() if len(found) <= _SPELLED_LIMIT else _ANYTHING


def _taken_off(part: Part) -> bytes:
    encoding = part.encoding.lower()
    return encoding if encoding in transfer.ENCODED else b""


def _gaps(data: Octets, part: Part) -> list[tuple[int, int]]:
    """Find what stands before the first part of a multipart and behind its last, without the delimiters.

    Of a multipart in which no delimiter was found that is its whole body.
    """
    first, last = part.children[0], part.children[-1]
    if first.header_start == part.end:  # an empty part that is not there
        gaps = [(part.body_start, part.end)]
    else:
        line = data.rfind(b"\n", part.body_start, max(part.body_start, first.header_start - 1)) + 1
        behind = data.find(b"\n", last.end + 2, part.end) + 1
        gaps = [(part.body_start, line or part.body_start), (behind or part.end, part.end)]
    return [(start, end) for start, end in gaps if start < end and _is_text(data, start, end)]


def _is_text(data: Octets, start: int, end: int) -> bool:
    """Tell whether there is anything, and more than the note to readers without MIME."""
    begin = data[start : min(end, start + _NOTE_OCTETS)]
    return (end - start > _NOTE_OCTETS or b"mime" not in begin.lower()) and not (
        begin.isspace() and data[start:end].isspace()
    )


def render_pieces(found: Iterable[Piece]) -> bytes:
    """Write pieces down, to be kept: with them a message is searched in two thirds of the time."""
    return b"\n".join([b"%b %d %d %b %b %b" % piece for piece in found])


def parse_pieces(blob: bytes) -> list[Piece]:
    """Read what ``render_pieces`` wrote."""
    found = []
    for line in blob.split(b"\n") if blob else ():
        kind, start, end, encoding, charset, spelled = line.split(b" ")
        found.append(Piece(kind, int(start), int(end), encoding, charset, spelled))
    return found


def body_text(data: Octets, found: Iterable[Piece]) -> Iterator[str]:
    """Give the decoded texts of the body: what SEARCH BODY looks at."""
    for piece in found:
        if piece.kind in (_TEXT, _HTML):
            yield decode_mail(piece.charset or None, _octets(data, piece))


def _octets(data: Octets, piece: Piece) -> bytes:
    body = data[piece.start : piece.end]
    return transfer.decode_lenient(body, piece.encoding) if piece.encoding else body


def contains(data: Octets, found: Callable[[], Iterable[Piece]], needle: str, *, body_only: bool) -> bool:
    """Tell whether a message contains *needle*, which ``fold`` has been through: SEARCH BODY, SEARCH TEXT.

    TEXT also looks at the message's header and at the headers of its parts.
    """
    if not needle:
        return True
    ascii_needle = needle.encode() if needle.isascii() else None
    if not body_only and _in_header(data[: split(data)], needle, ascii_needle):
        return True
    for piece in found():
        if piece.kind == _TEXT:
            hit = _in_text(_octets(data, piece), piece.charset, needle, ascii_needle)
        elif piece.kind == _HTML:
            octets = _octets(data, piece)
            hit = _in_text(octets, piece.charset, needle, ascii_needle) or _in_entities(octets, piece, needle)
        elif body_only:
            continue
        else:
            hit = _in_header(data[piece.start : piece.end], needle, ascii_needle)
        if hit:
            return True
    return False


def folded_texts(data: Octets, found: Iterable[Piece], overlap: int) -> Iterator[tuple[bool, str]]:
    """Give all that ``contains`` looks at, folded, and whether BODY looks at it, too: for an index.

    A needle that a message contains stands in one of them, or over the end of one, of which the next one begins with
    the last *overlap* characters.  What HTML has entities in comes twice, as it stands and with what they stand for.
    """
    yield from zip(repeat(False), _folded_header(data[: split(data)], overlap))
    for piece in found:
        if piece.kind in (_TEXT, _HTML):
            yield from zip(repeat(True), _folded_text(_octets(data, piece), piece, overlap))
        else:
            yield from zip(repeat(False), _folded_header(data[piece.start : piece.end], overlap))


def _folded_header(octets: bytes, overlap: int) -> Iterable[str]:
    return _folded(decode_rfc2047(_unfolded(octets[:HEADER_LIMIT_OCTETS])), overlap)


def _folded_text(octets: bytes, piece: Piece, overlap: int) -> Iterator[str]:
    """Fold what ``_in_text`` and ``_in_entities`` look at, cut where these cut it."""
    charset = piece.charset or None
    if _is_ascii(octets, piece.charset):
        yield octets.upper().decode()
    elif len(octets) <= PIECE_OCTETS:
        yield from _folded(decode_mail(charset, octets), overlap)
    else:
        yield from _windows(decode_pieces(charset, octets), overlap)
    if piece.spelled == _ANYTHING:
        yield from _windows(unescaped_pieces(decode_pieces(charset, octets)), overlap)
    elif piece.spelled:
        yield from _folded(unescaped(decode_mail(charset, octets)), overlap)


def _in_header(octets: bytes, needle: str, ascii_needle: bytes | None) -> bool:
    octets = _unfolded(octets[:HEADER_LIMIT_OCTETS])
    if b"=?" not in octets and octets.isascii():
        # ASCII text folds to ASCII, so a needle that is not can't be in it
        return ascii_needle is not None and ascii_needle in octets.upper()
    return folded_contains(decode_rfc2047(octets), needle)


def _in_text(octets: bytes, charset: bytes, needle: str, ascii_needle: bytes | None) -> bool:
    if _is_ascii(octets, charset):
        return ascii_needle is not None and ascii_needle in octets.upper()
    if len(octets) <= PIECE_OCTETS:
        return folded_contains(decode_mail(charset or None, octets), needle)
    return _contain(decode_pieces(charset or None, octets), needle)


def _is_ascii(octets: bytes, charset: bytes) -> bool:
    """Tell whether the octets are those of the text's characters."""
    return octets.isascii() and (not charset or codec_for(charset) not in STATEFUL)


def _in_entities(octets: bytes, piece: Piece, needle: str) -> bool:
    """Tell whether HTML, in which *needle* does not stand, has it with its entities: M&uuml;ller."""
    if piece.spelled == _ANYTHING:
        return _contain(unescaped_pieces(decode_pieces(piece.charset or None, octets)), needle)
    # Only where an entity can be a part of the needle, and the longest piece that no such entity has stands there.
    known = bytes.fromhex(piece.spelled.decode()).decode().split("\0")
    spelled = "".join([each for each in known if each and _touches(each, needle)])
    if not spelled:
        return False
    text = decode_mail(piece.charset or None, octets)
    runs = "".join(["\0" if char in spelled else char for char in needle]).split("\0")
    return folded_contains(text, max(runs, key=len)) and folded_contains(unescaped(text), needle)


def _touches(spelled: str, needle: str) -> bool:
    """Tell whether *spelled* can be a part of *needle*, or reach into it at one of its ends."""
    return spelled in needle or any(
        needle.startswith(spelled[at:]) or needle.endswith(spelled[:at]) for at in range(1, len(spelled))
    )


# --- preview --------------------------------------------------------------------------------------


def preview(data: Octets, tree: Callable[[], Part]) -> str:
    """Make the PREVIEW of a message (RFC 8970): the beginning of its text on one line, or "".

    What was quoted from others is left out where there is anything else, and so is what is attached, unless it is all
    there is.  Where no part has a text it is sought around the parts.
    """
    root = tree()
    only = root
    while len(only.children) == 1:
        only = only.children[0]
    left, seen, around = [root], 0, []
    room = _MARKUP_OCTETS
    while left and seen < _PREVIEW_PARTS:
        part = left.pop()
        if part.children:
            left.extend(reversed(part.children))
            around.append(part)
        elif part.message is not None and not part.encoded:
            left.append(part.message)
        elif part.type.lower() == b"text" and (
            part is only or part.disposition is None or part.disposition[0].lower() != b"attachment"
        ):
            seen += 1
            text = _preview_of(data, part, max(room, _PREVIEW_OCTETS))
            room -= part.size
            if text:
                return text
    for part in around[:_PREVIEW_PARTS]:
        for start, end in _gaps(data, part):
            text = _preview_of_gap(data[start : min(end, start + _PREVIEW_OCTETS)], part)
            if text:
                return text
    return ""


def _preview_of(data: Octets, part: Part, room: int) -> str:
    subtype = part.subtype.lower()
    markup = subtype in (b"html", b"x-amp-html")
    body = data[part.body_start : min(part.end, part.body_start + (room if markup else _PREVIEW_OCTETS))]
    text = "".join(decode_pieces(part.param(b"charset"), transfer.decode_lenient(body, part.encoding)))
    if markup:
        text = _of_html(text)
    elif subtype in (b"enriched", b"richtext"):
        text = text_of_enriched(text, _ENOUGH_CHARACTERS)
    elif subtype in (b"plain", b"markdown", b"x-markdown"):
        text = _own(text)
    elif subtype == b"calendar":
        text = _event(text)
    else:
        return ""
    return _on_one_line(text)


def _preview_of_gap(octets: bytes, part: Part) -> str:
    text = decode_mail(None, transfer.decode_lenient(octets, part.encoding))
    if text.lstrip().startswith("--"):
        # The delimiter of a multipart that names another, and the header behind it.
        text = text.partition("\r\n\r\n")[2] or text
    text = "\n".join([line for line in text.splitlines() if not _DELIMITER(line)])
    return _on_one_line(_of_html(text) if "<html" in text.lower() else _own(text))


_DELIMITER = re.compile(r"--\S+\s*\Z").match


def _of_html(text: str) -> str:
    """Give as much of the text in HTML as a preview can need."""
    return text_of_html(text, _ENOUGH_CHARACTERS)


def _own(text: str) -> str:
    """Leave out what was quoted, where there is anything else."""
    if ">" not in text:
        return text
    own = [line for line in text.splitlines() if not line.startswith(">")]
    return "\n".join(own) if any(map(str.strip, own)) else text


_PROPERTIES = re.compile(r"\n(summary|location|description)(?:;[^:\r\n]*+)?:([^\r\n]*+)", re.IGNORECASE).findall


def _event(text: str) -> str:
    """Give what an event or task is called, where it is, and what is said of it (RFC 5545 3.8.1)."""
    text = "\n" + text.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "")
    found: dict[str, str] = {}
    for name, value in _PROPERTIES(text):
        found.setdefault(name.lower(), _ESCAPED.sub(lambda match: " " if match[1] in "nN" else match[1], value))
    return ", ".join([found[name] for name in ("summary", "location", "description") if found.get(name, "").strip()])


_ESCAPED = re.compile(r"\\([\\;,nN])")


def _on_one_line(text: str) -> str:
    text = " ".join(text.lstrip()[: PREVIEW_CHARACTERS * 40].split())[: PREVIEW_CHARACTERS * 4]
    if not text.isprintable():
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text[:PREVIEW_CHARACTERS].rstrip()
