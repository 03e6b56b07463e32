"""One worker process: the listening sockets it inherited, a thread per connection, a watch thread."""

from __future__ import annotations

import errno
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

from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.errors import ConfigError, Goodbye, LimitReached, ShuttingDown
from maildir_imapd.imap import commands as _commands  # noqa: F401  # fills the table
from maildir_imapd.imap.session import Policy, Session
from maildir_imapd.server.connection import converse
from maildir_imapd.server.door import Door
from maildir_imapd.server.transport import Transport
from maildir_imapd.store.watch import Watcher
from maildir_imapd.wire.buffer import Limits

if TYPE_CHECKING:
    from maildir_imapd.config import Config

logger = logging.getLogger(__name__)

# A thread's stack: memory is touched as it is used, address space is not for nothing with 10 000 threads.
STACK_SIZE = 512 * 1024
# Seconds a thread may compute before another one gets its turn (architecture D17).
SWITCH_INTERVAL = 0.002
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
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls_cert {config.tls_cert}: {error.strerror or error}") from error
    return context


def policy(config: Config, *, tls: bool, loopback: bool) -> Policy:
    """What of the settings a session needs."""
    return Policy(
        greeting=config.greeting,
        tls_available=tls,
        plaintext_login=config.plaintext_login == "loopback" and loopback,
        login_timeout=config.login_timeout,
        idle_timeout=config.idle_timeout,
        compress=True,
        append_limit=config.append_limit,
        after_login=Limits(
            line=config.line_limit,
            literal=config.literal_limit,
            command=config.line_limit + 4 * config.literal_limit,
        ),
    )


class Server(socketserver.ThreadingTCPServer):
    """One listening socket of a worker."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: Listener, worker: Worker) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.sock
        self.implicit_tls = listener.implicit_tls
        self.worker = worker

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; survive a lost race for the connection, and running out of descriptors."""
        try:
            return self.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                logger.error("cannot accept", extra={"fields": {"why": error.strerror}})
                # The connection stays in the queue; without a pause this would spin.
                time.sleep(0.2)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handler lets nothing through; what still comes here is ours."""
        logger.exception("handler failed", extra={"fields": {"peer": str(client_address)}})


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Serve the client in this thread until it is gone."""
        self.server.worker.serve(self.request, self.client_address, self.server.implicit_tls)


class Worker:
    """What the connections of one process share."""

    def __init__(self, config: Config, listeners: Sequence[Listener]) -> None:
        self.config = config
        self.tls = tls_context(config)
        users = PasswdFile(config.passwd_file) if config.passwd_file else None
        self.watcher = Watcher(config.watch, interval=config.poll_interval)
        self.door = Door(config, users, self.watcher)
        self.servers = [Server(listener, self) for listener in listeners]
        self._lock = threading.Lock()  # guards _bells
        self._bells: dict[int, Callable[[], None]] = {}
        self._goodbye: Goodbye | None = None

    def serve(self, sock: socket.socket, address: tuple[Any, ...], implicit_tls: bool) -> None:
        """One connection, from greeting to goodbye."""
        host = str(address[0])
        peer = f"{host}:{address[1]}"
        transport = Transport(sock, tls=self.tls)
        try:
            self.door.arrive(host)
        except LimitReached as refusal:
            logger.warning("connection refused", extra={"fields": {"peer": peer, "why": refusal.text}})
            if not implicit_tls:
                try:
                    transport.send(b"* BYE [UNAVAILABLE] %b\r\n" % refusal.text.encode())
                except OSError:
                    pass  # it has gone by itself
            transport.close()
            return
        session = Session(
            policy(self.config, tls=self.tls is not None, loopback=host.startswith(LOOPBACK)),
            self.door.gate(peer),
            secure=implicit_tls,
            wake=transport.bell.ring,
            peer=peer,
        )
        with self._lock:
            self._bells[id(session)] = transport.bell.ring
        try:
            converse(transport, session, implicit_tls=implicit_tls, leaving=lambda: self._goodbye)
        finally:
            with self._lock:
                del self._bells[id(session)]
            self.door.leave(host, session.user)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._bells)

    def start(self) -> None:
        """Begin to accept, in a thread per listening socket."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        threading.stack_size(STACK_SIZE)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()

    def stop_accepting(self) -> None:
        """Leave new connections to other workers."""
        for server in self.servers:
            server.shutdown()
            server.socket.close()

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Have every connection told BYE: idle ones at once, busy ones after their command."""
        self._goodbye = goodbye
        with self._lock:
            bells = list(self._bells.values())
        for ring in bells:
            ring()


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def run(config: Config, listeners: Sequence[Listener], ready: int, beat: Callable[[], None]) -> int:
    """The life of a worker process; returns its exit status.

    SIGTERM: BYE to all, end within ``shutdown_timeout``.  SIGUSR1: accept no more, end when the last client
    has gone.  *ready* is a descriptor that gets a byte once connections are taken.  *beat* is called every
    second, so that the supervisor can tell a worker that hangs.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    worker = Worker(config, listeners)
    worker.start()
    os.write(ready, b"+")
    os.close(ready)
    parent = os.getppid()
    retired = False
    while True:
        beat()
        info = signal.sigtimedwait(SIGNALS, 1.0)
        if info is None:
            if os.getppid() != parent:
                logger.error("the supervisor is gone")
                break
            if retired and not worker.connections:
                return 0
            continue
        if info.si_signo == signal.SIGUSR1:
            retired = True
            worker.stop_accepting()
            continue
        break
    if not retired:
        worker.stop_accepting()
    worker.say_goodbye(ShuttingDown())
    deadline = time.monotonic() + config.shutdown_timeout
    while worker.connections and time.monotonic() < deadline:
        select.select([], [], [], 0.02)
    worker.watcher.close()
    return 0
