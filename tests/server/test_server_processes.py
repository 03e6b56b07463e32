"""Whole servers on loopback: workers, signals, TLS, reload.  Real processes, killed by their number only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.auth import schemes
from maildir_imapd.cli import certificate
from maildir_imapd.server import owners, signals

pytestmark = pytest.mark.slow

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers of a test's own; each ends well, with no traceback in its log."""
    running: list[Running] = []

    def begin(*options: str) -> Running:
        server = start_server(tmp_path, "--auth-cache-time=0", *options, users=10)
        running.append(server)
        return server

    yield begin
    Client.close_all()
    for server in running:
        if server.process.poll() is None:
            stop_server(server)
        elif server.process.stdout is not None:
            server.process.stdout.close()
    log = tmp_path / "log"
    assert not log.exists() or "Traceback" not in log.read_text(), log.read_text()


def children(pid: int) -> set[int]:
    """The processes whose parent is *pid*."""
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def gone(pid: int) -> None:
    """Wait until a process that is not ours has ended."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            assert select.select([fd], [], [], 30)[0], f"{pid} lives on"
        finally:
            os.close(fd)


def logged(server: Running, pattern: str) -> str:
    """Wait for a line in the log."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-F", str(server.base / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tail:
        killer = threading.Timer(30, tail.kill)
        killer.start()
        try:
            assert tail.stdout is not None
            for line in tail.stdout:
                if re.search(pattern, line):
                    return line
        finally:
            killer.cancel()
            tail.kill()
    raise AssertionError(f"no {pattern} in the log")


def trust(server: Running) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.base / "cert.pem"))


def pid_of_worker(server: Running, client: Client) -> int:
    """Which worker serves a connection: the one that has its socket open."""
    peer = f"0100007F:{client.sock.getsockname()[1]:04X}"
    ours = {f"0100007F:{port:04X}" for port in (server.port, server.tls_port)}
    inode = None
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = row.split()
        # Not one that has ended, of an earlier server whose client had the same port.
        if words[2] == peer and words[1] in ours and words[9] != "0":
            inode = words[9]
    for pid in children(server.process.pid):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(fd) == f"socket:[{inode}]":
                    return pid
    raise AssertionError("no worker has it")


def on_two_workers(server: Running, user: str) -> tuple[Client, Client]:
    """Two clients of *user* in two processes."""
    first = Client.to(server.port, user=user)
    others = []
    try:
        for _ in range(64):
            other = Client.to(server.port, user=user)
            if pid_of_worker(server, other) != pid_of_worker(server, first):
                return first, other
            others.append(other)
    finally:
        for other in others:
            other.close()
    raise AssertionError("one worker took all connections")


# --- TLS ------------------------------------------------------------------------------------------


def test_tls_from_the_start_and_by_starttls(server: Running) -> None:
    user, _ = server.user()
    with Client(server.connect(tls=True)) as client:
        assert b"LOGINDISABLED" not in client.line()
        assert b"STARTTLS" not in client.ok("CAPABILITY")[0]
        client.ok(f"LOGIN {user} secret")
    with Client.to(server.port) as client:
        assert b"STARTTLS" in client.greeting
        client.start_tls(trust(server))
        assert b"STARTTLS" not in client.ok("CAPABILITY")[0]
        assert b" BAD " in client.command("STARTTLS")[-1]
        client.ok(f"LOGIN {user} secret")
        client.ok("SELECT INBOX")


@pytest.mark.parametrize("behind", [b"t2 LOGIN u0 secret\r\n", b"t2 NOOP\r\n", b"x", b"\r\n"])
def test_starttls_injection(server: Running, behind: bytes) -> None:
    """CVE-2011-0411: what is sent in the clear behind STARTTLS must not count inside TLS."""
    with Client.to(server.port) as client:
        client.send(b"t1 STARTTLS\r\n" + behind)
        lines = client.until("$")
        assert lines[0].startswith(b"* BYE")
        assert not any(b" OK" in line for line in lines)


def test_octets_behind_the_ok_are_no_commands(server: Running) -> None:
    """Plain text where the handshake should be ends the connection."""
    with Client.to(server.port) as client:
        client.ok("STARTTLS")
        client.send(b"t2 CAPABILITY\r\n")
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := client.sock.recv(1000):
                rest += data
        assert b"CAPABILITY" not in rest


def test_a_client_that_never_shakes_hands_holds_up_nobody(server: Running) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.tls_port)) for _ in range(20)]
    user, _ = server.user()
    try:
        with Client(server.connect(tls=True)) as client:
            client.line()
            client.ok(f"LOGIN {user} secret")
    finally:
        for sock in silent:
            sock.close()


def test_old_tls_is_refused(server: Running) -> None:
    context = trust(server)
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=30) as sock, pytest.raises(OSError):
        context.wrap_socket(sock, server_hostname="localhost")


# --- reload ---------------------------------------------------------------------------------------


def presented(server: Running) -> bytes:
    """The certificate that a new connection sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", server.tls_port), timeout=30) as sock,
        context.wrap_socket(sock) as tls,
    ):
        found = tls.getpeercert(binary_form=True)
        assert found
        return found


def test_reload_keeps_clients_and_takes_what_is_new(start: Start) -> None:
    """SIGHUP: an idling client stays and hears of new mail; certificate, users and settings are the new ones."""
    server = start()
    old = presented(server)
    spool = Spool(server.base / "u1" / "Maildir")
    client = Client.to(server.port, user="u1")
    client.ok("SELECT INBOX")
    tag = client.idle()
    before = children(server.process.pid)

    for name in ("cert.pem", "key.pem"):
        (server.base / name).unlink()
    certificate.ensure(server.base)
    with open(server.base / "passwd", "a") as file:
        file.write(f"newcomer:{schemes.make(b'secret', 'SSHA')}::::::\n")
    server.process.send_signal(signal.SIGHUP)
    for pid in before:
        logged(server, f"pid={pid} retired")

    assert presented(server) != old
    Client.to(server.port, user="newcomer").close()
    spool.put("INBOX", b"Subject: after\n\nx\n", None)
    client.until(r"\* 1 EXISTS")
    client.done(tag)
    client.ok("FETCH 1 BODY.PEEK[]")
    old_worker = pid_of_worker(server, client)
    assert old_worker in before
    client.ok("LOGOUT")
    client.close()
    # The last client gone, the old workers end by themselves.
    for pid in before:
        gone(pid)


def test_reload_with_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "conf"
    config.write_text('greeting = "one"\n')
    server = start_server(tmp_path, f"--config={config}", users=2)
    try:
        assert b"one" in Client.to(server.port).greeting
        before = children(server.process.pid)
        config.write_text('greeting = "two"\nworkerz = 3\n')
        server.process.send_signal(signal.SIGHUP)
        line = logged(server, "reload failed")
        assert "workerz" in line
        assert "did you mean workers" in line
        assert b"one" in Client.to(server.port).greeting
        config.write_text('greeting = "two"\nlog_level = "debug"\n')
        server.process.send_signal(signal.SIGHUP)
        for pid in before:
            logged(server, f"pid={pid} retired")
        assert b"two" in Client.to(server.port).greeting
        (tmp_path / "cert.pem").write_text("no certificate")
        server.process.send_signal(signal.SIGHUP)
        assert "tls_cert" in logged(server, "reload failed.*tls_cert")
        with Client(socket.create_connection(("127.0.0.1", server.tls_port), timeout=30)):
            assert presented(server)
    finally:
        Client.close_all()
        stop_server(server)


# --- the end --------------------------------------------------------------------------------------


def test_sigterm_says_bye(start: Start) -> None:
    """Idle, idling, not logged in, inside TLS: all hear it; and the process ends with 0."""
    server = start()
    waiting = Client.to(server.port)
    quiet = Client.to(server.port, user="u1")
    idling = Client.to(server.port, user="u2")
    idling.ok("SELECT INBOX")
    idling.idle()
    inside = Client(server.connect(tls=True))
    inside.line()
    workers = children(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    for client in (waiting, quiet, idling, inside):
        assert re.match(rb"\* BYE \[UNAVAILABLE\] .*shutting down", client.line())
        assert client.line() == b""
        client.close()
    assert server.process.wait(30) == 0
    for pid in workers:
        gone(pid)


def test_sigterm_beside_clients_that_do_not_end(start: Start) -> None:
    """One that never shakes hands, one that reads nothing: the deadline counts."""
    server = start("--shutdown-timeout=1s")
    spool = Spool(server.base / "u1" / "Maildir")
    spool.put("INBOX", b"Subject: big\n\n" + b"x" * 70 + b"\n" * 200_000, "")
    silent = socket.create_connection(("127.0.0.1", server.tls_port))
    stuck = Client.to(server.port, user="u1")
    stuck.ok("SELECT INBOX")
    for _ in range(60):
        stuck.start("FETCH 1 BODY.PEEK[]")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    silent.close()
    stuck.close()


def test_the_workers_end_when_the_supervisor_is_killed(start: Start) -> None:
    server = start()
    client = Client.to(server.port, user="u1")
    workers = children(server.process.pid)
    server.process.kill()
    server.process.wait()
    assert client.line().startswith(b"* BYE")
    for pid in workers:
        gone(pid)


def test_a_killed_worker_is_replaced(start: Start) -> None:
    """kill -9, several times over: service goes on, and in the end there are as many workers as before."""
    server = start()
    for _ in range(3):
        client = Client.to(server.port, user="u1")
        victim = pid_of_worker(server, client)
        before = children(server.process.pid)
        os.kill(victim, signal.SIGKILL)
        assert client.line() == b""
        client.close()
        logged(server, f"worker died worker={victim} status=-9")
        Client.to(server.port, user="u1").close()
        # The new one takes connections too, and stays.
        while not children(server.process.pid) - before:
            Client.to(server.port).close()
    seen = set()
    while len(seen) < 2:
        with Client.to(server.port, user="u2") as client:
            seen.add(pid_of_worker(server, client))
    log = (server.base / "log").read_text()
    assert log.count("worker died") == 3
    assert "worker failed" not in log


def test_a_worker_that_hangs_does_not_keep_the_server(start: Start) -> None:
    """The others serve; SIGTERM ends the one that cannot hear it as well."""
    server = start("--shutdown-timeout=0.1s")
    client = Client.to(server.port, user="u1")
    victim = pid_of_worker(server, client)
    os.kill(victim, signal.SIGSTOP)
    # Until all its threads stand still one of them may take the next connection with it.
    while any(
        stat.read_text().rpartition(")")[2].split()[0] != "T" for stat in Path(f"/proc/{victim}/task").glob("*/stat")
    ):
        pass
    Client.to(server.port, user="u2").ok("SELECT INBOX")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    client.close()


# --- every signal ---------------------------------------------------------------------------------


class Busy:
    """Clients that never rest, and one that idles, on every worker; ``still_there`` says that nobody has lost any."""

    def __init__(self, server: Running, count: int = 6) -> None:
        self.server = server
        self.workers = children(server.process.pid)
        self.clients = [*on_two_workers(server, "u1"), *(Client.to(server.port, user="u1") for _ in range(count))]
        self.idler = Client.to(server.port, user="u2")
        self.idler.ok("SELECT INBOX")
        self.tag = self.idler.idle()
        self.trouble: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._play, args=(client,)) for client in self.clients]
        for client in self.clients:
            client.ok("SELECT INBOX")
        for thread in self._threads:
            thread.start()

    def _play(self, client: Client) -> None:
        try:
            while not self._stop.is_set():
                client.ok("NOOP")
                client.ok("STATUS INBOX (MESSAGES UIDNEXT)")
        except BaseException as error:
            self.trouble.append(error)

    def still_there(self) -> None:
        """Every worker is the one it was, every connection answers, and the server has nothing to complain of."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not self.trouble
        for client in self.clients:
            client.ok("NOOP")
        base = Spool(self.server.base / "u2" / "Maildir").put("INBOX", b"Subject: x\n\nx\n", None)
        assert base
        self.idler.until(r"\* 1 EXISTS")
        self.idler.done(self.tag)
        assert children(self.server.process.pid) == self.workers
        log = (self.server.base / "log").read_text()
        for word in ("worker died", "worker hangs", "supervisor is gone", "reloaded", "retired"):
            assert word not in log, log


@pytest.mark.parametrize("whom", ["supervisor", "workers", "all"])
def test_a_stop_costs_nobody_anything(start: Start, whom: str) -> None:
    """SIGSTOP, two seconds, SIGCONT, under load: longer than any wait of theirs, which are over when they go on."""
    server = start()
    busy = Busy(server)
    stopped = [server.process.pid] * (whom != "workers") + sorted(busy.workers) * (whom != "supervisor")
    for _ in range(2):
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        select.select([], [], [], 2)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    busy.still_there()


def test_signals_that_say_nothing(start: Start) -> None:
    """To the supervisor and to the workers: whatever has no meaning there has no effect."""
    server = start()
    busy = Busy(server, 0)
    nothing = [*sorted(signals.UNUSED - {signal.SIGHUP}), signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH]
    for number in nothing:
        os.kill(server.process.pid, number)
        # A worker hears of SIGUSR1 from its supervisor; from others it says nothing. SIGHUP is the supervisor's.
        for pid in busy.workers:
            os.kill(pid, number)
            os.kill(pid, signal.SIGHUP)
    for pid in (server.process.pid, *busy.workers):
        logged(server, f"pid={pid} signal passed over")
    # New connections come in, on all workers.
    seen: set[int] = set()
    while seen != busy.workers:
        with Client.to(server.port) as client:
            seen.add(pid_of_worker(server, client))
    busy.still_there()


def test_two_reloads_at_once(start: Start) -> None:
    """SIGHUP again and again: connections stay, the last settings count, and none of the old workers stays."""
    server = start()
    client = Client.to(server.port, user="u1")
    before = children(server.process.pid)
    keeper = pid_of_worker(server, client)
    for _ in range(3):
        for _ in range(2):
            server.process.send_signal(signal.SIGHUP)
        client.ok("NOOP")
    for pid in before:
        logged(server, f"pid={pid} retired")
    for pid in before - {keeper}:
        gone(pid)
    client.ok("SELECT INBOX")
    Client.to(server.port, user="u2").close()
    client.ok("LOGOUT")
    gone(keeper)
    assert "worker died" not in (server.base / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_during_a_reload(start: Start, number: signal.Signals) -> None:
    server = start()
    client = Client.to(server.port, user="u1")
    workers = children(server.process.pid)
    server.process.send_signal(signal.SIGHUP)
    server.process.send_signal(number)
    assert client.line().startswith(b"* BYE")
    assert server.process.wait(30) == 0
    for pid in workers:
        gone(pid)


def test_a_worker_that_ends_by_a_signal_says_goodbye_and_is_replaced(start: Start) -> None:
    server = start()
    for number in (signal.SIGTERM, signal.SIGINT):
        client = Client.to(server.port, user="u1")
        victim = pid_of_worker(server, client)
        os.kill(victim, number)
        assert client.line().startswith(b"* BYE")
        gone(victim)
        Client.to(server.port, user="u2").close()


# --- between workers ------------------------------------------------------------------------------


@pytest.mark.parametrize("watch", ["inotify", "poll"])
def test_idle_hears_of_every_hand(start: Start, watch: str) -> None:
    """A session in the other worker, an MDA, a mail program that renames and one that unlinks."""
    server = start(f"--watch={watch}", "--poll-interval=0.1s")
    spool = Spool(server.base / "u1" / "Maildir")
    spool.simple("INBOX", 3)
    idler, other = on_two_workers(server, "u1")
    idler.ok("SELECT INBOX")
    other.ok("SELECT INBOX")
    tag = idler.idle()
    other.ok("STORE 2 +FLAGS (\\Flagged)")
    idler.until(r"\* 2 FETCH \(.*\\Flagged")
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    idler.until(r"\* 1 FETCH \(.*\\Deleted")
    other.ok("EXPUNGE")
    idler.until(r"\* 1 EXPUNGE")
    other.send(b"x APPEND INBOX {20+}\r\nSubject: y\r\n\r\nbody\r\n\r\n")
    other.until("x OK")
    idler.until(r"\* 3 EXISTS")
    base = spool.put("INBOX", b"Subject: delivered\n\nz\n", None)
    idler.until(r"\* 4 EXISTS")
    spool.reflag("INBOX", base, "FS")
    idler.until(r"\* 4 FETCH \(.*\\Flagged.*\\Seen|\* 4 FETCH \(.*\\Seen.*\\Flagged")
    spool.remove("INBOX", base)
    idler.until(r"\* 4 EXPUNGE")
    idler.done(tag)
    fetched = [line.replace(b"\\Recent", b"") for line in idler.ok("UID FETCH 1:* (FLAGS)")[:-1]]
    other.ok("NOOP")
    assert fetched == [line.replace(b"\\Recent", b"") for line in other.ok("UID FETCH 1:* (FLAGS)")[:-1]]
    idler.close()
    other.close()


@pytest.mark.parametrize("watch", ["inotify", "poll"])
def test_a_folder_that_somebody_holds_keeps_no_news_from_other_users(start: Start, watch: str) -> None:
    """One watch thread serves all: it leaves what is locked, and hears of it when the lock is free."""
    server = start("--workers=1", f"--watch={watch}", "--poll-interval=0.1s")
    spools = [Spool(server.base / user / "Maildir") for user in ("u1", "u2")]
    clients = [Client.to(server.port, user=user, timeout=15) for user in ("u1", "u2")]
    for client in clients:
        client.ok("SELECT INBOX")
        client.idle()
    with open(spools[1].root / "maildir-imapd.lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        spools[1].put("INBOX", b"Subject: held\n\nx\n", None)
        for count in range(1, 4):
            spools[0].put("INBOX", b"Subject: free\n\nx\n", None)
            clients[0].until(rf"\* {count} EXISTS")
    clients[1].until(r"\* 1 EXISTS")


def test_tunnel_beside_the_daemon(start: Start) -> None:
    """PREAUTH on standard input and output; both see each other's changes at once."""
    server = start()
    spool = Spool(server.base / "u1" / "Maildir")
    spool.simple("INBOX", 2)
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [sys.executable, "-m", "maildir_imapd", "tunnel", f"--mail-location=maildir:{spool.root}"],
        stdin=theirs,
        stdout=theirs,
    ) as process:
        theirs.close()
        ours.settimeout(30)
        tunnel = Client(ours)
        assert tunnel.line().startswith(b"* PREAUTH")
        assert b" BAD " in tunnel.command("LOGIN a b")[-1]
        daemon = Client.to(server.port, user="u1")
        tunnel.ok("SELECT INBOX")
        daemon.ok("SELECT INBOX")
        tag = tunnel.idle()
        daemon.ok("STORE 1 +FLAGS (\\Answered)")
        tunnel.until(r"\* 1 FETCH .*\\Answered")
        tunnel.done(tag)
        tag = daemon.idle()
        tunnel.ok("STORE 2 +FLAGS (\\Deleted)")
        daemon.until(r"\* 2 FETCH .*\\Deleted")
        tunnel.ok("EXPUNGE")
        daemon.until(r"\* 2 EXPUNGE")
        spool.put("INBOX", b"Subject: new\n\nx\n", None)
        daemon.until(r"\* 2 EXISTS")
        daemon.done(tag)
        tag = tunnel.idle()
        process.send_signal(signal.SIGTERM)
        tunnel.until(r"\* BYE .*shutting down")
        assert process.wait(30) == 0
        tunnel.close()
        daemon.close()


def test_tunnel_ends_with_its_input(spool: Spool) -> None:
    for said in (b"", b"a LOGOUT\r\n", b"a APPEND INBOX {100+}\r\nhalf"):
        done = subprocess.run(
            [sys.executable, "-m", "maildir_imapd", "tunnel", f"--mail-location=maildir:{spool.root}"],
            input=said,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"* PREAUTH")
        assert not done.stderr
    assert not list((spool.root / "tmp").iterdir())


# --- limits ---------------------------------------------------------------------------------------


def test_limits_of_connections(start: Start) -> None:
    server = start("--workers=3", "--connections-per-address=3", "--connections-per-user=4")
    clients = [Client.to(server.port, user="u1") for _ in range(4)]
    # Whichever worker takes it: there is room for no fifth in all of them together.
    others = [Client.to(server.port) for _ in range(3)]
    for other in others:
        assert b" NO [LIMIT] " in other.command("LOGIN u1 secret")[-1]
    clients[0].ok("LOGOUT")
    assert clients[0].line() == b""
    others[0].ok("LOGIN u1 secret")
    for client in (*clients, *others):
        client.close()


def test_of_one_address_who_waits_longest_gives_way(start: Start) -> None:
    server = start("--workers=1", "--connections-per-address=2", "--connections-per-user=9")
    inside = [Client.to(server.port, user="u1") for _ in range(5)]
    waiting = [Client.to(server.port) for _ in range(3)]
    assert b"* BYE" in waiting[0].line()
    waiting[1].ok("LOGIN u1 secret")
    inside[0].ok("NOOP")
    for client in (*inside, *waiting):
        client.close()


def test_limit_of_all_connections(start: Start) -> None:
    server = start("--workers=1", "--connections=2")
    clients = [Client.to(server.port) for _ in range(3)]
    assert [client.greeting[:5] for client in clients] == [b"* OK "] * 3
    # The longest that has not logged in gave way, and who logs in stays.
    assert b"* BYE" in clients[0].line()
    for n, client in enumerate(clients[1:], 1):
        client.ok(f"LOGIN u{n} secret")
    assert Client.to(server.port).greeting[:5] == b"* BYE"
    clients[1].ok("LOGOUT")
    assert clients[1].line() == b""
    assert Client.to(server.port).greeting.startswith(b"* OK")


def test_who_shakes_no_hands_gives_way(start: Start) -> None:
    """A connection within its TLS handshake waits for the client alone, and goes when its place is wanted."""
    server = start("--workers=1", "--connections-before-login=1")
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=20) as silent:
        silent.settimeout(20)
        logged(server, "started")
        while Client.to(server.port).greeting[:5] != b"* OK ":
            pass
        # The handshake's thread closes; until it has been counted another one may have to go.
        while True:
            other = Client.to(server.port)
            if select.select([silent], [], [], 0.1)[0]:
                break
            other.close()
        assert silent.recv(1) == b""


def test_out_of_descriptors(start: Start) -> None:
    """The reserve descriptor tells the client; when others have left, service goes on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = start("--workers=1")
    (worker,) = children(server.process.pid)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (40, hard))
    clients = []
    while True:
        client = Client.to(server.port)
        clients.append(client)
        if not client.greeting.startswith(b"* OK"):
            break
        assert len(clients) < 60
    assert client.greeting.startswith(b"* BYE [UNAVAILABLE]")
    assert "cannot" in logged(server, "cannot (accept|serve)")
    for client in clients:
        client.close()
    while True:
        with Client.to(server.port) as client:
            if client.greeting.startswith(b"* OK"):
                assert client.command("LOGIN u1 secret")
                break


def test_login_deadline_that_traffic_does_not_prolong(start: Start) -> None:
    server = start("--login-timeout=1s")
    with Client.to(server.port) as client, contextlib.suppress(ConnectionError):
        count = 0
        line = b"+"
        while line and not line.startswith(b"* BYE"):
            count += 1
            client.send(b"n NOOP\r\n")
            line = client.line()
        assert line.startswith(b"* BYE")
        assert count > 1


def test_wrong_passwords(start: Start) -> None:
    """Equal answers for a wrong password and an unknown user; BYE after a few; nobody else waits."""
    server = start("--auth-failure-delay=0.01s")
    with Client.to(server.port) as client:
        first = client.command("LOGIN u1 wrong")[-1]
        second = client.command("LOGIN nobody wrong")[-1]
        third = client.command('LOGIN "../u1" wrong')[-1]
        assert first.partition(b" ")[2] == second.partition(b" ")[2] == third.partition(b" ")[2]
        assert b" NO [AUTHENTICATIONFAILED] " in first
        client.start("LOGIN u1 wrong")
        assert client.line().startswith(b"* BYE")
        assert client.line() == b""
    log = (server.base / "log").read_text()
    assert log.count("login failed") == 4
    assert "wrong" not in log.replace("Too many wrong", "")


def test_the_pause_holds_up_nobody(start: Start) -> None:
    """While forty guessers wait for their answers, a user logs in; with their pause he would not."""
    server = start("--auth-failure-delay=20s", "--workers=1", "--shutdown-timeout=0.1s")
    guessers = [Client.to(server.port) for _ in range(40)]
    for guesser in guessers:
        guesser.start("LOGIN u1 wrong")
    with Client.to(server.port, user="u1", timeout=15) as client:
        client.ok("SELECT INBOX")
    for guesser in guessers:
        guesser.close()


def test_huge_literals_are_refused_before_they_are_sent(server: Running) -> None:
    user, _ = server.user()
    with Client.to(server.port) as client:
        # Before login: nothing is ever announced as welcome.
        client.send(b"a LOGIN {99999999}\r\n")
        assert re.match(rb"a (BAD|NO) ", client.line())
    with Client.to(server.port, user=user) as client:
        client.send(b"b APPEND INBOX {99999999999}\r\n")
        assert b"TOOBIG" in client.until("b (NO|BAD) ")[-1]
        client.send(b"c SELECT {999999999}\r\n")
        client.until("c (NO|BAD) ")
        client.ok("NOOP")
        client.send(b"d APPEND INBOX {99999999999999999999999}\r\n")
        assert re.match(rb"(d (NO|BAD)|\* BYE) ", client.line())


def test_too_large_a_non_synchronising_literal(server: Running) -> None:
    """What cannot be skipped ends the connection, and the BYE is not overtaken by a reset."""
    user, _ = server.user()
    with Client.to(server.port, user=user) as client:
        client.send(b"a SELECT {9999999999999+}\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                client.send(b"x" * 65536)
        lines = client.until(r"\* BYE|a (NO|BAD)")
        assert lines


def test_a_client_that_does_not_read(server: Running) -> None:
    """Its thread waits for it and reads no further commands; others are served, and nothing is lost."""
    user, spool = server.user()
    spool.put("INBOX", b"Subject: big\n\n" + (b"x" * 75 + b"\n") * 40_000, "")
    slow = Client.to(server.port, user=user)
    slow.ok("SELECT INBOX")
    tags = [slow.start("FETCH 1 BODY.PEEK[TEXT]") for _ in range(20)]
    with Client.to(server.port, user=user) as other:
        other.ok("SELECT INBOX")
        other.ok("STORE 1 +FLAGS (\\Seen)")
    for tag in tags:
        line = slow.until(r"\* 1 FETCH \(BODY\[TEXT\] \{")[-1]
        size = int(line[line.index(b"{") + 1 : line.index(b"}")])
        assert size == 77 * 40_000
        assert slow.octets(size) == (b"x" * 75 + b"\r\n") * 40_000
        slow.until(f"{tag} OK")
    slow.close()


# --- log and pid file -----------------------------------------------------------------------------


def test_rotated_log_and_pid_file(start: Start, tmp_path: Path) -> None:
    server = start(f"--pid-file={tmp_path}/pid")
    assert int((tmp_path / "pid").read_text()) == server.process.pid
    Client.to(server.port, user="u1").close()
    os.rename(tmp_path / "log", tmp_path / "log.1")
    Client.to(server.port, user="u2").close()
    assert "user=u2" in logged(server, "login user=u2")
    assert "user=u1" in (tmp_path / "log.1").read_text()
    stop_server(server)
    assert not (tmp_path / "pid").exists()


# --- whose mail -----------------------------------------------------------------------------------


@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_system_users(tmp_path: Path) -> None:
    """Each session acts as the owner of its mail: the files are his, and another's stay closed."""
    open_to_all(tmp_path)
    # In one process, where the threads of all users meet.
    server = start_server(tmp_path, "--workers", "1", users=1, system_users=True)
    stored = schemes.make(b"secret", "SSHA")
    homes = {}
    for name, uid in (("ann", 54321), ("ben", 54322)):
        homes[name] = tmp_path / name
        spool = Spool(homes[name] / "Maildir")
        spool.simple("INBOX", 2)
        for path in [homes[name], *homes[name].rglob("*")]:
            os.chown(path, uid, uid)
            path.chmod(0o700 if path.is_dir() else 0o600)
    lines = [
        f"ann:{stored}:54321:54321::{homes['ann']}::",
        f"ben:{stored}:54322:54322::{homes['ben']}::",
        f"thief:{stored}:54321:54321::{homes['ben']}::userdb_mail=maildir:{homes['ben']}/Maildir",
        f"root:{stored}:0:0::{homes['ann']}::",
        f"silent:{stored}::::{homes['ann']}::",
    ]
    (tmp_path / "passwd").write_text("".join(line + "\n" for line in lines))
    try:
        ann = Client.to(server.port, user="ann")
        ben = Client.to(server.port, user="ben")
        for client, name, uid in ((ann, "ann", 54321), (ben, "ben", 54322)):
            client.ok("SELECT INBOX")
            client.ok("CREATE Work")
            client.send(b"a APPEND Work {12+}\r\nSubject: x\r\n\r\n")
            client.until("a OK")
            client.ok("STORE 1 +FLAGS (\\Seen)")
            # The watch thread takes new mail on the owner's behalf.
            tag = client.idle()
            delivered = homes[name] / "Maildir" / "new" / f"9.{name}.test"
            incoming = homes[name] / "Maildir" / "tmp" / "incoming"
            incoming.write_bytes(b"Subject: new\n\nx\n")
            os.chown(incoming, uid, uid)
            incoming.chmod(0o600)
            os.rename(incoming, delivered)
            client.until(r"\* 3 EXISTS")
            client.done(tag)
            client.ok("FETCH 3 BODY.PEEK[]")
            owners = {(path.stat().st_uid, path.stat().st_gid) for path in homes[name].rglob("*")}
            assert owners == {(uid, uid)}
        for user in ("thief", "root", "silent"):
            with Client.to(server.port) as client:
                answer = client.command(f"LOGIN {user} secret")[-1]
                lines = [answer] if b" NO " in answer else client.command("SELECT INBOX")
                assert b" NO " in lines[-1], lines
        # After a refusal the thread is nobody's: the passwd-file can still be read.
        with Client.to(server.port) as client:
            client.command("LOGIN thief secret")
            client.command("LOGIN ann secret")
        assert "mail of root is not served" in (tmp_path / "log").read_text()
        assert "root itself serves nobody" in (tmp_path / "log").read_text()
    finally:
        Client.close_all()
        stop_server(server)


@pytest.mark.skipif(not owners.supported(), reason="only root can become another user")
def test_mail_user(tmp_path: Path) -> None:
    """The workers become mail_user; the supervisor can still read the key at SIGHUP."""
    open_to_all(tmp_path)
    nobody = pwd.getpwnam("nobody")
    mail = tmp_path / "mail"
    mail.mkdir()
    os.chown(mail, nobody.pw_uid, nobody.pw_gid)
    server = start_server(tmp_path, "--mail-user=nobody", f"--mail-location=maildir:{mail}/%n/Maildir", users=2)
    try:
        (tmp_path / "key.pem").chmod(0o600)
        before = children(server.process.pid)
        client = Client.to(server.port, user="u1")
        client.ok("SELECT INBOX")
        assert {path.stat().st_uid for path in mail.rglob("*")} == {nobody.pw_uid}
        status = Path(f"/proc/{pid_of_worker(server, client)}/status").read_text()
        assert re.search(rf"^Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}\t", status, re.MULTILINE)
        server.process.send_signal(signal.SIGHUP)
        for pid in before:
            logged(server, f"pid={pid} retired")
        with Client(server.connect(tls=True)) as inside:
            assert inside.line()
        # The workers have the file open and no right to its name.
        assert os.stat(tmp_path / "log").st_uid == 0
        os.rename(tmp_path / "log", tmp_path / "log.1")
        for n in range(1000):
            # Whoever logs in is in the old file until the worker has been given the new one.
            Client.to(server.port, user="u1").close()
            if (tmp_path / "log").exists() and "login user=u1" in (tmp_path / "log").read_text():
                break
            assert n < 999
            select.select([], [], [], 0.05)
        assert os.stat(tmp_path / "log").st_uid == 0
    finally:
        Client.close_all()
        stop_server(server)
