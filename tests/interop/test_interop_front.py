"""Two hosts on one spool, and in front of them what docs/hosts.md shows, as it stands there but for addresses."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from client import Client
from dovecot import is_24
from running import Running, control_place, open_to_all, program, start_server, stop_server

from maildir_imapd.server.affinity import weight

pytestmark = pytest.mark.interop

HOSTS = Path(__file__).parents[2] / "docs" / "hosts.md"
NGINX_MODULES = Path("/usr/lib/nginx/modules")
NAMES = ("mail1", "mail2")
# Of an interface (linux/if.h).
_LOOPBACK, _MULTICAST = 0x8, 0x1000


def example(kind: str, changes: Mapping[str, str]) -> str:
    """The one example of a kind in the document, with each of *changes*, which must all be in it."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", HOSTS.read_text(), re.MULTILINE | re.DOTALL)
    for before, after in changes.items():
        assert before in found, before
        found = found.replace(before, after)
    assert "192.0.2." not in found
    return str(found)


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)


@dataclass
class Host:
    """One server of those that share the spool."""

    name: str
    running: Running

    @property
    def log(self) -> str:
        return (self.running.base / self.name).read_text()

    def control(self, *words: str) -> None:
        """Give it a command."""
        place = control_place(self.running.base, self.name)
        subprocess.run([sys.executable, "-m", "maildir_imapd", *words, f"--socket={place}"], check=True, timeout=60)

    def has_login(self, user: str, peer: str) -> bool:
        """Whether somebody has logged in from there."""
        found = re.search(rf" login .*user={user} .*peer={re.escape(peer)}( |$)", self.log, re.MULTILINE)
        return found is not None


def host(base: Path, name: str) -> Host:
    running = start_server(
        base,
        "--imap-proxy=127.0.0.1:0",
        "--imaps-proxy=127.0.0.1:0",
        "--proxy-networks=127.0.0.1",
        "--login-trusted-networks=127.0.0.1",
        "--metrics-listen=127.0.0.1:0",
        f"--spool-probe={base}",
        users=40,
        log=name,
    )
    return Host(name, running)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    open_to_all(tmp_path)
    base = tmp_path / "spool"
    base.mkdir()
    found = [host(base, name) for name in NAMES]
    yield found
    Client.close_all()
    for each in found:
        if each.running.process.poll() is None:
            stop_server(each.running)


@contextmanager
def started(words: list[str], port: int, fds: tuple[int, ...] = ()) -> Iterator[int]:
    """Run what stands in front until it listens; what it says is shown where a test fails."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=fds
    )
    try:
        until(lambda: fds or process.poll() is not None or listens(port))
        assert process.poll() is None
        yield port
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
        print(said.decode())


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def connect(port: int, base: Path, source: str) -> tuple[Client, str]:
    """Connect inside TLS from an address; and its name in a log.  Closed by ``close_all``."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    peer = "{}:{}".format(*sock.getsockname())
    context = ssl.create_default_context(cafile=str(base / "cert.pem"))
    client = Client(context.wrap_socket(sock, server_hostname="localhost"))
    client.greeting = client.line()
    return client, peer


def logs_in(client: Client, user: str) -> bool:
    """Whether it does; no, where what stands in front hangs up because the host does not answer."""
    tag = client.start(f"LOGIN {user} secret").encode()
    while not client.closed:
        line = client.line()
        if line.startswith(tag + b" "):
            return line.startswith(tag + b" OK")
    return False


def whose(user: str, peer: str, hosts: list[Host]) -> Host:
    """The host that says in its log that he has logged in from there."""
    until(lambda: any(each.has_login(user, peer) for each in hosts))
    return next(each for each in hosts if each.has_login(user, peer))


def passed_on(connected: tuple[Client, str], user: str, hosts: list[Host]) -> Host | None:
    """The host to which a login is passed on by what stands in front; None where it hangs up."""
    client, peer = connected
    assert client.greeting.startswith(b"* OK")
    if not logs_in(client, user):
        return None
    client.ok("SELECT INBOX")
    client.ok("LOGOUT")
    return whose(user, peer, hosts)


# --- HAProxy --------------------------------------------------------------------------------------


@contextmanager
def haproxy(base: Path, hosts: list[Host]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = base / "haproxy.cfg"
        changes = {
            "192.0.2.10:993": f"fd@{sock.fileno()}",
            "inter 2s": "inter 100ms",
            "192.0.2.11:1993": f"127.0.0.1:{hosts[0].running.ports['imaps_proxy']}",
            "192.0.2.12:1993": f"127.0.0.1:{hosts[1].running.ports['imaps_proxy']}",
        }
        config.write_text(example("haproxy", changes))
        words = [program("haproxy"), "-db", "-f", str(config)]
        with started(words, sock.getsockname()[1], (sock.fileno(),)) as port:
            yield port


def test_haproxy(hosts: list[Host], tmp_path: Path) -> None:
    """The client's address, a host that is drained, and its clients on the other one."""
    base = hosts[0].running.base

    def serving(user: str, source: str) -> Host | None:
        """Whose client somebody is who comes from there; None for one that is sent away, or finds nobody."""
        try:
            client, peer = connect(port, base, source)
        except OSError:
            return None  # no host is marked as up
        if not client.greeting.startswith(b"* OK"):
            assert client.greeting == b"" or client.greeting.startswith(b"* BYE [UNAVAILABLE]")
            return None
        client.ok(f"LOGIN {user} secret")
        client.ok("LOGOUT")
        return whose(user, peer, hosts)

    with haproxy(tmp_path, hosts) as port:
        until(lambda: serving("u1", "127.0.0.5"))
        first = serving("u1", "127.0.0.5")
        assert first is not None
        # As long as it is there it is the same one.
        assert all(serving("u1", "127.0.0.5") is first for _ in range(5))
        other = next(each for each in hosts if each is not first)
        idle, _ = connect(port, base, "127.0.0.5")
        idle.ok("LOGIN u1 secret")
        idle.ok("APPEND INBOX {3+}\r\nabc")
        idle.ok("SELECT INBOX")
        idle.idle()
        first.control("drain", "--within=0s")
        assert idle.until(r"\* BYE")[-1].startswith(b"* BYE [UNAVAILABLE]")
        until(lambda: all(serving("u1", "127.0.0.5") is other for _ in range(5)))
        again, _ = connect(port, base, "127.0.0.5")
        again.ok("LOGIN u1 secret")
        assert b"* 1 EXISTS" in again.ok("SELECT INBOX")
        first.control("drain", "--back")
        until(lambda: serving("u1", "127.0.0.5") is first)
        # All hosts are drained: nobody is left hanging.
        for each in hosts:
            each.control("drain", "--within=0s")
        assert serving("u1", "127.0.0.5") is None


# --- nginx ----------------------------------------------------------------------------------------


def fronted(hosts: list[Host], port: str) -> list[str]:
    return [
        f"--hosts={each.name}=127.0.0.1:{each.running.ports[port]}"
        f",ready=http://127.0.0.1:{each.running.ports['metrics']}/ready"
        for each in hosts
    ]


@contextmanager
def nginx(base: Path, spool: Path, auth_http: int) -> Iterator[int]:
    module = NGINX_MODULES / "ngx_mail_module.so"
    if not module.exists():
        if os.environ.get("MAILDIR_IMAPD_REQUIRE_PROGRAMS"):
            pytest.fail("nginx's mail module is not installed")
        pytest.skip("nginx's mail module is not installed")
    port = free_port()
    changes = {
        "127.0.0.1:9143": f"127.0.0.1:{auth_http}",
        "192.0.2.10:993": f"127.0.0.1:{port}",
        "/etc/ssl/mail/fullchain.pem": str(spool / "cert.pem"),
        "/etc/ssl/mail/privkey.pem": str(spool / "key.pem"),
    }
    config = base / "nginx.conf"
    config.write_text(
        f"load_module {module};\ndaemon off;\nmaster_process off;\npid {base}/nginx.pid;\nerror_log stderr;\n"
        f"events {{}}\n{example('nginx', changes)}"
    )
    with started([program("nginx"), "-e", "stderr", "-p", str(base), "-c", str(config)], port):
        yield port


def expected(user: str, hosts: list[Host]) -> Host:
    return max(hosts, key=lambda each: weight(each.name, user))


def test_nginx(hosts: list[Host], tmp_path: Path) -> None:
    """Each user has a host; one that goes moves its own users; the client's address is in all logs."""
    base, place = hosts[0].running.base, tmp_path / "front"
    place.mkdir()
    front = start_server(
        place, "--auth-http-listen=127.0.0.1:0", "--proxy-networks=127.0.0.1", "--spool-probe=no",
        *fronted(hosts, "imap_proxy"), users=40,
    )  # fmt: skip
    users = [f"u{number}" for number in range(12)]

    def serving(user: str) -> Host | None:
        return passed_on(connect(port, base, "127.0.0.7"), user, hosts)

    try:
        with nginx(tmp_path, base, front.ports["auth_http"]) as port:
            until(lambda: all(serving(user) is expected(user, hosts) for user in users))
            assert {expected(user, hosts).name for user in users} == set(NAMES)
            client, _ = connect(port, base, "127.0.0.8")
            assert b" NO [AUTHENTICATIONFAILED]" in client.command("LOGIN u1 wrong")[-1]
            said = (place / "log").read_text()
            assert re.search(r"login failed user=u1 peer=127\.0\.0\.8:0 ", said)
            assert re.search(r"authenticated user=u1 peer=127\.0\.0\.7:0 service=imap host=mail[12]", said)
            # One that is drained, and is there again.
            hosts[0].control("drain", "--within=0s")
            until(lambda: all(serving(user) is hosts[1] for user in users))
            hosts[0].control("drain", "--back")
            until(lambda: all(serving(user) is expected(user, hosts) for user in users))
            # And one that is killed.
            hosts[1].running.process.kill()
            hosts[1].running.process.wait()
            assert hosts[1].running.process.stdout is not None
            hosts[1].running.process.stdout.close()
            until(lambda: all(serving(user) is hosts[0] for user in users))
    finally:
        Client.close_all()
        stop_server(front)


# --- Dovecot --------------------------------------------------------------------------------------


@contextmanager
def dovecot(base: Path, spool: Path) -> Iterator[int]:
    port = free_port()
    kind, address = ("dovecot-2.4", "listen") if is_24() else ("dovecot", "address")
    changes = {
        f"{address} = 192.0.2.10": f"{address} = 127.0.0.1",
        "port = 993": f"port = {port}",
        "/etc/ssl/mail/fullchain.pem": str(spool / "cert.pem"),
        "/etc/ssl/mail/privkey.pem": str(spool / "key.pem"),
    }
    more = f"base_dir = {base}/run\nstate_dir = {base}/state\nlog_path = {base}/dovecot.log\n"
    more += "login_trusted_networks =\nstats_writer_socket_path =\n"
    config = base / "dovecot.conf"
    config.write_text(example(kind, changes) + more)
    try:
        with started([program("dovecot"), "-F", "-c", str(config)], port):
            try:
                yield port
            finally:
                # Its login processes end with their last clients.
                Client.close_all()
    finally:
        log = base / "dovecot.log"
        print(log.read_text() if log.exists() else "no log")


def test_dovecot(hosts: list[Host], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Dovecot's master wants to be root")
    program("dovecot")
    base, place = hosts[0].running.base, tmp_path / "front"
    place.mkdir()
    options = [f"--auth-socket={tmp_path}/run/login/login", "--socket-mode=0666", "--spool-probe=no"]
    front: Running | None = None
    users = [f"u{number}" for number in range(8)]

    def serving(user: str) -> Host | None:
        return passed_on(connect(port, base, "127.0.0.9"), user, hosts)

    try:
        with dovecot(tmp_path, base) as port:
            front = start_server(place, *options, *fronted(hosts, "imap"), users=40)
            until(lambda: all(serving(user) is expected(user, hosts) for user in users))
            client, _ = connect(port, base, "127.0.0.9")
            assert b" NO " in client.command("LOGIN u1 wrong")[-1]
            assert re.search(r"login failed user=u1 peer=127\.0\.0\.9:\d+ ", (place / "log").read_text())
            hosts[0].control("drain", "--within=0s")
            until(lambda: all(serving(user) is hosts[1] for user in users))
    finally:
        Client.close_all()
        if front is not None:
            stop_server(front)


# --- keepalived -----------------------------------------------------------------------------------


def test_keepalived(tmp_path: Path) -> None:
    """Its own check of the configuration: to run it takes a network that may be changed."""
    for interface in Path("/sys/class/net").iterdir():
        if int((interface / "flags").read_text(), 16) & (_MULTICAST | _LOOPBACK) == _MULTICAST:
            break
    else:
        pytest.skip("there is no interface for VRRP")
    script = tmp_path / "maildir-imapd"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    changes = {"192.0.2.10": "127.1.2.3", "eth0": interface.name, "/usr/bin/maildir-imapd": str(script)}
    config = tmp_path / "keepalived.conf"
    config.write_text(example("keepalived", changes))
    found = subprocess.run(
        [program("keepalived"), f"--config-test={tmp_path}/found", "-f", str(config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = tmp_path / "found"
    assert found.returncode == 0, (found.stderr, said.read_text() if said.exists() else "")
