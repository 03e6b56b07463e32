"""Whether the server takes clients, told without asking any worker: by their heartbeats and the supervisor's plans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from maildir_imapd.server.entrance import Shut

# Seconds since a worker's last beat from which on it counts as none; it beats every second.
BEATS_SECONDS: Final = 15.0
_SHUT: Final = {Shut.DRAINING: "draining", Shut.SPOOL: "the spool does not answer"}


@dataclass(frozen=True, slots=True)
class Readiness:
    """*beating*: workers that have moved of late and take connections; *why* not ready, empty where it is."""

    beating: int
    why: str = ""

    @property
    def ready(self) -> bool:
        """Whether new clients are served."""
        return not self.why

    def as_json(self) -> dict[str, Any]:
        """Make an object of it."""
        return {"ready": self.ready, "why": self.why, "beating": self.beating}

    @classmethod
    def of(
        cls, beats: Iterable[float], now: float, *, started: bool, ending: bool, shut: Shut = Shut.OPEN
    ) -> Readiness:
        """Judge it at *now* by the last beats of the workers that take connections; monotonic, 0.0 for none.

        *shut*: why they take no clients.
        """
        beating = sum(bool(beat) and now - beat <= BEATS_SECONDS for beat in beats)
        if ending:
            return cls(beating, "the server ends")
        if not started:
            return cls(beating, "the server starts")
        return cls(beating, _SHUT.get(shut, "") if beating else "no worker is alive")
