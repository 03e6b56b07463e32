"""Words with the service manager, and the sockets that it gives."""

from __future__ import annotations

import imaplib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maildir_imapd.cli import certificate
from maildir_imapd.server import control_protocol
from maildir_imapd.server.service_manager import ServiceManager, inherited


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def test_from_ready_to_the_end(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "HOME": "/"}
    told = ServiceManager(environ)
    assert environ == {"HOME": "/"}
    told.ready("2 workers")
    assert manager.recv(999).decode() == f"READY=1\nSTATUS=2 workers\nMAINPID={os.getpid()}"
    told.status("2 workers")
    told.status("3 sessions")
    assert manager.recv(999) == b"STATUS=3 sessions"
    told.reloading()
    kind, moment = manager.recv(999).decode().split("\n")
    assert kind == "RELOADING=1"
    assert moment.removeprefix("MONOTONIC_USEC=").isdigit()
    told.reloaded()
    assert b"READY=1\nSTATUS=3 sessions" in manager.recv(999)
    told.stopping()
    assert manager.recv(999) == b"STOPPING=1"


def test_signs_of_life(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    told = ServiceManager(environ)
    assert environ == {}
    assert told.patience == 30
    for now in (1000.0, 1001.0, 1029.9, 1030.0, 1031.0):
        told.alive(now)
    told.stopping()
    assert [manager.recv(99) for _ in range(3)] == [b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    "more",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}],
    ids=["none", "bad", "not us"],
)
def test_where_nobody_waits_for_signs_of_life(manager: socket.socket, more: dict[str, str]) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), **more})
    told.alive(1000.0)
    told.stopping()
    assert manager.recv(99) == b"STOPPING=1"


def test_an_abstract_name_and_one_where_nobody_is(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0maildir-imapd-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@maildir-imapd-{os.getpid()}"}).stopping()
        assert sock.recv(99) == b"STOPPING=1"
    nobody = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nowhere")})
    nobody.ready("x")
    nobody.stopping()
    assert [record.getMessage() for record in caplog.records] == ["the service manager does not hear"]
    ServiceManager({}).ready("x")


# Says what it has inherited: names, and ports.
TAKES = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[1] == "us" else "1"
from maildir_imapd.errors import ConfigError
from maildir_imapd.server.service_manager import inherited
try:
    for name, sock in inherited(os.environ):
        print(name, sock.getsockname()[1], sock.getblocking(), os.get_inheritable(sock.fileno()))
except ConfigError as error:
    print(error)
print(*(name for name in os.environ if name.startswith("LISTEN")))
"""


def takes(whose: str, sockets: list[int], names: str | None) -> list[str]:
    """Run that with *sockets* from the third descriptor on."""
    kept = [os.dup(number) for number in sockets]
    moved = "".join(f"os.dup2({number}, {100 + at}); " for at, number in enumerate(kept))
    moved += "".join(f"os.dup2({100 + at}, {3 + at}); " for at in range(len(kept)))
    script = f"import os, sys\n{moved}\nos.execv(sys.executable, [sys.executable, '-c', {TAKES!r}, {whose!r}])"
    environ = {**os.environ, "LISTEN_FDS": str(len(kept)), **({} if names is None else {"LISTEN_FDNAMES": names})}
    done = subprocess.run(
        [sys.executable, "-c", script], pass_fds=kept, env=environ, capture_output=True, text=True, check=True
    )
    for number in kept:
        os.close(number)
    return done.stdout.splitlines()


def test_sockets_that_were_bound_for_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        numbers, ports = [one.fileno(), other.fileno()], [one.getsockname()[1], other.getsockname()[1]]
        said = takes("us", numbers, "imap:imaps")
        assert said == [f"imap {ports[0]} False False", f"imaps {ports[1]} False False", ""]
        assert takes("us", numbers, None)[0] == f" {ports[0]} False False"
        assert takes("others", numbers, "imap:imaps") == [""]


def test_what_does_not_listen_is_named() -> None:
    with socket.socket() as sock, open(os.devnull) as file:
        assert takes("us", [sock.fileno()], "imap")[0] == "descriptor 3 (imap) is no socket that listens"
        assert takes("us", [file.fileno()], "imap")[0].startswith("descriptor 3 (imap) is no socket: ")


def test_without_the_variables() -> None:
    assert inherited({"HOME": "/"}) == []
    assert inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == []


# Becomes a server whose third descriptor is the socket of the first argument, as systemd would start it.
BECOMES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
pid = str(os.getpid())
os.environ.update(LISTEN_PID=pid, LISTEN_FDS="1", LISTEN_FDNAMES=sys.argv[2], WATCHDOG_PID=pid)
os.execv(sys.executable, [sys.executable, "-m", "maildir_imapd", "serve", *sys.argv[3:]])
"""


def started(tmp_path: Path, sock: socket.socket, name: str, told: str, *options: str) -> subprocess.Popen[str]:
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\n")
    environ = {**os.environ, "NOTIFY_SOCKET": told, "WATCHDOG_USEC": "2000000"}
    given = [
        f"--mail-location=maildir:{tmp_path}/mail/%n",
        f"--passwd-file={tmp_path}/passwd",
        "--plaintext-login=loopback",
        "--control-socket=none",
        *(["--mail-user=root"] if os.geteuid() == 0 else []),
    ]
    (tmp_path / "mail").mkdir()
    words = [sys.executable, "-c", BECOMES, str(sock.fileno()), name, *given, *options]
    return subprocess.Popen(
        words, pass_fds=[sock.fileno()], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_server_that_a_service_manager_has_started(manager: socket.socket, tmp_path: Path) -> None:
    def heard(kind: str) -> str:
        while True:
            said = manager.recv(9999).decode()
            if said.startswith(kind):
                return said

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        process = started(tmp_path, sock, "imap", manager.getsockname())
    try:
        ready = heard("READY=1")
        assert f"STATUS=imap 127.0.0.1:{port}; 2 workers, pid {process.pid}\n" in ready
        assert ready.endswith(f"MAINPID={process.pid}")
        with imaplib.IMAP4("127.0.0.1", port) as client:
            client.login("ann", "secret")
        heard("WATCHDOG=1")
        heard("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        heard("RELOADING=1")
        heard("READY=1")
        with imaplib.IMAP4("127.0.0.1", port) as client:
            client.login("ann", "secret")
        process.terminate()
        heard("STOPPING=1")
    finally:
        process.terminate()
        assert process.communicate(timeout=60)[0].startswith("maildir-imapd ")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("maildir-imapd.socket", "FileDescriptorName= must be one of imap, imaps, "),
        ("imap_proxy", "need proxy_networks"),
    ],
)
def test_a_socket_that_cannot_be_served(manager: socket.socket, tmp_path: Path, name: str, why: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = started(tmp_path, sock, name, manager.getsockname())
    _, said = process.communicate(timeout=60)
    assert process.returncode == 78
    assert why in said


def test_the_places_that_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one:/run/two")
    assert certificate.state_dir() == Path("/var/lib/one")
    assert control_protocol.own_place() == "/run/one/control"
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ann/state")
    assert certificate.state_dir() == Path("/home/ann/state/maildir-imapd")
