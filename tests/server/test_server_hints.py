"""Hints between hosts: what is said and heard of them, and that nothing depends on it."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hosts
import pytest
from client import Client
from running import Running, start_server, stop_server
from valkey_server import valkey

from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import hints, settings
from maildir_imapd.server.hints import Hints
from maildir_imapd.store.watch import Watcher

NOWHERE = "unix:/nowhere/at/all"


def nothing(_folder: int) -> None:
    pass


@pytest.mark.parametrize(
    ("said", "folders"),
    [
        (b"other-1-2 17 18", [17, 18]),
        (b"other 18446744073709551615", [18446744073709551615]),
        (b"other", []),
        (b"", []),
        (b"other x -1 1.5 184467440737095516151 \xff 7", [7]),
        (b"other " + b"1 " * hints.MESSAGE_OCTETS, []),
        (17, []),
        (None, []),
    ],
)
def test_what_is_heard(said: Any, folders: list[int]) -> None:
    heard: list[int] = []
    Hints(NOWHERE, heard.append)._take(said)
    assert heard == folders


def test_what_one_has_said_oneself_is_no_news() -> None:
    heard: list[int] = []
    one = Hints(NOWHERE, heard.append)
    one._take(f"{one._from} 17".encode())
    assert not heard


def test_what_waits_is_bounded_and_told_once() -> None:
    one = Hints(NOWHERE, nothing)
    for n in range(3 * hints.WAITING):
        one.tell(n // 2)
    assert len(one._waiting) == hints.WAITING


@pytest.mark.interop
def test_two_hear_one_another(tmp_path: Path) -> None:
    """Also when the server has gone in between: what was to be told meanwhile is forgotten."""
    heard: queue.Queue[int] = queue.Queue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hints, "PAUSE_SECONDS", 0.1)
        with valkey(tmp_path) as url:
            one, other = Hints(url, nothing), Hints(url, heard.put)
            try:
                one.start()
                other.start()
                _until_heard(one, heard, 17)
            except BaseException:
                one.close()
                other.close()
                raise
        try:
            one.tell(18)
            with valkey(tmp_path):
                _until_heard(one, heard, 19)
        finally:
            one.close()
            other.close()


def _until_heard(one: Hints, heard: queue.Queue[int], folder: int) -> None:
    """Tell until it is heard, for whoever has not subscribed yet hears nothing."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        one.tell(folder)
        try:
            while heard.get(timeout=0.2) != folder:
                pass
        except queue.Empty:
            continue
        return
    pytest.fail("not heard")


@pytest.mark.parametrize("url", ["http://a/", "valkey:", "unix:", "a", "valkey://a:x"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError):
        settings.hints(load(None, {"hint_server": url, "passwd_file": "/nowhere"}), nothing)


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkey", None)
    with pytest.raises(ConfigError, match=r"maildir-imapd\[valkey\]"):
        settings.demand_what_workers_need(load(None, {"hint_server": "valkey://a", "passwd_file": "/nowhere"}))


def test_a_spool_of_one_host_has_none() -> None:
    given = {"hint_server": "valkey://a", "passwd_file": "/nowhere", "shared_spool": "no"}
    assert settings.hints(load(None, given), nothing) is None


class Box:
    """Something that is watched, and counts the looks."""

    path = b"/nowhere"
    grows = False
    listened = True

    def __init__(self) -> None:
        self.looks: queue.Queue[float] = queue.Queue()

    def watches(self) -> list[tuple[bytes, int]]:
        return []

    def looking(self) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def refresh(self) -> float | None:
        self.looks.put(time.monotonic())
        return None


def test_a_hint_is_a_look_at_once() -> None:
    watcher = Watcher("poll", interval=3600)
    try:
        one, other = Box(), Box()
        watcher.add(one, 17)
        watcher.add(other, 18)
        for box in (one, other):
            box.looks.get(timeout=20)  # the first one, for what was before
        watcher.hint(17)
        one.looks.get(timeout=20)
        watcher.hint(19)
        watcher.remove(one)
        watcher.hint(17)
        watcher.hint(18)
        other.looks.get(timeout=20)
        assert one.looks.empty()
    finally:
        watcher.close()


# --- two hosts -----------------------------------------------------------------------------------------

Serve = Callable[..., list[Running]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers: list[Running] = []

    def started(url: str, interval: str) -> list[Running]:
        options = ("--watch=poll", f"--poll-interval={interval}", "--shared-spool=yes", f"--hint-server={url}")
        servers.append(start_server(tmp_path, *options, users=4))
        servers.append(start_server(tmp_path, *options, users=4, before=hosts.another(tmp_path, 1), log="log-1"))
        return servers

    yield started
    Client.close_all()
    for server in servers:
        stop_server(server)


def exchange(servers: list[Running], user: str) -> None:
    """Each hears in IDLE what the other does."""
    here, there = (Client.to(server.port, user=user, timeout=20) for server in servers)
    for client in (here, there):
        client.ok("SELECT INBOX")
    for n, (one, other) in enumerate([(here, there), (there, here), (here, there)]):
        tag = one.idle()
        other.append("INBOX")
        one.until(rf"\* {n + 1} EXISTS")
        other.ok(f"STORE {n + 1} +FLAGS (\\Flagged)")
        one.until(rf"\* {n + 1} FETCH .*Flagged")
        one.done(tag)


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.skipif(bool(hosts.why_not()), reason=f"no second machine: {hosts.why_not()}")
def test_news_come_by_hints_alone(tmp_path: Path, serve: Serve) -> None:
    """Where folders are looked at every ten minutes; the clients' patience is shorter than that of the last look."""
    with valkey(tmp_path) as url:
        servers = serve(url, "10m")
        for user in ("u0", "u1", "u2"):
            exchange(servers, user)


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.skipif(bool(hosts.why_not()), reason=f"no second machine: {hosts.why_not()}")
def test_without_a_server_news_come_as_ever(tmp_path: Path, serve: Serve) -> None:
    servers = serve(f"unix:{tmp_path}/valkey.sock", "0.2")
    exchange(servers, "u0")
    with valkey(tmp_path):
        exchange(servers, "u1")
    exchange(servers, "u2")
    log = (tmp_path / "log").read_text()
    assert "no hints for other hosts" in log
    assert "Traceback" not in log
    # A line for each way and worker, however often it is tried.
    assert log.count("no hints for other hosts") <= 8
