"""Asking hosts whether they take clients: what counts as a yes, and that nobody waits for long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from maildir_imapd.server import host_watch
from maildir_imapd.server.host_watch import takes_clients
from maildir_imapd.values import MailHost


@contextmanager
def host(said: bytes, *, ends: bool = True) -> Iterator[tuple[int, list[bytes]]]:
    """Somebody who says *said* to the one who connects, hears what he says, and hangs up or does not."""
    heard: list[bytes] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as sock:
                if said.startswith(b"HTTP"):
                    heard.append(sock.recv(4096))
                sock.sendall(said)
                if not ends:
                    over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], heard
        finally:
            over.set()
            thread.join(30)


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", True),
        (b"* PREAUTH\r\n", False),
        (b"* BYE [UNAVAILABLE] This server is about to rest\r\n", False),
        (b"", False),
        (b"x" * 5000, False),
    ],
)
def test_by_the_greeting(said: bytes, yes: bool) -> None:
    with host(said) as (port, _):
        assert takes_clients(MailHost("one", "127.0.0.1", port)) is yes


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nOK\n", True),
        (b"HTTP/1.0 200 Fine\n\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n", False),
        (b"HTTP/1.1 302 Found\r\n\r\n", False),
        (b"HTTP/1.1\r\n", False),
        (b"HTTP/2 200\r\n", False),
    ],
)
def test_by_http(said: bytes, yes: bool) -> None:
    with host(said) as (port, heard):
        ready = f"http://127.0.0.1:{port}/ready"
        assert takes_clients(MailHost("one", "192.0.2.1", 143, ready)) is yes
    assert heard == [b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"]


def test_nobody_is_there() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert not takes_clients(MailHost("one", "127.0.0.1", port))
        assert not takes_clients(MailHost("one", "192.0.2.1", 143, f"http://127.0.0.1:{port}/ready"))


def test_one_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_watch, "ANSWER_SECONDS", 0.1)
    for said in (b"", b"* O"):
        with host(said, ends=False) as (port, _):
            assert not takes_clients(MailHost("one", "127.0.0.1", port))
