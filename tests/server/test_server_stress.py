"""Everybody at once, with everything, over sockets: believing clients of every kind, and a spool that never rests.

To look for more than a run of the suite can, set MAILDIR_IMAPD_STRESS to how often each is to be repeated.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, start_server, stop_server
from spool import Spool
from store_stress import FLEETING, KEPT, KINDS, Hammer, Kind, Ledger, Lost, disturb, markers_on_disk

pytestmark = pytest.mark.slow

ACTS = 120
SEEDS = range(int(os.environ.get("MAILDIR_IMAPD_STRESS", "1")))
QUIET_WITHIN = 30.0  # seconds; what has not been told by then is not told


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    servers: list[Running] = []

    def begin(*options: str) -> Running:
        servers.append(start_server(tmp_path, *options, users=4))
        return servers[-1]

    yield begin
    for server in servers:
        stop_server(server)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log


def in_peril(hammer: Hammer, *, killed: bool) -> bool:
    """Whether the connection may be lost: the mailbox may have been deleted, or the worker killed."""
    return killed or hammer.mailbox in FLEETING


def work(hammer: Hammer, failures: list[tuple[BaseException, list[str]]], *, killed: bool) -> None:
    try:
        hammer.connect()
        for _ in range(ACTS):
            if failures:
                return
            try:
                hammer.act()
            except Lost:
                if not in_peril(hammer, killed=killed):
                    raise
                reconnect(hammer)
    except BaseException as error:
        failures.append((error, hammer.recent[-40:]))


def reconnect(hammer: Hammer) -> None:
    """Come back; a worker that has just been killed takes a while to be replaced."""
    until = time.monotonic() + QUIET_WITHIN
    while True:
        try:
            hammer.connect()
            return
        except Lost:
            assert time.monotonic() < until


def settle(hammer: Hammer) -> None:
    """Hear all there is to be heard, in a mailbox that stays."""
    for _ in range(2):
        try:
            if hammer.mailbox not in KEPT:
                hammer.select("INBOX")
            hammer.command("CHECK")
            hammer.command("NOOP")
            hammer.learn_unknown()
            return
        except Lost:
            reconnect(hammer)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ([], None),
        (["--fsync=delivery"], signal.SIGHUP),
        (["--watch=poll", "--poll-interval=0.1"], signal.SIGKILL),
    ],
    ids=["inotify", "reload", "poll-kill"],
)
def test_everybody_at_once(
    seed: int, options: list[str], trouble: signal.Signals | None, start: Callable[..., Running]
) -> None:
    server = start(*options)
    user, spool = server.user()
    for name in KEPT + FLEETING:
        spool.folder(name)
    ledger = Ledger()
    hammers = [Hammer(server, user, kind, ledger, seed * 100 + k) for k, kind in enumerate(KINDS)]
    failures: list[tuple[BaseException, list[str]]] = []
    over = threading.Event()

    def outside() -> None:
        rng = random.Random(seed)
        while not over.wait(0.01):
            disturb(rng, spool, ledger)

    def meddle() -> None:
        rng = random.Random(seed)
        pid = server.process.pid
        while trouble is not None and not over.wait(2):
            if trouble == signal.SIGHUP:
                os.kill(pid, trouble)
                continue
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(rng.choice(workers)), trouble)

    clients = [
        threading.Thread(target=work, args=(hammer, failures), kwargs={"killed": trouble == signal.SIGKILL})
        for hammer in hammers
    ]
    others = [threading.Thread(target=outside), threading.Thread(target=meddle)]
    for thread in [*clients, *others]:
        thread.start()
    for thread in clients:
        thread.join()
    over.set()
    for thread in others:
        thread.join()
    try:
        assert not failures, failures[0]
        for hammer in hammers:
            settle(hammer)
        for hammer in hammers:
            settle(hammer)
        compare(server, user, spool, ledger, hammers)
    finally:
        Client.close_all()


def compare(server: Running, user: str, spool: Spool, ledger: Ledger, hammers: list[Hammer]) -> None:
    """Everybody knows what a newcomer is told, and that is what lies on the disk."""
    fresh = Hammer(server, user, Kind(), ledger, 0)
    fresh.connect()
    for name in KEPT:
        assert fresh.select(name)
        if fresh.messages:
            fresh.ok("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-Marker)])")
        told = sorted(ledger.markers[fresh.uidvalidity, uid] for uid, _ in fresh.messages)
        assert told == markers_on_disk(spool, name), name
        for hammer in hammers:
            if hammer.mailbox == name:
                assert hammer.messages == fresh.messages, (hammer.kind, hammer.recent[-40:])
    names = fresh.list()
    for hammer in hammers:
        if hammer.kind.notify:
            until = time.monotonic() + QUIET_WITHIN
            while hammer.names != names and time.monotonic() < until:
                hammer.listen(0.1)
            assert hammer.names == names, (hammer.kind, hammer.recent[-40:])
    there = {marker for name in KEPT for marker in markers_on_disk(spool, name)}
    assert ledger.safe
    assert ledger.safe <= there
    done = {"FETCH", "UID FETCH", "STORE", "UID MOVE", "UID COPY", "APPEND", "UID REPLACE", "EXPUNGE", "UID EXPUNGE"}
    assert done | {"CREATE", "DELETE", "RENAME", "SELECT", "EXAMINE", "IDLE"} <= ledger.counts.keys()
