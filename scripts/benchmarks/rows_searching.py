"""Rows: SEARCH, SORT, THREAD."""

from __future__ import annotations

from collections.abc import Iterator

from .client import repeat
from .mail import RARE_IN_BODY, RARE_IN_SUBJECT
from .rows import Play, Scene, row

HEADER = b"SEARCH SUBJECT %b" % RARE_IN_SUBJECT.encode()


def _again(*commands: bytes) -> Play:
    """The commands when they have been asked before."""

    def play(scene: Scene) -> Iterator[float]:
        with scene.server.login() as client:
            client.run(b"SELECT %b" % scene.server.standing(scene.base))

            def once() -> None:
                for command in commands:
                    client.run(command)

            once()
            while True:
                yield repeat(once) / len(commands)

    return play


def _first(command: bytes) -> Play:
    """A command in a mailbox of which nothing is known but that it exists."""

    def play(scene: Scene) -> Iterator[float]:
        while True:
            with scene.server.fresh(scene.base) as name, scene.server.login() as client:
                client.run(b"SELECT %b" % name)
                yield repeat(lambda: client.run(command), 0)

    return play


def _indexed(command: bytes) -> Play:
    """A command that an index of texts answers, where the server can have one: it is filled before."""

    def play(scene: Scene) -> Iterator[float]:
        with scene.server.indexing() as user, scene.server.login(user) as client:
            name = scene.server.standing(scene.base, user)
            client.run(b"SELECT %b" % name)
            client.run(command)
            scene.server.fill_index(user)
            while True:
                yield repeat(lambda: client.run(command))

    return play


row("search-flags", "SEARCH UNSEEN, FLAGGED, ANSWERED UNDELETED", 1, sizes="all")(
    _again(b"SEARCH UNSEEN", b"SEARCH FLAGGED", b"SEARCH ANSWERED UNDELETED")
)
row("search-flags-first", "SEARCH UNSEEN; first", 1)(_first(b"SEARCH UNSEEN"))
row("search-dates", "SEARCH SINCE, BEFORE", 1, sizes="all")(
    _again(b"SEARCH SINCE 1-Jan-2025", b"SEARCH BEFORE 1-Jun-2024 LARGER 5000")
)
row("search-header-first", "SEARCH SUBJECT; first", 1)(_first(HEADER))
row("search-header", "SEARCH SUBJECT; repeated", 5, sizes="all")(_again(HEADER))
row("search-text", "SEARCH TEXT", 1)(_again(b"SEARCH TEXT %b" % RARE_IN_BODY.encode()))
row("search-body", "SEARCH BODY", 1)(_again(b"SEARCH BODY %b" % RARE_IN_BODY.encode()))
row("search-text-index", "SEARCH TEXT; ours with search_index", 50)(_indexed(b"SEARCH TEXT %b" % RARE_IN_BODY.encode()))
row("search-body-index", "SEARCH BODY; ours with search_index", 50)(_indexed(b"SEARCH BODY %b" % RARE_IN_BODY.encode()))
row("sort-first", "SORT (REVERSE DATE); first", 1)(_first(b"SORT (REVERSE DATE) UTF-8 ALL"))
row("sort-date", "SORT (REVERSE DATE); repeated", 2, sizes="all")(_again(b"SORT (REVERSE DATE) UTF-8 ALL"))
row("sort-subject-first", "SORT (SUBJECT); first", 1.2)(_first(b"SORT (SUBJECT) UTF-8 ALL"))
row("sort-subject", "SORT (SUBJECT); repeated", 2)(_again(b"SORT (SUBJECT) UTF-8 ALL"))
row("thread-first", "THREAD REFERENCES; first", 1)(_first(b"THREAD REFERENCES UTF-8 ALL"))
row("thread", "THREAD REFERENCES; repeated", 2, sizes="all")(_again(b"THREAD REFERENCES UTF-8 ALL"))
