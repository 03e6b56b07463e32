"""Rows: many clients at once, idle or at work."""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from itertools import repeat as forever

from .client import Client, together
from .mail import attachment, message
from .rows import Scene, row

CROWD = 50
IDLERS = 100
_names = count(1)
_SMALL = message(4242).replace(b"\n", b"\r\n")[:3000]


def _deliveries(scene: Scene, idlers: int) -> Iterator[float]:
    """Seconds from the rename into new/ to the EXISTS on the last of the idle connections."""
    with scene.server.fresh(None) as name, ExitStack() as stack:
        clients = [stack.enter_context(scene.server.login()) for _ in range(idlers)]
        poller = select.epoll()
        for client in clients:
            client.run(b"SELECT %b" % name)
            client.send(b"IDLE")
            client.until(b"+ ")
            poller.register(client.sock, select.EPOLLIN)
        folder = scene.server.maildir("main") / f".{name.decode()}"
        while True:
            time.sleep(0.3)
            file = f"{int(time.time())}.M{next(_names)}P1.bench"
            path = folder / "tmp" / file
            path.write_bytes(message(1))
            scene.spool.give(path)
            heard: set[int] = set()
            began = time.perf_counter()
            path.rename(folder / "new" / file)
            while len(heard) < idlers:
                for fd, _ in poller.poll(10):
                    if b" EXISTS" in _said(clients, fd):
                        heard.add(fd)
            yield time.perf_counter() - began


def _said(clients: list[Client], fd: int) -> bytes:
    return next(client for client in clients if client.sock.fileno() == fd).sock.recv(4096)


@row("deliver", "delivery to EXISTS; one idle client", 100, sizes="none")
def deliver(scene: Scene) -> Iterator[float]:
    return _deliveries(scene, 1)


@row("deliver-100", "delivery to EXISTS; the last of 100", 50, sizes="none")
def deliver_to_many(scene: Scene) -> Iterator[float]:
    return _deliveries(scene, IDLERS)


@row("memory", "memory of an idle client (PSS)", 10, shown="memory")
def memory(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.base)
    # What a worker needs anyway, and the mailbox once, are not the clients' share.
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(scene.server.login()).run(b"SELECT %b" % name)
        before = scene.server.memory()
        while True:
            with ExitStack() as crowd:
                for _ in range(CROWD):
                    client = crowd.enter_context(scene.server.login())
                    client.run(b"SELECT %b" % name)
                    client.send(b"IDLE")
                    client.until(b"+ ")
                yield max((scene.server.memory() - before) / CROWD, 1.0)
            time.sleep(0.5)
            before = scene.server.memory()


def _peak(scene: Scene, operation: Callable[[], object]) -> float:
    """Octets that the server's processes take more, at the most, while *operation* runs."""
    before = most = scene.server.memory()
    over = threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.05):
            most = max(most, scene.server.memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        operation()
        most = max(most, scene.server.memory())
    finally:
        over.set()
        thread.join()
    return max(float(most - before), 1.0)


def _opened(scene: Scene, stack: ExitStack, name: bytes) -> Client:
    client = stack.enter_context(scene.server.login())
    client.run(b"SELECT %b" % name)
    return client


@row("memory-pieces", "memory of 8 idle clients after 1000 octets of 30 MB", None, shown="memory", sizes="none")
def memory_of_pieces(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.spool.large(30 << 20, 1))
    with ExitStack() as stack:
        clients = [_opened(scene, stack, name) for _ in range(8)]

        def ask() -> None:
            for client in clients:
                client.drain(b"FETCH 1 (BODY.PEEK[]<0.1000>)")

        while True:
            yield _peak(scene, ask)


@row("memory-stalled", "memory of 12 clients that do not read 64 MiB", None, shown="memory", sizes="none")
def memory_of_stalled(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.spool.large(64 << 20, 1))
    while True:
        with ExitStack() as stack:
            clients = [_opened(scene, stack, name) for _ in range(12)]

            def ask(clients: list[Client] = clients) -> None:
                for client in clients:
                    client.send(b"FETCH 1 (BODY.PEEK[])")
                time.sleep(2)

            yield _peak(scene, ask)


@row("memory-items", "memory for each item of a message of 149 MB", None, shown="memory", sizes="none")
def memory_of_items(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.spool.large(149 << 20, 1))
    with ExitStack() as stack:
        client = _opened(scene, stack, name)

        def ask() -> None:
            for item in (
                b"RFC822.SIZE",
                b"ENVELOPE",
                b"BODYSTRUCTURE",
                b"BODY.PEEK[]",
                b"BODY.PEEK[2]",
                b"BINARY.PEEK[2]",
            ):
                client.drain(b"FETCH 1 (%b)" % item)

        while True:
            yield _peak(scene, ask)


@row("memory-append", "memory for an APPEND of 100 MB", None, shown="memory", sizes="none")
def memory_of_append(scene: Scene) -> Iterator[float]:
    data = attachment(100_000_000).replace(b"\n", b"\r\n")
    with scene.server.fresh(None) as name, scene.server.login() as client:
        while True:
            yield _peak(scene, lambda: client.append(name, [data]))


def _work(name: bytes, size: int, seed: int) -> Iterator[bytes]:
    """What clients do all day."""
    rnd = random.Random(seed)
    while True:
        first = rnd.randint(1, size - 60)
        yield b"NOOP"
        yield b"FETCH %d:%d (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)" % (first, first + 49)
        yield b"UID FETCH %d (BODY.PEEK[])" % first
        yield b"STORE %d +FLAGS (\\Seen)" % first
        yield rnd.choice((b"SEARCH UNSEEN", b"UID SEARCH FLAGGED SINCE 1-Jan-2025"))
        yield rnd.choice((b"STATUS INBOX (MESSAGES UNSEEN)", b'LIST "" "%"'))
        yield b"STORE %d -FLAGS (\\Seen)" % first
        yield rnd.choice(
            (b"SELECT %b" % name, b"APPEND INBOX (\\Seen) {%d+}\r\n%b" % (len(_SMALL), _SMALL), b"FETCH 1:* (FLAGS)")
        )


def _mixed(scene: Scene) -> Iterator[tuple[float, list[float]]]:
    """Seconds a round of work took, and how long each command did; five clients a user."""
    with ExitStack() as stack:
        clients, scripts = [], []
        for n in range(CROWD):
            user = f"user{n // 5}"
            name = scene.server.standing(scene.base, user)
            client = stack.enter_context(scene.server.login(user))
            client.run(b"SELECT %b" % name)
            clients.append(client)
            scripts.append(_work(name, scene.size, n))
        together(clients, scripts, 2)
        while True:
            began = time.perf_counter()
            taken = together(clients, scripts, 4)
            yield time.perf_counter() - began, taken


@row("mixed", "50 clients, mixed work: commands", 3, shown="rate")
def mixed(scene: Scene) -> Iterator[float]:
    for wall, taken in _mixed(scene):
        yield wall / len(taken)


@row("mixed-p99", "50 clients, mixed work: p99 of a command", 1)
def mixed_worst(scene: Scene) -> Iterator[float]:
    for _, taken in _mixed(scene):
        yield p99(taken)


@row("noop-beside", "p99 of NOOP beside a client of the same worker that fetches all envelopes", None, sizes="all")
def noop_beside(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.base)
    with scene.server.alone(), scene.server.login() as busy, scene.server.login() as client:
        busy.run(b"SELECT %b" % name)
        busy.drain(b"FETCH 1:* (ENVELOPE)")
        while True:
            stop = threading.Event()
            thread = threading.Thread(target=_keep_busy, args=(busy, stop))
            thread.start()
            taken = together([client], [forever(b"NOOP")], 2)
            stop.set()
            thread.join()
            yield p99(taken)


def _keep_busy(client: Client, stop: threading.Event) -> None:
    while not stop.is_set():
        client.drain(b"FETCH 1:* (ENVELOPE)")


def p99(taken: list[float]) -> float:
    """What 99 of a hundred did not exceed."""
    return sorted(taken)[len(taken) * 99 // 100]
