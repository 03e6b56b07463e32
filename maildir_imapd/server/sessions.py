"""The list of who is here: every connection of a worker, from when it is taken to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import Goodbye
from maildir_imapd.imap.tally import Tally
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from maildir_imapd.server.new_device import Newcomer
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.namespaces import Namespaces


def silent() -> None:
    """Wake nobody: there is no thread that waits, or it waits no more."""


def _between() -> bool:
    """Say that nothing has begun."""
    return False


def _welcome(service: str) -> None:
    """Say goodbye to nobody."""


_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """Write a number that is not negative, short."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def peer_name(host: str, port: int) -> str:
    """Write the address of a client as the log has it; port 0 is one that nobody knows."""
    plain = host.removeprefix("::ffff:") if "." in host else host
    return f"[{plain}]:{port}" if ":" in plain else f"{plain}:{port}"


class Visit:
    """One connection.  Its own thread writes it; others read it, and only ``send_away`` changes what they find."""

    __slots__ = (
        "account",
        "amid",
        "cut",
        "cut_off",
        "drain",
        "goodbye",
        "host",
        "look",
        "mail",
        "name",
        "newcomer",
        "peer",
        "ring",
        "service",
        "shared",
        "since",
        "tally",
        "thread",
        "user",
    )

    def __init__(self, host: str, peer: str, service: str = "imap", name: str = "") -> None:
        self.host = host
        # Its name in the log: no other connection has it, in no worker and after no start.
        self.name = name
        self.tally = Tally()
        # What its service can say of it, for an administrator; may be called from any thread.
        self.look: Callable[[], Mapping[str, object]] = dict
        # Ends it without a word, whatever it waits for; may be called from any thread.
        self.cut: Callable[[], None] = silent
        # Whether its client has begun what is no whole command yet; may be called from any thread.
        self.amid: Callable[[], bool] = _between
        # Of the drain (draining.py), whose thread alone writes them: in which one it was looked at, and whether it
        # was cut.
        self.drain = 0
        self.cut_off = False
        # The address and the port, as the log has them.
        self.peer = peer
        self.service = service
        # Whether its address stands for many clients, whom it does not name.
        self.shared = False
        # Seconds since the epoch.
        self.since = time.time()
        self.thread = threading.get_ident()
        # Who has logged in; the door writes it.
        self.user: str | None = None
        # The mail that is open for him; the door's, too.
        self.account: Account | None = None
        # What he sees of it and beside it.
        self.mail: Account | Namespaces | None = None
        # Whether he has come from a new device; the door's as well.
        self.newcomer: Newcomer | None = None
        # Why it is to end, once it is.
        self.goodbye: Goodbye | None = None
        # Wakes its thread, which looks whether there is a goodbye.
        self.ring: Callable[[], None] = silent

    def seen(self) -> dict[str, object]:
        """Say all that an administrator may know of it, from any thread."""
        tally = self.tally
        running = tally.running
        seconds = round(max(0.0, time.monotonic() - tally.began), 1)
        found: dict[str, object] = {
            "session": self.name,
            "user": self.user,
            "peer": self.peer,
            "service": self.service,
            "since": round(self.since, 3),
            "state": "running" if running is not None else "waiting" if self.user is not None else "greeted",
            "command": None if running is None else running.decode("ascii", "replace"),
            "seconds": seconds,
            "idle_seconds": 0.0 if running is not None else seconds,
            "commands": tally.commands,
            "octets_in": tally.heard,
            "octets_out": tally.said,
            "messages_fetched": tally.fetched,
        }
        found.update(self.look())
        return found

    def idle(self, now: float, seconds: float) -> bool:
        """Whether the client is in IDLE, or has been at nothing for so long; *now* is monotonic."""
        tally = self.tally
        if tally.running is not None:
            return False
        return now - tally.began >= seconds or self.look().get("state") == "idle"

    def send_away(self, goodbye: Goodbye) -> None:
        """Have the client told *goodbye*: at once, or after the command that is under way.  The first one counts."""
        if self.goodbye is None:
            self.goodbye = goodbye
        self.ring()


class Sessions:
    """All visits of a worker; safe from any thread."""

    def __init__(self) -> None:
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._here: dict[int, Visit] = {}
        self._goodbye: Goodbye | None = None
        # What a connection to a service hears in place of a greeting.
        self.closed: Callable[[str], Goodbye | None] = _welcome

    def enter(self, visit: Visit) -> None:
        """Note that a connection is here; where all have been sent away, it is too."""
        with self._lock:
            self._here[id(visit)] = visit
            visit.goodbye = self._goodbye or self.closed(visit.service)

    def leave(self, visit: Visit) -> None:
        """Note that a connection is gone; harmless twice."""
        with self._lock:
            self._here.pop(id(visit), None)

    def here(self) -> list[Visit]:
        """All that are here now, the longest first."""
        with self._lock:
            return list(self._here.values())

    def __len__(self) -> int:
        with self._lock:
            return len(self._here)

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Send everybody away, and whoever still comes."""
        with self._lock:
            self._goodbye = goodbye
            here = list(self._here.values())
        for visit in here:
            visit.send_away(goodbye)
