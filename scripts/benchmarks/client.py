"""A client that costs as little as can be: it looks for the tagged line at the end and at nothing else."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

_TAIL = 4096
_CHUNK = 1 << 20
_PATIENCE = 300.0


class Failed(Exception):
    """A command was not answered with OK."""


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tags = map(b"x%d".__mod__, count(1))
        self._tail = b""
        self.until(b"* OK")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def until(self, what: bytes) -> bytes:
        """Read until *what* has come and a line is complete."""
        data = b""
        while what not in data or not data.endswith(b"\r\n"):
            data += self._receive()
        return data

    def send(self, command: bytes) -> bytes:
        """Send a command and return its tag."""
        tag = next(self._tags)
        self.sock.sendall(tag + b" " + command + b"\r\n")
        return tag

    def run(self, command: bytes) -> bytes:
        """Run a command and return everything that came."""
        tag = self.send(command)
        pieces = []
        while True:
            pieces.append(self._receive())
            if self.done(tag, pieces[-1]):
                return b"".join(pieces)

    def drain(self, command: bytes) -> int:
        """Run a command and return only how many octets came."""
        tag, total = self.send(command), 0
        while True:
            data = self._receive()
            total += len(data)
            if self.done(tag, data):
                return total

    def pipeline(self, command: bytes, times: int) -> None:
        """Send a command many times at once and read all answers."""
        tags = [next(self._tags) for _ in range(times)]
        self.sock.sendall(b"".join(b"%b %b\r\n" % (tag, command) for tag in tags))
        while not self.done(tags[-1], self._receive()):
            pass

    def append(self, mailbox: bytes, messages: Sequence[bytes]) -> None:
        """APPEND, or MULTIAPPEND with several; literals do not wait."""
        body = b"".join(b" (\\Seen) {%d+}\r\n%b" % (len(message), message) for message in messages)
        self.run(b"APPEND %b%b" % (mailbox, body))

    def done(self, tag: bytes, data: bytes) -> bool:
        """Take in what came, and say whether the tagged line has; raises Failed if it is not OK."""
        tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        self._tail = tail
        if not tail.endswith(b"\r\n"):
            return False
        last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
        if not last.startswith(tag + b" "):
            return False
        self._tail = b""
        if not last.startswith(tag + b" OK"):
            raise Failed(last.decode("utf-8", "replace").strip())
        return True

    def _receive(self) -> bytes:
        data = self.sock.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def login(port: int, user: str) -> Client:
    """Connect and log in; the password is the same for everybody."""
    client = Client(port)
    client.run(b"LOGIN %b secret" % user.encode())
    return client


def together(clients: Sequence[Client], scripts: Sequence[Iterator[bytes]], seconds: float) -> list[float]:
    """Let many clients work at once for a while; returns how long each command took.

    Each client sends the next command of its script when the one before is answered.
    """
    waiting: dict[int, tuple[Client, Iterator[bytes], bytes, float]] = {}
    poller = select.epoll()
    taken: list[float] = []
    clock = time.perf_counter
    for client, script in zip(clients, scripts, strict=True):
        poller.register(client.sock, select.EPOLLIN)
        waiting[client.sock.fileno()] = (client, script, client.send(next(script)), clock())
    end = clock() + seconds
    while waiting:
        for fd, _ in poller.poll(_PATIENCE):
            client, script, tag, began = waiting[fd]
            if not client.done(tag, client._receive()):
                continue
            now = clock()
            taken.append(now - began)
            if now < end:
                waiting[fd] = (client, script, client.send(next(script)), clock())
            else:
                del waiting[fd]
    poller.close()
    return taken


def repeat(operation: Callable[[], object], seconds: float = 0.3) -> float:
    """Run an operation for a while, at least once; returns the seconds one took."""
    clock = time.perf_counter
    began = clock()
    times = 0
    while True:
        operation()
        times += 1
        taken = clock() - began
        if taken >= seconds:
            return taken / times
