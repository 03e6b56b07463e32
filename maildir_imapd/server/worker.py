"""One worker process: the listening sockets it inherited, a thread per connection, a watch thread."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import select
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maildir_imapd import log as logs
from maildir_imapd.errors import LimitReached, ShuttingDown
from maildir_imapd.events import Log, set_session
from maildir_imapd.server import asking, imap_service, memory, proxy, settings
from maildir_imapd.server import tls as tls_settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.affinity import Affinity, HostHealth
from maildir_imapd.server.answering import Answering
from maildir_imapd.server.auth_http_service import AuthHttpPort
from maildir_imapd.server.auth_service import AuthPort
from maildir_imapd.server.beside import start as start_background
from maildir_imapd.server.connection import converse
from maildir_imapd.server.door import Door
from maildir_imapd.server.draining import Draining
from maildir_imapd.server.entrance import Entrance
from maildir_imapd.server.figures import WorkerFigures
from maildir_imapd.server.heartbeat import Beats
from maildir_imapd.server.lmtp_service import LmtpPort
from maildir_imapd.server.lookup_service import LookupPort, recipient
from maildir_imapd.server.networks import among
from maildir_imapd.server.policy_service import PolicyPort
from maildir_imapd.server.rawlog import RawLogs
from maildir_imapd.server.reach import reach_of
from maildir_imapd.server.sessions import Sessions, Visit, base36, peer_name, silent
from maildir_imapd.server.signals import Signals
from maildir_imapd.server.transport import Transport
from maildir_imapd.server.troubles import Troubles
from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.threads.bell import Bell
from maildir_imapd.store.threads.longlived import BEAT_SECONDS, LongLived, no_beat

if TYPE_CHECKING:
    from maildir_imapd.auth.beside import Asks
    from maildir_imapd.config import Config
    from maildir_imapd.server.beside import Processes
    from maildir_imapd.server.counts import WorkerCounts
    from maildir_imapd.server.deaths import WorkerNotes
    from maildir_imapd.server.failures import Failures
    from maildir_imapd.server.service import Port
    from maildir_imapd.server.stacks import Stacks

log = Log(__name__)

# A thread's stack: memory is touched as it is used, address space is not for nothing with 10 000 threads.
STACK_OCTETS = 512 * 1024
# Seconds a thread may compute before another one gets its turn.
SWITCH_SECONDS = 0.002
# Containers made before the garbage collector looks for cycles.  A THREAD or a long FETCH makes tens of
# thousands that all live until its end, and walking them every 700 took half of its time.
COLLECT_AFTER = 50_000
# Seconds that one look of the watch thread may take longer than any other turn: a first look at a large folder on a
# slow disk is no reason to kill the process.
LONG_LOOK_SECONDS = 240.0
# Seconds that it has to end in when the process does.
LAST_LOOK_SECONDS = 2.0
# Seconds until the main thread goes on after an error.
AFTER_ERROR_SECONDS = 1.0
TOO_MANY = "The server has too many connections; try again later"


@dataclass(frozen=True, slots=True)
class Acceptor:
    """A bound socket, and whether TLS begins at once on it; *service* names the port of the worker that serves it.

    *proxy*: each connection begins with a header of the PROXY protocol.  *asked*: its connections are of programs that
    ask, which never log in and are counted by themselves.
    """

    sock: socket.socket
    implicit_tls: bool
    service: str = "imap"
    proxy: bool = False
    asked: bool = False


# Of accept: there is nothing to take now, or what there was has gone; the next one may be there.
_NOTHING = (
    errno.EAGAIN,
    errno.EINTR,
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.EPERM,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.ETIMEDOUT,
)
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Server(socketserver.ThreadingTCPServer):
    """One listening socket of a worker, and the thread that takes its connections; that thread alone touches it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: Acceptor, worker: Worker, beat: Callable[[], None] = no_beat) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.sock
        self.listener = listener
        self.worker = worker
        self._bell = Bell()
        # A descriptor kept for the moment when there is no other: with it a client can be told.
        self._reserve: Descriptor | None = self._spare()
        self.thread = LongLived("accept", self.serve_forever, beat)

    @staticmethod
    def _spare() -> Descriptor:
        return Descriptor(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), "reserve")

    def start(self) -> None:
        """Begin to accept, also again."""
        self.thread.start()

    def stop(self) -> None:
        """Leave new connections to others.  Harmless twice, and from two threads."""
        self.thread.ask_to_end()
        self._bell.ring()
        self.thread.join()
        # Nobody has the numbers in his hand any more.
        self.socket.close()
        self._bell.close()
        descriptors.close_all([self._reserve])

    def serve_forever(self, poll_interval: float = BEAT_SECONDS) -> None:
        """Accept until ``stop``; not the inherited loop, for that one has no beat and ends by a flag it polls for."""
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        poll.register(self._bell.fd, select.POLLIN)
        while not self.thread.ending:
            self.thread.beat()
            if poll.poll(poll_interval * 1000) and not self.thread.ending:
                self._take()

    def _take(self) -> None:
        """Take one connection, and have a thread of its own serve it."""
        try:
            request, address = self.get_request()
        except OSError as error:
            if error.errno in _SHORTAGE:
                log.error("cannot accept", why=error.strerror)
                self._turn_away()
            elif error.errno not in _NOTHING:
                raise
            return
        try:
            # From here on the socket is that thread's.
            self.process_request(request, address)
        except RuntimeError as error:
            # This alone says that the thread has not begun; after any other error the socket may be its own.
            log.error("cannot start a thread", peer=str(address), why=error)
            self._refuse(request)
            self.shutdown_request(request)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, within the budget of descriptors."""
        sock, address = descriptors.again(self.socket.accept)
        descriptors.watch_level(sock.fileno())
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handler lets nothing through; what still comes here is ours."""
        log.error("handler failed", failure=sys.exception(), peer=str(client_address))

    def _turn_away(self) -> None:
        """Take the connection that there is no descriptor for, say so, and close it."""
        descriptors.close_all([self._reserve])
        self._reserve = None
        try:
            sock, _ = self.socket.accept()
            with sock:
                self._refuse(sock)
        except OSError:
            # Another thread took the descriptor: the connection stays in the queue, so do not spin.
            time.sleep(0.2)
        try:
            self._reserve = self._spare()
        except OSError:
            time.sleep(0.2)

    def _refuse(self, sock: socket.socket) -> None:
        refuse(sock, self.worker.ports[self.listener.service].refusal(TOO_MANY), silent=self.listener.implicit_tls)


def _accept(number: int) -> str:
    """Return the name of the thread of a listening socket."""
    return f"accept {number}"


def refuse(sock: socket.socket, said: bytes, *, silent: bool) -> None:
    """Say to a connection that it gets no service; with *silent*, for it expects TLS, say nothing."""
    if silent:
        return
    try:
        sock.setblocking(False)
        sock.send(said)
    except OSError:
        pass  # it has gone by itself, or does not read


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Serve the client in this thread until it is gone."""
        self.server.worker.serve(self.request, self.client_address, self.server.listener)


class Worker:
    """One process, and all that its connections share.  Raises ConfigError."""

    def __init__(
        self,
        config: Config,
        tls: ssl.SSLContext | None,
        listeners: Sequence[Acceptor],
        beats: Beats,
        failures: Failures | None = None,
        counts: WorkerCounts | None = None,
        background: Processes | None = None,
        asks: Asks | None = None,
        name: str = "0",
        health: HostHealth | None = None,
    ) -> None:
        self.tls = tls
        self.name = name
        self._numbers = itertools.count(1)
        self.figures = WorkerFigures()
        self.rawlogs = RawLogs()
        self.watcher = settings.watcher(config, beats.of("watch", LONG_LOOK_SECONDS))
        hints = settings.hints(config, self.watcher.hint)
        mail = settings.mail(config, hint=None if hints is None else hints.tell)
        accounts = Accounts(mail, self.watcher, background=background)
        chain = settings.chain(config, failures, asks)
        self.door = Door(
            chain,
            accounts,
            settings.room(config),
            counts,
            settings.last_use(config),
            settings.new_device(config),
            settings.last_login(config),
            settings.last_logins(config),
            reach_of(accounts.mail.namespaces, accounts, lambda user: recipient(chain, user.encode()), self.watcher),
        )
        # What has threads of its own that nobody waits for.
        self._beside = [each for each in (self.door.last_logins, hints) if each is not None]
        self.sessions = Sessions()
        rules = settings.lmtp(config)
        affinity = Affinity(HostHealth(settings.hosts(config)) if health is None else health)
        # What is served, by the name that a listener has for it.
        self.ports: dict[str, Port] = {
            "imap": imap_service.ImapPort(
                config, self.door, tls=tls is not None, budget=settings.budget(config), rawlogs=self.rawlogs
            ),
            "auth": AuthPort(self.door.chain, settings.logins(config), affinity),
            "auth_http": AuthHttpPort(self.door.chain, affinity, settings.proxies(config)),
            "lookup": LookupPort(self.door.chain, rules.delimiters),
            "policy": PolicyPort(self.door.chain, accounts, rules.delimiters),
            "lmtp": LmtpPort(rules, self.door.chain, accounts, self.figures.deliver),
        }
        self._asking = threading.BoundedSemaphore(asking.CONNECTIONS)
        self._proxies = settings.proxies(config)
        self._beats = beats
        self.servers = [Server(listener, self, beats.of(_accept(n))) for n, listener in enumerate(listeners)]

    def serve(self, sock: socket.socket, address: tuple[Any, ...] | str, listener: Acceptor) -> None:
        """One connection, from greeting to goodbye."""
        # No other connection of any worker has it, and none after the next start (_child of the supervisor).
        name = f"{self.name}-{base36(next(self._numbers))}"
        set_session(name)
        if listener.asked:
            self._answer(sock, address, listener, name)
            return
        origin = self._origin(sock, address, listener)
        if origin is None:
            return
        visit = Visit(origin[0], peer_name(*origin), listener.service, name)
        visit.by = str(address[0]) if listener.proxy else ""
        try:
            self.door.arrive(visit)
        except LimitReached as refusal:
            log.warning("connection refused", peer=visit.peer, why=refusal.text)
            refuse(sock, self.ports[listener.service].refusal(refusal.text), silent=listener.implicit_tls)
            return
        inside = True
        visit.tally = self.figures.begin()

        def left() -> None:
            nonlocal inside
            if inside:
                inside = False
                self.door.leave(visit)

        try:
            self.sessions.enter(visit)
            self._converse(sock, visit, listener, left)
        finally:
            self.sessions.leave(visit)
            self.figures.end(visit.tally)
            left()

    def _answer(self, sock: socket.socket, address: tuple[Any, ...] | str, listener: Acceptor, name: str) -> None:
        """Serve a program that asks: the door, which is for those who log in, knows nothing of it."""
        host = str(address[0]) if isinstance(address, tuple) else ""
        peer = peer_name(host, address[1]) if isinstance(address, tuple) else "local"
        visit = Visit(host, peer, listener.service, name)
        if not self._asking.acquire(blocking=False):
            log.warning("connection refused", service=visit.service, peer=visit.peer, why="too many that ask")
            refuse(sock, self.ports[listener.service].refusal(TOO_MANY), silent=False)
            return
        try:
            self.sessions.enter(visit)
            self._converse(sock, visit, listener, lambda: None)
        finally:
            self.sessions.leave(visit)
            self._asking.release()

    def _origin(
        self, sock: socket.socket, address: tuple[Any, ...] | str, listener: Acceptor
    ) -> tuple[str, int] | None:
        """Say from which address and port the client comes, by its proxy's word where it has one; None: send it away.

        So long as a proxy does not say that the door knows nothing of the connection, for it counts by address.
        """
        host, port = str(address[0]), int(address[1])
        if not listener.proxy:
            return host, port
        peer = peer_name(host, port)
        if not among(host, self._proxies):
            log.warning("connection refused", peer=peer, why="it is none of proxy_networks")
            return None
        try:
            header = proxy.receive(sock)
        except (proxy.BadProxyHeader, OSError) as error:
            log.warning("bad PROXY header", peer=peer, why=error)
            return None
        if header is None:
            return None
        return header.source or (host, port)

    def _converse(self, sock: socket.socket, visit: Visit, listener: Acceptor, left: Callable[[], None]) -> None:
        """Serve a connection that the door has let in; *left* is called when it holds nothing any more."""
        port = self.ports[listener.service]
        try:
            transport = Transport(sock, tls=self.tls)
        except (OSError, MemoryError) as error:
            # No descriptor for the bell, or the client has gone already.
            log.error("cannot serve", peer=visit.peer, why=error)
            refuse(sock, port.refusal(TOO_MANY), silent=listener.implicit_tls)
            return
        visit.ring, visit.cut = transport.bell.ring, transport.cut
        secure = listener.implicit_tls
        try:
            service = port.open(visit, transport, secure=secure)
            converse(transport, service, implicit_tls=secure, leaving=lambda: visit.goodbye, ended=left)
        finally:
            # Whoever has it from the list of sessions still rings it.
            visit.ring = visit.cut = silent
            transport.close()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.sessions)

    def start(self) -> None:
        """Begin to accept, in a thread per listening socket."""
        sys.setswitchinterval(SWITCH_SECONDS)
        memory.give_back()
        gc.freeze()  # what the imports have made stays: it need not be walked, nor unshared after the fork
        gc.set_threshold(COLLECT_AFTER, 10, 10)
        threading.stack_size(STACK_OCTETS)
        self.watcher.start()
        for beside in self._beside:
            beside.start()
        for server in self.servers:
            server.start()

    def stop_accepting(self) -> None:
        """Leave new connections to other workers."""
        for number, server in enumerate(self.servers):
            server.stop()
            self._beats.forget(_accept(number))

    def look_after(self) -> None:
        """Start each long-lived thread again that is not there any more and should be; raises RuntimeError.

        What nobody has used for long is let go of.
        """
        self.figures.sample()
        if self.door.accounts.unused.let_go_old() > memory.WORTH_OCTETS:
            memory.trim()
        self.watcher.start()
        for beside in self._beside:
            beside.start()
        for server in self.servers:
            server.start()

    def close_beside(self) -> None:
        """End what works by itself, beside all connections."""
        for beside in self._beside:
            beside.close()


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True, slots=True)
class Supervision:
    """The things that a supervisor gives the worker which it forks, and hears from it."""

    parent: int
    """The supervisor's process number."""
    ready: Callable[[], None]
    """Called once connections are taken."""
    beat: Callable[[float], None]
    """Called every second with the moment when the slowest of the long-lived threads has moved: so it can tell a
    worker that hangs."""
    retired: Callable[[], bool]
    """Whether others have taken the worker's place."""
    patience: float
    """Seconds that clients have to finish their command when it ends (``shutdown_timeout``)."""
    notes: WorkerNotes | None = None
    """Where to note what would tell of which message it died."""
    stacks: Stacks | None = None
    """Where its stacks are written if it stands still."""
    told: Callable[[], None] = lambda: None
    """Notes that they were."""
    channel: socket.socket | None = None
    """By this it hands over the log file that it has opened anew."""
    failures: Failures | None = None
    """Where all workers count logins that fail."""
    counts: WorkerCounts | None = None
    """Where this one counts the connections of each user, for all to see."""
    asks: Asks | None = None
    """Whoever answers questions about passwords in processes of their own."""
    name: str = "0"
    """No other worker has it, and none after another start."""
    asked: socket.socket | None = None
    """By this it is asked what it does (``answering.py``)."""
    troubles: Troubles | None = None
    """Where warnings of this process are counted."""
    entrance: Entrance | None = None
    """Whether new clients are taken, and the drain."""
    slot: int = 0
    """Its place among the workers."""
    health: HostHealth | None = None
    """Which hosts take clients."""


def run(config: Config, tls: ssl.SSLContext | None, listeners: Sequence[Acceptor], supervision: Supervision) -> int:
    """The life of a worker process; returns its exit status, raises ConfigError.

    SIGTERM: BYE to all, end within the supervisor's patience.  SIGUSR1: look whether there is a drain, and whether
    it is retired; then accept no more, and end when the last client has gone.
    """
    sys.unraisablehook = tls_settings.keep_unraisable
    # First, while there is no thread.
    theirs = [listener.sock for listener in listeners]
    theirs += [each for each in (supervision.channel, supervision.asked) if each is not None]
    background = start_background(config, theirs)
    signals = Signals(SIGNALS)
    if supervision.notes is not None:
        imap_service.note_dangers(supervision.notes)
    beats = Beats()
    main = beats.of("main")
    worker = Worker(
        config,
        tls,
        listeners,
        beats,
        supervision.failures,
        supervision.counts,
        background,
        supervision.asks,
        supervision.name,
        supervision.health,
    )
    answering = _answering(worker, supervision)
    draining = None
    if supervision.entrance is not None:
        worker.sessions.closed = supervision.entrance.goodbye
        draining = Draining(supervision.entrance, supervision.slot, worker.sessions)
    if supervision.stacks is not None:
        supervision.stacks.answer(supervision.told)
    worker.start()
    supervision.ready()

    def moved() -> None:
        main()
        if answering is not None:
            answering.thread.start()
        supervision.beat(beats.oldest())
        background.look()
        if supervision.retired():
            background.retire()

    if _work(worker, signals, supervision, moved, background.share_log, draining):
        _end(worker, moved, supervision.patience)
    if answering is not None:
        answering.say_last()
    return 0


def _answering(worker: Worker, supervision: Supervision) -> Answering | None:
    """Make what answers the supervisor, where there is one that asks."""
    if supervision.asked is None:
        return None
    troubles = Troubles() if supervision.troubles is None else supervision.troubles
    return Answering(supervision.asked, supervision.name, worker.sessions, worker.figures, troubles, worker.rawlogs)


def _work(
    worker: Worker,
    signals: Signals,
    supervision: Supervision,
    moved: Callable[[], None],
    share_log: Callable[[], None] | None = None,
    draining: Draining | None = None,
) -> bool:
    """Look after the worker until it is to end; False: it is retired and nobody is here any more."""
    leaving = False
    while True:
        try:
            moved()
            if supervision.channel is not None and logs.receive(supervision.channel) and share_log is not None:
                share_log()
            logs.reopen()
            if supervision.stacks is not None:
                supervision.stacks.follow()
            worker.look_after()
            info = signals.wait(1.0 if draining is None else draining.turn())
            if info is not None and info.number in (signal.SIGTERM, signal.SIGINT):
                return True
            if os.getppid() != supervision.parent:
                log.error("the supervisor is gone")
                return True
            if not leaving and supervision.retired():
                leaving = True
                worker.stop_accepting()
                log.info("retired", connections=worker.connections)
            elif leaving and not worker.connections:
                return False
        except Exception:
            # Its clients are served by other threads: this one goes on as well.
            log.exception("main thread failed")
            time.sleep(AFTER_ERROR_SECONDS)


def _end(worker: Worker, moved: Callable[[], None], patience: float) -> None:
    """Have everybody told BYE, and wait *patience* seconds for those who are at something."""
    # Those who are here hear it at once; whoever still comes gets a greeting and BYE.
    worker.sessions.say_goodbye(ShuttingDown())
    try:
        # Harmless where it has been done before.
        threading.Thread(target=worker.stop_accepting, name="stop", daemon=True).start()
    except RuntimeError:
        pass  # the system has no thread left: then the end of the process stops it
    deadline = time.monotonic() + patience
    while worker.connections and time.monotonic() < deadline:
        moved()
        time.sleep(0.02)
    # What the watch thread is at is as safe as after a kill; it gets a moment to come to an end.
    worker.watcher.close(timeout=LAST_LOOK_SECONDS)
    worker.close_beside()
