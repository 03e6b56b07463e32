"""FETCH and UID FETCH."""

from __future__ import annotations

import pytest
from blanks import spread

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.commands import Fetch, FetchAtt, FetchBody, FetchItem, FetchPreview, Section
from maildir_imapd.wire.numbers import NumberSet
from maildir_imapd.wire.parse import parse


def fetch(text: bytes) -> Fetch:
    command = parse(Frame(b"a " + text))
    assert isinstance(command, Fetch)
    return command


def atts(names: bytes) -> tuple[FetchItem, ...]:
    return tuple(FetchAtt(name) for name in names.split())


def body(label: bytes, part: tuple[int, ...] = (), kind: bytes = b"", *fields: bytes, peek: bool = False) -> FetchBody:
    return FetchBody(label, Section(part, kind, fields), peek=peek)


ITEMS: list[tuple[bytes, tuple[FetchItem, ...]]] = [
    (b"ALL", atts(b"FLAGS INTERNALDATE RFC822.SIZE ENVELOPE")),
    (b"fast", atts(b"FLAGS INTERNALDATE RFC822.SIZE")),
    (b"Full", atts(b"FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY")),
    (b"FLAGS", atts(b"FLAGS")),
    (b"(uid Flags)", atts(b"UID FLAGS")),
    (
        b"(ENVELOPE FLAGS INTERNALDATE RFC822.SIZE BODY BODYSTRUCTURE UID MODSEQ EMAILID THREADID SAVEDATE)",
        atts(b"ENVELOPE FLAGS INTERNALDATE RFC822.SIZE BODY BODYSTRUCTURE UID MODSEQ EMAILID THREADID SAVEDATE"),
    ),
    (b"(FLAGS UID flags)", atts(b"FLAGS UID")),
    (b"RFC822", (body(b"RFC822"),)),
    (b"RFC822.header", (body(b"RFC822.HEADER", (), b"HEADER", peek=True),)),
    (b"RFC822.TEXT", (body(b"RFC822.TEXT", (), b"TEXT"),)),
    (b"BODY[]", (body(b"BODY[]"),)),
    (b"body.peek[]", (body(b"BODY[]", peek=True),)),
    (b"BODY[HEADER]", (body(b"BODY[HEADER]", (), b"HEADER"),)),
    (b"BODY[text]", (body(b"BODY[TEXT]", (), b"TEXT"),)),
    (b"BODY[1]", (body(b"BODY[1]", (1,)),)),
    (b"BODY[4.2.2.1]", (body(b"BODY[4.2.2.1]", (4, 2, 2, 1)),)),
    (b"BODY[4.2.HEADER]", (body(b"BODY[4.2.HEADER]", (4, 2), b"HEADER"),)),
    (b"BODY[1.mime]", (body(b"BODY[1.MIME]", (1,), b"MIME"),)),
    (
        b"BODY.PEEK[HEADER.FIELDS (From to)]",
        (body(b"BODY[HEADER.FIELDS (From to)]", (), b"HEADER.FIELDS", b"From", b"to", peek=True),),
    ),
    (
        b'BODY[1.Header.Fields.Not ("X Y" {1}\r\nZ)]',
        (body(b'BODY[1.HEADER.FIELDS.NOT ("X Y" Z)]', (1,), b"HEADER.FIELDS.NOT", b"X Y", b"Z"),),
    ),
    (b"BODY[]<0.100>", (FetchBody(b"BODY[]", Section(), (0, 100)),)),
    (b"BODY[TEXT]<8.9223372036854775807>", (FetchBody(b"BODY[TEXT]", Section(kind=b"TEXT"), (8, (1 << 63) - 1)),)),
    (b"BINARY[]", (FetchBody(b"BINARY[]", Section(), binary=True),)),
    (b"BINARY.PEEK[1.2]<0.5>", (FetchBody(b"BINARY[1.2]", Section((1, 2)), (0, 5), peek=True, binary=True),)),
    (b"BINARY.SIZE[2]", (FetchBody(b"BINARY.SIZE[2]", Section((2,)), peek=True, binary=True, size_only=True),)),
    (b"PREVIEW", (FetchPreview(),)),
    (b"PREVIEW (LAZY)", (FetchPreview(lazy=True),)),
    (b"(preview (lazy) UID)", (FetchPreview(lazy=True), FetchAtt(b"UID"))),
    (b"(PREVIEW (LAZY LAZY))", (FetchPreview(lazy=True),)),
    # The same octets twice: one item, and \Seen is set if one of them asks for it.
    (b"(BODY.PEEK[] BODY[])", (body(b"BODY[]"),)),
    (b"(BODY[] UID BODY.PEEK[])", (body(b"BODY[]"), FetchAtt(b"UID"))),
    (b"(BODY[]<0.1> BODY[]<1.1>)", (FetchBody(b"BODY[]", Section(), (0, 1)), FetchBody(b"BODY[]", Section(), (1, 1)))),
]


@pytest.mark.parametrize(("text", "items"), ITEMS)
def test_items(text: bytes, items: tuple[FetchItem, ...]) -> None:
    assert fetch(b"FETCH 1 " + text) == Fetch(b"a", NumberSet(((1, 1),)), items)
    assert fetch(spread(b"FETCH 1 " + text)) == Fetch(b"a", NumberSet(((1, 1),)), items)
    assert fetch(b"uid fetch 1:*,7 " + text + b" ") == Fetch(b"a", NumberSet(((1, 0), (7, 7))), items, uid=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"FETCH 1 FLAGS (CHANGEDSINCE 12345)", {"changed_since": 12345}),
        (b"FETCH 1 (FLAGS) (changedsince 0)", {"changed_since": 0}),
        (b"UID FETCH 1 (FLAGS) (CHANGEDSINCE 5 VANISHED)", {"uid": True, "changed_since": 5, "vanished": True}),
        (b"UID FETCH 1 (FLAGS) (VANISHED CHANGEDSINCE 5) ", {"uid": True, "changed_since": 5, "vanished": True}),
        (b"UID FETCH 1 (FLAGS) (PARTIAL -1:-30)", {"uid": True, "partial": (-1, -30)}),
        (b"UID FETCH 1 (FLAGS) (PARTIAL 5:1 CHANGEDSINCE 3)", {"uid": True, "partial": (1, 5), "changed_since": 3}),
    ],
)
def test_modifiers(text: bytes, expected: dict[str, object]) -> None:
    assert fetch(text) == Fetch(b"a", NumberSet(((1, 1),)), (FetchAtt(b"FLAGS"),), **expected)  # type: ignore[arg-type]


def test_a_modifier_is_not_a_preview_modifier() -> None:
    command = fetch(b"FETCH 1 PREVIEW (CHANGEDSINCE 5)")
    assert command.items == (FetchPreview(),)
    assert command.changed_since == 5


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b"FETCH", 5),
        (b"FETCH 1", 7),
        (b"FETCH 1 ", 8),
        (b"FETCH 0 FLAGS", 6),
        (b"FETCH 1 ()", 9),
        (b"FETCH 1 (FLAGS", 14),
        (b"FETCH 1 FLAGS UID", 14),
        (b"FETCH 1 (ALL)", 9),
        (b"FETCH 1 FOO", 8),
        (b"FETCH 1 BODY.PEEK", 8),
        (b"FETCH 1 BODY [HEADER]", 13),
        (b"FETCH 1 FLAGS[]", 8),
        (b"FETCH 1 BODY[FOO]", 13),
        (b"FETCH 1 BODY[MIME]", 13),
        (b"FETCH 1 BODY[0]", 13),
        (b"FETCH 1 BODY[1.0]", 15),
        (b"FETCH 1 BODY[1.]", 15),
        (b"FETCH 1 BODY[1.12345678901]", 25),
        (b"FETCH 1 BODY[1.HEADER", 21),
        (b"FETCH 1 BODY[HEADER.FIELDS]", 26),
        (b"FETCH 1 BODY[HEADER.FIELDS ()]", 28),
        (b"FETCH 1 BODY[HEADER.FIELDS (A B]", 32),
        (b"FETCH 1 BODY[TEXT ]", 17),
        (b"FETCH 1 BODY[]<0>", 16),
        (b"FETCH 1 BODY[]<0.0>", 17),
        (b"FETCH 1 BODY[]<1.9223372036854775808>", 17),
        (b"FETCH 1 BODY[]<-1.5>", 15),
        (b"FETCH 1 BODY[]<1.5", 18),
        (b"FETCH 1 RFC822<1.5>", 14),
        (b"FETCH 1 BINARY[HEADER]", 15),
        (b"FETCH 1 BINARY[1.TEXT]", 16),
        (b"FETCH 1 BINARY.SIZE[1]<0.1>", 22),
        (b"FETCH 1 (PREVIEW (FOO))", 17),
        (b"FETCH 1 (FLAGS X-GM-MSGID)", 15),
        (b"FETCH 1 X-GM-LABELS", 8),
        (b"FETCH 1 (PREVIEW (LAZY FOO))", 23),
        (b"FETCH 1 FLAGS ()", 15),
        (b"FETCH 1 FLAGS (FOO)", 15),
        (b"FETCH 1 FLAGS (CHANGEDSINCE)", 27),
        (b"FETCH 1 FLAGS (CHANGEDSINCE -1)", 28),
        (b"FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 2)", 30),
        (b"FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)", 30),
        (b"UID FETCH 1 FLAGS (VANISHED)", 19),
        (b"FETCH 1 FLAGS (PARTIAL 1:2)", 15),
        (b"UID FETCH 1 FLAGS (PARTIAL 0:2)", 27),
        (b"UID FETCH 1 FLAGS (PARTIAL -1:2)", 30),
        (b"UID FETCH 1 FLAGS (PARTIAL 1:-2)", 29),
        (b"UID FETCH 1 FLAGS (PARTIAL 1:*)", 29),
        (b"FETCH 1 FLAGS (CHANGEDSINCE 1) x", 30),
    ],
)
def test_bad(text: bytes, position: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(b"a " + text))
    assert caught.value.position == position + 2
    with pytest.raises(BadSyntax) as long:
        parse(Frame(b"a " + text + b" " * 2000))
    # The last space is let pass, so a command that only lacks a word is wrong one space later.
    assert long.value.position >= position + 2


def test_a_long_list_of_fields() -> None:
    names = b" ".join(b"X-%d" % n for n in range(5000))
    (item,) = fetch(b"FETCH 1 BODY[HEADER.FIELDS (" + names + b")]").items
    assert isinstance(item, FetchBody)
    assert len(item.section.fields) == 5000
    assert item.label == b"BODY[HEADER.FIELDS (" + names + b")]"
