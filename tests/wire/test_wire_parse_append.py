"""APPEND and REPLACE: as a whole, and literal by literal as they come in."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from blanks import spread

from maildir_imapd.errors import BadSyntax, ProtocolError
from maildir_imapd.wire.buffer import AFTER_LOGIN, CommandBuffer, Frame, LiteralWanted
from maildir_imapd.wire.commands import Append, AppendMessage, CatText, CatUrl, Command, Replace
from maildir_imapd.wire.parse import parse
from maildir_imapd.wire.parse_append import AppendReader, AppendStart, Role

DATE = dt.datetime(1994, 2, 7, 21, 52, 25, tzinfo=dt.timezone(dt.timedelta(hours=-8)))


def message(data: Any, *flags: bytes, **more: Any) -> AppendMessage:
    return AppendMessage(data, flags, **more)


def append(mailbox: bytes, *messages: AppendMessage) -> Append:
    return Append(b"a", mailbox, messages)


GOOD: list[tuple[bytes, Command]] = [
    (b"APPEND box {5}\r\nhello", append(b"box", message(b"hello"))),
    (b"append inbox {5+}\r\nhello", append(b"INBOX", message(b"hello"))),
    (b"APPEND {5+}\r\nInbox {2+}\r\n\r\n", append(b"INBOX", message(b"\r\n"))),
    (b"APPEND box () {0}\r\n", append(b"box", message(b""))),
    (b"APPEND box (\\seen $Foo) {1}\r\nx ", append(b"box", message(b"x", b"\\Seen", b"$Foo"))),
    (b'APPEND box " 7-Feb-1994 21:52:25 -0800" {1}\r\nx', append(b"box", message(b"x", date=DATE))),
    (b'APPEND box (\\X) "7-Feb-1994 21:52:25 -0800" {1}\r\nx', append(b"box", message(b"x", b"\\X", date=DATE))),
    (b"APPEND box ~{3}\r\na\0b", append(b"box", message(b"a\0b", literal8=True))),
    # RFC 6855
    (b"APPEND box (\\Seen) UTF8 (~{1+}\r\nx)", append(b"box", message(b"x", b"\\Seen", literal8=True, utf8=True))),
    # RFC 3502
    (
        b'APPEND box (\\Seen) {1}\r\nx (a) "07-Feb-1994 21:52:25 -0800" {1+}\r\ny ~{1}\r\nz',
        append(b"box", message(b"x", b"\\Seen"), message(b"y", b"a", date=DATE), message(b"z", literal8=True)),
    ),
    # RFC 4469
    (
        b'APPEND box (a) CATENATE (URL "/x;UID=1" TEXT {2}\r\nhi URL z text ~{1+}\r\n\0 UTF8 (~{1}\r\nu)) {1}\r\nx',
        append(
            b"box",
            message(
                None,
                b"a",
                catenate=(
                    CatUrl(b"/x;UID=1"),
                    CatText(b"hi"),
                    CatUrl(b"z"),
                    CatText(b"\0", literal8=True),
                    CatText(b"u", literal8=True),
                ),
            ),
            message(b"x"),
        ),
    ),
    (b"APPEND box CATENATE (URL {2}\r\n/x)", append(b"box", message(None, catenate=(CatUrl(b"/x"),)))),
    # RFC 8508
    (b"REPLACE 4 Drafts {1}\r\nx", Replace(b"a", 4, b"Drafts", message(b"x"))),
    (b"uid replace * inbox (\\Draft) {1+}\r\nx", Replace(b"a", 0, b"INBOX", message(b"x", b"\\Draft"), uid=True)),
    (
        b"UID REPLACE 7 {1+}\r\nb UTF8 (~{1}\r\nx)",
        Replace(b"a", 7, b"b", message(b"x", literal8=True, utf8=True), True),
    ),
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_whole(text: bytes, expected: Command) -> None:
    assert parse(Frame(b"a " + text)) == expected
    assert parse(Frame(b"a " + spread(text))) == expected


class Sink(list[bytes]):
    """A sink is a value of its own in the command."""

    def write(self, data: bytes | memoryview) -> None:
        self.append(bytes(data))


def streamed(text: bytes) -> tuple[Command, list[AppendStart], dict[int, Sink]]:
    """Go through the buffer as a session does: messages into sinks, names and URLs into the frame."""
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(b"a " + text + b"\r\n")
    reader = AppendReader()
    starts = []
    sinks = {}
    while isinstance(event := buffer.next_event(), LiteralWanted):
        start = reader.read(event)
        starts.append(start)
        if start.role in (Role.MESSAGE, Role.TEXT):
            sinks[len(starts)] = sink = Sink()
            buffer.accept(sink)
        else:
            buffer.accept()
    assert isinstance(event, Frame)
    return parse(event), starts, sinks


def with_octets(value: Any) -> Any:
    """The value as it would be had its literals not been streamed."""
    if isinstance(value, Sink):
        return b"".join(value)
    if isinstance(value, AppendMessage):
        cat = value.catenate and tuple(with_octets(part) for part in value.catenate)
        return AppendMessage(with_octets(value.data), value.flags, value.date, value.literal8, value.utf8, cat)
    if isinstance(value, CatText):
        return CatText(with_octets(value.data), value.literal8)
    if isinstance(value, Append):
        return Append(value.tag, value.mailbox, tuple(with_octets(one) for one in value.messages))
    if isinstance(value, Replace):
        return Replace(value.tag, value.number, value.mailbox, with_octets(value.message), value.uid)
    return value


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_streamed(text: bytes, expected: Command) -> None:
    for command, _, _ in (streamed(text), streamed(spread(text))):
        assert with_octets(command) == expected


def test_what_each_literal_is() -> None:
    _, starts, _ = streamed(
        b"APPEND {3}\r\nbox (a) {1}\r\nx (b) CATENATE (URL {1}\r\nu TEXT {1}\r\nt) UTF8 (~{1}\r\nx)"
    )
    assert [(start.role, start.mailbox, start.index, start.message and start.message.flags) for start in starts] == [
        (Role.MAILBOX, b"", 0, None),
        (Role.MESSAGE, b"box", 0, (b"a",)),
        (Role.URL, b"box", 1, (b"b",)),
        (Role.TEXT, b"box", 1, (b"b",)),
        (Role.MESSAGE, b"box", 2, ()),
    ]
    assert starts[-1].message == message(None, utf8=True)
    assert all(start.number is None for start in starts)


def test_start_of_replace() -> None:
    wanted = LiteralWanted(b"t UID REPLACE 4 inbox (\\Seen) ", 10, synchronizing=True)
    assert AppendReader().read(wanted) == AppendStart(
        b"t", Role.MESSAGE, b"INBOX", 0, message(None, b"\\Seen"), number=4, uid=True
    )


BAD: list[tuple[bytes, int]] = [
    (b"APPEND", 6),
    (b"APPEND ", 7),
    (b"APPEND box", 10),
    (b"APPEND box ", 11),
    (b"APPEND box{1}\r\nx", 10),
    (b'APPEND box "hello"', 11),
    (b"APPEND box hello", 11),
    (b"APPEND box (a){1}\r\nx", 14),
    (b"APPEND box (\\Recent) {1}\r\nx", 12),
    (b'APPEND box "x" {1}\r\nx', 11),
    (b'APPEND box "7-Feb-1994 21:52:25 -0800" (a) {1}\r\nx', 39),
    (b"APPEND box {1}\r\nxy", 17),
    (b"APPEND box {1}\r\nx{1}\r\nx", 17),
    (b"APPEND box {1}\r\nx y", 18),
    (b"APPEND box {1}\r\n\0", 16),
    (b"APPEND ~{3}\r\nbox {1}\r\nx", 7),
    (b"APPEND box UTF8 ({1}\r\nx)", 17),
    (b"APPEND box UTF8 (~{1}\r\nx", 24),
    (b"APPEND box UTF8 ()", 17),
    (b"APPEND box CATENATE ()", 21),
    (b"APPEND box CATENATE (FOO {1}\r\nx)", 21),
    (b"APPEND box CATENATE (TEXT x)", 26),
    (b"APPEND box CATENATE (URL ~{1}\r\nx)", 25),
    (b"APPEND box CATENATE (URL x URL y", 32),
    (b"APPEND box ANNOTATION (x) {1}\r\nx", 11),
    (b"REPLACE 1:2 box {1}\r\nx", 9),
    (b"REPLACE 0 box {1}\r\nx", 8),
    (b"REPLACE 1 box {1}\r\nx {1}\r\ny", 20),
]


@pytest.mark.parametrize(("text", "position"), BAD)
def test_bad(text: bytes, position: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(b"a " + text))
    assert caught.value.position == position + 2


@pytest.mark.parametrize("text", [text for text, _ in BAD])
def test_bad_while_it_comes_in(text: bytes) -> None:
    """At a literal or at the end, but never with anything but a ProtocolError."""
    if b"\0" in text:
        return  # a streamed literal is its sink's business
    with pytest.raises(ProtocolError):
        streamed(text)


def test_wrong_before_the_literal_is_taken() -> None:
    with pytest.raises(BadSyntax):
        AppendReader().read(LiteralWanted(b"a APPEND box (\\Seen ", 5, synchronizing=True))
    with pytest.raises(BadSyntax):
        AppendReader().read(LiteralWanted(b"a APPEND ", 5, synchronizing=True, literal8=True))


def test_a_name_that_went_into_a_sink() -> None:
    """A session that streams what is no message gets a syntax error, not a sink for a name."""
    for text, place in ((b"APPEND {1}\r\n {1}\r\nx", 14), (b"APPEND b CATENATE (URL {1}\r\n)", 30)):
        with pytest.raises(BadSyntax):
            parse(Frame(b"a " + text, ((place, Sink()),)))
    with pytest.raises(BadSyntax):
        parse(Frame(b"a SELECT {1}\r\n", ((14, Sink()),)))


def test_no_command_yet() -> None:
    with pytest.raises(BadSyntax):
        AppendReader().read(LiteralWanted(b"a", 1, synchronizing=True))


def test_a_thousand_messages() -> None:
    command, starts, _ = streamed(b"APPEND box" + b" (a) {1+}\r\nx" * 1000)
    assert isinstance(command, Append)
    assert len(command.messages) == len(starts) == 1000
