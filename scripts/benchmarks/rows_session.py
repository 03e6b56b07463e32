"""Rows: logging in, doing nothing, opening mailboxes, listing them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat as forever

from .client import Client, login, repeat, together
from .rows import Scene, row

CROWD = 20


@row("login", "connect, LOGIN, LOGOUT; one client", 10, shown="rate", sizes="none")
def log_in(scene: Scene) -> Iterator[float]:
    scene.server.maildir("main")

    def once() -> None:
        with login(scene.server.port, "main") as client:
            client.run(b"LOGOUT")

    while True:
        yield repeat(once, 0.6)


@row("login-20", "connect, LOGIN, LOGOUT; 20 clients", 10, shown="rate", sizes="none")
def log_in_together(scene: Scene) -> Iterator[float]:
    scene.server.maildir("main")

    def once() -> None:
        clients = [Client(scene.server.port) for _ in range(CROWD)]
        for command in (b"LOGIN main secret", b"LOGOUT"):
            tags = [client.send(command) for client in clients]
            for client, tag in zip(clients, tags, strict=True):
                client.until(tag + b" OK")
        for client in clients:
            client.sock.close()

    while True:
        yield repeat(once, 1.0) / CROWD


@row("noop", "NOOP; one client", 1, shown="rate", sizes="none")
def noop(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        while True:
            yield repeat(lambda: client.run(b"NOOP"))


@row("noop-20", "NOOP; 20 clients", 2, shown="rate", sizes="none")
def noop_together(scene: Scene) -> Iterator[float]:
    with ExitStack() as stack:
        clients = [stack.enter_context(scene.server.login()) for _ in range(CROWD)]
        while True:
            began = time.perf_counter()
            taken = together(clients, [forever(b"NOOP")] * CROWD, 0.6)
            yield (time.perf_counter() - began) / len(taken)


@row("noop-selected", "NOOP; a mailbox selected", 3, shown="rate")
def noop_selected(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.base))
        while True:
            yield repeat(lambda: client.run(b"NOOP"))


@row("noop-pipelined", "NOOP; pipelined by the hundred", 0.5, shown="rate", sizes="none")
def noop_pipelined(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        while True:
            yield repeat(lambda: client.pipeline(b"NOOP", 100)) / 100


@row("select-first", "SELECT; first contact, no index", 1, sizes="all")
def select_first(scene: Scene) -> Iterator[float]:
    while True:
        with scene.server.fresh(scene.base) as name, scene.server.login() as client:
            yield repeat(lambda: client.run(b"SELECT %b" % name), 0)  # called at once


@row("take-over", "SELECT; first contact, UIDs from dovecot-uidlist", None, sizes="all")
def take_over(scene: Scene) -> Iterator[float]:
    while True:
        with scene.server.fresh(scene.base, uids=True) as name, scene.server.login() as client:
            yield repeat(lambda: client.run(b"SELECT %b" % name), 0)  # called at once


@row("select-restart", "SELECT; after a restart", 2, sizes="all")
def select_after_restart(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.base)
    with scene.server.login() as client:
        client.run(b"SELECT %b" % name)
    while True:
        scene.server.restart()
        with scene.server.login() as client:
            yield repeat(lambda: client.run(b"SELECT %b" % name), 0)  # called at once


@row("select-again", "SELECT; repeated", 2, shown="rate", sizes="all")
def select_again(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.base)
    with scene.server.login() as client:
        while True:
            yield repeat(lambda: client.run(b"SELECT %b" % name))


@row("login-select", "connect, LOGIN, SELECT", 2, sizes="all")
def login_and_select(scene: Scene) -> Iterator[float]:
    name = scene.server.standing(scene.base)

    def once() -> None:
        with scene.server.login() as client:
            client.run(b"SELECT %b" % name)

    once()
    while True:
        yield repeat(once, 0.6)


def _folders(scene: Scene, user: str, count: int) -> None:
    """Give a user that many folders in a tree; the first hundred hold a message or two."""
    root = scene.server.maildir(user)
    if (root / ".f0").exists():
        return
    base = scene.spool.large(1000, 2)
    for n in range(count):
        name = f".f{n}" if n < count * 2 // 3 else f".f{n % 50}.sub{n}"
        scene.spool.mailbox(base if n < 100 else None, root / name)
    # A directory that has just changed is looked at twice; folders are seldom made in the second before.
    time.sleep(2.1)


@row("list", "LIST of 1 000 folders", 3, shown="rate", sizes="none")
def list_folders(scene: Scene) -> Iterator[float]:
    _folders(scene, "many", 1000)
    with scene.server.login("many") as client:
        while True:
            yield repeat(lambda: client.run(b'LIST "" "*"'))


@row("list-status", "LIST-STATUS of 100 folders", 3, shown="rate", sizes="none")
def list_status(scene: Scene) -> Iterator[float]:
    _folders(scene, "some", 100)
    with scene.server.login("some") as client:
        command = b'LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN UIDNEXT UIDVALIDITY))'
        client.run(command)
        while True:
            yield repeat(lambda: client.run(command))


@row("status-first", "STATUS; first contact, no index", 2)
def status_first(scene: Scene) -> Iterator[float]:
    while True:
        with scene.server.fresh(scene.base) as name, scene.server.login() as client:
            command = b"STATUS %b (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)" % name
            yield repeat(lambda command=command: client.run(command), 0)  # type: ignore[misc]  # called at once


@row("status", "STATUS, 50 folders in turn", 3, shown="rate", sizes="none")
def status(scene: Scene) -> Iterator[float]:
    _folders(scene, "many", 1000)
    with scene.server.login("many") as client:

        def once() -> None:
            for n in range(50):
                client.run(b"STATUS f%d (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)" % n)

        while True:
            yield repeat(once) / 50
