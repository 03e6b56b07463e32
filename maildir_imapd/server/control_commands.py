"""The requests of the control socket: which of them change something, and what is made of the answers."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from maildir_imapd import __version__
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server import drain as drains
from maildir_imapd.server import tls
from maildir_imapd.server.control_protocol import (
    LONGEST_RAWLOG_SECONDS,
    MOST_RAWLOG_OCTETS,
    RAWLOG_OCTETS,
    RAWLOG_SECONDS,
    Refusal,
)
from maildir_imapd.server.figures import RATES
from maildir_imapd.server.rawlog import Order
from maildir_imapd.server.troubles import joined, wrong

if TYPE_CHECKING:
    from maildir_imapd.server.children import Child
    from maildir_imapd.server.control import Asker, Control
    from maildir_imapd.server.front import Front
    from maildir_imapd.server.readiness import Readiness
    from maildir_imapd.server.tls import Tls
    from maildir_imapd.server.troubles import Troubles

log = Log(__name__)

# Commands that took long, of all workers, that are told.
LONG: Final = 20
RAWLOGS: Final = 100
_USAGE: Final = 64
_NO_USER: Final = 67
_DENIED: Final = 77
_CONFIG: Final = 78
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How a reload ended: the settings that are others now, each with its old and its new value, or why it failed."""

    changed: Mapping[str, tuple[str, str]]
    failed: str | None = None


class House(Protocol):
    """The supervisor, as far as requests go."""

    children: dict[int, Child]
    since: float
    troubles: Troubles
    front: Front

    @property
    def grace(self) -> float:
        """Seconds for the end of a command."""
        ...

    @property
    def workers(self) -> int:
        """How many workers there are to be."""
        ...

    @property
    def certificates(self) -> Tls | None:
        """Those in use."""
        ...

    @property
    def rawlog_directory(self) -> str | None:
        """Where raw logs go."""
        ...

    def readiness(self) -> Readiness:
        """Whether clients are taken."""
        ...

    def stop(self) -> None:
        """End the server, once the loop comes to it."""
        ...

    def want_reload(self) -> None:
        """Read the settings again, once the loop comes to it."""
        ...


class Commands:
    """See the module; one thread."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._orders: dict[str, Order] = {}
        # Who waits for the reload under way, and who for the next one.
        self._reloading: list[Asker] = []
        self._next: list[Asker] = []

    def begin(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Begin a request; raises Refusal."""
        name = said.get("command")
        found = COMMANDS.get(name) if isinstance(name, str) else None
        if found is None:
            raise Refusal("bad-request", f"there is no such command; there are {', '.join(sorted(COMMANDS))}", _USAGE)
        changes, command = found
        if changes and not client.may_change:
            raise Refusal("denied", "you may look at this server and change nothing (control_admins)", _DENIED)
        if changes:
            log.info("control", command=str(name), uid=client.uid, whom=said.get("whom"), user=said.get("user"))
        command(self, control, client, said)

    # --- looking --------------------------------------------------------------------------------------

    def status(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Sum the workers up, and say what is wrong."""

        def finish(answers: dict[int, dict[str, Any]], silent: list[int]) -> None:
            control.result(client, self._status(control, answers, silent))

        control.inquire(client, {"ask": "status"}, finish)

    def _status(self, control: Control, answers: dict[int, dict[str, Any]], silent: list[int]) -> dict[str, object]:
        house, now = self._house, time.time()
        said = list(answers.values())
        figures = control.past.sums()
        seen = joined([*house.troubles.seen(), *control.past.events()])
        problems = wrong(seen, now)
        problems += [
            {"what": "no-answer", "text": f"worker {pid} does not answer", "count": 1, "last": round(now, 3)}
            for pid in silent
        ]
        active = sum(not child.retired for child in house.children.values())
        if active < house.workers:
            text = f"{active} of {house.workers} workers are there"
            problems.append({"what": "workers-missing", "text": text, "count": house.workers - active, "last": now})
        if house.front.spool:
            text = f"the spool does not answer: {house.front.spool}"
            problems.append({"what": "spool", "text": text, "count": 1, "last": now})
        problems += self._certificates(now, problems)
        long = sorted((each for one in said for each in one["long"]), key=lambda each: -float(each["ended"]))
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since": round(house.since, 3),
            "uptime_seconds": round(max(0.0, now - house.since), 1),
            "ok": not problems,
            "wrong": problems,
            "workers": [self._worker(child, answers.get(pid)) for pid, child in sorted(house.children.items())],
            "sessions": sum(int(each["sessions"]) for each in said),
            "logged_in": sum(int(each["logged_in"]) for each in said),
            "services": dict(sum((Counter(each["services"]) for each in said), Counter[str]())),
            "ready": house.readiness().as_json(),
            "drain": house.front.drain_as_json(),
            "rates": {name: round(sum(float(each["rates"][name]) for each in said), 3) for name in RATES},
            "figures": figures.as_json(),
            "warnings": sum(each.count for each in seen if each.level == "warning"),
            "errors": sum(each.count for each in seen if each.level == "error"),
            "events": [each.as_json() for each in seen],
            "long": long[:LONG],
            "certificates": self._ends(),
            "rawlogs": self.orders(),
        }

    def _worker(self, child: Child, said: Mapping[str, Any] | None) -> dict[str, object]:
        return {
            "pid": child.pid,
            "slot": child.slot,
            "answers": said is not None,
            "retired": child.retired,
            "age_seconds": round(time.monotonic() - child.started, 1),
            "memory_octets": _memory(child.pid),
            "descriptors": None if said is None else said["descriptors"],
            "sessions": None if said is None else said["sessions"],
            "logged_in": None if said is None else said["logged_in"],
            "commands": None if said is None else said["figures"]["commands"],
        }

    def _ends(self) -> dict[str, object]:
        found = self._house.certificates
        return {} if found is None else {path: round(end) for path, end in found.ends.items() if end != float("inf")}

    def _certificates(self, now: float, before: list[dict[str, object]]) -> list[dict[str, object]]:
        """Name certificates that end soon, unless the log has done so."""
        found = self._house.certificates
        if found is None or any(each["what"] == "certificate" for each in before):
            return []
        return [
            {"what": "certificate", "text": f"{path} ends in {int((end - now) // 86400)} days", "count": 1, "last": now}
            for path, end in found.ends.items()
            if end - now <= tls.WARN_SECONDS
        ]

    def ready(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Say whether clients are taken, at once: no worker is asked."""
        control.result(client, self._house.readiness().as_json())

    def who(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """List the sessions, of one user or of all."""
        user = said.get("user")

        def finish(answers: dict[int, dict[str, Any]], silent: list[int]) -> None:
            found = [row for each in answers.values() for row in each["sessions"]]
            found.sort(key=lambda row: float(row["since"]))
            control.result(client, {"sessions": found, "silent": silent})

        control.inquire(client, {"ask": "who", **({} if user is None else {"user": _text(user, "user")})}, finish)

    def follow(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Stream the log, from a level on, of all or of one user; a session's later lines count as its user's."""
        user = said.get("user")
        level = _LEVELS.get(str(said.get("level", "debug")))
        if level is None or not (user is None or isinstance(user, str)):
            raise Refusal("bad-request", f"level is one of {', '.join(_LEVELS)}, user a name", _USAGE)
        client.follows = _filter(user, level)
        control.follow_if_wanted()

    # --- changing -------------------------------------------------------------------------------------

    def kick(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Send away a session or all of a user."""
        whom = _text(said.get("whom"), "whom")

        def finish(answers: dict[int, dict[str, Any]], silent: list[int]) -> None:
            found = sorted(name for each in answers.values() for name in each["kicked"])
            if not found and not silent:
                control.fail(client, Refusal("not-here", f"there is no session of that name or user: {whom}", _NO_USER))
            else:
                control.result(client, {"kicked": found, "silent": silent})

        control.inquire(client, {"ask": "kick", "whom": whom}, finish)

    def drain(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Begin a drain, or take it back; the answer comes at once, and ``status`` says how it goes on."""
        house, do = self._house, said.get("do")
        if do == "begin":
            within = said.get("within", drains.WITHIN_SECONDS)
            if (
                isinstance(within, bool)
                or not isinstance(within, int | float)
                or not 0 <= within <= drains.LONGEST_SECONDS
            ):
                raise Refusal("bad-request", f"within is a number up to {drains.LONGEST_SECONDS:.0f}", _USAGE)
            house.front.begin_drain(float(within), house.grace)
        elif do == "back":
            if not house.front.end_drain():
                raise Refusal("not-here", "there is no drain", 1)
        else:
            raise Refusal("bad-request", "do is one of begin, back", _USAGE)
        control.result(client, house.front.drain_as_json())

    def draining(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Say how the drain stands, at once: no worker is asked."""
        control.result(client, self._house.front.drain_as_json())

    def stop(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """End the server: the answer comes at once, and the connection ends with it."""
        control.result(client, {"stopping": os.getpid()})
        self._house.stop()

    def reload(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Read the settings again; the answer comes when that is done."""
        # Its answer is no worker's: the request stands until then.
        self._next.append(client)
        control.hold(client)
        self._house.want_reload()

    def reload_begins(self) -> None:
        """Note that who asked until now gets the answer of the reload that begins."""
        self._reloading, self._next = [*self._reloading, *self._next], []

    def reload_ended(self, control: Control, found: Reloaded) -> None:
        """Answer who waited for it."""
        waiting, self._reloading = self._reloading, []
        for client in waiting:
            client.request = None
            if found.failed is not None:
                control.fail(client, Refusal("configuration", found.failed, _CONFIG))
            else:
                changed = [
                    {"setting": name, "before": before, "after": after}
                    for name, (before, after) in sorted(found.changed.items())
                ]
                control.result(client, {"changed": changed, "workers": self._house.workers})

    def rawlog(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Begin or end writing a user's dialogue down, or list whose is."""
        do = said.get("do")
        if do == "on":
            order = self._order(said)
            self.orders()
            if len(self._orders) >= RAWLOGS and order.user not in self._orders:
                raise Refusal("busy", f"no more than {RAWLOGS} users at once", _USAGE)
            self._orders[order.user] = order
        elif do == "off":
            user = _text(said.get("user"), "user")
            if self._orders.pop(user, None) is None:
                raise Refusal("not-here", f"nothing is written down of {user}", _NO_USER)
        elif do != "list":
            raise Refusal("bad-request", "do is one of on, off, list", _USAGE)
        if do != "list":
            control.tell_all({"ask": "rawlog", "orders": self.orders()})
        control.result(client, {"rawlogs": self.orders()})

    def _order(self, said: Mapping[str, Any]) -> Order:
        directory = self._house.rawlog_directory
        if directory is None:
            raise Refusal("configuration", "rawlog_dir is not set: there is no directory for raw logs", _CONFIG)
        seconds, octets = said.get("seconds", RAWLOG_SECONDS), said.get("octets", RAWLOG_OCTETS)
        for value, most, name in ((seconds, LONGEST_RAWLOG_SECONDS, "seconds"), (octets, MOST_RAWLOG_OCTETS, "octets")):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
                raise Refusal("bad-request", f"{name} is a number up to {most:.0f}", _USAGE)
        return Order(_text(said.get("user"), "user"), time.time() + seconds, int(octets), directory)

    def orders(self) -> list[dict[str, object]]:
        """Whose dialogues are written down now."""
        now = time.time()
        self._orders = {user: order for user, order in self._orders.items() if order.until > now}
        return [order.as_json() for order in self._orders.values()]


# Whether a command changes something, and what it does.
COMMANDS: Final[dict[str, tuple[bool, Callable[[Commands, Control, Asker, Mapping[str, Any]], None]]]] = {
    "status": (False, Commands.status),
    "ready": (False, Commands.ready),
    "who": (False, Commands.who),
    "follow": (False, Commands.follow),
    "kick": (True, Commands.kick),
    "drain": (True, Commands.drain),
    "draining": (False, Commands.draining),
    "stop": (True, Commands.stop),
    "reload": (True, Commands.reload),
    "rawlog": (True, Commands.rawlog),
}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise Refusal("bad-request", f"{name} is missing, or no text", _USAGE)
    return value


def _filter(user: str | None, level: int) -> Callable[[Mapping[str, object]], bool]:
    sessions: set[object] = set()

    def wanted(event: Mapping[str, object]) -> bool:
        if _LEVELS.get(str(event.get("level")), logging.ERROR) < level:
            return False
        if user is None:
            return True
        session = event.get("session")
        if event.get("user") == user:
            if session is not None and len(sessions) < 10_000:
                sessions.add(session)
            return True
        found = session in sessions and event.get("user") is None
        if event.get("event") == "disconnect":
            sessions.discard(session)
        return found

    return wanted


def _memory(pid: int) -> int | None:
    """Octets of a process that are in memory."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def differences(before: Mapping[str, Any], after: Mapping[str, Any], shown: Callable[[Any], str]) -> Reloaded:
    """Say which settings are others now, as *shown* shows a value."""
    names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    return Reloaded({name: (shown(before.get(name)), shown(after.get(name))) for name in names})


def failed(error: ConfigError | Exception) -> Reloaded:
    """Say why a reload failed."""
    detail = getattr(error, "detail", "")
    text = getattr(error, "text", None) or str(error)
    return Reloaded({}, f"{text} ({detail})" if detail else text)
