"""Any octets in a Maildir file: every function of ``message`` gives an answer, and the answer is sound.

- The wire text of ENVELOPE, BODY and BODYSTRUCTURE follows RFC 3501 section 9, read back by a reader that is
  strict where clients are.
- Parts lie within their parents, in order, and what BODYSTRUCTURE announces is what a section gives.
- No function raises but ``decode_part``, and that only ``UnknownCte``.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import UnknownCte
from maildir_imapd.message import header, lines, mime, order, section, structure, text, thread
from maildir_imapd.message.address import parse_addresses
from maildir_imapd.message.envelope import render_envelope

CORPUS = Path(__file__).parent.parent / "corpus"
MESSAGES = [path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))]

# --- a strict reader of what we send ------------------------------------------------------------------

_ITEM = re.compile(rb'\(|\)|NIL|[0-9]+|"((?:[^"\\\r\n\0\x80-\xff]|\\["\\])*)"|\{([0-9]+)\}\r\n')

Value = bytes | int | None | list["Value"]


def read(wire: bytes) -> Value:
    """Read one parenthesized list; a space stands between any two items but between two lists."""
    root: list[Value] = []
    stack = [root]
    at, before = 0, b"("
    while at < len(wire):
        if wire[at : at + 1] == b" ":
            assert before != b"("
            at += 1
            before = b" "
        match = _ITEM.match(wire, at)
        assert match is not None, wire[at : at + 50]
        token, quoted, size = match[0], match[1], match[2]
        at = match.end()
        if token == b")":
            assert before != b" "
            stack.pop()
        else:
            assert before in (b" ", b"(") or (before == b")" and token == b"("), wire[:at]
            if token == b"(":
                inner: list[Value] = []
                stack[-1].append(inner)
                stack.append(inner)
            elif token == b"NIL":
                stack[-1].append(None)
            elif size is not None:
                octets = wire[at : at + int(size)]
                assert len(octets) == int(size)
                assert b"\0" not in octets
                stack[-1].append(octets)
                at += int(size)
            elif quoted is not None:
                stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
            else:
                stack[-1].append(int(token))
        before = token if token in (b"(", b")") else b"x"
    assert len(stack) == 1
    (value,) = root
    return value


def is_nstring(value: Value) -> bool:
    return value is None or isinstance(value, bytes)


def check_params(value: Value) -> None:
    if value is not None:
        assert isinstance(value, list)
        assert len(value) % 2 == 0
        assert value
        assert all(isinstance(one, bytes) for one in value)


def check_envelope(value: Value) -> None:
    assert isinstance(value, list)
    assert len(value) == 10
    for position, field in enumerate(value):
        if 2 <= position <= 7:
            if field is not None:
                assert isinstance(field, list)
                assert field
                depth = 0
                for address in field:
                    assert isinstance(address, list)
                    assert len(address) == 4
                    assert all(map(is_nstring, address))
                    _, _, mailbox, host = address
                    if host is None:
                        depth += -1 if mailbox is None else 1
                    else:
                        assert mailbox is not None
                    assert depth in (0, 1)
                assert depth == 0
        else:
            assert is_nstring(field)


def check_extension(rest: list[Value], *, extended: bool) -> None:
    if not extended:
        assert rest == []
        return
    disposition, language, location = rest
    if disposition is not None:
        assert isinstance(disposition, list)
        kind, params = disposition
        assert isinstance(kind, bytes)
        check_params(params)
    if language is not None:
        assert isinstance(language, list)
        assert language
        assert all(isinstance(one, bytes) for one in language)
    assert is_nstring(location)


def check_body(value: Value, data: bytes, root: mime.Part, *, extended: bool) -> None:
    left: list[tuple[Value, mime.Part]] = [(value, root)]
    while left:
        value, part = left.pop()
        assert isinstance(value, list)
        if isinstance(value[0], list):
            count = sum(1 for one in value if isinstance(one, list) and one and isinstance(one[0], (bytes, list)))
            children = value[: len(part.children)]
            assert count >= len(children) > 0
            left.extend(zip(children, part.children, strict=True))
            subtype, *rest = value[len(children) :]
            assert subtype == part.subtype
            if extended:
                check_params(rest[0])
            check_extension(rest[1:] if extended else rest, extended=extended)
            continue
        kind, subtype, params, identifier, description, encoding, size, *rest = value
        assert (kind, subtype) == (part.type, part.subtype)
        check_params(params)
        assert is_nstring(identifier)
        assert is_nstring(description)
        assert isinstance(encoding, bytes)
        assert size == part.end - part.body_start
        if part.message is not None:
            inner_envelope, inner, number, *rest = rest
            check_envelope(inner_envelope)
            left.append((inner, part.message))
            assert number == data.count(b"\n", part.body_start, part.end)
        else:
            assert isinstance(kind, bytes)
            assert isinstance(subtype, bytes)
            assert kind.lower() != b"multipart"
            assert (kind.lower(), subtype.lower()) != (b"message", b"rfc822")
            if kind.lower() == b"text":
                assert rest.pop(0) == data.count(b"\n", part.body_start, part.end)
        if extended:
            assert is_nstring(rest.pop(0))
        check_extension(rest, extended=extended)


def check_tree(root: mime.Part, size: int) -> list[tuple[int, ...]]:
    """Check that parts lie in one another, and list the numbers of all."""
    numbers: list[tuple[int, ...]] = []
    left: list[tuple[mime.Part, int, int, tuple[int, ...], bool]] = [(root, 0, size, (), True)]
    while left:
        part, start, end, path, whole = left.pop()
        assert start <= part.header_start <= part.body_start <= part.end <= end
        if not whole or not part.children:
            numbers.append((*path, 1) if whole else path)
        at = part.body_start
        for number, child in enumerate(part.children, start=1):
            left.append((child, at, part.end, (*path, number), False))
            at = child.end
        if part.message is not None:
            left.append((part.message, part.body_start, part.end, (*path, 1) if whole else path, True))
    return numbers


# --- the invariant --------------------------------------------------------------------------------


def check(raw: bytes) -> None:
    data = lines.to_crlf(raw)
    body = header.split(data)
    head = data[:body]
    header.fields(head)
    text.header_text(head)
    root = mime.parse(data)

    def tree() -> mime.Part:
        return root

    numbers = check_tree(root, len(data))
    check_envelope(read(render_envelope(head)))
    check_body(read(structure.render_body(root, data)), data, root, extended=False)
    check_body(read(structure.render_bodystructure(root, data)), data, root, extended=True)

    assert section.extract(data, (), b"HEADER", (), tree) == head
    assert section.extract(data, (), b"TEXT", (), tree) == data[body:]
    names = frozenset((b"SUBJECT", b"FROM", b"CONTENT-TYPE"))
    for invert in (False, True):
        assert section.header_fields(head, names, invert).endswith(b"\r\n")
    for path in numbers[:50]:
        part = mime.find(root, path)
        assert part is not None
        assert section.extract(data, path, b"", (), tree) == data[part.body_start : part.end]
        assert section.extract(data, path, b"MIME", (), tree) is not None
        inside = section.extract(data, path, b"HEADER", (), tree)
        assert (inside is None) is (part.message is None)
        try:
            section.decode_part(data, part)
        except UnknownCte:
            pass

    pieces = text.pieces(root, data)
    assert text.parse_pieces(text.render_pieces(pieces)) == pieces
    for needle in ("NEEDLE", "NA\N{COMBINING DIAERESIS}DEL"):
        found = text.contains(data, lambda: pieces, needle, body_only=True)
        assert found == any(needle in text.fold(piece) for piece in text.body_text(data, pieces))
        text.contains(data, lambda: pieces, needle, body_only=False)
    shown = text.preview(data, tree)
    assert len(shown) <= text.PREVIEW_CHARACTERS
    assert shown == shown.strip()
    assert shown.isprintable()

    order.subject_key(head)
    order.sent_day(head)
    order.mailbox_key(head, b"FROM")
    order.display_key(head, b"TO")
    one = thread.entry(1, head, 0)
    for algorithm in (thread.references, thread.refs, thread.ordered_subject):
        assert thread.render_threads(algorithm([one, one._replace(number=2)])).count(b"1") == 1


@pytest.mark.parametrize("raw", MESSAGES)
def test_corpus(raw: bytes) -> None:
    check(raw)


@given(st.binary(max_size=400))
def test_any_octets(raw: bytes) -> None:
    check(raw)


WORDS = st.sampled_from(
    [
        *(b"Content-Type: ", b"Content-Disposition: ", b"Content-Transfer-Encoding: ", b"Content-Language: "),
        *(b"From: ", b"To: ", b"Reply-To: ", b"Subject: ", b"Date: ", b"Message-ID: ", b"References: "),
        *(b"multipart/mixed; boundary=x", b"multipart/digest; boundary=xy", b'multipart/a; boundary="x y"'),
        *(b"message/rfc822", b"text/html; charset=utf-8", b"text/plain; charset=", b"iso-2022-jp", b"utf-16", b"hz"),
        *(b"base64", b"quoted-printable", b"; name*0*=utf-8''a%", b"; name*1=", b'; a="b\\"c"', b"(c"),
        *(b"--x", b"--xy", b"--x--", b"--xy--", b"--x y", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\r\n ", b"\r\n\t"),
        *(b"a@b", b"<", b">", b",", b";", b":", b'"', b"\\", b"(", b")", b"@", b".", b" ", b"Group:", b"[", b"]"),
        *(b"=?utf-8?q?=C3=A4?=", b"=?utf-8?b?4oI?=", b"=?", b"?=", b"Re: ", b"[fwd: ", b"(fwd)", b"needle"),
        *(b"<!--", b"<style>", b"&amp;", b"\0", b"\xff", b"\xc3\xa4", b"1 Jan 2025 10:00:00 +0100", b"> "),
    ]
)


@given(st.lists(WORDS, max_size=60).map(b"".join))
def test_any_words_of_mail(raw: bytes) -> None:
    check(raw)


@given(st.lists(WORDS, max_size=30).map(b"".join))
def test_any_address_list(value: bytes) -> None:
    assert render_envelope(b"From: " + value.replace(b"\n", b"").replace(b"\r", b"") + b"\r\n")
    parse_addresses(value)
    header.decode_rfc2047(value)
    order.parse_date(value)
    order.base_subject(value.decode("latin-1"))
    thread.message_ids(value)


@given(st.sampled_from(MESSAGES), st.randoms(use_true_random=False))
def test_mutations_of_the_corpus(raw: bytes, chance: random.Random) -> None:
    """Cut, double and swap pieces of real messages."""
    lines_of = raw.splitlines(keepends=True)
    for _ in range(chance.randint(1, 5)):
        if not lines_of:
            break
        at = chance.randrange(len(lines_of))
        action = chance.randrange(5)
        if action == 0:
            del lines_of[at]
        elif action == 1:
            lines_of.insert(at, chance.choice(lines_of))
        elif action == 2:
            lines_of[at] = lines_of[at][: chance.randrange(len(lines_of[at]) + 1)]
        elif action == 3:
            line = bytearray(lines_of[at])
            if line:
                line[chance.randrange(len(line))] = chance.randrange(256)
            lines_of[at] = bytes(line)
        else:
            lines_of = lines_of[:at]
    check(b"".join(lines_of))
