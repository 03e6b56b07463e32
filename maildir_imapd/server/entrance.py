"""Whether new clients are taken, and the drain: memory that a supervisor and its workers share (``shared``).

The supervisor alone writes why the entrance is shut, and the drain; each worker writes how many of its clients are
left, in a cell of its own.  So a worker that begins in the middle of a drain knows of it, whoever started it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import BeingEmptied, Goodbye, SpoolSilent
from maildir_imapd.server import shared

if TYPE_CHECKING:
    from collections.abc import Callable

# Services whose clients are sent elsewhere; what a program of this machine asks is answered as ever.
CLOSED_SERVICES: Final = ("imap", "lmtp")


class Shut(IntEnum):
    """Why new clients are not taken."""

    OPEN = 0
    DRAINING = 1
    SPOOL = 2


_GOODBYES: Final[dict[Shut, Callable[[], Goodbye]]] = {Shut.DRAINING: BeingEmptied, Shut.SPOOL: SpoolSilent}
_LEFT: Final = (1 << 32) - 1


class Entrance:
    """See the module.  Made before the fork."""

    def __init__(self, slots: int) -> None:
        self._state = shared.words(2)  # why it is shut; the drain's number, 0 where there is none
        self._times = shared.moments(3)  # of the drain: when it began, when all have been told, when the last are cut
        self._left = shared.words(slots)  # the drain's number and, below it, how many clients are left

    @property
    def why(self) -> Shut:
        """Why new clients are not taken."""
        return Shut(self._state[0])

    def shut(self, why: Shut) -> None:
        """Say whether new clients are taken."""
        self._state[0] = why

    def goodbye(self, service: str) -> Goodbye | None:
        """Return what a new client of *service* hears in place of a greeting; None: it is welcome."""
        said = _GOODBYES.get(self.why) if service in CLOSED_SERVICES else None
        return None if said is None else said()

    @property
    def drain(self) -> int:
        """The number of the drain under way; 0 for none."""
        return self._state[1]

    @property
    def times(self) -> tuple[float, float, float]:
        """When the drain began, when all are told to go, and when those are cut who have not; monotonic."""
        began, told, cut = self._times.tolist()
        return began, told, cut

    def begin(self, number: int, began: float, told: float, cut: float) -> None:
        """Begin a drain, whose *number* is none of an earlier one."""
        # The number last: who sees it sees its times.
        self._state[1] = 0
        self._times[0], self._times[1], self._times[2] = began, told, cut
        self._state[1] = number

    def end(self) -> None:
        """Take the drain back."""
        self._state[1] = 0

    def note_left(self, slot: int, number: int, left: int) -> None:
        """Note how many clients the worker of *slot* has in the drain of that number."""
        self._left[slot] = number << 32 | min(left, _LEFT)

    def left(self, slot: int) -> int | None:
        """How many that are; None: it has not looked since the drain began."""
        cell = self._left[slot]
        return cell & _LEFT if cell >> 32 == self.drain else None
