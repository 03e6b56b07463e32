"""Cut whole commands out of a stream of octets; decide nothing else.

A command ends at the first line end that is not the end of a literal's ``{n}`` marker.  The search
for it goes over each octet once, however slowly they come, and gives up at the limits before a line
or a literal is complete.  A literal of APPEND or REPLACE never enters the buffer: it is offered to
the session (``LiteralWanted``) and flows into a sink.

RFC 3501 sections 2.2.1 and 4.3, RFC 7888.  Laxer than the grammar: a bare LF ends a line, for those
who type by hand.  What was announced as a literal is never read as a command, wanted or not: not by a
client either that does not wait for "+ ", whose literal is on its way when it is refused.  One of up to
``TAKEN_OCTETS``, or that has begun to come, is therefore taken and thrown away (``GoOn``), and answered
then; only a longer one is refused before it is sent, and then the next line must look like a command.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from maildir_imapd.wire import abnf


class Sink(Protocol):
    """Takes a literal's octets; remembers its trouble and never raises."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take the next octets."""


class Expects(enum.Enum):
    """The kind of input that the session waits for: a command, or a bare line (an answer in AUTHENTICATE, DONE)."""

    COMMAND = enum.auto()
    LINE = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """The most octets of a line, of a literal kept in memory, and of a command with all of those."""

    line: int
    literal: int
    command: int


# Before login for an ID of 30 pairs, whose values have 1024 octets (RFC 2971 3.3); nobody logs in with more.
BEFORE_LOGIN = Limits(line=40 << 10, literal=4 << 10, command=40 << 10)
AFTER_LOGIN = Limits(line=1 << 20, literal=64 << 10, command=(1 << 20) + (256 << 10))

Streamed = tuple[tuple[int, Sink], ...]


class Frame(NamedTuple):
    """A whole command without its last line end, literals inline as they came.

    Of a streamed literal only the marker with its line end is in *text*; *streamed* says at which
    position, directly after it, which sink took the octets.
    """

    text: bytes
    streamed: Streamed = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is no command, without its line end."""

    text: bytes


@dataclass(frozen=True, slots=True)
class LiteralWanted:
    """The client wants to send a literal; answer with ``accept`` or ``refuse``.

    *so_far* is the command up to the marker.  When the same command had a ``LiteralWanted`` before
    (*continued*), it begins at the marker of that one instead, so that a command of a thousand
    messages is not looked at a thousand times; *streamed* then tells where that literal went.
    Only when *synchronizing* does the client wait for "+ ".
    """

    so_far: bytes
    size: int
    synchronizing: bool
    literal8: bool = False
    streamed: Streamed = ()
    tag: bytes | None = None
    continued: bool = False


@dataclass(frozen=True, slots=True)
class Overflow:
    """A limit was passed; *what* is "line", "literal" or "command".

    The rest of the command is skipped and the stream stays in step, unless *fatal*.  *begin* is how a
    command begins whose literal is too long.
    """

    tag: bytes | None
    what: str
    fatal: bool = False
    begin: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class GoOn:
    """The word to tell the client "+ ": its literal, which nobody wants, is thrown away, and the answer is due then."""


@dataclass(frozen=True, slots=True)
class Thrown:
    """The command whose literal was refused has come in and is thrown away: answer it now."""


class _Again(enum.Enum):
    """The word that what was looked at was nothing, and what follows may be something."""

    AGAIN = enum.auto()


Event = Frame | Line | LiteralWanted | Overflow | GoOn | Thrown

# A literal of so many octets costs less to take and throw away than to ask whether the client has waited.
TAKEN_OCTETS: Final = 64 << 10

# The marker of a literal at the end of a line; the number may have any length here.
_MARKER = re.compile(rb"(~?)\{([0-9]+)(\+?)\}\Z").search
# RFC 3501: tag SP "APPEND" SP ..., RFC 8508: tag SP ["UID" SP] "REPLACE" SP ...
# The tag is bounded, because this is tried for every literal of a command.
_STREAMING = re.compile(rb"[^ ]{1,1024} (?:UID {1,9})?(?:APPEND|REPLACE) ", re.IGNORECASE).match

# While skipping, this much of a line's end is kept to find a marker in.
_TAIL = 64
_HUGE = 1 << 63

# What is left there of a marker that is longer still; its literal cannot be skipped.
_REST_OF_MARKER = re.compile(rb"[0-9]{%d,}\+\}" % (_TAIL - 4)).fullmatch


class CommandBuffer:
    """Octets in, events out: never blocks, never raises.

    Between ``feed`` calls the caller asks for events until there is none.  Memory stays below the
    limits plus what one ``feed`` brought.  *skip_limit* is how much of an unwanted command is
    thrown away before the connection is given up.  *begins_command* tells of a line whether it may
    begin a command, where it could also be text of a literal that was refused.
    """

    def __init__(
        self,
        limits: Limits = BEFORE_LOGIN,
        *,
        skip_limit: int = 100 << 20,
        begins_command: Callable[[bytes], bool] = lambda line: abnf.HEAD(line) is not None,
    ) -> None:
        self.limits = limits
        self.skip_limit = skip_limit
        self._begins_command = begins_command
        self._dead = False
        self.clear()

    def clear(self) -> None:
        """Forget all that was fed, also a command that has begun (STARTTLS)."""
        self._data: bytes | bytearray = b""
        self._start = 0  # of what is not yet handed out
        self._line = 0  # where the current line begins: after the last literal
        self._scan = 0  # where the search for a line end goes on; beyond the data inside a literal
        self._head = bytearray()  # of a command with streamed literals: all up to the last of them
        self._streamed: list[tuple[int, Sink]] = []
        self._asked = -1  # position of the last marker that was asked about, counted in the whole command
        self._wanted: LiteralWanted | None = None
        self._sink: Sink | None = None
        self._left = 0  # octets of a literal still to come, for the sink or to be skipped
        self._skipping = False
        self._skipped = 0
        self._tail = b""
        self._late: Event | None = None  # the next event
        self._verdict: Event | None = None  # the event once the rest of the command is thrown away
        self._doubt = 0  # octets of a literal that was refused, which may come all the same
        self._between = False  # commands, for certain: nothing of all that above is under way

    @property
    def pending(self) -> bool:
        """Whether something was fed that no event has taken away, or a command is under way."""
        return self._start < len(self._data) or bool(self._head) or self._skipping or self._wanted is not None

    def feed(self, data: bytes) -> None:
        """Add what the socket gave."""
        if self._dead or not data:
            return
        if self._start == len(self._data):
            # Nothing is left over, which is the rule: the octets are used where they are.
            self._rebase()
            self._data = data
            return
        if self._start or not isinstance(self._data, bytearray):
            self._data = bytearray(memoryview(self._data)[self._start :])
            self._rebase()
        self._data += data

    def _rebase(self) -> None:
        self._line -= self._start
        self._scan -= self._start
        self._start = 0

    def next_event(self, expects: Expects = Expects.COMMAND) -> Event | None:
        """Return what comes next, or None when more octets (or an answer to the last event) are needed."""
        if self._between:
            data, start, limits = self._data, self._start, self.limits
            if start == len(data):
                return None
            # Most commands are one line; it is the same as ``_look`` makes of it.
            end = data.find(b"\n", self._scan) if expects is Expects.COMMAND else -1
            if end > start:
                stop = end - 1 if data[end - 1] == 0x0D else end
                octets = stop - start
                if octets and data[stop - 1] != 0x7D and octets <= limits.line and octets <= limits.command:
                    self._start = self._line = self._scan = end + 1
                    return Frame(bytes(data[start:stop]))
        event = self._look(expects)
        while event is _Again.AGAIN:
            event = self._look(expects)
        self._between = isinstance(event, Frame | None) and not (
            self._late is not None
            or self._wanted is not None
            or self._dead
            or self._skipping
            or self._left
            or self._doubt
            or self._head
            or self._line != self._start
            or self._asked >= 0
        )
        return event

    def _look(self, expects: Expects) -> Event | _Again | None:
        if self._late is not None:
            return self._take_late()
        if self._wanted is not None or self._dead:
            return None
        if self._skipping:
            if not self._skip():
                return self._die(None, "command")
            if self._giving_up():
                return self._take_late()
        elif self._left:
            self._stream()
            if self._left:
                return None
        while (end := self._data.find(b"\n", self._scan)) >= 0:
            self._scan = end + 1
            stop = end - 1 if end > self._line and self._data[end - 1] == 0x0D else end
            if self._doubt and not self._is_command(stop):
                return _Again.AGAIN
            if stop - self._line > self.limits.line:
                return self._overflow("line", end, expects)
            if expects is Expects.LINE:
                return Line(self._take(stop))
            if stop > self._line and self._data[stop - 1] == 0x7D:
                brace = self._data.rfind(b"{", self._line, stop)
                marker = _MARKER(self._data, max(brace - 1, self._line), stop) if brace >= 0 else None
                if marker is not None:
                    asked = self._literal(marker)
                    if asked is not None:
                        return asked
                    if self._giving_up():
                        return _Again.AGAIN
                    continue
            if len(self._head) + stop - self._start > self.limits.command:
                return self._overflow("command", end, expects)
            streamed = tuple(self._streamed) if self._streamed else ()
            return Frame(self._take(stop), streamed)
        size = len(self._data)
        self._scan = max(self._scan, size)
        # A line end of two octets may still follow.
        if self._doubt and size - self._line > self.limits.line + 1:
            self._is_command(size)
            return _Again.AGAIN
        if size - self._line > self.limits.line + 1:
            return self._overflow("line", size, expects)
        if len(self._head) + size - self._start > self.limits.command + 1:
            return self._overflow("command", size, expects)
        return None

    def _giving_up(self) -> bool:
        """Whether a command is being skipped, or has been and its event is due."""
        return self._skipping or self._late is not None

    def _take_late(self) -> Event | None:
        event, self._late = self._late, None
        return event

    def _take(self, stop: int) -> bytes:
        """Hand out what ends at *stop*; the next begins where the search stands."""
        text = self._text(0, stop)
        self._end_command(self._scan)
        return text

    def _text(self, position: int, stop: int) -> bytes:
        """The command from *position*, counted in the whole of it, to *stop*, counted in the data."""
        beyond = position - len(self._head)
        if beyond >= 0:
            return bytes(self._data[self._start + beyond : stop])
        return bytes(self._head[position:] + self._data[self._start : stop])

    def _end_command(self, after: int) -> None:
        self._start = self._line = self._scan = after
        self._asked = -1
        if self._head:
            self._head = bytearray()
            self._streamed = []

    def _tag(self) -> bytes | None:
        begin = bytes(self._head[:1024]) or bytes(self._data[self._start : self._start + 1024])
        tag = abnf.TAG(begin)
        return tag[0] if tag and begin[tag.end() : tag.end() + 1] == b" " else None

    # --- literals ---------------------------------------------------------------------------------

    def _literal(self, marker: re.Match[bytes]) -> LiteralWanted | Overflow | GoOn | None:
        """Ask about the literal announced, or give it up; None: it goes into the frame unasked, or is skipped."""
        tilde, digits, plus = marker.groups()
        size = int(digits) if len(digits) < 20 else _HUGE
        streaming = bool(self._head) or _STREAMING(self._data, self._start) is not None
        what = self._excess(0 if streaming else size)
        if what is not None:
            tag, begin = self._tag(), bytes(self._data[self._start : min(marker.start(), self._start + 256)])
            overflow = Overflow(tag, what, begin=begin)
            wait = not plus and not self._to_be_taken(size)
            if not self._drop(size, overflow, wait=wait):
                return self._die(tag, what)
            return GoOn() if not plus and not wait else None
        if plus and not streaming:
            self._line = self._scan = self._scan + size
            return None
        since = max(self._asked, 0)
        self._wanted = LiteralWanted(
            self._text(since, marker.start()),
            size,
            synchronizing=not plus,
            literal8=bool(tilde),
            streamed=tuple((place - since, sink) for place, sink in self._streamed[-1:] if place > since),
            tag=self._tag(),
            continued=self._asked >= 0,
        )
        self._asked = len(self._head) + marker.start() - self._start
        return self._wanted

    def _excess(self, size: int) -> str | None:
        """Say which limit a literal of *size* octets, beginning where the search stands, would pass."""
        if size > self.limits.literal:
            return "literal"
        if len(self._head) + self._scan - self._start + size > self.limits.command:
            return "command"
        return None

    def accept(self, sink: Sink | None = None) -> None:
        """Take the literal that is wanted: into *sink*, or into the frame when that is None.

        One too long for the frame is skipped, and the ``Overflow`` is the event that follows.
        """
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        self._between = False
        if sink is not None:
            self._head += self._data[self._start : self._scan]
            self._streamed.append((len(self._head), sink))
            self._start = self._line = self._scan
            self._sink, self._left = sink, wanted.size
        elif (what := self._excess(wanted.size)) is None:
            self._line = self._scan = self._scan + wanted.size
        else:
            # The client may already have been told to go on, so the octets will come.
            if not self._drop(wanted.size, Overflow(wanted.tag, what)):
                self._late = self._die(wanted.tag, what)

    def refuse(self) -> bool:
        """Give up the command whose literal is wanted; whether the session is to answer it at once.

        If not, it tells the client that waits to go on ("+ "), and answers at the event ``Thrown``.
        """
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return True
        self._between = False
        wait = wanted.synchronizing and not self._to_be_taken(wanted.size)
        if not self._drop(wanted.size, None if wait else Thrown(), wait=wait):
            self._late = self._die(wanted.tag, "literal")
            return True
        return wait

    def _to_be_taken(self, size: int) -> bool:
        """Whether a synchronizing literal is taken although it is not wanted: it is short, or has begun to come."""
        return size <= TAKEN_OCTETS or self._scan < len(self._data)

    def _is_command(self, stop: int) -> bool:
        """Decide whether the line that ends at *stop* is a command, or a literal that was refused: that is skipped."""
        size, self._doubt = self._doubt, 0
        if stop == self._start:
            # Nobody is harmed by an empty line; it may be the end of a command whose client has sent no literal.
            self._doubt = max(0, size - (self._scan - self._start))
            return True
        too_long = stop - self._start > self.limits.line
        if not too_long and self._begins_command(bytes(self._data[self._start : stop])):
            return True
        self._scan = self._start
        if not self._drop(size, wait=False):
            self._late = self._die(None, "literal")
        return False

    def _stream(self) -> None:
        """Pass on what has come of a literal."""
        end = min(self._start + self._left, len(self._data))
        if end > self._start and self._sink is not None:
            # A view of a bytearray would keep it from growing.
            fixed = self._data if isinstance(self._data, bytes) else bytes(self._data)
            whole = self._start == 0 and end == len(fixed)
            self._sink.write(fixed if whole else memoryview(fixed)[self._start : end])
        self._left -= end - self._start
        self._start = self._line = self._scan = end
        if not self._left:
            self._sink = None

    # --- skipping ---------------------------------------------------------------------------------

    def _overflow(self, what: str, end: int, expects: Expects) -> Overflow | _Again:
        """Give up the line that is too long; *end* is its LF, or how far it has come."""
        tag = self._tag() if expects is Expects.COMMAND else None
        # The end of the line is looked at again: a literal may follow it.
        self._end_command(max(self._line, end - _TAIL))
        self._skipping = True
        self._verdict = Overflow(tag, what)
        return _Again.AGAIN if self._skip() else self._die(tag, what)

    def _drop(self, size: int, verdict: Event | None = None, *, wait: bool = False) -> bool:
        """Give up a command at a literal; False when too much would have to be skipped.

        *verdict* is the event that follows what is skipped: a client that is answered sooner may send its next command
        where a literal would come.  *wait*: nothing of the literal has come, and the client is told that it is not
        wanted.
        """
        self._end_command(self._scan)
        if wait:
            self._doubt = size
            self._late = verdict
            return True
        self._skipping = True
        self._left = size
        self._verdict = verdict
        return self._skip()

    def _skip(self) -> bool:
        """Throw away the rest of a command with its literals; False when that gets too much."""
        while True:
            if self._left:
                if self._skipped + self._left > self.skip_limit:
                    return False
                count = min(self._left, len(self._data) - self._start)
                self._start += count
                self._left -= count
                self._skipped += count
                if self._left:
                    break
            end = self._data.find(b"\n", self._start)
            stop = end if end >= 0 else len(self._data)
            self._skipped += stop - self._start
            self._tail = (self._tail + self._data[max(self._start, stop - _TAIL) : stop])[-_TAIL:]
            self._start = stop
            if end < 0:
                if self._skipped > self.skip_limit:
                    return False
                break
            tail = self._tail.removesuffix(b"\r")
            marker = _MARKER(tail)
            if marker is None and _REST_OF_MARKER(tail):
                return False
            self._start = end + 1
            self._tail = b""
            if marker is None or not (marker[3] or self._goes_on(int(marker[2]))):
                # A synchronizing literal gets no "+ ": the client that waits for it will not send it.
                self._doubt = int(marker[2]) if marker is not None else 0
                self._skipping = False
                self._skipped = 0
                self._late, self._verdict = self._verdict, None
                break
            self._left = int(marker[2])
        self._line = self._scan = self._start
        return True

    def _goes_on(self, size: int) -> bool:
        """Whether a synchronizing literal of a command that is being skipped is skipped with it."""
        if self._verdict is None or not (size <= TAKEN_OCTETS or self._start < len(self._data)):
            return False
        if self._start == len(self._data):
            self._late = GoOn()
        return True

    def _die(self, tag: bytes | None, what: str) -> Overflow:
        """Read nothing any more: where the next command begins cannot be known."""
        self.clear()
        self._dead = True
        return Overflow(tag, what, fatal=True)
