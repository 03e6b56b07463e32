"""One user's dialogue, written down for an administrator: a file for each session, secrets masked, bounded.

The session's own thread writes it, and nothing of it stands in its way: what cannot be written is not, and ends it.
The files are made by the worker's control thread, which acts as the process and no user.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from maildir_imapd import log as logs
from maildir_imapd.events import Log
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from maildir_imapd.server.sessions import Visit

log = Log(__name__)

MASK: Final = b"<masked>"
# Seconds that a session waits for its file when it logs in.
FILE_SECONDS: Final = 2.0
# Octets of a line of the client's that are looked at for what it is; no command that has a secret is longer before it.
HEAD_OCTETS: Final = 4096
_LITERAL: Final = re.compile(rb"~?\{(\d{1,10})([+-]?)\}\r?\Z").search
_HEAD: Final = re.compile(rb"\s*([^ ]{1,200} +)(AUTHENTIC[A-Z]*|LOG[A-Z]*)(?![A-Z])(.*)", re.I | re.S).match
_MECHANISM: Final = re.compile(rb"[A-Z0-9_-]{1,20}", re.I).fullmatch


@dataclass(frozen=True, slots=True)
class Order:
    """Whose dialogue, until when (seconds since the epoch), how many octets a session, and where."""

    user: str
    until: float
    octets: int
    directory: str

    def as_json(self) -> dict[str, object]:
        """Make an object of it."""
        return {"user": self.user, "until": self.until, "octets": self.octets, "directory": self.directory}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Order:
        """Read what ``as_json`` has made; raises KeyError, TypeError or ValueError."""
        return cls(str(said["user"]), float(said["until"]), int(said["octets"]), str(said["directory"]))


class Masker:
    """Takes a client's secrets out of what it sends: octets in any pieces in, whole lines out.

    Masked are all arguments of LOGIN and of AUTHENTICATE, literals among them, words that are nearly these, and lines
    of a dialogue that is none of IDLE's.  Whether a literal really comes, only the server's answer says; so within one
    such lines are masked as well.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._left = 0  # octets of the literal that comes
        self._secret = False  # the command under way has a secret
        self._goes_on = False  # the next line is of the same command

    def take(self, data: bytes, *, secret: bool = False) -> bytes:
        """Return what may be written of *data*, and of what came before it; *secret*: each line is one."""
        out = bytearray()
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                out += self._of_literal(piece)
                continue
            line, end, data = data.partition(b"\n")
            self._line += line
            if not end:
                break
            whole, self._line = bytes(self._line), bytearray()
            out += (MASK if secret else self._of_command(whole)) + b"\n"
        return bytes(out)

    def _of_literal(self, piece: bytes) -> bytes:
        if self._secret:
            return b"" if self._left else MASK
        self._line += piece
        *lines, rest = bytes(self._line).split(b"\n")
        self._line = bytearray(rest)
        if not self._left or len(rest) > HEAD_OCTETS:
            lines.append(rest)
            self._line.clear()
        found = b"\n".join(_without_secret(line) or line for line in lines)
        return found if not self._left or not lines else found + b"\n"

    def _of_command(self, line: bytes) -> bytes:
        masked = _without_secret(line) if not self._goes_on else None
        self._secret = masked is not None or (self._goes_on and self._secret)
        said = masked if masked is not None else MASK if self._secret else line
        literal = _LITERAL(line)
        self._goes_on = literal is not None
        if literal is not None:
            self._left = int(literal[1])
        else:
            self._secret = False
        return said


def _without_secret(line: bytes) -> bytes | None:
    """A line of LOGIN or AUTHENTICATE with its arguments masked; None for any other."""
    found = _HEAD(line)
    if found is None or found[2].upper() == b"LOGOUT":
        return None
    rest = found[3].strip(b" \r")
    name, space, _ = rest.partition(b" ")
    kept = b""
    if found[2].upper().startswith(b"AUTHENTIC") and _MECHANISM(name):
        kept, rest = b" " + name, rest[len(name) :] if space else b""
    return found[1] + found[2] + kept + (b" " + MASK if rest else b"")


class Tap:
    """One session's file, written by its own thread."""

    def __init__(self, order: Order, number: int) -> None:
        self.order = order
        self._file = number
        self._left = order.octets
        self._masker = Masker()
        self.over = False

    def heard(self, data: bytes, *, secret: bool) -> None:
        """Write down what the client has sent."""
        self._write(b"C", self._masker.take(data, secret=secret))

    def said(self, data: bytes) -> None:
        """Write down what it is answered."""
        self._write(b"S", data)

    def _write(self, who: bytes, data: bytes) -> None:
        if self.over or not data:
            return
        if time.time() >= self.order.until:
            self._end(b"-- the time is over\n")
            return
        head = b"%s %s %d\n" % (who, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode(), len(data))
        text = head + data[: max(0, self._left)] + (b"" if data.endswith(b"\n") else b"\n")
        self._left -= len(text)
        try:
            os.write(self._file, text)
        except OSError as error:
            log.warning("raw log ends", user=self.order.user, why=error)
            self.close()
            return
        if self._left <= 0:
            self._end(b"-- enough octets\n")

    def _end(self, why: bytes) -> None:
        try:
            os.write(self._file, why)
        except OSError:
            pass  # it ends in any case
        self.close()

    def close(self) -> None:
        """Close the file; harmless twice."""
        if not self.over:
            self.over = True
            os.close(self._file)


class _Wanted:
    """A file that a session asks for."""

    def __init__(self, visit: Visit, order: Order) -> None:
        self.visit, self.order = visit, order
        self.made = threading.Event()
        self.number: int | None = None
        # Whoever comes second closes what the first has left.
        self.given_up = False


class RawLogs:
    """Whose dialogues are written down, in one worker; ``orders`` is read by any thread and replaced as a whole."""

    def __init__(self) -> None:
        self.orders: Mapping[str, Order] = {}
        self.ring: Callable[[], None] = lambda: None
        self._lock = locks.make(locks.Rank.GUARD)  # guards _wanted and the numbers in it
        self._wanted: deque[_Wanted] = deque()

    def set(self, said: Sequence[Mapping[str, Any]]) -> None:
        """Take these orders in place of all others."""
        orders = [Order.from_json(each) for each in said]
        self.orders = {each.user: each for each in orders}

    def tap(self, visit: Visit) -> Tap | None:
        """Open a session's file where its user's dialogue is wanted, and wait a moment for it; for its own thread."""
        order = self.orders.get(visit.user or "")
        if order is None or time.time() >= order.until:
            return None
        wanted = _Wanted(visit, order)
        with self._lock:
            self._wanted.append(wanted)
        self.ring()
        wanted.made.wait(FILE_SECONDS)
        with self._lock:
            number, wanted.given_up = wanted.number, True
        return None if number is None else Tap(order, number)

    def look(self) -> None:
        """Make the files that sessions wait for, and forget orders whose time is over; for the control thread."""
        while self._wanted:
            with self._lock:
                wanted = self._wanted.popleft()
            number: int | None = None
            try:
                number = _made(wanted.order, wanted.visit)
            except OSError as error:
                log.warning("no raw log", user=wanted.order.user, path=wanted.order.directory, why=error)
            with self._lock:
                left = number is not None and wanted.given_up
                if not left:
                    wanted.number = number
            if left and number is not None:
                os.close(number)
            wanted.made.set()
        now = time.time()
        if any(order.until <= now for order in self.orders.values()):
            self.orders = {user: order for user, order in self.orders.items() if order.until > now}


def _made(order: Order, visit: Visit) -> int:
    """Make the file of one session; raises OSError."""
    name = f"{re.sub(r'[^A-Za-z0-9@._+-]', '_', order.user).lstrip('.')[:100] or '_'}.{visit.name}.{int(time.time())}"
    number = logs.open_file(os.path.join(order.directory, name), os.O_EXCL | os.O_APPEND)
    os.fchmod(number, 0o600)
    return number
