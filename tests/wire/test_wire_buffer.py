"""CommandBuffer: the same events however the octets arrive, and never more memory than the limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.wire.buffer import (
    AFTER_LOGIN,
    BEFORE_LOGIN,
    TAKEN_OCTETS,
    CommandBuffer,
    Event,
    Expects,
    Frame,
    GoOn,
    Limits,
    Line,
    LiteralWanted,
    Overflow,
    Thrown,
)
from maildir_imapd.wire.parse import begins_command


class Octets:
    """A sink that compares by what it took."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def write(self, data: bytes | memoryview) -> None:
        self.data += bytes(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Octets) and self.data == other.data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Octets({self.data!r})"


class Client:
    """A session's half: streams messages, takes other literals into the frame; sends what waits for "+ "."""

    def __init__(self, limits: Limits = AFTER_LOGIN, *, refuse: bool = False) -> None:
        self.buffer = CommandBuffer(limits, begins_command=begins_command)
        self.refuse = refuse
        self.appending = False
        self.events: list[Event] = []

    def feed(self, data: bytes) -> None:
        self.buffer.feed(data)
        while (event := self.buffer.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, LiteralWanted):
                if self.refuse:
                    self.buffer.refuse()
                elif self.streams(event):
                    self.buffer.accept(Octets())
                else:
                    self.buffer.accept()

    def streams(self, event: LiteralWanted) -> bool:
        if not event.continued:
            self.appending = b" APPEND " in event.so_far.upper()
        return self.appending

    def frames(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, (LiteralWanted, GoOn, Thrown))]


SAMPLES: list[tuple[bytes, list[Event]]] = [
    (b"a1 NOOP\r\n", [Frame(b"a1 NOOP")]),
    (b"a1 NOOP\n", [Frame(b"a1 NOOP")]),
    (b"\r\n\n", [Frame(b""), Frame(b"")]),
    (b"a NOOP\r\r\n", [Frame(b"a NOOP\r")]),
    (b"a\rb NOOP\r\n", [Frame(b"a\rb NOOP")]),
    (b"a NOOP\r\nb NOOP\r\nc NO", [Frame(b"a NOOP"), Frame(b"b NOOP")]),
    (b"a LOGIN {3}\r\nfoo {4}\r\nba\r\n\r\nb", [Frame(b"a LOGIN {3}\r\nfoo {4}\r\nba\r\n")]),
    (b"a LOGIN {3+}\r\nfoo {4+}\r\nba\r\n\r\nb", [Frame(b"a LOGIN {3+}\r\nfoo {4+}\r\nba\r\n")]),
    (b"a LOGIN {3+}\nfoo {3+}\nbar\n", [Frame(b"a LOGIN {3+}\nfoo {3+}\nbar")]),
    (b"a X {0+}\r\n\r\nb Y\r\n", [Frame(b"a X {0+}\r\n"), Frame(b"b Y")]),
    (b"a X {00003+}\r\nabc\r\n", [Frame(b"a X {00003+}\r\nabc")]),
    (b"a X ~{3+}\r\na\0c\r\n", [Frame(b"a X ~{3+}\r\na\0c")]),
    (b"a X {4+}\r\n{5+}\r\nb Y\r\n", [Frame(b"a X {4+}\r\n{5+}"), Frame(b"b Y")]),
    (b"a X }\r\nb {x}\r\nc {}\r\nd 5}\r\n", [Frame(b"a X }"), Frame(b"b {x}"), Frame(b"c {}"), Frame(b"d 5}")]),
    (b"a X {5} \r\nb {-5}\r\nc {5++}\r\n", [Frame(b"a X {5} "), Frame(b"b {-5}"), Frame(b"c {5++}")]),
    (
        b"a APPEND box {5}\r\nhello\r\nb NOOP\r\n",
        [Frame(b"a APPEND box {5}\r\n", ((18, Octets(b"hello")),)), Frame(b"b NOOP")],
    ),
    (
        b"a append box ~{7+}\r\na\0b\r\n{3 (\\Seen) {0}\r\n {2+}\r\n\r\n\r\n",
        [
            Frame(
                b"a append box ~{7+}\r\n (\\Seen) {0}\r\n {2+}\r\n",
                ((20, Octets(b"a\0b\r\n{3")), (34, Octets()), (41, Octets(b"\r\n"))),
            )
        ],
    ),
    (
        b"a APPEND box {3+}\r\nabcx{4+}\r\n1234y\r\nb Z\r\n",
        [Frame(b"a APPEND box {3+}\r\nx{4+}\r\ny", ((19, Octets(b"abc")), (26, Octets(b"1234")))), Frame(b"b Z")],
    ),
]


@pytest.mark.parametrize(("data", "expected"), SAMPLES)
def test_every_split(data: bytes, expected: list[Event]) -> None:
    for split in range(len(data) + 1):
        client = Client()
        client.feed(data[:split])
        client.feed(data[split:])
        assert client.frames() == expected, split


@pytest.mark.parametrize(("data", "expected"), SAMPLES)
def test_octet_by_octet(data: bytes, expected: list[Event]) -> None:
    client = Client()
    for position in range(len(data)):
        client.feed(data[position : position + 1])
    assert client.frames() == expected


@given(st.lists(st.sampled_from(SAMPLES), max_size=5), st.data())
def test_any_pieces(samples: list[tuple[bytes, list[Event]]], draw: st.DataObject) -> None:
    whole = [sample for sample in samples if sample[0].endswith(b"\n")]
    data = b"".join(sample for sample, _ in whole)
    client = Client()
    while data:
        size = draw.draw(st.integers(1, len(data)))
        client.feed(data[:size])
        data = data[size:]
    assert client.frames() == [event for _, events in whole for event in events]
    assert not client.buffer.pending


def events_of(data: bytes, expects: Expects = Expects.COMMAND, limits: Limits = AFTER_LOGIN) -> list[Event]:
    buffer = CommandBuffer(limits)
    buffer.feed(data)
    found = []
    while (event := buffer.next_event(expects)) is not None:
        found.append(event)
    return found


# --- literals that are asked about ----------------------------------------------------------------


def test_what_is_asked() -> None:
    client = Client()
    client.feed(b"t7 APPEND box (\\Seen) {5}\r\nhello ~{3+}\r\nabc\r\n")
    first, second, _ = client.events
    assert first == LiteralWanted(b"t7 APPEND box (\\Seen) ", 5, synchronizing=True, tag=b"t7")
    assert second == LiteralWanted(
        b"{5}\r\n ",
        3,
        synchronizing=False,
        literal8=True,
        streamed=((5, Octets(b"hello")),),
        tag=b"t7",
        continued=True,
    )


def test_so_far_has_literals_that_were_collected() -> None:
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(b"a UID REPLACE 4 {3+}\r\nbox {5+}\r\nhello\r\n")
    assert buffer.next_event() == LiteralWanted(b"a UID REPLACE 4 ", 3, synchronizing=False, tag=b"a")
    buffer.accept()
    assert buffer.next_event() == LiteralWanted(b"{3+}\r\nbox ", 5, synchronizing=False, tag=b"a", continued=True)
    sink = Octets()
    buffer.accept(sink)
    assert buffer.next_event() == Frame(b"a UID REPLACE 4 {3+}\r\nbox {5+}\r\n", ((32, sink),))


def test_a_wanted_literal_is_waited_for() -> None:
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(b"a LOGIN {3}\r\n")
    assert isinstance(buffer.next_event(), LiteralWanted)
    assert buffer.next_event() is None
    assert buffer.pending
    buffer.feed(b"foo bar\r\n")
    assert buffer.next_event() is None
    buffer.accept()
    assert buffer.next_event() == Frame(b"a LOGIN {3}\r\nfoo bar")


def test_only_small_plain_literals_are_collected_unasked() -> None:
    assert events_of(b"a X {3+}\r\nabc\r\n") == [Frame(b"a X {3+}\r\nabc")]
    for verb in (b"APPEND", b"append", b"REPLACE", b"UID REPLACE", b"uid replace"):
        (event,) = events_of(b"a %b 1 {3+}\r\nabc\r\n" % verb)
        assert isinstance(event, LiteralWanted)
    assert events_of(b"a APPENDX {3+}\r\nabc\r\n") == [Frame(b"a APPENDX {3+}\r\nabc")]


def test_a_short_literal_that_is_refused_is_taken_and_thrown_away() -> None:
    data = b"a APPEND box {12}\r\nx LOGOUT\r\ny!\r\nb NOOP\r\n"
    for split in range(len(data) + 1):
        client = Client(refuse=True)
        client.feed(data[:split])
        client.feed(data[split:])
        assert client.events[1:] == [Thrown(), Frame(b"b NOOP")], split


def test_each_literal_of_a_command_that_is_refused_is_asked_for() -> None:
    client = Client(refuse=True)
    for piece in (b"a APPEND box {9+}\r\n", b"x LOGOUT\n {10}\r\n", b"x LOGOUT\r\n {70000}\r\n"):
        client.feed(piece)
    assert client.events[1:] == [GoOn(), Thrown()]
    # That one it was not asked for.
    client.feed(b"b NOOP\r\n")
    assert client.events[3:] == [Frame(b"b NOOP")]


def test_who_answers_when() -> None:
    for size, synchronizing, behind, at_once in (
        (TAKEN_OCTETS, True, b"", False),
        (TAKEN_OCTETS + 1, True, b"", True),
        (TAKEN_OCTETS + 1, True, b"S", False),
        (5, False, b"", False),
        (5, False, b"hello", False),
    ):
        buffer = CommandBuffer(AFTER_LOGIN)
        buffer.feed(b"a APPEND box {%d%b}\r\n%b" % (size, b"" if synchronizing else b"+", behind))
        assert isinstance(buffer.next_event(), LiteralWanted)
        assert buffer.refuse() is at_once
        assert buffer.next_event() is None


COMMANDS = b"x DELETE INBOX\r\nx LOGOUT\r\n"


@pytest.mark.parametrize(
    "begin",
    [
        b"Subject: probe\r\n",
        b"Subject: list of things\r\n",
        b"nonsense {5+}\r\n",
        b"x" * (AFTER_LOGIN.line + 2),
    ],
)
def test_a_long_literal_that_comes_all_the_same_is_skipped(begin: bytes) -> None:
    """Its client has not waited, whether the octets lie there already or not."""
    text = begin + COMMANDS * 4000
    data = b"a APPEND box {%d}\r\n" % len(text) + text + b"\r\nb NOOP\r\n"
    for split in (0, 3, data.index(b"\n") + 1, data.index(b"\n") + 5, len(data) - 12, len(data) - 1):
        client = Client(refuse=True)
        client.feed(data[:split])
        client.feed(data[split:])
        assert client.frames() == [Frame(b"b NOOP")], split


def test_a_client_that_waited_goes_on() -> None:
    client = Client(refuse=True)
    client.feed(b"a APPEND box {70000}\r\n")
    client.feed(b"b NO")
    client.feed(b"OP\r\nSubject: x\r\n")
    assert client.frames() == [Frame(b"b NOOP"), Frame(b"Subject: x")]


def test_very_many_that_come_all_the_same() -> None:
    client = Client(refuse=True)
    client.feed(b"a APPEND box {70000}\r\n")
    client.feed(b"Subject: x\r\n" + b"x" * (70000 - 12) + b"x {1}\r\n" * 20_000 + b"y\r\nb NOOP\r\n")
    assert client.frames() == [Frame(b"b NOOP")]


def test_empty_lines_decide_nothing() -> None:
    for text in (b"\r\nSubject: x\r\n", b"\n\r\nx: LOGOUT\r\n"):
        client = Client(refuse=True)
        client.feed(b"a APPEND box {70000}\r\n")
        client.feed(text + COMMANDS * 3)
        client.feed(b"x" * (70000 - len(text) - len(COMMANDS * 3)) + b"\r\nb NOOP\r\n")
        assert set(client.frames()) == {Frame(b""), Frame(b"b NOOP")}


def test_what_comes_all_the_same_and_is_too_long_to_be_skipped_ends_it() -> None:
    for split in (None, 27):
        buffer = CommandBuffer(AFTER_LOGIN, skip_limit=1000, begins_command=begins_command)
        data = b"a APPEND box {1000000000}\r\nSubject: x\r\n"
        buffer.feed(data[:split])
        assert isinstance(buffer.next_event(), LiteralWanted)
        assert buffer.refuse()
        if split is not None:
            buffer.feed(data[split:])
        event = buffer.next_event()
        assert isinstance(event, Overflow)
        assert event.fatal
        buffer.feed(b"x LOGOUT\r\n")
        assert buffer.next_event() is None


@pytest.mark.parametrize(
    "rest",
    [
        b"hello\r\n",
        b"hello {3+}\r\nx\r\n (\\Seen) {9+}\r\nz EXPUNGE\r\n",
        b"hello {13}\r\nz EXPUNGE\r\n\r\n\r\n",
        b"h\r\n\r\n" + b"x" * 1000 + b"\n",
    ],
)
def test_refused_non_synchronizing_is_thrown_away(rest: bytes) -> None:
    data = b"a APPEND box {5+}\r\n" + rest + b"b NOOP\r\n"
    for split in range(len(data) + 1):
        client = Client(refuse=True)
        client.feed(data[:split])
        client.feed(data[split:])
        assert client.frames() == [Frame(b"b NOOP")], split


def test_answers_without_a_question_do_nothing() -> None:
    buffer = CommandBuffer()
    buffer.accept()
    buffer.refuse()
    buffer.feed(b"a NOOP\r\n")
    assert buffer.next_event() == Frame(b"a NOOP")


# --- lines that are no commands -------------------------------------------------------------------


def test_lines() -> None:
    assert events_of(b"AGZvbw==\r\n\r\nDONE\n", Expects.LINE) == [Line(b"AGZvbw=="), Line(b""), Line(b"DONE")]


def test_a_line_has_no_literals() -> None:
    assert events_of(b"x {3+}\r\nabc\r\n", Expects.LINE) == [Line(b"x {3+}"), Line(b"abc")]


def test_what_follows_done_is_kept() -> None:
    buffer = CommandBuffer()
    buffer.feed(b"a IDLE\r\nDONE\r\nb NOOP\r\n")
    assert buffer.next_event() == Frame(b"a IDLE")
    assert buffer.next_event(Expects.LINE) == Line(b"DONE")
    assert buffer.next_event() == Frame(b"b NOOP")


def test_half_a_line_may_become_either() -> None:
    buffer = CommandBuffer()
    buffer.feed(b"DO")
    assert buffer.next_event() is None
    buffer.feed(b"NE\r\n")
    assert buffer.next_event(Expects.LINE) == Line(b"DONE")


def test_clear_and_pending() -> None:
    buffer = CommandBuffer()
    assert not buffer.pending
    buffer.feed(b"a STARTTLS\r\nb LOGIN x y\r\n")
    assert buffer.next_event() == Frame(b"a STARTTLS")
    assert buffer.pending
    buffer.clear()
    assert not buffer.pending
    buffer.feed(b"c NOOP\r\n")
    assert buffer.next_event() == Frame(b"c NOOP")


# --- limits ---------------------------------------------------------------------------------------

SMALL = Limits(line=20, literal=8, command=40)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a " + b"x" * 18 + b"\r\nb Y\r\n", [Frame(b"a " + b"x" * 18), Frame(b"b Y")]),
        (b"a " + b"x" * 19 + b"\r\nb Y\r\n", [Overflow(b"a", "line"), Frame(b"b Y")]),
        (b"a " + b"x" * 500 + b"\r\nb Y\r\n", [Overflow(b"a", "line"), Frame(b"b Y")]),
        (b"a" + b"x" * 500 + b"\r\nb Y\r\n", [Overflow(None, "line"), Frame(b"b Y")]),
        (b"a " + b"x" * 500 + b"{4+}\r\nz\r\n!\r\nb Y\r\n", [Overflow(b"a", "line"), Frame(b"b Y")]),
        (b"a " + b"x" * 500 + b"{4}\r\nz Y!\r\nb Y\r\n", [Overflow(b"a", "line"), Frame(b"b Y")]),
        (b"a X {8+}\r\n12345678\r\nb Y\r\n", [Frame(b"a X {8+}\r\n12345678"), Frame(b"b Y")]),
        (b"a X {9+}\r\n123\r\n6789\r\nb Y\r\n", [Overflow(b"a", "literal"), Frame(b"b Y")]),
        (b"a X {9}\r\nb X\r\nc X.\r\nb Y\r\n", [Overflow(b"a", "literal"), Frame(b"b Y")]),
        (b"a X {99999999999999999999999}\r\n", [Overflow(b"a", "line")]),
        (
            b"a X {8+}\r\n12345678 {8+}\r\n12345678{8+}\r\n12345678\r\nb Y\r\n",
            [Overflow(b"a", "command"), Frame(b"b Y")],
        ),
        (b"a X {8+}\r\n12345678 " + b"y" * 19 + b" z\r\nb Y\r\n", [Overflow(b"a", "line"), Frame(b"b Y")]),
        (b"a X {8+}\r\n12345678{4+}\r\n1234" + b"y" * 19 + b"\r\nb Y\r\n", [Overflow(b"a", "command"), Frame(b"b Y")]),
        (b"a APPEND " + b"{2+}\r\nxx " * 9 + b"\r\nb Y\r\n", [Overflow(b"a", "command"), Frame(b"b Y")]),
    ],
)
def test_limits(data: bytes, expected: list[Event]) -> None:
    for split in range(len(data) + 1):
        client = Client(SMALL)
        client.feed(data[:split])
        client.feed(data[split:])
        assert client.frames() == expected, split


def test_too_long_for_the_frame_after_all() -> None:
    buffer = CommandBuffer(SMALL)
    buffer.feed(b"a APPEND {9}\r\n")
    assert isinstance(buffer.next_event(), LiteralWanted)
    buffer.accept()
    assert buffer.next_event() is None
    # It was told to go on, so the literal comes.
    buffer.feed(b"b EXPUNGE!\r\nc NOOP\r\n")
    assert buffer.next_event() == Overflow(b"a", "literal")
    assert buffer.next_event() == Frame(b"c NOOP")


def test_a_long_line_in_a_dialogue() -> None:
    assert events_of(b"x" * 21 + b"\r\nDONE\r\n", Expects.LINE, SMALL) == [Overflow(None, "line"), Line(b"DONE")]


@pytest.mark.parametrize(
    "data",
    [
        b"a X {2000+}\r\n",
        b"a X {99999999999999999999999+}\r\n",
        b"a " + b"x" * 50 + b"{" + b"9" * 80 + b"+}\r\n",
        b"a " + b"x" * 50 + b"{5+}\r\nhello" + b"x" * 3000,
        b"a " + b"x" * 30 + b"{600+}\r\n" + b"y" * 600 + b"{600+}\r\n",
    ],
)
def test_what_cannot_be_skipped_ends_it(data: bytes) -> None:
    buffer = CommandBuffer(SMALL, skip_limit=1000)
    buffer.feed(data)
    events = []
    while (event := buffer.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], Overflow)
    assert events[-1].fatal
    buffer.feed(b"\r\nb NOOP\r\n")
    assert buffer.next_event() is None
    assert not buffer.pending


def test_numbers_of_any_length() -> None:
    for digits in (20, 5000):
        literal = b"a X {" + b"9" * digits
        assert events_of(literal + b"}\r\n") == [Overflow(b"a", "literal")]
        assert events_of(literal + b"+}\r\n") == [Overflow(b"a", "literal", fatal=True)]


def test_refusing_what_cannot_be_skipped_ends_it() -> None:
    buffer = CommandBuffer(AFTER_LOGIN, skip_limit=1000)
    buffer.feed(b"a APPEND box {5000+}\r\nx")
    assert isinstance(buffer.next_event(), LiteralWanted)
    buffer.refuse()
    assert buffer.next_event() == Overflow(b"a", "literal", fatal=True)


def test_limits_can_be_raised() -> None:
    buffer = CommandBuffer(BEFORE_LOGIN)
    buffer.limits = AFTER_LOGIN
    buffer.feed(b"a FETCH " + b"1," * 50_000 + b"1 FLAGS\r\n")
    assert isinstance(buffer.next_event(), Frame)


def test_memory_stays_within_the_limits() -> None:
    buffer = CommandBuffer(BEFORE_LOGIN)
    piece = b"x" * 1000
    for _ in range(1000):
        buffer.feed(piece)
        buffer.next_event()
        assert len(buffer._data) <= BEFORE_LOGIN.command + len(piece)
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(b"a APPEND box {1000000+}\r\n")
    assert isinstance(buffer.next_event(), LiteralWanted)
    sink = Octets()
    buffer.accept(sink)
    for _ in range(1000):
        assert buffer.next_event() is None
        buffer.feed(piece)
        assert len(buffer._data) <= len(piece)
    assert buffer.next_event() is None
    assert len(sink.data) == 1_000_000


# --- linear ---------------------------------------------------------------------------------------


def test_each_octet_is_searched_once() -> None:
    """The search goes on where it stopped: at no time is there anything before it to look at again."""
    buffer = CommandBuffer(AFTER_LOGIN)
    for size in range(1, 3000):
        buffer.feed(b"x")
        assert buffer.next_event() is None
        assert buffer._scan == size


def test_a_thousand_messages_are_looked_at_once() -> None:
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(b"a APPEND box" + b" {1+}\r\nx" * 1000 + b"\r\n")
    asked = 0
    seen = 0
    while isinstance(event := buffer.next_event(), LiteralWanted):
        buffer.accept(Octets())
        asked += 1
        seen += len(event.so_far)
    assert asked == 1000
    assert seen < 10_000
    assert isinstance(event, Frame)
    assert len(event.streamed) == 1000


def test_whole_pieces_are_not_copied() -> None:
    data = b"".join(b"a%d NOOP\r\n" % n for n in range(100))
    buffer = CommandBuffer()
    buffer.feed(data)
    assert buffer._data is data
    while buffer.next_event() is not None:
        assert buffer._data is data
