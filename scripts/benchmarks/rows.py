"""What a row of the table is, and the list of them.

A row is a generator function: it sets its scene on one server, then yields a figure each time it is asked,
and cleans up when it is closed.  The harness asks the two servers in turn.  A figure is the seconds that one
operation took, or octets; less is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .mail import Spool
from .servers import Server


@dataclass(frozen=True)
class Scene:
    """Where a row is played: a server, and how many messages the mailbox has."""

    server: Server
    spool: Spool
    size: int

    @property
    def base(self) -> Path:
        """The messages of the mailbox."""
        return self.spool.base(self.size)


Play = Callable[[Scene], Iterator[float]]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    *budget*: how many times faster than Dovecot it has to be (architecture, section 12); None: no budget.
    *shown* as "rate", "time" or "memory".  *sizes*: "all" of those chosen, "one" (the middle one), or
    "none" when no mailbox of that kind takes part.
    """

    name: str
    title: str
    budget: float | None
    shown: str
    sizes: str
    play: Play


ROWS: dict[str, Row] = {}


def row(
    name: str, title: str, budget: float | None, *, shown: str = "time", sizes: str = "one"
) -> Callable[[Play], Play]:
    """Add a row to the table."""

    def add(play: Play) -> Play:
        ROWS[name] = Row(name, title, budget, shown, sizes, play)
        return play

    return add
