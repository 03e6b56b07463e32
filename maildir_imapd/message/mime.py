"""The tree of a message's parts, as offsets into its octets (RFC 2045, 2046, 2183, 2231).

One pass from the front to the back, with an explicit stack.  A delimiter line is looked for with
``bytes.find`` on what all open boundaries have in common; every octet is looked at a bounded number of
times however often parts are nested or cut short.

- RFC 2046 5.1.1: "Boundary string comparisons must compare the boundary value with the beginning of each
  candidate line".  Where that fits several open boundaries, the longest counts, then the innermost.
- 5.1.2: "MIME implementations are therefore required to recognize outer level boundary markers at ANY level
  of inner nesting", also inside the header of a part.
- The CRLF before a delimiter belongs to the delimiter (5.1.1), so a part ends before it.

What IMAP cannot say is made valid here: a multipart without a part gets an empty text/plain part, and a
container beyond the limits becomes one opaque application/octet-stream part (robustness: 100 levels,
10,000 parts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from maildir_imapd.message.blocks import Octets
from maildir_imapd.message.header import FOLDED, HEADER_LIMIT_OCTETS, unfold
from maildir_imapd.message.transfer import IDENTITY

DEPTH_LIMIT = 100
PARTS_LIMIT = 10_000
PARAMS_LIMIT = 128
# RFC 2046 5.1.1: "must be no longer than 70 characters"; with prefix comparison a cut one still works.
BOUNDARY_LIMIT_OCTETS = 80
FIELD_LIMIT_OCTETS = 64 * 1024
# Robustness: all header blocks of a message together; the fields of those beyond are not looked at.
HEADERS_LIMIT_OCTETS = 50 * 1024 * 1024

Params = tuple[tuple[bytes, bytes], ...]


class Part(NamedTuple):
    """One part; its header is ``data[header_start:body_start]``, its body ``data[body_start:end]``.

    Words are as the sender spelled them.  ``lines`` counts the line ends of the body where IMAP tells
    them, in text, message/rfc822 and message/global, and is 0 elsewhere.  ``message`` is the embedded message
    of a part of the latter two, a root of its own that shares the part's body.
    """

    header_start: int
    body_start: int
    end: int
    lines: int
    type: bytes
    subtype: bytes
    params: Params
    encoding: bytes
    id: bytes | None
    description: bytes | None
    md5: bytes | None
    disposition: tuple[bytes, Params] | None
    languages: tuple[bytes, ...]
    location: bytes | None
    children: tuple[Part, ...] = ()
    message: Part | None = None
    opaque: bool = False  # a container beyond the limits, into which nobody has looked

    @property
    def size(self) -> int:
        return self.end - self.body_start

    @property
    def encoded(self) -> bool:
        """Whether it is a message that lies under a transfer encoding, as RFC 6532 3.7 allows message/global to.

        What ``message`` says then is of the encoded octets.
        """
        return self.message is not None and self.encoding.lower() not in IDENTITY and self.is_global

    @property
    def is_global(self) -> bool:
        """Whether it is message/global, an embedded message to IMAP4rev2 and none to IMAP4rev1."""
        return self.message is not None and self.subtype.lower() == b"global"

    def leaves(self) -> Iterator[Part]:
        """Give the parts without others in them, of messages within, too, in the order of their octets."""
        left = [self]
        while left:
            part = left.pop()
            if part.children:
                left.extend(reversed(part.children))
            elif part.message is not None and not part.encoded:
                left.append(part.message)
            else:
                yield part

    def param(self, name: bytes) -> bytes | None:
        """Give the value of the content type's parameter *name* (in small letters), plain or as RFC 2231 encodes it."""
        return _value(self.params, name)


class _ContentType(NamedTuple):
    type: bytes
    subtype: bytes
    params: Params
    kind: int
    boundary: bytes


_LEAF, _TEXT, _MULTIPART, _MESSAGE = range(4)

# RFC 2045 5.2: the default, "also ... when a syntactically invalid Content-Type header field is encountered".
_PLAIN = _ContentType(b"text", b"plain", ((b"charset", b"us-ascii"),), _TEXT, b"")
# RFC 2046 5.1.5: "the default Content-Type value for a body part is changed" in a digest.
_DIGEST = _ContentType(b"message", b"rfc822", (), _MESSAGE, b"")
_OPAQUE = _ContentType(b"application", b"octet-stream", (), _LEAF, b"")

_content_fields = re.compile(
    rb"\ncontent-(type|transfer-encoding|id|description|md5|disposition|language|location)[ \t]*:(" + FOLDED + rb")",
    re.IGNORECASE,
).findall

# RFC 2045 5.1:  token := 1*<any (US-ASCII) CHAR except SPACE, CTLs, or tspecials>
_TOKEN = rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]++"
_TYPE = re.compile(rb"[ \t]*+(" + _TOKEN + rb")[ \t]*+/[ \t]*+(" + _TOKEN + rb")[ \t]*+(?:[;]|(?<=[ \t])|\Z)").match
_WORD = re.compile(rb"[ \t]*+(" + _TOKEN + rb")").match
#                parameter := attribute "=" value;  value := token / quoted-string
# Laxer: the semicolon may be lacking, the value of an unquoted one may hold tspecials and 8-bit octets, and a
# quoted one that nothing closes ends at the next semicolon.
_PARAM = re.compile(
    rb"[; \t]([^\s\x00-\x1f;=\"()<>@,:\\/\[\]?]++)[ \t]*+=[ \t]*+(?:\"((?:[^\"\\]|\\.)*+)\"|\"?([^;\s]*+))", re.DOTALL
).finditer
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_UNCOMMENTED = re.compile(rb'(?:[^"(]|"(?:[^"\\]|\\.)*+"?)*+', re.DOTALL).match
_COMMENT_MARK = re.compile(rb"[()]|\\.", re.DOTALL).finditer
# RFC 2231 3 and 4:  section := initial-section / other-sections, extended-parameter with "*" at its end
_SECTION = re.compile(rb"([^*]+)\*([0-9]{1,3})(\*?)\Z").match
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNSAFE = re.compile(rb"[^!#$&+\-.0-9A-Z^_`a-z{|}~]")


class _Head(NamedTuple):
    """A part as its header describes it; the fields of the same names in Part."""

    content: _ContentType
    encoding: bytes = b"7bit"
    id: bytes | None = None
    description: bytes | None = None
    md5: bytes | None = None
    disposition: tuple[bytes, Params] | None = None
    languages: tuple[bytes, ...] = ()
    location: bytes | None = None


@dataclass(slots=True)
class _Open:
    """A container whose end is not known yet."""

    header_start: int
    body_start: int
    head: _Head
    lines_before: int
    children: list[Part]
    message: Part | None = None


def parse(data: Octets) -> Part:
    """Parse a whole message in its CRLF form; any octets give a tree."""
    body = data.find(b"\r\n\r\n") + 4
    if body > 4 and not data.startswith(b"\r\n"):
        head = _head(data[: min(body, HEADER_LIMIT_OCTETS)])
        kind = head.content.kind
        if kind <= _TEXT:  # most messages in a mailbox's long tail are one part
            return _part(0, body, len(data), data.count(b"\n", body) if kind == _TEXT else 0, head)
        return _Parser(data).run(head)
    return _Parser(data).run()


def find(root: Part, numbers: tuple[int, ...]) -> Part | None:
    """Find the part that a section's numbers name (RFC 3501 6.4.5); None where there is none.

    Part 1 of a message that is no multipart is its body; behind a message/rfc822 or message/global part the
    numbers are those of the embedded message.
    """
    part, whole = root, True
    for number in numbers:
        if not whole and part.message is not None:
            part, whole = part.message, True
        if part.children:
            if not 0 < number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif not whole or number != 1:
            return None
        whole = False
    return part


class _Parser:
    """The state of one pass."""

    def __init__(self, data: Octets) -> None:
        self.data = data
        self.size = len(data)
        self.root: Part | None = None
        self.open: list[_Open] = []
        # Open boundaries, outermost first: the boundary, the depth of its multipart, and what it and all
        # before it begin with.
        self.boundaries: list[tuple[bytes, int, bytes]] = []
        self.names: tuple[bytes, ...] = ()
        self.needle = b""
        self.blank = -1  # the first empty line at or behind where it was last asked for
        self.messages = 0  # open parts that are messages
        self.counted = self.lines = 0
        self.headers = 0
        self.parts = 0

    def run(self, head: _Head | None = None) -> Part:
        """Parse; *head* is what the first header says, where somebody has looked already."""
        at, digest = 0, False
        while at >= 0:
            start, at = at, self._header_end(at)
            self.headers += at - start
            if self.headers > HEADERS_LIMIT_OCTETS:
                head = _Head(_DIGEST if digest else _PLAIN)
            elif head is None:
                head = _head(self.data[start : min(at, start + HEADER_LIMIT_OCTETS)], digest)
            self.parts += 1
            kind = head.content.kind
            if kind >= _MULTIPART and (len(self.open) >= DEPTH_LIMIT or self.parts >= PARTS_LIMIT):
                head, kind = head._replace(content=_OPAQUE), _LEAF
            opened = _Open(start, at, head, 0, [])
            head = leaf = None
            if kind == _MESSAGE:
                if not self.messages:
                    self.counted = at
                self.messages += 1
                opened.lines_before = self._lines_to(at)
                self.open.append(opened)
                digest = False
                continue
            if kind == _MULTIPART:
                self.open.append(opened)
                if opened.head.content.boundary:
                    self._push(opened.head.content.boundary)
            else:
                leaf = opened
            at = self._next_part(at, leaf)
            digest = bool(self.open) and self.open[-1].head.content.subtype.lower() == b"digest"
        assert self.root is not None
        return self.root

    def _header_end(self, at: int) -> int:
        """Find where the body begins: behind the empty line, or at a delimiter that comes before it."""
        data = self.data
        if data.startswith(b"\r\n", at):
            end = at + 2
        else:
            if self.blank < at:
                blank = data.find(b"\r\n\r\n", at)
                self.blank = self.size if blank < 0 else blank
            end = min(self.blank + 4, self.size)
        line, _ = self._delimiter(at - 1, end)
        return end if line < 0 else line

    def _next_part(self, at: int, leaf: _Open | None) -> int:
        """Go to the next delimiter, close what it ends, and tell where the next part's header begins; -1: nowhere."""
        data = self.data
        while True:
            line, which = (-1, 0) if self.parts >= PARTS_LIMIT else self._delimiter(at - 1, self.size)
            end = self.size
            if line >= 0:
                # the CRLF in front belongs to the delimiter
                end = line - 2 if data.startswith(b"\r\n", line - 2) else line - 1
            if leaf is not None:
                end = max(end, leaf.body_start)
                lines = self._count(leaf.body_start, end) if leaf.head.content.kind == _TEXT else 0
                self._attach(leaf, end, lines)
                leaf = None
            if line < 0:
                self._close(0, end)
                return -1
            boundary, depth, _ = self.boundaries[which]
            self._close(depth, end)
            after = data.find(b"\n", line) + 1
            if after and not data.startswith(b"--", line + 2 + len(boundary)):
                self._pop(which + 1)
                return after
            # RFC 2046 5.1.1: what follows the last delimiter is an epilogue, up to an outer delimiter.  One that
            # the end of the message cuts off opens no part.
            self._pop(which)
            at = after or self.size

    def _delimiter(self, at: int, end: int) -> tuple[int, int]:
        """Find the next delimiter line that begins behind *at* and before *end*: its offset and which boundary."""
        data, boundaries, needle = self.data, self.boundaries, self.needle
        if not boundaries:
            return -1, 0
        last = len(boundaries) - 1
        while (at := data.find(needle, at, end)) >= 0:
            if not last:
                return at + 1, 0
            at += 3
            if data.startswith(self.names, at):
                fitting = [which for which in range(last, -1, -1) if data.startswith(self.names[which], at)]
                return at - 2, max(fitting, key=lambda which: len(self.names[which]))
        return -1, 0

    def _push(self, boundary: bytes) -> None:
        common = _common(self.boundaries[-1][2], boundary) if self.boundaries else boundary
        self.boundaries.append((boundary, len(self.open), common))
        self.names += (boundary,)
        self.needle = b"\n--" + common

    def _pop(self, left: int) -> None:
        del self.boundaries[left:]
        self.names = self.names[:left]
        self.needle = b"\n--" + self.boundaries[-1][2] if left else b""

    def _close(self, depth: int, end: int) -> None:
        """Close the containers above *depth*."""
        while len(self.open) > depth:
            top = self.open.pop()
            end = max(end, top.body_start)
            lines = 0
            if top.head.content.kind == _MESSAGE:
                lines = self._lines_to(end) - top.lines_before
                self.messages -= 1
            elif not top.children:
                top.children.append(_part(end, end, end, 0, _Head(_PLAIN)))
            self._attach(top, end, lines)

    def _attach(self, done: _Open, end: int, lines: int) -> None:
        part = _part(done.header_start, done.body_start, end, lines, done.head, tuple(done.children), done.message)
        if not self.open:
            self.root = part
        elif self.open[-1].head.content.kind == _MESSAGE:
            self.open[-1].message = part
        else:
            self.open[-1].children.append(part)

    def _count(self, start: int, end: int) -> int:
        if not self.messages:
            return self.data.count(b"\n", start, end)
        before = self._lines_to(start)
        return self._lines_to(end) - before

    def _lines_to(self, at: int) -> int:
        """Count the line ends before *at*, from where the outermost open message began.

        The lines of a message include those of the messages in it; counting on from the last place looks
        at each octet once, whatever the depth.
        """
        self.lines += self.data.count(b"\n", self.counted, at)
        self.counted = at
        return self.lines


def _part(
    start: int,
    body: int,
    end: int,
    lines: int,
    head: _Head,
    children: tuple[Part, ...] = (),
    message: Part | None = None,
) -> Part:
    content = head.content
    return Part(
        start,
        body,
        end,
        lines,
        content.type,
        content.subtype,
        content.params,
        head.encoding,
        head.id,
        head.description,
        head.md5,
        head.disposition,
        head.languages,
        head.location,
        children,
        message,
        content is _OPAQUE,
    )


def _common(one: bytes, other: bytes) -> bytes:
    """Give what both begin with."""
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return one[:at]
    return min(one, other, key=len)


# --- the fields -----------------------------------------------------------------------------------


def _head(header: bytes, digest: bool = False) -> _Head:
    """Take the Content fields of one header; *digest*: of a part whose default is message/rfc822.

    The headers of parts are short and much alike from message to message.
    """
    return _known_head(header, digest) if len(header) <= _SHORT else _read_head(header, digest)


def _read_head(header: bytes, digest: bool) -> _Head:
    content: _ContentType | None = None
    others: dict[bytes, bytes] = {}
    for name, value in _content_fields(b"\n" + header[:HEADER_LIMIT_OCTETS]):
        key = name.lower()
        if key != b"type":
            others.setdefault(key, value)  # the first counts
        elif content is None:
            content = _content_type(value) if len(value) <= _SHORT else _content_type.__wrapped__(value)
    if content is None:
        content = _DIGEST if digest else _PLAIN
    if not others:
        return _Head(content)
    return _Head(
        content,
        _encoding(others.get(b"transfer-encoding", b"")) or b"7bit",
        _unfolded(others.get(b"id")),
        _unfolded(others.get(b"description")),
        _unfolded(others.get(b"md5")),
        _disposition(others[b"disposition"]) if b"disposition" in others else None,
        _languages(others[b"language"]) if b"language" in others else (),
        _unfolded(others.get(b"location")),
    )


_SHORT = 300
_known_head = lru_cache(maxsize=2048)(_read_head)


def _unfolded(value: bytes | None) -> bytes | None:
    return None if value is None else unfold(value)


@lru_cache(maxsize=1024)
def _content_type(raw: bytes) -> _ContentType:
    value = _clean(raw)
    match = _TYPE(value)
    if match is None:
        return _PLAIN
    kind, subtype = match.groups()
    params = _params(value[match.end() - 1 :]) if match.end() < len(value) else ()
    lower = kind.lower()
    if lower == b"multipart":
        boundary = _value(params, b"boundary") or b""
        return _ContentType(kind, subtype, params, _MULTIPART, boundary[:BOUNDARY_LIMIT_OCTETS])
    if lower == b"text":
        # RFC 2045 5.2, RFC 2046 4.1.2: "the default is US-ASCII"; IMAP defaults it in the answer
        if not any(name.lower() == b"charset" for name, _ in params):
            params += _PLAIN.params
        return _ContentType(kind, subtype, params, _TEXT, b"")
    if lower == b"message" and subtype.lower() in (b"rfc822", b"global"):
        return _ContentType(kind, subtype, params, _MESSAGE, b"")
    return _ContentType(kind, subtype, params, _LEAF, b"")


def _encoding(raw: bytes) -> bytes:
    return _known_encoding(raw) if len(raw) <= _SHORT else _read_encoding(raw)


def _read_encoding(raw: bytes) -> bytes:
    match = _WORD(_clean(raw))
    return match[1] if match else b""


_known_encoding = lru_cache(maxsize=256)(_read_encoding)


def _disposition(raw: bytes) -> tuple[bytes, Params] | None:
    value = _clean(raw)
    match = _WORD(value)
    return None if match is None else (match[1], _params(value[match.end() :]))


def _languages(raw: bytes) -> tuple[bytes, ...]:
    """RFC 3282 2: Content-Language = "Content-Language" ":" 1#Language-tag"""
    tags = (_WORD(tag) for tag in _clean(raw).split(b",", PARAMS_LIMIT)[:PARAMS_LIMIT])
    return tuple(match[1] for match in tags if match)


def _params(value: bytes) -> Params:
    """List the parameters of a field, what RFC 2231 has cut in sections joined at the end of the list."""
    plain: list[tuple[bytes, bytes]] = []
    sections: dict[bytes, dict[int, tuple[bytes, bytes, bool]]] = {}
    names: dict[bytes, bytes] = {}
    for count, match in enumerate(_PARAM(value)):
        if count >= PARAMS_LIMIT:
            break
        name, quoted, text = match.groups()
        if quoted is not None:
            text = _PAIR.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        cut = _SECTION(name) if b"*" in name else None
        if cut is None:
            plain.append((name, text))
        else:
            key = cut[1].lower()
            names.setdefault(key, cut[1])
            sections.setdefault(key, {}).setdefault(int(cut[2]), (name, text, bool(cut[3])))
    for key, found in sections.items():
        number, pieces = 0, []
        while number in found:
            pieces.append(found.pop(number))
            number += 1
        if pieces:
            plain.append(_joined(names[key], pieces))
        plain.extend((name, text) for name, text, _ in found.values())
    return tuple(plain)


def _value(params: Params, name: bytes) -> bytes | None:
    """Give the first value of a parameter that is not empty, else an empty one, or None."""
    found = None
    for key, text in params:
        key = key.lower()
        if key == name:
            found = text
        elif key[-1:] == b"*" and key[:-1] == name:
            # RFC 2231 4: [charset] "'" [language] "'" and octets
            found = _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), text.split(b"'", 2)[-1])
        if found:
            break
    return found


def _joined(name: bytes, pieces: list[tuple[bytes, bytes, bool]]) -> tuple[bytes, bytes]:
    """Join sections; where one is percent-encoded, all of them are, under the name with one star.

    RFC 2231 4.1: the charset and the language stand in front of the first; one that has none gets empty ones.
    """
    if not any(extended for _, _, extended in pieces):
        return name, b"".join(text for _, text, _ in pieces)
    begin = b"" if pieces[0][2] else b"''"
    return name + b"*", begin + b"".join(
        text if extended else _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], text) for _, text, extended in pieces
    )


def _clean(raw: bytes) -> bytes:
    """Unfold a structured field and take its comments out (RFC 2045 5.1 allows them between tokens)."""
    value = unfold(raw[:FIELD_LIMIT_OCTETS])
    if b"(" not in value:
        return value
    kept = []
    at, size = 0, len(value)
    while at < size:
        plain = _UNCOMMENTED(value, at)
        assert plain is not None  # it matches the empty string
        kept.append(plain[0])
        at = plain.end() + 1
        depth = 1
        for match in _COMMENT_MARK(value, at):
            if match[0] == b"(":
                depth += 1
            elif match[0] == b")":
                depth -= 1
                if not depth:
                    at = match.end()
                    break
        else:
            at = size
    return b" ".join(kept)
