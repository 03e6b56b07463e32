"""One worker process: the listening sockets it inherited, a thread per connection, a watch thread."""

from __future__ import annotations

import errno
import gc
import logging
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
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.errors import ConfigError, Goodbye, LimitReached, ShuttingDown
from maildir_imapd.imap import commands as _commands  # noqa: F401  # fills the table
from maildir_imapd.imap.columns.danger import Notes, danger
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.policy import Policy
from maildir_imapd.server.background import meanwhile
from maildir_imapd.server.connection import converse
from maildir_imapd.server.door import Door
from maildir_imapd.server.failures import Failures
from maildir_imapd.server.heartbeat import Beats
from maildir_imapd.server.signals import Signals
from maildir_imapd.server.stacks import Stacks
from maildir_imapd.server.transport import Transport
from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.records.metadata import parse_server
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.bell import Bell
from maildir_imapd.store.threads.longlived import BEAT, LongLived, no_beat
from maildir_imapd.store.watch import Watcher
from maildir_imapd.wire.buffer import Limits

if TYPE_CHECKING:
    from maildir_imapd.config import Config

logger = logging.getLogger(__name__)

# A thread's stack: memory is touched as it is used, address space is not for nothing with 10 000 threads.
STACK_SIZE = 512 * 1024
# Seconds a thread may compute before another one gets its turn (architecture D17).
SWITCH_INTERVAL = 0.002
# Containers made before the garbage collector looks for cycles.  A THREAD or a long FETCH makes tens of
# thousands that all live until its end, and walking them every 700 took half of its time.
COLLECT_AFTER = 50_000
# Seconds that one look of the watch thread may take longer than any other turn: a first look at a large folder on a
# slow disk is no reason to kill the process.
LONG_LOOK = 240.0
# Seconds that it has to end in when the process does.
LAST_LOOK = 2.0
# Seconds until the main thread goes on after an error.
AFTER_ERROR = 1.0
TOO_MANY = "The server has too many connections; try again later"
LOOPBACK = ("127.", "::1", "::ffff:127.")


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, and whether TLS begins at once on it."""

    sock: socket.socket
    implicit_tls: bool


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Read the certificate; None when none is set.  Raises ConfigError."""
    if config.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass  # OpenSSL would not say which of the two files it is
            except OSError as error:
                raise ConfigError(f"{name} {path}: {error.strerror}") from error
    try:
        # A key with a passphrase would have a daemon ask on the terminal.
        context.load_cert_chain(config.tls_cert, config.tls_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        what = "no certificate chain and key without a passphrase that fit each other"
        raise ConfigError(f"tls_cert {config.tls_cert}: {what} ({reason})") from error
    return context


def user_database(config: Config) -> PasswdFile | None:
    """Open the users' database; None when none is set.  Raises ConfigError."""
    return PasswdFile(config.passwd_file) if config.passwd_file else None


def server_metadata(config: Config) -> tuple[tuple[bytes, bytes], ...]:
    """Read what the server tells of itself; raises ConfigError."""
    if config.server_metadata is None:
        return ()
    try:
        with open(config.server_metadata, "rb") as file:
            return parse_server(file.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"server_metadata {config.server_metadata}: {reason}") from error


def policy(
    config: Config,
    *,
    tls: bool,
    loopback: bool,
    compress: bool = True,
    metadata: tuple[tuple[bytes, bytes], ...] = (),
) -> Policy:
    """What of the settings a session needs; *metadata* is what ``server_metadata`` gave."""
    return Policy(
        greeting=config.greeting,
        tls_available=tls,
        plaintext_login=config.plaintext_login == "loopback" and loopback,
        login_timeout=config.login_timeout,
        idle_timeout=config.idle_timeout,
        compress=compress,
        append_limit=config.append_limit,
        utf8=config.utf8,
        server_metadata=metadata,
        acl=config.acl,
        language=config.language,
        quota_set=config.quota_set,
        after_login=Limits(
            line=config.line_limit,
            literal=config.literal_limit,
            command=config.line_limit + 4 * config.literal_limit,
        ),
    )


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

    def __init__(self, listener: Listener, worker: Worker, beat: Callable[[], None] = no_beat) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.sock
        self.implicit_tls = listener.implicit_tls
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

    def serve_forever(self, poll_interval: float = BEAT) -> None:
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
                logger.error("cannot accept", extra={"fields": {"why": error.strerror}})
                self._turn_away()
            elif error.errno not in _NOTHING:
                raise
            return
        try:
            # From here on the socket is that thread's.
            self.process_request(request, address)
        except RuntimeError as error:
            # This alone says that the thread has not begun; after any other error the socket may be its own.
            logger.error("cannot start a thread", extra={"fields": {"peer": str(address), "why": error}})
            refuse(request, TOO_MANY, silent=self.implicit_tls)
            self.shutdown_request(request)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, within the budget of descriptors."""
        sock, address = descriptors.again(self.socket.accept)
        descriptors.watch_level(sock.fileno())
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handler lets nothing through; what still comes here is ours."""
        logger.error("handler failed", exc_info=sys.exception(), extra={"fields": {"peer": str(client_address)}})

    def _turn_away(self) -> None:
        """Take the connection that there is no descriptor for, say so, and close it."""
        descriptors.close_all([self._reserve])
        self._reserve = None
        try:
            sock, _ = self.socket.accept()
            with sock:
                refuse(sock, TOO_MANY, silent=self.implicit_tls)
        except OSError:
            # Another thread took the descriptor: the connection stays in the queue, so do not spin.
            time.sleep(0.2)
        try:
            self._reserve = self._spare()
        except OSError:
            time.sleep(0.2)


def _accept(number: int) -> str:
    """What the thread of a listening socket is called."""
    return f"accept {number}"


def refuse(sock: socket.socket, text: str, *, silent: bool) -> None:
    """Say BYE to a connection that gets no session; with *silent*, for it expects TLS, say nothing."""
    if silent:
        return
    try:
        sock.setblocking(False)
        sock.send(b"* BYE [UNAVAILABLE] %b\r\n" % text.encode("ascii"))
    except OSError:
        pass  # it has gone by itself, or does not read


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Serve the client in this thread until it is gone."""
        self.server.worker.serve(self.request, self.client_address, self.server.implicit_tls)


class Worker:
    """What the connections of one process share."""

    def __init__(
        self,
        config: Config,
        tls: ssl.SSLContext | None,
        listeners: Sequence[Listener],
        beats: Beats,
        failures: Failures | None = None,
    ) -> None:
        self.config = config
        self.tls = tls
        self.watcher = Watcher(config.watch, interval=config.poll_interval, beat=beats.of("watch", LONG_LOOK))
        self.door = Door(config, user_database(config), self.watcher, failures)
        self.server_metadata = server_metadata(config)
        self._beats = beats
        self.servers = [Server(listener, self, beats.of(_accept(n))) for n, listener in enumerate(listeners)]
        self._lock = locks.make(locks.Rank.GUARD)  # guards _bells
        self._bells: dict[int, Callable[[], None]] = {}
        self._goodbye: Goodbye | None = None

    def serve(self, sock: socket.socket, address: tuple[Any, ...], implicit_tls: bool) -> None:
        """One connection, from greeting to goodbye."""
        host = str(address[0])
        plain = host.removeprefix("::ffff:") if "." in host else host
        peer = f"[{plain}]:{address[1]}" if ":" in plain else f"{plain}:{address[1]}"
        try:
            arrival = self.door.arrive(host)
        except LimitReached as refusal:
            logger.warning("connection refused", extra={"fields": {"peer": peer, "why": refusal.text}})
            refuse(sock, refusal.text, silent=implicit_tls)
            return
        engine: Engine | None = None
        inside = True

        def left() -> None:
            nonlocal inside
            if inside:
                inside = False
                self.door.leave(arrival, engine.session.user if engine is not None else None)

        def leaving() -> Goodbye | None:
            return Goodbye("Too many connections; try again later") if arrival.sent_away else self._goodbye

        try:
            transport = Transport(sock, tls=self.tls)
        except (OSError, MemoryError) as error:
            # No descriptor for the bell, or the client has gone already.
            logger.error("cannot serve", extra={"fields": {"peer": peer, "why": error}})
            refuse(sock, TOO_MANY, silent=implicit_tls)
            left()
            return
        arrival.ring = transport.bell.ring
        try:
            engine = Engine(
                policy(
                    self.config,
                    tls=self.tls is not None,
                    loopback=host.startswith(LOOPBACK),
                    metadata=self.server_metadata,
                ),
                self.door.gate(host, peer, arrival),
                secure=implicit_tls,
                wake=transport.bell.ring,
                peer=peer,
                meanwhile=meanwhile,
                look=transport.look,
            )
            with self._lock:
                self._bells[id(engine)] = transport.bell.ring
            converse(transport, engine, implicit_tls=implicit_tls, leaving=leaving, ended=left)
        finally:
            with self._lock:
                self._bells.pop(id(engine), None)
            arrival.ring = lambda: None
            left()
            transport.close()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._bells)

    def start(self) -> None:
        """Begin to accept, in a thread per listening socket."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        gc.freeze()  # what the imports have made stays: it need not be walked, nor unshared after the fork
        gc.set_threshold(COLLECT_AFTER, 10, 10)
        threading.stack_size(STACK_SIZE)
        self.watcher.start()
        for server in self.servers:
            server.start()

    def stop_accepting(self) -> None:
        """Leave new connections to other workers."""
        for number, server in enumerate(self.servers):
            server.stop()
            self._beats.forget(_accept(number))

    def look_after(self) -> None:
        """Start each long-lived thread again that is not there any more and should be; raises RuntimeError."""
        self.watcher.start()
        for server in self.servers:
            server.start()

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Have every connection told BYE: idle ones at once, busy ones after their command."""
        self._goodbye = goodbye
        with self._lock:
            bells = list(self._bells.values())
        for ring in bells:
            ring()


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def run(
    config: Config,
    tls: ssl.SSLContext | None,
    listeners: Sequence[Listener],
    *,
    parent: int,
    ready: Callable[[], None],
    beat: Callable[[float], None],
    retired: Callable[[], bool],
    notes: Notes | None = None,
    stacks: Stacks | None = None,
    channel: socket.socket | None = None,
    failures: Failures | None = None,
) -> int:
    """The life of a worker process; returns its exit status, raises ConfigError.

    SIGTERM: BYE to all, end within ``shutdown_timeout``.  SIGUSR1: look whether it is *retired*; then accept no more,
    and end when the last client has gone.  *ready* is called once connections are taken, *beat* every second with the
    moment when the slowest of the long-lived threads has moved, so that the supervisor, process *parent*, can tell a
    worker that hangs.  *notes*: where to note what would tell of which message it died; *stacks*: what is written if it
    stands still.  By *channel* it hands over the log file that it has opened anew; *failures* is where all workers
    count logins that fail.
    """
    signals = Signals(SIGNALS)
    if notes is not None:
        danger.notes = notes
    beats = Beats()
    main = beats.of("main")
    worker = Worker(config, tls, listeners, beats, failures)
    worker.start()
    ready()

    def moved() -> None:
        main()
        beat(beats.oldest())

    leaving = False
    while True:
        try:
            moved()
            if channel is not None:
                logs.receive(channel)
            logs.reopen()
            if stacks is not None:
                stacks.follow()
            worker.look_after()
            info = signals.wait(1.0)
            if info is not None and info.number in (signal.SIGTERM, signal.SIGINT):
                break
            if os.getppid() != parent:
                logger.error("the supervisor is gone")
                break
            if not leaving and retired():
                leaving = True
                worker.stop_accepting()
                logger.info("retired", extra={"fields": {"connections": worker.connections}})
            elif leaving and not worker.connections:
                return 0
        except Exception:
            # Its clients are served by other threads: this one goes on as well.
            logger.exception("main thread failed")
            time.sleep(AFTER_ERROR)
    # Those who are here hear it at once; whoever still comes gets a greeting and BYE.
    worker.say_goodbye(ShuttingDown())
    if not leaving:
        try:
            threading.Thread(target=worker.stop_accepting, name="stop", daemon=True).start()
        except RuntimeError:
            pass  # the system has no thread left: then the end of the process stops it
    deadline = time.monotonic() + config.shutdown_timeout
    while worker.connections and time.monotonic() < deadline:
        moved()
        time.sleep(0.02)
    # What the watch thread is at is as safe as after a kill; it gets a moment to come to an end.
    worker.watcher.close(timeout=LAST_LOOK)
    return 0
