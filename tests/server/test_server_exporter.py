"""Figures by HTTP of a running server: sums over workers, whatever becomes of these, and whoever asks badly."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from asking import Talk, told
from client import Client
from http_asker import OPENMETRICS, get, hear, opened, raw
from lmtp_talker import Lmtp
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from running import Running, open_to_all, start_server, stop_server

from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import exporter, http_talk, settings
from maildir_imapd.server.exporter import ANSWER_SECONDS, CONNECTIONS, FRESH_SECONDS, Link, _is_ours
from maildir_imapd.server.http_talk import REQUEST_SECONDS
from maildir_imapd.server.lines import Broken

ROOT = os.geteuid() == 0


def begin(base: Path, *options: str) -> Running:
    open_to_all(base)
    return start_server(base, "--metrics-listen=127.0.0.1:0", "--workers=3", *options, users=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    base = Path(tempfile.mkdtemp(prefix="imapd-metrics-"))
    # Without the probe the process that serves figures is the one beside the workers.
    running = begin(base, "--status-page=yes", "--lmtp-listen=127.0.0.1:0", "--spool-probe=no")
    yield running
    stop_server(running)
    shutil.rmtree(base)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A server that a test may spoil."""
    (tmp_path / "conf").write_text("slow_command = 3\n")
    running = begin(tmp_path, f"--config={tmp_path / 'conf'}")
    yield running
    if running.process.poll() is None:
        stop_server(running)
    elif running.process.stdout is not None:
        running.process.stdout.close()


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)


def place(server: Running) -> int:
    return server.ports["metrics"]


def scrape(server: Running) -> dict[str, float]:
    """All samples by name and labels as they are written."""
    heard = get(place(server), "/metrics", accept=OPENMETRICS)
    assert heard.status == 200, heard
    found = {}
    for family in text_string_to_metric_families(heard.text):
        for each in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(each.labels.items()))
            found[each.name.removeprefix("maildir_imapd_") + (f"{{{labels}}}" if labels else "")] = each.value
    return found


def fresh(server: Running) -> dict[str, float]:
    """Figures that are no older than this call: for a second an answer serves all who ask."""
    with Talk(server.base) as talk:
        now = talk.ask("status")["result"]["uptime_seconds"]
    until(lambda: scrape(server)["uptime_seconds"] >= now)
    return scrape(server)


def counters(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if "_total" in name or "_bucket" in name or "_count" in name}


def assert_none_fell(before: dict[str, float], after: dict[str, float]) -> None:
    fallen = {name: (value, after.get(name)) for name, value in counters(before).items() if after.get(name, -1) < value}
    assert not fallen


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_library_reads_it_and_it_is_what_status_says(server: Running) -> None:
    user, spool = server.user()
    spool.put("INBOX", b"Subject: x\r\n\r\nbody\r\n")
    before = scrape(server)
    for _ in range(9):  # over workers, as it comes
        with Client.to(server.port, user=user) as client:
            client.ok("SELECT INBOX")
            client.ok("FETCH 1 ENVELOPE")
            client.ok("LOGOUT")
    with Client.to(server.port) as client:
        client.command("LOGIN nobody wrong")
    until(lambda: told(server.base, "status")["sessions"] == 0)
    after = fresh(server)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more("logins_total{result=ok}") == 9
    assert more("logins_total{result=failed}") == 1
    assert more("command_duration_seconds_count{command=FETCH}") == 9
    assert more("command_duration_seconds_bucket{command=FETCH,le=+Inf}") == 9
    assert more("messages_fetched_total") == 9
    assert more("cache_lookups_total{result=hit}") + more("cache_lookups_total{result=miss}") == 9
    assert more("cache_lookups_total{result=miss}") >= 1
    assert more("connections_total") == 10
    assert after["workers{state=active}"] == 3
    assert after["ready"] == 1
    assert all(after[f"worker_open_descriptors{{worker={n}}}"] > 5 for n in range(3))
    figures = told(server.base, "status")["figures"]
    assert after["received_bytes_total"] == figures["octets_in"]
    assert after["sent_bytes_total"] == figures["octets_out"]
    assert any(name.startswith("certificate_end_time_seconds{file=") for name in after)
    assert_none_fell(before, after)


@pytest.mark.slow
def test_deliveries_by_result(server: Running) -> None:
    user, _ = server.user()
    before = scrape(server)
    with Lmtp(("127.0.0.1", server.ports["lmtp"])) as lmtp:
        lmtp.begin(user)
        lmtp.data(b"Subject: x\r\n\r\nx\r\n")
        lmtp.begin("nobody-here")
    after = fresh(server)
    assert after["deliveries_total{result=delivered}"] - before["deliveries_total{result=delivered}"] == 1
    assert after["deliveries_total{result=refused}"] - before["deliveries_total{result=refused}"] == 1


def test_formats(server: Running) -> None:
    text = get(place(server), "/metrics")
    assert text.fields["content-type"].startswith("text/plain; version=0.0.4")
    assert "# EOF" not in text.text
    both = get(place(server), "/metrics", accept=f"{OPENMETRICS};q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert both.fields["content-type"].startswith("application/openmetrics-text")
    assert both.text.endswith("# EOF\n")
    head = get(place(server), "/metrics", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.fields["content-length"]) > 1000


@pytest.mark.slow
def test_no_counter_falls_when_workers_are_killed_retire_and_end(own: Running) -> None:
    for n in range(6):
        with Client.to(own.port, user=f"u{n}") as client:
            client.ok("NOOP")
            client.ok("LOGOUT")
    with Client.to(own.port) as client:
        client.command("LOGIN u1 wrong")
    first = fresh(own)
    assert first["logins_total{result=ok}"] == 6
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = fresh(own)
        deaths = before["worker_deaths_total"]
        for each in told(own.base, "status", status=int(deaths > 0))["workers"]:
            os.kill(each["pid"], number)
        until(lambda deaths=deaths: scrape(own)["worker_deaths_total"] >= deaths + 3)
        until(lambda: scrape(own)["workers{state=active}"] == 3)
        assert_none_fell(before, scrape(own))
    before = scrape(own)
    told(own.base, "reload")
    until(lambda: scrape(own)["workers{state=retired}"] == 0)
    last = scrape(own)
    assert_none_fell(before, last)
    assert last["logins_total{result=ok}"] == 6
    assert last["logins_total{result=failed}"] == 1
    assert last["events_total{event=login failed}"] == 1
    assert last["worker_deaths_total"] == 6
    assert last["problems{what=worker-died}"] == 1


@pytest.mark.slow
def test_a_worker_that_hangs_is_told_and_stays_counted(own: Running) -> None:
    for n in range(6):
        Client.to(own.port, user=f"u{n}").ok("NOOP")
    before = scrape(own)
    worker = told(own.base, "status")["workers"][0]
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        assert get(place(own), "/ready").status == 200
        assert get(place(own), "/health").status == 200
        until(lambda: scrape(own)["problems{what=no-answer}"] == 1)
        after = scrape(own)
        assert after[f"worker_answers{{worker={worker['slot']}}}"] == 0
        assert after["problems{what=no-answer}"] == 1
        assert_none_fell(before, after)
    finally:
        os.kill(worker["pid"], signal.SIGCONT)


# --- health and readiness -------------------------------------------------------------------------


def test_health_and_ready(server: Running) -> None:
    for path in ("/health", "/ready"):
        assert get(place(server), path).status == 200
        assert raw(place(server), f"GET {path} HTTP/1.0\r\n\r\n".encode()).status == 200


@pytest.mark.slow
def test_no_worker_is_alive(own: Running) -> None:
    """The replacements of those that die young come after a pause."""

    def kill_all() -> bool:
        for each in told(own.base, "status", status=1)["workers"]:
            os.kill(each["pid"], signal.SIGKILL)
        return get(place(own), "/ready").status == 503

    for each in told(own.base, "status")["workers"]:
        os.kill(each["pid"], signal.SIGKILL)
    until(kill_all)
    until(lambda: get(place(own), "/ready").status == 200, 60)


@pytest.mark.slow
def test_it_ends(own: Running) -> None:
    """While it waits for its workers it is alive, and takes nobody."""
    worker = told(own.base, "status")["workers"][0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    own.process.send_signal(signal.SIGTERM)
    until(lambda: get(place(own), "/ready").status == 503)
    heard = get(place(own), "/ready")
    assert (heard.status, heard.text) == (503, "the server ends\n")
    os.kill(worker, signal.SIGCONT)
    assert own.process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        opened(place(own))


# --- who asks badly -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /metrics/../ready HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"CONNECT example.org:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
        (b"a LOGIN u1 secret\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\nHost: a", 0),
        (b"", 0),
    ],
)
def test_no_request(server: Running, octets: bytes, status: int) -> None:
    assert raw(place(server), octets).status == status


def test_pipelining_gets_one_answer(server: Running) -> None:
    heard = raw(place(server), b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
    assert (heard.status, heard.body) == (200, b"OK\n")


def test_hundreds_who_say_nothing_keep_nobody_out(server: Running) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(opened(place(server))) for _ in range(300)]
        for sock in idle[::2]:
            try:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            except ConnectionError:
                pass  # it has had to make room
        assert get(place(server), "/metrics").status == 200
        assert get(place(server), "/ready").status == 200
        with Talk(server.base) as talk:
            assert "result" in talk.ask("status")


def test_slow_readers_and_those_who_hang_up(server: Running) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            sock = stack.enter_context(opened(place(server)))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(20):
            opened(place(server)).close()
        assert get(place(server), "/metrics").status == 200


def test_many_at_once_all_get_an_answer(server: Running) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(opened(place(server))) for _ in range(CONNECTIONS - 10)]
        for sock in socks:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert {hear(sock).status for sock in socks} == {200}


# --- time, by a clock of the test's ---------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_several_want_is_asked_once_and_holds_for_a_second() -> None:
    ours, theirs = socket.socketpair()
    clock = Clock()
    heard: list[object] = []
    with ours, theirs:
        theirs.settimeout(10)
        link = Link(ours, clock)
        link.want("status", heard.append)
        link.want("status", heard.append)
        link.serve()
        assert theirs.recv(65536).count(b"\n") == 1
        theirs.sendall(b'{"version":1,"result":{"a":1}}\n')
        link.serve()
        link.want("status", heard.append)
        assert heard == [{"a": 1}] * 3
        clock.now += FRESH_SECONDS + 0.1
        link.want("status", heard.append)
        link.serve()
        assert len(heard) == 3
        assert theirs.recv(65536).count(b"\n") == 1


def test_a_supervisor_that_answers_late_or_with_an_error_or_not_at_all() -> None:
    ours, theirs = socket.socketpair()
    clock = Clock()
    heard: list[object] = []

    def fails(told: object) -> None:
        heard.append(told)
        raise ValueError("not for this one")

    with ours:
        with theirs:
            link = Link(ours, clock)
            link.want("ready", fails)
            link.want("ready", heard.append)
            clock.now += ANSWER_SECONDS + 0.1
            link.serve()
            assert heard == [None, None]
            theirs.sendall(b'{"version":1,"result":{"late":1}}\n')
            link.serve()
            link.want("ready", heard.append)
            assert heard[2:] == [{"late": 1}]
            link.want("who", heard.append)
            theirs.sendall(b'{"version":1,"error":{"code":"internal"}}\n')
            link.serve()
            assert heard[3:] == [None]
        with pytest.raises(Broken):
            link.serve()


def test_whoever_does_not_ask_in_time_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(exporter, "time", SimpleNamespace(monotonic=clock, time=time.time, sleep=time.sleep))
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    pairs = [socket.socketpair() for _ in range(3)]
    with ExitStack() as stack:
        for sock in (listening, *(each for pair in pairs for each in pair)):
            stack.enter_context(sock)
        pairs[2][0].setblocking(False)
        here = exporter.Exporter([listening], pairs[0][0], pairs[1][0], pairs[2][0], status_page=False)
        slow = stack.enter_context(opened(listening.getsockname()[1]))
        slow.sendall(b"GET /metr")
        asks = stack.enter_context(opened(listening.getsockname()[1]))
        asks.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        for _ in range(4):
            here.turn(0.2)
        clock.now += REQUEST_SECONDS + 0.1
        here.turn(0)
        clock.now += http_talk.ANSWER_SECONDS
        here.turn(0)
        assert hear(slow).status == 408
        heard = hear(asks)
        assert (heard.status, heard.text) == (503, "the supervisor does not answer\n")


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_page_shows_what_clients_say_as_text(server: Running) -> None:
    user, _ = server.user()
    with Client(server.connect()) as client:
        client.line()
        client.ok('ID ("name" "<script>alert(1)</script>")')
        client.ok(f"LOGIN {user} secret")
        client.ok('CREATE "<img src=x onerror=alert(2)>"')
        client.ok('SELECT "<img src=x onerror=alert(2)>"')
        fresh(server)
        until(lambda: user in get(place(server), "/").text)
        heard = get(place(server), "/")
    assert heard.status == 200
    assert heard.fields["content-security-policy"].startswith("default-src 'none'")
    assert heard.fields["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in heard.fields
    assert user in heard.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in heard.text
    assert "&lt;img src=x onerror=alert(2)&gt;" in heard.text
    assert "<script" not in heard.text
    assert "<img" not in heard.text


def test_page_is_for_this_machine_s_names_alone(server: Running) -> None:
    assert get(place(server), "/", host="attacker.example").status == 421
    assert get(place(server), "/", host="localhost:9798").status == 200
    assert get(place(server), "/metrics", host="attacker.example").status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.1", "localhost", "LOCALHOST.", "", os.uname().nodename])
def test_own_names(host: str) -> None:
    assert _is_ours(host)


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "localhost.example.org", "1.2.3"])
def test_names_of_others(host: str) -> None:
    assert not _is_ours(host)


@pytest.mark.slow
def test_page_is_off_if_nothing_is_said(own: Running) -> None:
    assert get(place(own), "/").status == 404
    (own.base / "conf").write_text("status_page = true\n")
    told(own.base, "reload")
    until(lambda: get(place(own), "/").status == 200)


# --- the process ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_process_is_nobody_and_begins_again(server: Running) -> None:
    workers = {each["pid"] for each in told(server.base, "status")["workers"]}
    listed = subprocess.run(
        ["ps", "-o", "pid=,user=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=True
    )
    (found,) = [line.split() for line in listed.stdout.splitlines() if int(line.split()[0]) not in workers]
    if ROOT:
        assert found[1] == "nobody"
    os.kill(int(found[0]), signal.SIGKILL)
    assert get(place(server), "/metrics").status == 200, "whoever comes meanwhile waits for the next one"
    assert told(server.base, "status", status=1)["wrong"][0]["text"].startswith("the process that serves figures")


@pytest.mark.slow
def test_a_socket_at_a_path(tmp_path: Path) -> None:
    where = f"{tempfile.mkdtemp(prefix='imapd-')}/metrics"
    running = start_server(tmp_path, f"--metrics-listen={where}", users=1)
    assert get(where, "/ready").status == 200
    stop_server(running)
    assert not Path(where).exists()
    os.rmdir(os.path.dirname(where))


@pytest.mark.slow
def test_without_the_library(tmp_path: Path) -> None:
    program = "import sys; sys.modules['prometheus_client'] = None; from maildir_imapd.cli import main; main()"
    words = ["serve", "--imap=127.0.0.1:0", f"--mail-location=maildir:{tmp_path}/%n", "--metrics-listen=127.0.0.1:0"]
    (tmp_path / "passwd").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", program, *words, f"--passwd-file={tmp_path / 'passwd'}", "--control-socket=none"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "metrics_listen needs the library prometheus_client: install maildir-imapd[metrics]" in done.stderr


def test_a_page_needs_a_place() -> None:
    with pytest.raises(ConfigError, match="status_page needs metrics_listen"):
        settings.exports(load(None, {"status_page": "yes"}))
    assert settings.exports(load(None, {})).places == ()
