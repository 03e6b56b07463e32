"""The supervisor's end of the control socket: who may ask, asking all workers, and answering without ever waiting.

It lives in the supervisor's loop: ``number`` is polled there, ``turn`` does what can be done at once.  A worker that
does not answer in time is named in the answer; a client that does not read is cut, or loses lines where it follows the
log.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from maildir_imapd import log as logs
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server.channels import Channels, unwatch, watch
from maildir_imapd.server.control_protocol import REQUEST_OCTETS, VERSION, Refusal, own_place
from maildir_imapd.server.figures import Sums
from maildir_imapd.server.lines import Broken, Garbage, Lines, decode
from maildir_imapd.server.listening import Named, SocketRights, listen_at

if TYPE_CHECKING:
    from maildir_imapd.server.settings import ControlRights

log = Log(__name__)

CLIENTS: Final = 64
# Requests that may wait for the one under way.
WAITING: Final = 1000
# Of accept; and seconds to wait then.
_SHORTAGE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
SHORTAGE_SECONDS: Final = 0.1
# Seconds that workers have for an answer, clients for a request, and for taking what they are sent.
ANSWER_SECONDS: Final = 2.0
REQUEST_SECONDS: Final = 60.0
READING_SECONDS: Final = 30.0
# Octets that wait for whoever follows the log, from which on it loses lines.
FOLLOWED_OCTETS: Final = 512 * 1024
EVENTS: Final = 2000
_CREDENTIALS: Final = struct.Struct("3i")
_SO_PEERGROUPS: Final = 59
_GROUPS_OCTETS: Final = 1024  # all that Python reads
_DENIED: Final = 77
_USAGE: Final = 64
_UNAVAILABLE: Final = 69
_SOFTWARE: Final = 70


@dataclass
class Asker:
    """One connection of somebody who asks."""

    lines: Lines
    uid: int
    may_change: bool
    heard: float
    waiting: deque[bytes] = field(default_factory=deque)  # requests that have not begun
    request: Request | None = None
    beginning: bool = False
    # What of the log is told, while it follows.
    follows: Callable[[Mapping[str, object]], bool] | None = None
    lost: int = 0
    # When it last took something, where something waits for it.
    took: float = 0.0
    unread: int = 0
    closing: bool = False


@dataclass
class Request:
    """A question under way: what the workers have said, who has not, and what is made of it."""

    number: int
    deadline: float
    silent: set[int]
    finish: Callable[[dict[int, dict[str, Any]], list[int]], None]
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)


class Begins(Protocol):
    """Knows what a request means (``control_commands.Commands``)."""

    def begin(self, control: Control, client: Asker, said: Mapping[str, Any]) -> None:
        """Begin one; raises Refusal."""
        ...

    def orders(self) -> list[dict[str, object]]:
        """Whose dialogues are written down, for a new worker."""
        ...


class _Heard(logging.Handler):
    """The supervisor's own events, for whoever follows the log."""

    def __init__(self) -> None:
        super().__init__()
        self.events: deque[dict[str, object]] = deque(maxlen=EVENTS)

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(logs.as_object(record))


class Control:
    """See the module.  One thread.  *commands* knows what a request means."""

    def __init__(self, rights: ControlRights) -> None:
        self._epoll = select.epoll()
        self._rights = rights
        self._socket: socket.socket | None = None
        self._named: Named | None = None
        self._clients: dict[int, Asker] = {}
        self.channels = Channels(self._epoll, self._hear, self._miss)
        self._requests: dict[int, Request] = {}
        self._number = 0
        self._heard = _Heard()
        self.commands: Begins | None = None
        # The sums of workers that have ended.
        self.gone = Sums()

    @property
    def number(self) -> int:
        """The descriptor that can be read when there is something to do."""
        return self._epoll.fileno()

    def listen(self) -> None:
        """Make the socket; raises ConfigError where the administrator has named it, else says so in the log."""
        path, named = self._rights.path, True
        if path == "":
            return
        if path is None:
            path, named = own_place(), False
        if path is None:
            log.info("no control socket", why="there is no directory for it")
            return
        try:
            if not named:
                _make_directory(os.path.dirname(path))
            self._socket = listen_at(path, SocketRights(self._rights.mode))
        except (ConfigError, OSError) as error:
            why = error.text if isinstance(error, ConfigError) else f"{os.path.dirname(path)}: {error.strerror}"
            if named:
                raise ConfigError(f"control_socket: {why}") from error
            log.info("no control socket", why=why)
            return
        self._named = Named.of(path)
        self._epoll.register(self._socket.fileno(), select.EPOLLIN)

    def renew(self, rights: ControlRights) -> None:
        """Go by new settings; the socket stays where it is."""
        if rights.path != self._rights.path:
            log.warning("a new control_socket needs a restart")
        self._rights = rights
        if self._named is not None:
            try:
                os.chmod(self._named.path, rights.mode)
            except OSError as error:
                log.warning("control socket keeps its mode", why=error.strerror)

    def close(self) -> None:
        """Let everybody go and remove the socket; harmless twice."""
        for client in list(self._clients.values()):
            client.lines.close()
        if self._named is not None:
            self._named.remove()
        self.let_go()

    def let_go(self) -> None:
        """Close all descriptors, in a process that has its own business; the socket's name stays."""
        for client in self._clients.values():
            client.lines.close()
        self.channels.close()
        if self._socket is not None:
            self._socket.close()
        logs.unlisten(self._heard)
        self._epoll.close()

    # --- workers ------------------------------------------------------------------------------------

    def add(self, pid: int, sock: socket.socket) -> None:
        """Take a new worker's channel, which is this object's from here on."""
        self.channels.add(pid, sock)
        if any(client.follows for client in self._clients.values()):
            self.channels.tell(pid, {"ask": "follow", "on": True})
        if self.commands is not None:
            self.channels.tell(pid, {"ask": "rawlog", "orders": self.commands.orders()})

    def tell_all(self, question: Mapping[str, object]) -> None:
        """Tell all workers, and wait for no answer."""
        for pid in self.channels.pids():
            self.channels.tell(pid, question)

    def _hear(self, pid: int, said: Mapping[str, Any]) -> None:
        """Take in what a worker says; raises KeyError, TypeError or ValueError for what is no such thing."""
        if "event" in said:
            self._spread(said["event"])
        elif "lost" in said:
            self._spread_loss(int(said["lost"]))
        elif "last" in said:
            self.gone = self.gone.plus(Sums.from_json(said["last"]))
        else:
            self._answered(pid, said)

    def _miss(self, pid: int) -> None:
        """Wait for a worker no longer that has gone."""
        for request in list(self._requests.values()):
            request.silent.discard(pid)
            self._finish_if_whole(request)

    def inquire(
        self,
        client: Asker,
        question: Mapping[str, object],
        finish: Callable[[dict[int, dict[str, Any]], list[int]], None],
    ) -> None:
        """Ask all workers for *client*; *finish* gets their answers by process, and those that have not answered."""
        self._number += 1
        deadline = time.monotonic() + ANSWER_SECONDS
        request = Request(self._number, deadline, set(self.channels.pids()), finish)
        client.request = self._requests[request.number] = request
        for pid in self.channels.pids():
            self.channels.tell(pid, {**question, "id": request.number})
        self._finish_if_whole(request)

    def _answered(self, pid: int, said: Mapping[str, Any]) -> None:
        request = self._requests.get(said.get("id", 0))
        if request is None:
            return  # too late
        request.silent.discard(pid)
        request.answers[pid] = said["answer"]
        self._finish_if_whole(request)

    def _finish_if_whole(self, request: Request, *, late: bool = False) -> None:
        if (request.silent and not late) or self._requests.pop(request.number, None) is None:
            return
        asker = next((client for client in self._clients.values() if client.request is request), None)
        if asker is None:
            return  # it has gone
        asker.request = None
        try:
            request.finish(request.answers, sorted(request.silent))
        except Exception as error:
            log.exception("control request failed")
            self.fail(asker, Refusal("internal", f"internal error: {type(error).__name__}", _SOFTWARE))

    # --- clients ------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Do all that can be done without waiting."""
        for number, events in self._epoll.poll(0):
            if self._socket is not None and number == self._socket.fileno():
                self._accept()
            elif self.channels.serve(number, events):
                continue
            elif (client := self._clients.get(number)) is not None:
                try:
                    self._serve(client)
                except Exception:
                    # The loop is the whole server's.
                    log.exception("control connection failed")
                    self._drop(client)
        while self._heard.events:
            self._spread(self._heard.events.popleft())
        self._look(time.monotonic())

    @property
    def patience(self) -> float:
        """Seconds until ``turn`` is to be called, whatever happens."""
        now = time.monotonic()
        return min((max(0.0, request.deadline - now) for request in self._requests.values()), default=3600.0)

    def _look(self, now: float) -> None:
        for request in list(self._requests.values()):
            if now >= request.deadline:
                self._finish_if_whole(request, late=True)
        for client in list(self._clients.values()):
            self._tell_loss(client)
            self._flush(client, now)
            idle = client.request is None and client.follows is None and client.lines.waiting == 0
            if idle and now - client.heard > REQUEST_SECONDS:
                self._drop(client)

    def _accept(self) -> None:
        assert self._socket is not None
        try:
            sock, _ = self._socket.accept()
        except OSError as error:
            # It has gone; or there is no descriptor: then it stays where it is, and the next turn looks again.
            if error.errno in _SHORTAGE:
                time.sleep(SHORTAGE_SECONDS)
            return
        try:
            pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            sock.close()
            return
        groups = {gid, *_groups(sock)}
        client = Asker(Lines(sock, REQUEST_OCTETS), uid, self._rights.may_change(uid, groups), time.monotonic())
        refusal: Refusal | None = None
        if not client.may_change and not self._rights.may_read(uid, groups):
            log.warning("control connection refused", uid=uid, process=pid)
            refusal = Refusal("denied", "you may not ask this server (control_admins, control_readers)", _DENIED)
        elif _full(self._clients.values(), may_change=client.may_change):
            refusal = Refusal("busy", "too many ask at once", _UNAVAILABLE)
        if refusal is not None:
            try:
                client.lines.put({"version": VERSION, "error": refusal.as_json()})
                client.lines.flush()
            except Broken:
                pass  # it has gone
            client.lines.close()
            return
        self._clients[client.lines.number] = client
        self._epoll.register(client.lines.number, select.EPOLLIN)

    def _serve(self, client: Asker) -> None:
        try:
            lines = client.lines.receive()
        except Broken as error:
            if str(error) == "a line is too long":
                self.fail(client, Refusal("bad-request", "the line is too long", _USAGE))
            client.closing = True
            self._flush(client, time.monotonic())
            return
        if lines:
            client.heard = time.monotonic()
        client.waiting.extend(line for line in lines if line.strip())
        self._begin(client)
        if len(client.waiting) > WAITING:
            client.waiting.clear()
            self.fail(client, Refusal("busy", "too many requests before the first was answered", _UNAVAILABLE))
            client.closing = True
        if client.lines.ended:
            # Whoever has only ended what it sends may still read an answer; but nobody follows who cannot be heard.
            if client.request is None:
                client.closing = True
            client.follows = None
            unwatch(self._epoll, client.lines.number)
        self._flush(client, time.monotonic())

    def _begin(self, client: Asker) -> None:
        """Begin with the next request where none is under way; one that follows the log has had its last."""
        if client.beginning:
            return  # one loop is enough, however many are answered at once
        client.beginning = True
        try:
            while client.waiting and client.request is None and client.follows is None and not client.closing:
                self._begin_one(client, client.waiting.popleft())
        finally:
            client.beginning = False

    def _begin_one(self, client: Asker, line: bytes) -> None:
        try:
            said = decode(line)
            if said.get("version") != VERSION:
                raise Refusal("bad-version", f"this server speaks version {VERSION}", _USAGE)
            assert self.commands is not None
            self.commands.begin(self, client, said)
        except Garbage as error:
            self.fail(client, Refusal("bad-request", str(error), _USAGE))
        except Refusal as fault:
            self.fail(client, fault)
        except Exception as error:
            log.exception("control request failed")
            self.fail(client, Refusal("internal", f"internal error: {type(error).__name__}", _SOFTWARE))

    def hold(self, client: Asker) -> None:
        """Have a request stand whose answer is no worker's, until ``Asker.request`` is None again."""
        client.request = Request(0, float("inf"), set(), lambda answers, silent: None)

    def result(self, client: Asker, found: Mapping[str, object]) -> None:
        """End a request."""
        self._put(client, {"version": VERSION, "result": found})
        self._begin(client)

    def fail(self, client: Asker, fault: Refusal) -> None:
        """End a request with an error."""
        self._put(client, {"version": VERSION, "error": fault.as_json()})
        self._begin(client)

    def _put(self, client: Asker, value: object) -> None:
        if client.lines.number < 0:
            return
        client.lines.put(value)
        if client.lines.ended:
            client.closing = True
        self._flush(client, time.monotonic())

    def _flush(self, client: Asker, now: float) -> None:
        lines = client.lines
        if lines.number < 0:
            return
        try:
            lines.flush()
        except Broken:
            self._drop(client)
            return
        if lines.waiting == 0 or lines.waiting != client.unread:
            client.took = now
        client.unread = lines.waiting
        if (client.closing and not lines.waiting) or now - client.took > READING_SECONDS:
            self._drop(client)
        else:
            watch(self._epoll, lines)

    def _drop(self, client: Asker) -> None:
        if self._clients.pop(client.lines.number, None) is None:
            return
        unwatch(self._epoll, client.lines.number)
        client.lines.close()
        client.closing = True
        if client.follows is not None:
            client.follows = None
            self.follow_if_wanted()

    # --- the log --------------------------------------------------------------------------------------

    def follow_if_wanted(self) -> None:
        """Have the workers tell what they log, or stop it."""
        wanted = any(client.follows is not None for client in self._clients.values())
        if wanted:
            logs.listen(self._heard)
        else:
            logs.unlisten(self._heard)
        self.tell_all({"ask": "follow", "on": wanted})

    def _spread(self, event: Mapping[str, object]) -> None:
        for client in list(self._clients.values()):
            if client.follows is None or not client.follows(event):
                continue
            if client.lines.waiting > FOLLOWED_OCTETS:
                client.lost += 1
                continue
            self._tell_loss(client)
            self._put(client, {"version": VERSION, "event": event})

    def _spread_loss(self, lost: int) -> None:
        for client in self._clients.values():
            if client.follows is not None:
                client.lost += lost
                self._tell_loss(client)

    def _tell_loss(self, client: Asker) -> None:
        if client.lost and client.lines.waiting <= FOLLOWED_OCTETS:
            lost, client.lost = client.lost, 0
            client.lines.put({"version": VERSION, "lost": lost})


def _full(here: Collection[Asker], *, may_change: bool) -> bool:
    """Whether there are too many; those who only look leave half of the room to the others."""
    if may_change:
        return len(here) >= CLIENTS
    return sum(not client.may_change for client in here) >= CLIENTS // 2


def _groups(sock: socket.socket) -> Collection[int]:
    """The other groups of who is at the other end, as the kernel knows them."""
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_OCTETS)
    except OSError:
        return ()  # an old kernel, or more groups than that
    return struct.unpack(f"{len(found) // 4}I", found)


def _make_directory(path: str) -> None:
    """Make the directory of the socket, in one that is there; raises OSError, also where it is another user's."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise PermissionError(1, "others may write there", path)
