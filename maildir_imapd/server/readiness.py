"""Whether the server takes clients, told without asking any worker: by their heartbeats and the supervisor's plans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from maildir_imapd.server.children import Child
    from maildir_imapd.server.heartbeat import Page

# Seconds since a worker's last beat from which on it counts as none; it beats every second.
BEATS_SECONDS: Final = 15.0


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


def look(children: Iterable[Child], page: Page, now: float, *, started: bool, ending: bool) -> Readiness:
    """Judge it at *now*, monotonic."""
    beating = sum(not child.retired and now - page.moment(child.slot) <= BEATS_SECONDS for child in children)
    if ending:
        return Readiness(beating, "the server ends")
    if not started:
        return Readiness(beating, "the server starts")
    return Readiness(beating, "" if beating else "no worker is alive")
