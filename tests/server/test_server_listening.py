"""Where the server listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from maildir_imapd.errors import ConfigError
from maildir_imapd.server.listening import listen
from maildir_imapd.values import Endpoint, address


@contextlib.contextmanager
def listening(written: str) -> Iterator[list[tuple[str, int]]]:
    """The addresses that are bound for what is written."""
    sockets = listen(address(written))
    try:
        yield [sock.getsockname()[:2] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def test_localhost_is_all_its_addresses() -> None:
    with listening("localhost:0") as places:
        hosts = [host for host, _ in places]
        assert sorted(hosts) == (["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"])
        assert len({port for _, port in places}) == 1
        for host, port in places:
            socket.create_connection((host, port), timeout=5).close()


def test_an_address_that_the_machine_has_not_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    with listening("mail.example.org:0") as places:
        assert [host for host, _ in places] == ["127.0.0.1"]
    del rows[1:]
    with pytest.raises(ConfigError, match=r"cannot listen on mail.example.org:0: "):
        listen(Endpoint("mail.example.org", 0))


def test_what_is_taken_is_said_and_nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("127.0.0.1:0") as places:
        rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
        with pytest.raises(ConfigError, match="Address already in use"):
            listen(Endpoint("mail.example.org", places[0][1]))
        socket.create_server(("127.0.0.2", places[0][1])).close()


def test_everywhere() -> None:
    with listening("*:0") as places:
        assert places[0][0] in ("::", "0.0.0.0")
        socket.create_connection(("127.0.0.1", places[0][1]), timeout=5).close()


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on nowhere.invalid:143: "):
        listen(Endpoint("nowhere.invalid", 143))
