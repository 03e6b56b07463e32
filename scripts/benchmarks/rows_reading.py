"""Rows: FETCH."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from .client import Client, repeat
from .rows import Play, Scene, row

HEADERS = b"BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To Content-Type)]"
PAGE = b"(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (List-Id References)])"
PIECE = 64 * 1024
FILM = 20 << 20
BODIES = 300
# Until what came in is asked for: a server may have used the time.
DELIVERED_SECONDS = 15


def _again(items: bytes) -> Play:
    """FETCH of everything when it has been asked before."""

    def play(scene: Scene) -> Iterator[float]:
        with scene.server.login() as client:
            client.run(b"SELECT %b" % scene.server.standing(scene.base))
            command = b"FETCH 1:* %b" % items
            client.drain(command)
            client.drain(command)
            while True:
                yield repeat(lambda: client.drain(command))

    return play


def _first(items: bytes) -> Play:
    """FETCH of everything in a mailbox of which nothing is known but that it exists."""

    def play(scene: Scene) -> Iterator[float]:
        while True:
            with scene.server.fresh(scene.base) as name, scene.server.login() as client:
                client.run(b"SELECT %b" % name)
                yield repeat(lambda: client.drain(b"FETCH 1:* %b" % items), 0)  # called at once

    return play


row("fetch-flags", "FETCH 1:* (UID FLAGS)", 1.5, sizes="all")(_again(b"(UID FLAGS)"))
row("fetch-fast", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", 5, sizes="all")(
    _again(b"(UID FLAGS INTERNALDATE RFC822.SIZE)")
)
row("fetch-fast-first", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE); first", 1)(
    _first(b"(UID FLAGS INTERNALDATE RFC822.SIZE)")
)
row("envelope-first", "FETCH 1:* (ENVELOPE); first", 1)(_first(b"(ENVELOPE)"))
row("envelope", "FETCH 1:* (ENVELOPE); repeated", 5, sizes="all")(_again(b"(ENVELOPE)"))
row("structure-first", "FETCH 1:* (BODYSTRUCTURE); first", 1)(_first(b"(BODYSTRUCTURE)"))
row("structure", "FETCH 1:* (BODYSTRUCTURE); repeated", 2, sizes="all")(_again(b"(BODYSTRUCTURE)"))
row("headers-first", "FETCH 1:* HEADER.FIELDS, nine; first", 1)(_first(b"(%b)" % HEADERS))
row("headers", "FETCH 1:* HEADER.FIELDS, nine; repeated", 4, sizes="all")(_again(b"(%b)" % HEADERS))


def _delivered(items: bytes) -> Play:
    """FETCH of everything that came in while a client was there who has asked for such things before."""

    def play(scene: Scene) -> Iterator[float]:
        while True:
            with scene.server.fresh(None) as name, scene.server.login() as client:
                folder = scene.server.maildir("main") / f".{name.decode()}"
                client.run(b"SELECT %b" % name)
                scene.spool.deliver(scene.base, folder, 1)
                client.run(b"NOOP")
                client.drain(b"FETCH 1:* %b" % items)
                scene.spool.deliver(scene.base, folder)
                client.run(b"NOOP")
                time.sleep(DELIVERED_SECONDS)
                yield repeat(lambda: client.drain(b"FETCH 1:* %b" % items), 0)  # called at once

    return play


row("structure-delivered", "FETCH 1:* (BODYSTRUCTURE); came in 15 s ago", 1)(_delivered(b"(BODYSTRUCTURE)"))
row("envelope-delivered", "FETCH 1:* (ENVELOPE); came in 15 s ago", 1)(_delivered(b"(ENVELOPE)"))


@row("page", "a webmail's page of 50; repeated", 2, shown="rate")
def page(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.base))
        client.drain(b"FETCH 1:* %b" % PAGE)
        last = scene.size // 50 - 1
        starts = random.Random(1)

        def once() -> None:
            start = starts.randint(0, last) * 50 + 1
            client.drain(b"FETCH %d:%d %b" % (start, start + 49, PAGE))

        while True:
            yield repeat(once)


@row("page-first", "a webmail's page of 50; first", 1)
def page_first(scene: Scene) -> Iterator[float]:
    while True:
        with scene.server.fresh(scene.base) as name, scene.server.login() as client:
            client.run(b"SELECT %b" % name)
            last = b"FETCH %d:%d %b" % (scene.size - 49, scene.size, PAGE)
            yield repeat(lambda last=last: client.drain(last), 0)  # type: ignore[misc]  # called at once


@row("body-first", "one body at a time, 300 of them; first", 1.2, shown="rate")
def bodies_first(scene: Scene) -> Iterator[float]:
    while True:
        with scene.server.fresh(scene.base) as name, scene.server.login() as client:
            client.run(b"SELECT %b" % name)
            yield repeat(lambda: _bodies(client), 0) / BODIES  # called at once


@row("body", "one body at a time, 300 of them; repeated", 1.2, shown="rate")
def bodies(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.base))
        _bodies(client)
        while True:
            yield repeat(lambda: _bodies(client)) / BODIES


def _bodies(client: Client) -> None:
    for number in range(1, BODIES + 1):
        client.drain(b"FETCH %d (BODY.PEEK[])" % number)


@row("download", "download of everything, small ones", 1)
def download(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.base))
        while True:
            yield repeat(lambda: client.drain(b"UID FETCH 1:* (FLAGS BODY.PEEK[])"))


@row("download-large", "download of 300 MB in 300 messages", 2, sizes="none")
def download_large(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.spool.large(1 << 20, 300)))
        while True:
            yield repeat(lambda: client.drain(b"UID FETCH 1:* (FLAGS BODY.PEEK[])"))


@row("pieces", "64 KiB pieces of a 20 MB attachment", 4, shown="rate", sizes="none")
def pieces(scene: Scene) -> Iterator[float]:
    with scene.server.login() as client:
        client.run(b"SELECT %b" % scene.server.standing(scene.spool.large(FILM, 1)))
        count = FILM // PIECE

        def once() -> None:
            for n in range(count):
                client.drain(b"FETCH 1 (BODY.PEEK[2]<%d.%d>)" % (n * PIECE, PIECE))

        while True:
            yield repeat(once) / count
