"""Rows: APPEND, STORE, COPY, MOVE, EXPUNGE, and what has changed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import cycle

from .client import Client, repeat
from .mail import attachment, message
from .rows import Scene, row

SMALL = b"".join([message(4242).split(b"\n\n")[0], b"\n\n", b"All is well here; more on Monday.\n" * 90])[:4096]
SMALL = SMALL.replace(b"\n", b"\r\n")
LARGE = attachment(1_000_000).replace(b"\n", b"\r\n")
CROWD = 10
SOME = 1000
ROUNDS = 60


def _append(client: Client, name: bytes, messages: list[bytes]) -> Callable[[], None]:
    return lambda: client.append(name, messages)


@row("append", "APPEND of 4 KB; one client", 1, shown="rate", sizes="none")
def append(scene: Scene) -> Iterator[float]:
    with scene.server.fresh(None) as name, scene.server.login() as client:
        while True:
            yield repeat(_append(client, name, [SMALL]), 0.5)


@row("append-1mb", "APPEND of 1 MB; one client", 1, shown="rate", sizes="none")
def append_large(scene: Scene) -> Iterator[float]:
    with scene.server.fresh(None) as name, scene.server.login() as client:
        while True:
            yield repeat(_append(client, name, [LARGE]), 0.5)


@row("multiappend", "MULTIAPPEND of 100 by 4 KB, per message", 1.5, shown="rate", sizes="none")
def multiappend(scene: Scene) -> Iterator[float]:
    with scene.server.fresh(None) as name, scene.server.login() as client:
        while True:
            yield repeat(_append(client, name, [SMALL] * 100), 0.5) / 100


def _append_together(scene: Scene, shared: bool) -> Iterator[float]:
    with ExitStack() as stack:
        names = [stack.enter_context(scene.server.fresh(None)) for _ in range(1 if shared else CROWD)]
        pairs = [(stack.enter_context(scene.server.login()), name) for name, _ in zip(cycle(names), range(CROWD))]

        def once() -> None:
            tags = [c.send(b"APPEND %b (\\Seen) {%d+}\r\n%b" % (name, len(SMALL), SMALL)) for c, name in pairs]
            for (client, _), tag in zip(pairs, tags, strict=True):
                client.until(tag + b" OK")

        while True:
            yield repeat(once, 0.6) / CROWD


@row("append-10", "APPEND of 4 KB; 10 clients, a mailbox each", 1.5, shown="rate", sizes="none")
def append_together(scene: Scene) -> Iterator[float]:
    return _append_together(scene, shared=False)


@row("append-10-one", "APPEND of 4 KB; 10 clients, one mailbox", 4, shown="rate", sizes="none")
def append_to_one(scene: Scene) -> Iterator[float]:
    return _append_together(scene, shared=True)


@row("store-one", "STORE of one flag on one message", 5, shown="rate", sizes="all")
def store_one(scene: Scene) -> Iterator[float]:
    with scene.server.fresh(scene.base) as name, scene.server.login() as client:
        client.run(b"SELECT %b" % name)
        numbers = cycle(range(1, scene.size, 37))

        def once() -> None:
            number = next(numbers)
            client.run(b"STORE %d +FLAGS (\\Flagged)" % number)
            client.run(b"STORE %d -FLAGS (\\Flagged)" % number)

        while True:
            yield repeat(once) / 2


@row("store-all", "STORE of one flag on all", 1)
def store_all(scene: Scene) -> Iterator[float]:
    with scene.server.fresh(scene.base) as name, scene.server.login() as client:
        client.run(b"SELECT %b" % name)

        def once() -> None:
            client.drain(b"STORE 1:* +FLAGS (\\Answered)")
            client.drain(b"STORE 1:* -FLAGS (\\Answered)")

        while True:
            yield repeat(once) / 2


@row("copy", "COPY of 1 000", 1)
def copy(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.base))
        while True:
            with scene.server.fresh(None) as target:
                yield repeat(lambda: client.run(b"COPY 1:%d %b" % (SOME, target)), 0)  # called at once


@row("move", "MOVE of 1 000", 1)
def move(scene: Scene) -> Iterator[float]:
    server = scene.server
    some = min(SOME, scene.size // 2)
    while True:
        with server.fresh(scene.base) as name, server.fresh(None) as target, server.login() as client:
            client.run(b"SELECT %b" % name)
            yield repeat(lambda: client.run(b"MOVE 101:%d %b" % (some + 100, target)), 0)  # called at once


@row("expunge", "EXPUNGE of 1 000", 1)
def expunge(scene: Scene) -> Iterator[float]:
    some = min(SOME, scene.size // 2)
    while True:
        with scene.server.fresh(scene.base) as name, scene.server.login() as client:
            client.run(b"SELECT %b" % name)
            client.run(b"STORE 101:%d +FLAGS.SILENT (\\Deleted)" % (some + 100))
            yield repeat(lambda: client.run(b"EXPUNGE"), 0)


def _alternating(which: str) -> Callable[[Scene], Iterator[float]]:
    """One kind of command among all others, each when the one before is answered, as a client works."""

    def play(scene: Scene) -> Iterator[float]:
        with scene.server.fresh(scene.base) as name, scene.server.fresh(None) as other, scene.server.login() as client:
            client.run(b"SELECT %b" % name)
            numbers = cycle(range(1, scene.size, 37))
            while True:
                taken, rounds = 0.0, 0
                while rounds < ROUNDS:
                    number = next(numbers)
                    commands: dict[str, Callable[[], object]] = {
                        "APPEND": partial(client.append, other, [SMALL]),
                        "body": partial(client.drain, b"FETCH %d (BODY.PEEK[])" % number),
                        "STORE": partial(client.run, b"STORE %d +FLAGS (\\Flagged)" % number),
                        "COPY": partial(client.run, b"COPY %d %b" % (number, other)),
                        "NOOP": partial(client.run, b"NOOP"),
                    }
                    for kind, command in commands.items():
                        took = repeat(command, 0)
                        taken += took if kind == which else 0.0
                    rounds += 1
                yield taken / ROUNDS

    return play


for _kind in ("APPEND", "body", "STORE", "COPY", "NOOP"):
    row(f"turn-{_kind.lower()}", f"{_kind} in turn with others, one each", 1, shown="rate")(_alternating(_kind))


@row("changed-since", "FETCH 1:* (FLAGS) (CHANGEDSINCE n), 10 changed", 1, shown="rate", sizes="all")
def changed_since(scene: Scene) -> Iterator[float]:
    with scene.server.fresh(scene.base) as name, scene.server.login() as client:
        found = re.search(rb"HIGHESTMODSEQ ([0-9]+)", client.run(b"SELECT %b (CONDSTORE)" % name))
        if found is None:
            raise ValueError("no HIGHESTMODSEQ")
        # Dovecot may have the clock's second in it; the next change is another one either way.
        time.sleep(1)
        client.run(b"STORE 5,105,205,305:309,405,505 +FLAGS (\\Flagged)")
        while True:
            yield repeat(lambda: client.drain(b"FETCH 1:* (FLAGS) (CHANGEDSINCE %b)" % found[1]))
