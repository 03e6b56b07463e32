"""A drain of a whole server: several workers, hundreds of sessions, and what each client reads."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asking import Talk, run, told
from client import Client
from lmtp_talker import Lmtp
from running import Running, control_place, start_server, stop_server

from maildir_imapd.server.children import Child
from maildir_imapd.server.control_commands import COMMANDS
from maildir_imapd.server.drain import Drain
from maildir_imapd.server.entrance import Entrance

SESSIONS = 300
GOODBYE = rb"\* BYE \[UNAVAILABLE\] This server is about to rest; connect again"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = start_server(
        tmp_path, "--workers=3", "--lmtp-listen=127.0.0.1:0", "--shutdown-timeout=60s", users=40,
    )  # fmt: skip
    yield running
    Client.close_all()
    stop_server(running)


def drain(server: Running, *words: str) -> subprocess.CompletedProcess[str]:
    found = run(server.base, "drain", *words, timeout=120)
    assert found.returncode == 0, (found.stdout, found.stderr)
    return found


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def log_of(server: Running) -> str:
    return (server.base / "log").read_text()


@pytest.mark.slow
def test_hundreds_of_sessions(server: Running) -> None:
    clients = [Client.to(server.port, user=f"u{number % 40}") for number in range(SESSIONS)]
    idling = clients[::2]
    for client in idling:
        client.ok("SELECT INBOX")
        client.idle()
    # One is in the middle of a message.
    writer = clients[1]
    text = b"From: a@example.org\r\n\r\n" + b"x" * 70000
    writer.send(b"w APPEND INBOX {%d}\r\n" % len(text))
    assert writer.line().startswith(b"+")
    writer.send(text[:100])
    command = [sys.executable, "-m", "maildir_imapd", "drain", f"--socket={control_place(server.base)}", "--within=3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: run(server.base, "ready").stdout == "not ready: draining\n")
    # All but the writer are told, between two commands, and the connection ends.
    for client in clients:
        if client is not writer:
            assert re.match(GOODBYE, client.line())
            assert client.line() == b""
    assert process.poll() is None
    assert not select.select([writer.sock], [], [], 0)[0]
    writer.send(text[100:] + b"\r\n")
    lines = writer.until(r"\* BYE")
    assert any(line.startswith(b"w OK [APPENDUID") for line in lines)
    said, shown = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert re.match(r"Nobody is left, after \d+s\.$", said)
    assert re.search(r"^\d+ clients? left$", shown, re.MULTILINE)
    status = told(server.base, "status")
    assert status["sessions"] == 0
    assert status["drain"]["over"] is True
    assert status["ready"]["ready"] is False
    log = log_of(server)
    assert len(re.findall(r"drain begins within=3(\.0)? ", log)) == 1
    assert len(re.findall(r"drain ends seconds=", log)) == 1
    assert "cut off" not in log


@pytest.mark.slow
def test_new_clients_are_sent_elsewhere_until_it_is_taken_back(server: Running) -> None:
    drain(server)
    assert re.match(GOODBYE + rb"\Z", Client.to(server.port).greeting)
    with Client(server.connect(tls=True)) as inside:
        assert re.match(GOODBYE, inside.line())
        assert inside.line() == b""
    lmtp = Lmtp(("127.0.0.1", server.ports["lmtp"]), greeted=False)
    assert lmtp.answer() == "421 4.3.2 No mail is taken here just now; try again later"
    assert lmtp.answer() == ""
    lmtp.close()
    assert run(server.base, "ready").stdout == "not ready: draining\n"
    # Through a reload: the new workers take nobody either.
    before = {each["pid"] for each in told(server.base, "status")["workers"]}
    told(server.base, "reload")
    until(lambda: not before & {each["pid"] for each in told(server.base, "status")["workers"]})
    assert re.match(GOODBYE, Client.to(server.port).greeting)
    # And through a worker's death.
    os.kill(told(server.base, "status")["workers"][0]["pid"], signal.SIGKILL)
    until(lambda: "worker died" in log_of(server))
    until(lambda: len(told(server.base, "status", status=1)["workers"]) == 3)
    assert re.match(GOODBYE, Client.to(server.port).greeting)
    assert drain(server, "--back").stdout == "New clients are taken again.\n"
    assert Client.to(server.port, user="u1").ok("NOOP")
    Lmtp(("127.0.0.1", server.ports["lmtp"])).close()
    assert run(server.base, "ready").stdout == "ready\n"
    assert "drain taken back" in log_of(server)
    assert run(server.base, "drain", "--back").returncode == 1


@pytest.mark.slow
def test_taken_back_in_the_middle(server: Running) -> None:
    clients = [Client.to(server.port, user="u1") for _ in range(30)]
    drain(server, "--within=1h", "--no-wait")
    drain(server, "--back")
    for client in clients:
        client.ok("NOOP")


@pytest.mark.slow
def test_retired_workers_are_drained(server: Running) -> None:
    """Those that a reload has retired have most of the clients."""
    clients = [Client.to(server.port, user="u1") for _ in range(20)]
    told(server.base, "reload")
    clients += [Client.to(server.port, user="u2") for _ in range(20)]
    drain(server, "--within=0s")
    for client in clients:
        assert re.match(GOODBYE, client.line())
        assert client.line() == b""


@pytest.mark.slow
def test_who_hangs_is_cut(tmp_path: Path) -> None:
    running = start_server(tmp_path, "--shutdown-timeout=0s", users=3)
    try:
        client = Client.to(running.port, user="u1")
        client.send(b"x APPEND INBOX {100}\r\n")
        client.line()
        drain(running, "--within=0s")
        assert re.match(GOODBYE, client.line())
        assert client.line() == b""
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
def test_a_transaction_of_lmtp_is_waited_for(server: Running) -> None:
    other, lmtp = (Lmtp(("127.0.0.1", server.ports["lmtp"])) for _ in range(2))
    assert lmtp.begin("u3")[0].startswith("250 ")
    drain(server, "--within=0s", "--no-wait")
    assert other.answer().startswith("421 4.3.2 ")
    assert lmtp.data(b"Subject: x\r\n\r\nbody\r\n") == ["250 2.1.5 Stored"]
    assert lmtp.answer().startswith("421 4.3.2 ")
    until(lambda: told(server.base, "status")["drain"]["over"])
    for each in (other, lmtp):
        each.close()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [{"do": "x"}, {}, {"do": "begin", "within": -1}, {"do": "begin", "within": True}])
def test_requests_that_are_none(server: Running, wrong: dict[str, object]) -> None:
    with Talk(server.base) as talk:
        assert talk.ask("drain", **wrong)["error"]["status"] == 64
        assert talk.ask("draining")["result"]["on"] is False


@pytest.mark.slow
def test_a_time_that_is_none(server: Running) -> None:
    found = run(server.base, "drain", "--within=soon")
    assert found.returncode == 64
    assert "must be a time" in found.stderr


def test_who_may_only_look_may_not() -> None:
    assert COMMANDS["drain"][0]
    assert not COMMANDS["draining"][0]


# --- the supervisor's side --------------------------------------------------------------------------


def test_it_ends_once_all_workers_have_said_so() -> None:
    now = 100.0
    entrance = Entrance(4)
    drains = Drain(entrance, lambda: now)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    children = [Child(os.getpid(), slot, 0.0) for slot in range(2)]
    drains.begin(10.0, 5.0, children)
    assert entrance.times == (100.0, 110.0, 115.0)
    assert drains.as_json(children)["left"] is None
    entrance.note_left(0, entrance.drain, 3)
    entrance.note_left(1, entrance.drain, 0)
    drains.look(children)
    assert drains.as_json(children) == {"on": True, "left": 3, "over": False, "seconds": 0.0, "within": 10.0}
    now = 107.0
    entrance.note_left(0, entrance.drain, 0)
    drains.look(children)
    assert drains.as_json(children)["over"]
    assert drains.back()
    assert not drains.back()
    # The next one begins anew.
    drains.begin(0.0, 5.0, [])
    assert not drains.as_json(children)["over"]
