"""Which host a user comes to: the same one as long as it is healthy, by rendezvous hashing.

Any host serves any user rightly; one that has served him has his mailboxes in memory.  Each host has a weight for each
user, made of both names, and the healthy one with the highest has him.  So a host that goes loses its own users and no
others, to all that are left alike, and gets the same ones when it is back; and those in front need not agree on more
than the list.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from maildir_imapd.server import shared

if TYPE_CHECKING:
    from maildir_imapd.values import MailHost

# A host is healthy for so many seconds after it has last said so.
FRESH_SECONDS: Final = 10.0


def weight(host: str, user: str) -> bytes:
    """How much *user* belongs to *host*, in octets to compare."""
    return hashlib.sha256(host.encode() + b"\0" + user.encode("utf-8", "surrogatepass")).digest()


class HostHealth:
    """When each host has last said that it takes clients: memory that one process writes (``shared``)."""

    def __init__(self, hosts: Sequence[MailHost], clock: Callable[[], float] = time.monotonic) -> None:
        self.hosts = tuple(hosts)
        self._clock = clock
        self._good = shared.moments(max(1, len(hosts)))

    def note(self, place: int, *, healthy: bool) -> None:
        """Note what the host at that place of the list has said."""
        self._good[place] = self._clock() if healthy else 0.0

    def healthy(self) -> list[MailHost]:
        """Those that are healthy."""
        now = self._clock()
        return [
            host for place, host in enumerate(self.hosts) if (good := self._good[place]) and now - good <= FRESH_SECONDS
        ]


class Affinity:
    """Chooses among hosts; any thread may ask, and nobody waits."""

    def __init__(self, health: HostHealth) -> None:
        self._health = health

    def __bool__(self) -> bool:
        """Whether there are hosts to choose from."""
        return bool(self._health.hosts)

    def choose(self, user: str) -> MailHost:
        """Say which host *user* is to come to; where none is known to be healthy, as if all were."""
        return max(self._health.healthy() or self._health.hosts, key=lambda host: weight(host.name, user))
