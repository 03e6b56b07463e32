"""The process that serves figures by HTTP: one thread, one wait, and nothing that waits for anybody.

It asks the supervisor over two connections of the control socket's protocol, for what workers have to be asked takes as
long as the slowest of them, and whether the server is ready is to be known at once.  It ends with the supervisor.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Final

from maildir_imapd import log as logs
from maildir_imapd.events import Log
from maildir_imapd.server.control_protocol import VERSION
from maildir_imapd.server.http_talk import BadHttp, HttpAnswer, HttpConnection, HttpRequest, plain
from maildir_imapd.server.lines import Broken, Garbage, Lines, decode
from maildir_imapd.server.metrics import render
from maildir_imapd.server.samples import Samples
from maildir_imapd.server.status_page import POLICY
from maildir_imapd.server.status_page import render as render_page

log = Log(__name__)

CONNECTIONS: Final = 64
# Connections that are taken in one turn, before those that are there are served.
TAKEN: Final = 16
ANSWER_OCTETS: Final = 64 << 20
# Seconds for which an answer of the supervisor's serves all who ask, and in which it has to come.
FRESH_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 5.0
SAMPLE_SECONDS: Final = 10.0

Told = Mapping[str, Any]


class Link:
    """One connection to the supervisor; what several want at once is asked once."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self.lines = Lines(sock, ANSWER_OCTETS)
        self._clock = clock
        self._asked: deque[str] = deque()
        self._waiting: dict[str, list[Callable[[Told | None], None]]] = {}
        self._since: dict[str, float] = {}
        self._known: dict[str, tuple[float, Told]] = {}

    def want(self, command: str, hear: Callable[[Told | None], None]) -> None:
        """Have *hear* told what the supervisor answers, or None if nothing comes in time."""
        known = self._known.get(command)
        if known is not None and self._clock() - known[0] <= FRESH_SECONDS:
            hear(known[1])
            return
        self._waiting.setdefault(command, []).append(hear)
        if command not in self._asked:
            self._asked.append(command)
            self.lines.put({"version": VERSION, "command": command})
        self._since.setdefault(command, self._clock())

    def serve(self) -> None:
        """Do what can be done now; raises Broken, also where the supervisor has gone."""
        for line in self.lines.receive():
            said = decode(line)
            command = self._asked.popleft()
            if "result" in said:
                self._known[command] = (self._clock(), said["result"])
            self._hand_out(command, said.get("result"))
        if self.lines.ended:
            raise Broken("the supervisor has gone")
        now = self._clock()
        for command, since in list(self._since.items()):
            if now - since > ANSWER_SECONDS:
                self._hand_out(command, None)
        self.lines.flush()

    def _hand_out(self, command: str, told: Told | None) -> None:
        self._since.pop(command, None)
        for hear in self._waiting.pop(command, ()):
            try:
                hear(told)
            except Exception:
                # The others are to hear it all the same.
                log.exception("request failed")


class Exporter:
    """See the module.  It owns all sockets; *channel* brings log files that were opened anew."""

    def __init__(
        self,
        listening: Collection[socket.socket],
        figures: socket.socket,
        state: socket.socket,
        channel: socket.socket,
        *,
        status_page: bool,
    ) -> None:
        self._listening = {sock.fileno(): sock for sock in listening}
        self._figures, self._state = Link(figures), Link(state)
        self._channel = channel
        self._page = status_page
        self._connections: dict[int, HttpConnection] = {}
        self._samples = Samples()
        self._next_sample = time.monotonic()
        self._paths: dict[str, Callable[[HttpConnection, HttpRequest], None]] = {
            "/metrics": self._metrics,
            "/health": self._health,
            "/ready": self._ready,
        }
        if status_page:
            self._paths["/"] = self._status

    def run(self) -> None:
        """Serve until the supervisor has gone."""
        try:
            while True:
                self.turn()
        except (Broken, Garbage) as error:
            log.debug("no more figures are served", why=error)

    def turn(self, patience: float = 1.0) -> None:
        """Wait for something to do, and do it; raises Broken."""
        poll = select.poll()
        for number in self._listening:
            poll.register(number, select.POLLIN)
        for link in (self._figures, self._state):
            poll.register(link.lines.number, select.POLLIN | (select.POLLOUT if link.lines.waiting else 0))
        poll.register(self._channel, select.POLLIN)
        for number, each in self._connections.items():
            events = (select.POLLIN if each.reads else 0) | (select.POLLOUT if each.writes else 0)
            if events:
                poll.register(number, events)
        ready = {number for number, _ in poll.poll(patience * 1000)}
        logs.receive(self._channel)
        logs.reopen()
        self._sample()
        now = time.monotonic()
        for number in ready & self._connections.keys():
            self._serve(self._connections[number], now)
        for number in ready & self._listening.keys():
            self._accept(self._listening[number], now)
        for link in (self._figures, self._state):
            link.serve()
        self._drop_late(time.monotonic())

    def _sample(self) -> None:
        """Have the supervisor know now and then what its workers have done, and note it for the charts."""
        now = time.monotonic()
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_SECONDS
            self._figures.want("status", lambda told: None if told is None else self._samples.add(told))

    # --- connections ----------------------------------------------------------------------------------

    def _accept(self, listening: socket.socket, now: float) -> None:
        for _ in range(TAKEN):
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.error("cannot accept", why=error.strerror)
                time.sleep(0.1)
                return
            self._make_room()
            each = HttpConnection(sock, now)
            self._connections[each.number] = each

    def _make_room(self) -> None:
        """Let the one go that has been here for longest, of those that have not asked for anything if there are."""
        if len(self._connections) >= CONNECTIONS:
            oldest = min(self._connections.values(), key=lambda each: (each.asked, each.since))
            self._drop(oldest)

    def _serve(self, each: HttpConnection, now: float) -> None:
        try:
            if each.writes:
                each.flush(now)
            else:
                request = each.receive(now)
                if request is not None:
                    self._answer(each, request)
        except BadHttp as error:
            each.answer(plain(error.status, fields=error.fields), now)
        except Exception:
            # The loop is everybody's.
            log.exception("request failed")
            each.over = True

    def _drop_late(self, now: float) -> None:
        for each in list(self._connections.values()):
            if each.over:
                self._drop(each)
            elif now > each.deadline:
                if each.asked or (each.request is None and each.reads):
                    each.answer(_silent() if each.asked else plain(HTTPStatus.REQUEST_TIMEOUT), now)
                self._drop(each)

    def _drop(self, each: HttpConnection) -> None:
        self._connections.pop(each.number, None)
        each.close()
        each.over = True

    def _put(self, each: HttpConnection, answer: HttpAnswer) -> None:
        if not each.over:
            each.answer(answer, time.monotonic())

    # --- what is asked for ----------------------------------------------------------------------------

    def _answer(self, each: HttpConnection, request: HttpRequest) -> None:
        found = self._paths.get(request.path)
        if found is None:
            self._put(each, plain(HTTPStatus.NOT_FOUND))
        else:
            found(each, request)

    def _metrics(self, each: HttpConnection, request: HttpRequest) -> None:
        def hear(told: Told | None) -> None:
            if told is None:
                self._put(each, _silent())
                return
            body, kind = render(told, request.fields.get("accept", ""))
            self._put(each, HttpAnswer(HTTPStatus.OK, body, kind))

        self._figures.want("status", hear)

    def _health(self, each: HttpConnection, request: HttpRequest) -> None:
        def hear(told: Told | None) -> None:
            if told is None:
                self._put(each, _silent())
            elif told["beating"]:
                self._put(each, plain(HTTPStatus.OK))
            else:
                self._put(each, plain(HTTPStatus.SERVICE_UNAVAILABLE, "no worker is alive"))

        self._state.want("ready", hear)

    def _ready(self, each: HttpConnection, request: HttpRequest) -> None:
        def hear(told: Told | None) -> None:
            if told is None:
                self._put(each, _silent())
            elif told["ready"]:
                self._put(each, plain(HTTPStatus.OK))
            else:
                self._put(each, plain(HTTPStatus.SERVICE_UNAVAILABLE, told["why"]))

        self._state.want("ready", hear)

    def _status(self, each: HttpConnection, request: HttpRequest) -> None:
        if not _is_ours(request.host):
            self._put(
                each, plain(HTTPStatus.MISDIRECTED_REQUEST, "This page goes by addresses and by this host's name")
            )
            return

        def hear_status(status: Told | None) -> None:
            def hear_who(who: Told | None) -> None:
                if status is None or who is None:
                    self._put(each, _silent())
                    return
                body = render_page(status, who["sessions"], self._samples, time.time())
                fields = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
                self._put(each, HttpAnswer(HTTPStatus.OK, body, "text/html; charset=utf-8", fields))

            self._figures.want("who", hear_who)

        self._figures.want("status", hear_status)


def _silent() -> HttpAnswer:
    return plain(HTTPStatus.SERVICE_UNAVAILABLE, "the supervisor does not answer")


def _is_ours(host: str) -> bool:
    """Whether a browser that asks for *host* means this machine.

    A foreign site's name may be made to lead here, and then its scripts may read what they get (DNS rebinding).
    """
    host = host.lower().removesuffix(".")
    if host in ("", "localhost"):
        return True  # "": no browser, for those name it
    own = os.uname().nodename.lower()
    if host == own or host == own.partition(".")[0] or own == host.partition(".")[0]:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
