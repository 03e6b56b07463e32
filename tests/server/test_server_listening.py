"""Where the server listens."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from maildir_imapd.errors import ConfigError
from maildir_imapd.server.listening import Named, SocketRights, listen, listen_at
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


# --- at a path ------------------------------------------------------------------------------------


def test_a_socket_at_a_path(tmp_path: Path) -> None:
    path = tmp_path / "auth"
    owner = "nobody" if os.geteuid() == 0 else None
    with listen_at(str(path), SocketRights(0o620, owner)) as sock:
        state = path.lstat()
        assert stat.S_ISSOCK(state.st_mode)
        assert stat.S_IMODE(state.st_mode) == 0o620
        if owner is not None:
            assert state.st_uid != 0
        assert not sock.getblocking()
        # It is somebody's as long as he listens.
        with pytest.raises(ConfigError, match="Address already in use"):
            listen_at(str(path), SocketRights(0o600))
    # And what is left of him is replaced.
    named = Named.of(str(path))
    os.link(path, tmp_path / "kept")  # so that its inode is not given to the next one
    with listen_at(str(path), SocketRights(0o600)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        named.remove()
        assert path.exists()
        Named.of(str(path)).remove()
        assert not path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "auth", tmp_path / "other"
    other.write_text("x")
    for make in (lambda: path.write_text("x"), lambda: path.symlink_to(other), path.mkdir):
        make()
        with pytest.raises(ConfigError, match="cannot listen on"):
            listen_at(str(path), SocketRights(0o600))
        assert other.read_text() == "x"
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    for where, rights in (
        (tmp_path / "none" / "auth", SocketRights(0o600)),
        (path, SocketRights(0o600, "no-such-user")),
        (path, SocketRights(0o600, None, "no-such-group")),
        (tmp_path / ("x" * 200), SocketRights(0o600)),
    ):
        with pytest.raises(ConfigError, match="cannot listen on"):
            listen_at(str(where), rights)
    assert not path.exists()
