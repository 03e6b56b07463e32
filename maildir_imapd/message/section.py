"""Sections of a message, as BODY[section] and BINARY[section] name them (RFC 3501 6.4.5, RFC 3516)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from maildir_imapd.errors import UnknownCte
from maildir_imapd.message import transfer
from maildir_imapd.message.header import FOLDED, split
from maildir_imapd.message.mime import Part, find

# A client may name any number of fields; beyond this many an expression costs more than a set.
_EXPRESSION_LIMIT = 32
# Robustness: fields that lie beyond this in one header are not found; the whole header has them.
_LIMIT_OCTETS = 10 * 1024 * 1024
_lines = re.compile(rb"\n" + FOLDED).findall


def extract(
    data: bytes,
    part: tuple[int, ...],
    kind: bytes,
    names: tuple[bytes, ...],
    tree: Callable[[], Part],
    cut: tuple[int, int] | None = None,
) -> bytes | None:
    """Take one section out of a message; None where the message has no such part.

    *kind* is ``b""``, ``HEADER``, ``HEADER.FIELDS``, ``HEADER.FIELDS.NOT``, ``TEXT`` or ``MIME``.  *tree* is
    called only where the answer needs the MIME structure, so that a whole message or its header costs
    no parsing.  *cut* is where in the section to begin, and how many octets to give at most: a piece of a
    large part is taken without copying the part.
    """
    chosen = span(part, kind, tree, lambda: split(data), len(data))
    if chosen is None:
        return None
    start, end = chosen
    if kind in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"):
        found = header_fields(data[start:end], frozenset(map(bytes.upper, names)), kind == b"HEADER.FIELDS.NOT")
        return found if cut is None else found[cut[0] : cut[0] + cut[1]]
    if cut is not None:
        start = min(start + cut[0], end)
        end = min(start + cut[1], end)
    return data[start:end]


def span(
    part: tuple[int, ...], kind: bytes, tree: Callable[[], Part], body_start: Callable[[], int], octets: int
) -> tuple[int, int] | None:
    """Where a section lies in a message of *octets*; a header is one whole, whatever fields of it are wanted.

    *body_start* is asked where the message's own header ends, *tree* as of ``extract``.
    """
    kind = b"HEADER" if kind.startswith(b"HEADER") else kind
    if not part:
        if not kind:
            return 0, octets
        body = body_start()
        return (body, octets) if kind == b"TEXT" else (0, body)
    found = find(tree(), part)
    if found is None:
        return None
    if not kind:
        return found.body_start, found.end
    if kind == b"MIME":
        return found.header_start, found.body_start
    # "provided that the numeric part specifier refers to a part of type MESSAGE/RFC822 or MESSAGE/GLOBAL" (RFC 9051);
    # a client of IMAP4rev1 does not know that there is a message, and need not ask.
    if found.message is None:
        return None
    inner = found.message
    return (inner.body_start, inner.end) if kind == b"TEXT" else (inner.header_start, inner.body_start)


def header_fields(header: bytes, names: frozenset[bytes], invert: bool) -> bytes:
    """Take the fields called one of *names* (in capitals), or with *invert* all the others, in their order.

    The blank line is always there (RFC 3501 6.4.5: "Subsetting does not exclude the [RFC-2822] delimiting
    blank line"), also where the message has none: clients wait for it.
    """
    whole = b"\n" + header[:_LIMIT_OCTETS]
    if len(names) > _EXPRESSION_LIMIT:
        found = _by_set(whole, names, invert)
    elif invert:
        # without the blank line, which would be a field without a name
        if whole.endswith(b"\n\r\n"):
            whole = whole[:-2]
        found = _expression(names, invert).findall(whole[:-1] if whole[-1] == 10 else whole)
    else:
        found = _expression(names, invert).findall(whole)
    if not found:
        return b"\r\n"
    if whole[-1] != 10 and whole.endswith(found[-1]):  # the file ends within its header, without a line end
        found[-1] += b"\r"
    return b"".join(found)[1:] + b"\n\r\n"


@lru_cache(maxsize=512)
def _expression(names: frozenset[bytes], invert: bool) -> re.Pattern[bytes]:
    chosen = rb"(?:" + b"|".join(map(re.escape, sorted(names))) + rb")[ \t]*:"
    if invert:
        # no continuation line, which belongs to the field before it; but for one at the very beginning
        return re.compile(rb"\n(?!" + chosen + rb")(?:(?![ \t])|(?<=\A\n))" + FOLDED, re.IGNORECASE)
    return re.compile(rb"\n" + chosen + FOLDED, re.IGNORECASE)


def _by_set(whole: bytes, names: frozenset[bytes], invert: bool) -> list[bytes]:
    found = []
    for line in _lines(whole):
        if line in (b"\n\r", b"\n"):  # the blank line
            break
        name = line[1:].partition(b":")[0].rstrip(b" \t").upper()
        if (b":" in line and name in names) != invert:
            found.append(line)
    return found


def is_base64(part: Part) -> bool:
    """Whether BINARY takes base64 off a part's body."""
    return not _is_container(part) and part.encoding.lower() == b"base64"


def streams(part: Part) -> bool:
    """Whether BINARY of a part can be had piece by piece (transfer.py, ``base64_pieces``)."""
    return _is_container(part) or part.encoding.lower() in (b"base64", *transfer.IDENTITY)


def _is_container(part: Part) -> bool:
    return bool(part.children) or (part.message is not None and not part.is_global)


def decode_part(data: bytes, part: Part) -> bytes:
    """Take the transfer encoding off a part's body, for BINARY (RFC 3516 4.2).

    A container has none of its own (RFC 2045 6.4 allows only 7bit, 8bit and binary there), but for message/global.
    """
    body = data[part.body_start : part.end]
    if _is_container(part):
        return body
    try:
        return transfer.decode(body, part.encoding)
    except LookupError as error:
        raise UnknownCte(detail=repr(error)) from None
