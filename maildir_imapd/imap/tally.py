"""The figures of one session: whole numbers that only its own thread adds to, and anybody reads at any time.

What a worker, or the server, has done is the sum over its sessions (``server/figures.py``); nothing is counted twice.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple, Protocol

# Rows of ``kinds``: how many commands, the microseconds that they took, and how many took less than each bound.
COUNT: Final = 0
MICROSECONDS: Final = 1
FIRST: Final = 2
# The bound of a place is 4 ** place microseconds; the last one is for all that take longer than 67 seconds.
PLACES: Final = 15
# Seconds that a command has to take to stand among those that took long.
LONG_SECONDS: Final = 0.1
LONGEST: Final = 200
_EMPTY_ROW: Final = (0,) * (FIRST + PLACES)


class Long(NamedTuple):
    """A command that took long."""

    ended: float
    """Seconds since the epoch."""
    seconds: float
    command: str
    user: str | None
    mailbox: str | None


class Answers(Protocol):
    """Knows how many octets have been answered with."""

    sent: int


class _Nothing:
    sent = 0


class Tally:
    """See the module.  *long*: where commands that took long are noted; shared by all sessions of a process."""

    __slots__ = (
        "_marked",
        "announced",
        "answers",
        "appended",
        "began",
        "expunged",
        "fetched",
        "heard",
        "kinds",
        "logins",
        "long",
        "noops",
        "running",
    )

    def __init__(self, long: deque[Long] | None = None) -> None:
        # By name; NOOPs with nothing to do, which are most of some clients' commands, by themselves.
        self.kinds: dict[bytes, list[int]] = {}
        self.noops = 0
        # Octets from the client, and who knows of those to it.
        self.heard = 0
        self.answers: Answers = _Nothing()
        self.logins = 0
        # Messages.
        self.fetched = 0
        self.appended = 0
        self.expunged = 0
        # The command under way; since when it is, or since when there is none (monotonic).
        self.running: bytes | None = None
        self.began = time.monotonic()
        self.long: deque[Long] = deque(maxlen=LONGEST) if long is None else long

        # Whether the log has heard of the login, and is to hear of its end; and the figures of then.
        self.announced = False
        self._marked: tuple[int | float, ...] = (0,) * 7

    def mark(self, now: float) -> None:
        """Remember the figures of *now*, seconds since the epoch, when somebody logs in."""
        self._marked = self._done(now)

    def _done(self, now: float) -> tuple[int | float, ...]:
        return self.commands, self.heard, self.said, self.fetched, self.appended, self.expunged, now

    def since_mark(self, now: float) -> dict[str, int | float]:
        """Say what has been done since then, as fields of the log."""
        names = ("commands", "octets_in", "octets_out", "fetched", "appended", "expunged", "seconds")
        done = (after - before for after, before in zip(self._done(now), self._marked, strict=True))
        return {name: max(0, round(each, 1)) for name, each in zip(names, done, strict=True)}

    def count(self, name: bytes, seconds: float) -> None:
        """Count one command."""
        row = self.kinds.get(name)
        if row is None:
            row = self.kinds[name] = list(_EMPTY_ROW)
        microseconds = int(seconds * 1e6)
        place = (microseconds.bit_length() + 1) >> 1
        row[COUNT] += 1
        row[MICROSECONDS] += microseconds
        row[FIRST + (place if place < PLACES else PLACES - 1)] += 1

    def note_long(self, name: bytes, seconds: float, user: str | None, mailbox: str | None) -> None:
        """Note a command that took long."""
        self.long.append(Long(time.time(), seconds, name.decode("ascii"), user, mailbox))

    @property
    def commands(self) -> int:
        """How many commands there were."""
        return self.noops + sum(row[COUNT] for row in list(self.kinds.values()))

    def rows(self) -> dict[str, tuple[int, ...]]:
        """All commands, each name with its row."""
        found = {name.decode("ascii"): tuple(row) for name, row in list(self.kinds.items())}
        if self.noops:
            row = list(found.get("NOOP", _EMPTY_ROW))
            row[COUNT] += self.noops
            row[FIRST] += self.noops
            found["NOOP"] = tuple(row)
        return found

    @property
    def said(self) -> int:
        """Octets to the client."""
        return self.answers.sent
