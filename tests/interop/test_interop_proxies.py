"""HAProxy and nginx in front, and the client's own address behind them."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client import Client
from running import Running, program, start_server, stop_server

pytestmark = pytest.mark.interop

NGINX_MODULES = Path("/usr/lib/nginx/modules")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start_server(
        tmp_path_factory.mktemp("proxies"),
        "--imap-proxy=127.0.0.1:0",
        "--imaps-proxy=127.0.0.1:0",
        "--proxy-networks=127.0.0.1",
    )
    yield running
    stop_server(running)


@contextmanager
def started(words: list[str], port: int, fds: tuple[int, ...] = ()) -> Iterator[int]:
    """Run a proxy, and wait until it listens on *port*."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=fds
    )
    try:
        deadline = time.monotonic() + 20
        while not fds:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
        print(said.decode())


@contextmanager
def haproxy(base: Path, target: int, sends: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = base / "haproxy.cfg"
        config.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen imap\n bind fd@{sock.fileno()}\n server here 127.0.0.1:{target} {sends}\n"
        )
        words = [program("haproxy"), "-db", "-f", str(config)]
        with started(words, sock.getsockname()[1], (sock.fileno(),)) as port:
            yield port


@contextmanager
def nginx(base: Path, target: int, sends: str) -> Iterator[int]:
    if not (NGINX_MODULES / "ngx_stream_module.so").exists():
        if os.environ.get("MAILDIR_IMAPD_REQUIRE_PROGRAMS"):
            pytest.fail("nginx's stream module is not installed")
        pytest.skip("nginx's stream module is not installed")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    config = base / "nginx.conf"
    config.write_text(
        f"load_module {NGINX_MODULES}/ngx_stream_module.so;\n"
        f"daemon off;\nmaster_process off;\npid {base}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{target}; {sends}; }} }}\n"
    )
    with started([program("nginx"), "-e", "stderr", "-p", str(base), "-c", str(config)], port):
        yield port


PROXIES = [
    pytest.param(haproxy, "send-proxy", id="haproxy 1"),
    pytest.param(haproxy, "send-proxy-v2", id="haproxy 2"),
    pytest.param(haproxy, "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", id="haproxy 2 with TLVs"),
    pytest.param(nginx, "proxy_protocol on", id="nginx"),
]


def log_has(server: Running, pattern: str) -> bool:
    """Wait until the log has a line; its own time is when the connection ends."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if re.search(pattern, (server.base / "log").read_text()):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("proxy", "sends"), PROXIES)
@pytest.mark.parametrize("tls", [False, True])
def test_the_client_keeps_its_address(server: Running, tmp_path: Path, proxy: object, sends: str, tls: bool) -> None:
    assert callable(proxy)
    user, _ = server.user()
    with proxy(tmp_path, server.ports["imaps_proxy" if tls else "imap_proxy"], sends) as port:
        sock = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=("127.0.0.5", 0))
        peer = "{}:{}".format(*sock.getsockname())
        if tls:
            context = ssl.create_default_context(cafile=str(server.base / "cert.pem"))
            sock = context.wrap_socket(sock, server_hostname="localhost")
        with Client(sock) as client:
            assert client.line().startswith(b"* OK")
            assert b" NO " in client.command(f"LOGIN {user} wrong")[-1]
            client.ok(f"LOGIN {user} secret")
            client.ok("LOGOUT")
    assert log_has(server, f"login failed user={user} peer={re.escape(peer)} ")
    assert log_has(server, f" login .*peer={re.escape(peer)}( |$)")


def test_health_checks_leave_no_warning(server: Running, tmp_path: Path) -> None:
    """HAProxy's check by LOCAL gets a greeting; one that sends nothing is no fault either."""
    with haproxy(tmp_path, server.ports["imap_proxy"], "send-proxy-v2 check inter 100ms check-send-proxy") as port:
        deadline = time.monotonic() + 20
        before = (server.base / "log").read_text().count("disconnect")
        while (server.base / "log").read_text().count("disconnect") < before + 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with Client(socket.create_connection(("127.0.0.1", port), timeout=30)) as client:
            assert client.line().startswith(b"* OK")
    assert "bad PROXY header" not in (server.base / "log").read_text()
