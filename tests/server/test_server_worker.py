"""What a worker does with connections, without a process of its own: a listening socket, a thread that accepts."""

from __future__ import annotations

import errno
import os
import queue
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from maildir_imapd.config import load
from maildir_imapd.server import imap_service, worker
from maildir_imapd.server.heartbeat import Beats
from maildir_imapd.server.worker import Acceptor, Server, Worker
from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.disk.unused import Cost, Shelf, Unused

LONG = 20.0  # a test that waits so long has failed


class Serving:
    """In the place of a worker: says whom it serves, and lets them go."""

    def __init__(self) -> None:
        self.served: queue.Queue[int] = queue.Queue()
        self.ports = {"imap": self}

    def refusal(self, text: str) -> bytes:
        return b"no: " + text.encode()

    def serve(self, sock: socket.socket, address: tuple[Any, ...], listener: Acceptor) -> None:
        sock.sendall(b"hello")
        self.served.put(address[1])


class Scarce(socket.socket):
    """A listening socket whose accept fails as often as *errors* says."""

    errors: list[Exception]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            raise self.errors.pop()
        return super().accept()


@pytest.fixture
def listening() -> Iterator[Scarce]:
    sock = Scarce(socket.AF_INET, socket.SOCK_STREAM)
    sock.errors = []
    sock.bind(("127.0.0.1", 0))
    sock.listen(10)
    sock.setblocking(False)
    yield sock
    sock.close()


@pytest.fixture
def serving() -> Serving:
    return Serving()


@pytest.fixture
def server(listening: Scarce, serving: Serving) -> Iterator[Server]:
    found = Server(Acceptor(listening, implicit_tls=False), cast("Worker", serving))
    yield found
    found.stop()


def said(listening: socket.socket) -> bytes:
    """What a client hears."""
    with socket.create_connection(listening.getsockname(), timeout=LONG) as client:
        found = b""
        while more := client.recv(1000):
            found += more
        return found


def test_without_a_descriptor_what_nobody_uses_goes_first(server: Server, listening: Scarce, serving: Serving) -> None:
    """A mailbox kept for later is worth less than a client that is at the door."""
    while descriptors.relieve():
        pass  # what tests before this one have kept is older, and would go first
    kept = Unused()
    shelf: Shelf[int, object] = Shelf(kept)
    for number in range(2 * descriptors.RELIEF):
        shelf.put(number, object(), Cost())
    before = len(kept)
    listening.errors = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]
    server.start()
    assert said(listening) == b"hello"
    assert len(kept) < before


def test_without_a_descriptor_and_nothing_to_let_go_of_the_client_is_told(
    server: Server, listening: Scarce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "relieve", lambda: False)
    listening.errors = [OSError(errno.ENFILE, os.strerror(errno.ENFILE))]
    server.start()
    assert said(listening).startswith(b"no: The server has too many")
    assert said(listening) == b"hello"


def test_without_a_thread_the_client_is_told(
    server: Server, listening: Scarce, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    start = worker.threading.Thread.start
    failures = [RuntimeError("can't start new thread")]

    def fail(self: Any) -> None:
        if failures:
            raise failures.pop()
        start(self)

    monkeypatch.setattr(worker.threading.Thread, "start", fail)
    assert said(listening).startswith(b"no: The server has too many")
    assert said(listening) == b"hello"


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EINVAL, "odd"), ValueError("a bug")])
def test_an_accept_thread_that_fails_goes_on(
    server: Server, listening: Scarce, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    listening.errors = [error]
    server.start()
    assert said(listening) == b"hello"
    assert "thread failed and starts again name=accept" in caplog.text


def test_a_client_that_is_gone_before_it_is_accepted_is_no_error(
    server: Server, listening: Scarce, caplog: pytest.LogCaptureFixture
) -> None:
    listening.errors = [OSError(number, "gone") for number in (errno.ECONNABORTED, errno.EAGAIN, errno.EPROTO)]
    server.start()
    assert said(listening) == b"hello"
    assert not caplog.text


def test_stopping_gives_everything_back(server: Server, listening: Scarce) -> None:
    """At once, also while the thread waits after an error, and twice."""
    server.start()
    assert said(listening) == b"hello"
    server.stop()
    assert listening.fileno() == -1
    assert not server.thread.is_alive()
    server.start()
    assert not server.thread.is_alive()
    server.stop()


@pytest.fixture
def working(tmp_path: Path, listening: Scarce) -> Iterator[Worker]:
    """The inside of a worker, with room for one connection; nothing of it runs yet."""
    (tmp_path / "passwd").write_text("")
    config = load(None, {"watch": "poll", "passwd_file": str(tmp_path / "passwd"), "connections": 1})
    found = Worker(config, None, [Acceptor(listening, implicit_tls=False)], Beats())
    yield found
    found.stop_accepting()
    found.watcher.close()


def test_a_long_lived_thread_that_is_not_there_is_started(working: Worker) -> None:
    """Whatever ended it: the main thread looks every second.  One that was told to end stays so."""
    threads = [working.watcher._thread, working.servers[0].thread]
    assert not any(thread.is_alive() for thread in threads)
    working.look_after()
    assert all(thread.is_alive() for thread in threads)
    alive = [thread._thread for thread in threads]
    working.look_after()
    assert [thread._thread for thread in threads] == alive
    working.stop_accepting()
    working.look_after()
    assert [thread.is_alive() for thread in threads] == [True, False]
    # Nor does anybody wait for its beat.
    assert set(working._beats._last) == {"watch"}


def test_whoever_fails_in_between_is_counted_no_more(
    working: Worker, monkeypatch: pytest.MonkeyPatch, listening: Scarce
) -> None:
    """A connection that ends by an error before its session begins leaves its place, and its descriptors, to others."""
    failures = [MemoryError()]
    true = imap_service.Engine

    def fail(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return true(*args, **kwargs)

    monkeypatch.setattr(imap_service, "Engine", fail)
    working.look_after()
    assert said(listening) == b""
    with socket.create_connection(listening.getsockname(), timeout=LONG) as client:
        assert client.recv(1000).startswith(b"* OK")
    assert not failures
