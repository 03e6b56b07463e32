"""Questions by HTTP: one limit of time for all of an answer, and nothing that leads elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from maildir_imapd.auth import web
from maildir_imapd.auth.web import Web, WebPlace, place
from maildir_imapd.errors import Unavailable


def serve(act: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    """Give one connection to *act*, once it has been asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener, listener.accept()[0] as sock:
            sock.recv(65536)
            act(sock)

    thread = threading.Thread(target=run)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/x", thread


def test_places() -> None:
    assert place("https://a.example:8443/k?x=1") == WebPlace("a.example", 8443, "/k?x=1", True)
    assert place("http://localhost") == WebPlace("localhost", None, "/", False)
    for url in (
        "http://a.example/",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https://u:p@a.example/",
        "https://",
        "x",
    ):
        with pytest.raises(ValueError, match="https"):
            place(url)


def test_an_answer() -> None:
    url, thread = serve(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    assert Web(url, most=1, seconds=30).fetch() == b"{}"
    thread.join(30)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"* OK IMAP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + b"x" * ((1 << 20) + 1),
    ],
)
def test_answers_that_are_none(answer: bytes) -> None:
    url, thread = serve(lambda sock: sock.sendall(answer))
    with pytest.raises(Unavailable):
        Web(url, most=1, seconds=30).fetch(b"token=x")
    thread.join(30)


def test_an_answer_that_comes_octet_by_octet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No single wait is too long, and all of them together are."""
    over = threading.Event()
    monkeypatch.setattr(web.Until, "over", property(lambda until: over.is_set()))

    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        over.set()
        sock.sendall(b"}")

    url, thread = serve(drip)
    with pytest.raises(Unavailable):
        Web(url, most=1, seconds=30).fetch()
    thread.join(30)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable):
        Web(f"http://127.0.0.1:{port}/", most=1, seconds=30).fetch()
