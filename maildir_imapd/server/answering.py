"""A worker's end of the control socket: a thread of its own that answers what the supervisor asks.

It reads figures and lists, rings sessions, and waits for nobody: so the server can be seen when its clients' threads
all have something to wait for.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from maildir_imapd import log as logs
from maildir_imapd.errors import Kicked
from maildir_imapd.events import Log
from maildir_imapd.server.lines import Broken, Garbage, Lines, decode
from maildir_imapd.server.troubles import LOGIN_FAILED, Troubles
from maildir_imapd.store.threads.bell import Bell
from maildir_imapd.store.threads.longlived import BEAT_SECONDS, LongLived

if TYPE_CHECKING:
    from maildir_imapd.server.figures import Sums, WorkerFigures
    from maildir_imapd.server.rawlog import RawLogs
    from maildir_imapd.server.sessions import Sessions, Visit

log = Log(__name__)

# Octets of a question.
QUESTION_OCTETS: Final = 1 << 20
# Events of the log that wait for the supervisor to take them; more are lost, and counted.
EVENTS: Final = 2000
# Octets that wait for the supervisor, from which on events are lost.
WAITING_OCTETS: Final = 1 << 20
# Seconds that whoever is sent away has to take its BYE, before its connection is cut.
KICK_SECONDS: Final = 5.0


class _Told(logging.Handler):
    """Keeps the events of the log for whoever follows it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self.events: deque[dict[str, object]] = deque()
        self.lost = 0
        self._ring = ring

    def emit(self, record: logging.LogRecord) -> None:
        """As ``logging.Handler``; never waits."""
        if len(self.events) >= EVENTS:
            self.lost += 1
            return
        self.events.append(logs.as_object(record))
        self._ring()


class Answering:
    """The thread, and what it knows.  *sock*: the worker's end; this class owns it."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        sessions: Sessions,
        figures: WorkerFigures,
        troubles: Troubles,
        rawlogs: RawLogs,
    ) -> None:
        self._lines = Lines(sock, QUESTION_OCTETS)
        self._name = name
        self._sessions = sessions
        self._figures = figures
        self._troubles = troubles
        self._rawlogs = rawlogs
        self._since = time.time()
        self._bell = Bell()
        rawlogs.ring = self._bell.ring
        self._told = _Told(self._bell.ring)
        self._to_cut: list[tuple[float, Visit]] = []
        self.thread = LongLived("control", self._loop)

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._bell.fd, select.POLLIN)
        while not self.thread.ending:
            poll.register(self._lines.number, select.POLLIN | (select.POLLOUT if self._lines.waiting else 0))
            patience = 1.0 if self._to_cut or self._rawlogs.orders else BEAT_SECONDS
            rung = any(number == self._bell.fd for number, _ in poll.poll(patience * 1000))
            if rung:
                self._bell.clear()
            try:
                self._turn()
            except Broken:
                return  # the supervisor is gone; the main thread sees that, too

    def _turn(self) -> None:
        for line in self._lines.receive():
            try:
                self._answer(decode(line))
            except Garbage:
                log.error("no question of the supervisor", octets=len(line))
        if self._lines.ended:
            self.thread.ask_to_end()
        self._pass_on()
        self._rawlogs.look()
        self._cut()
        self._lines.flush()

    def say_last(self) -> None:
        """Tell the supervisor what this worker has done, for it ends; called by another thread once this one rests."""
        self.thread.ask_to_end()
        self._bell.ring()
        if not self.thread.join(1.0):
            return
        try:
            self._lines.put({"last": self.figures().as_json()})
            self._lines.flush()
        except Broken:
            pass  # the supervisor has gone first

    def _answer(self, question: Mapping[str, Any]) -> None:
        asked = {"status": self._status, "who": self._who, "kick": self._kick, "follow": self._follow}
        asked["rawlog"] = self._rawlog
        answer = asked.get(str(question.get("ask")))
        if answer is None:
            raise Garbage("there is no such question")
        try:
            found = answer(question)
        except Exception as error:
            log.exception("question not answered")
            found = {"failed": str(error)}
        if "id" in question:
            self._lines.put({"id": question["id"], "answer": found})

    # --- what is asked ------------------------------------------------------------------------------

    def figures(self) -> Sums:
        """The sums of this worker, with what only the log has seen."""
        from dataclasses import replace

        return replace(self._figures.now(), logins_failed=self._troubles.count(LOGIN_FAILED))

    def _status(self, question: Mapping[str, Any]) -> dict[str, object]:
        found = self.figures()
        here = self._sessions.here()
        return {
            "name": self._name,
            "pid": os.getpid(),
            "since": self._since,
            "sessions": sum(visit.service == "imap" for visit in here),
            "logged_in": sum(visit.user is not None for visit in here),
            "figures": found.as_json(),
            "rates": self._figures.rates(found),
            "troubles": [seen.as_json() for seen in self._troubles.seen()],
            "long": [each._asdict() for each in list(self._figures.long)],
        }

    def _who(self, question: Mapping[str, Any]) -> dict[str, object]:
        user = question.get("user")
        here = [visit for visit in self._sessions.here() if user is None or visit.user == user]
        return {"sessions": [{"worker": os.getpid(), **visit.seen()} for visit in here]}

    def _kick(self, question: Mapping[str, Any]) -> dict[str, object]:
        """Send away the session of that name, or where none has it all of that user; on behalf of an administrator."""
        whom = question.get("whom")
        here = self._sessions.here()
        found = [visit for visit in here if visit.name == whom] or [visit for visit in here if visit.user == whom]
        for visit in found:
            log.info("kicked", user=visit.user, peer=visit.peer, kicked=visit.name)
            visit.send_away(Kicked())
            self._to_cut.append((time.monotonic() + KICK_SECONDS, visit))
        return {"kicked": [visit.name for visit in found]}

    def _cut(self) -> None:
        now = time.monotonic()
        late = [visit for moment, visit in self._to_cut if moment <= now]
        self._to_cut = [(moment, visit) for moment, visit in self._to_cut if moment > now]
        for visit in late:
            visit.cut()  # nothing where it has gone

    def _follow(self, question: Mapping[str, Any]) -> dict[str, object]:
        if question.get("on"):
            logs.listen(self._told)
        else:
            logs.unlisten(self._told)
            self._told.events.clear()
        return {}

    def _pass_on(self) -> None:
        """Send the supervisor the events that it wants to hear."""
        events = self._told.events
        while events and self._lines.waiting < WAITING_OCTETS:
            self._lines.put({"event": events.popleft()})
        if self._told.lost and self._lines.waiting < WAITING_OCTETS:
            lost, self._told.lost = self._told.lost, 0
            self._lines.put({"lost": lost})

    def _rawlog(self, question: Mapping[str, Any]) -> dict[str, object]:
        self._rawlogs.set(question.get("orders", []))
        return {}
