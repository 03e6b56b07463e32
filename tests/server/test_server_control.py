"""The control socket of a running server with several workers and live clients, by commands and by its protocol."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import NOBODY, ROOT, Talk, run, told
from client import Client
from running import Running, control_place, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.server import control
from maildir_imapd.server.control_protocol import REQUEST_OCTETS
from maildir_imapd.store.index import index

MESSAGE = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    base = Path(tempfile.mkdtemp(prefix="imapd-control-"))
    open_to_all(base)
    (base / "raw").mkdir(mode=0o700)
    running = start_server(
        base,
        f"--rawlog-dir={base}/raw",
        "--control-readers=nobody",
        "--workers=3",
        users=60,
    )
    yield running
    stop_server(running)
    shutil.rmtree(base)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A server with a configuration of its own."""
    file = tmp_path / "conf"
    file.write_text("slow_command = 3\n")
    running = start_server(tmp_path, f"--config={file}", users=3)
    yield running, file
    if running.process.poll() is None:
        stop_server(running)
    elif running.process.stdout is not None:
        running.process.stdout.close()


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def spread(server: Running, user: str, workers: int = 3) -> list[Client]:
    """Log a user in until his sessions are in so many workers; those beyond one a worker are closed again."""
    found: dict[int, Client] = {}
    more: list[Client] = []
    for _ in range(300):
        client = Client.to(server.port, user=user)
        port = client.sock.getsockname()[1]
        rows = told(server.base, "who", user)
        worker = next(int(row["worker"]) for row in rows if row["peer"].endswith(f":{port}"))
        if worker in found:
            client.close()
        else:
            found[worker] = client
            more.append(client)
        if len(found) == workers:
            return more
    raise AssertionError("all connections come to the same worker")


# --- status ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_status(server: Running) -> None:
    found = told(server.base, "status")
    assert found["ok"] is True
    assert found["wrong"] == []
    assert len(found["workers"]) == 3
    assert all(each["answers"] and each["memory_octets"] > 1 << 20 for each in found["workers"])
    assert {"connections", "logins", "commands", "octets_in", "octets_out"} == set(found["rates"])
    assert found["pid"] == server.process.pid


def test_status_for_people(server: Running) -> None:
    found = run(server.base, "status")
    assert found.returncode == 0
    assert "Nothing is wrong." in found.stdout
    assert re.search(r"^sessions:\t\d+, \d+ logged in$", found.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["status"], ["who"], ["kick", "x"], ["top"], ["stop"], ["reload"]])
def test_no_server(tmp_path: Path, command: list[str]) -> None:
    found = run(tmp_path, *command)
    assert found.returncode == 69
    assert f"no server answers at {control_place(tmp_path)}" in found.stderr


def test_a_server_without_a_socket(tmp_path: Path) -> None:
    (tmp_path / "c").write_text('control_socket = "none"\n')
    words = [sys.executable, "-m", "maildir_imapd", "status", "-c", str(tmp_path / "c")]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.returncode == 69
    assert "has no control socket" in found.stderr


@pytest.mark.slow
def test_figures_are_right_over_workers(server: Running) -> None:
    user, spool = server.user()
    spool.put("INBOX", MESSAGE)
    before = told(server.base, "status")["figures"]
    clients = spread(server, user)
    logins = told(server.base, "status")["figures"]["logins"] - before["logins"]
    for client in clients:
        client.ok("SELECT INBOX")
        client.ok("FETCH 1 (UID FLAGS BODY.PEEK[])")
        client.ok("APPEND INBOX {2+}\r\nab")
        client.ok("LOGOUT")
    until(lambda: not told(server.base, "who", user))
    after = told(server.base, "status")["figures"]
    kinds = {name: after["kinds"].get(name, [0])[0] - before["kinds"].get(name, [0])[0] for name in after["kinds"]}
    assert logins == kinds["LOGIN"] >= 3
    assert after["logins"] - before["logins"] == logins
    assert (kinds["SELECT"], kinds["FETCH"], kinds["APPEND"], kinds["LOGOUT"]) == (3, 3, 3, 3)
    assert after["messages_fetched"] - before["messages_fetched"] == 3
    assert after["messages_appended"] - before["messages_appended"] == 3
    assert after["octets_in"] > before["octets_in"]
    assert after["octets_out"] - before["octets_out"] > 3 * len(MESSAGE)
    for row in after["kinds"].values():
        assert sum(row[2:]) == row[0], "each command is counted in one place"


def test_a_failed_login_and_a_warning_are_counted(server: Running) -> None:
    before = told(server.base, "status")
    with Client.to(server.port) as client:
        assert b" NO " in client.command("LOGIN u1 wrong")[-1]
    after = told(server.base, "status")
    assert after["figures"]["logins_failed"] == before["figures"]["logins_failed"] + 1
    assert after["warnings"] == before["warnings"] + 1
    assert after["ok"], "a wrong password is nothing that an administrator has to mend"


@pytest.mark.slow
def test_an_index_that_was_rebuilt_is_wrong(own: tuple[Running, Path]) -> None:
    server, _ = own
    spool = Spool(server.base / "u2" / "Maildir")
    spool.put("INBOX", MESSAGE)
    with Client.to(server.port, user="u2") as client:
        client.ok("SELECT INBOX")
    stop_server(server)
    for path in (server.base / "u2").rglob(index.CHECKPOINT.decode()):
        path.write_bytes(b"damaged")
    for path in (server.base / "u2").rglob(index.JOURNAL.decode()):
        path.write_bytes(b"damaged")
    again = start_server(server.base, users=3)
    with Client.to(again.port, user="u2") as client:
        client.ok("SELECT INBOX")
    found = told(server.base, "status", status=1)
    assert [each["what"] for each in found["wrong"]] == ["index-rebuilt"]
    assert str(server.base / "u2") in found["wrong"][0]["text"]
    stop_server(again)


# --- who ------------------------------------------------------------------------------------------


def test_who(server: Running) -> None:
    user, spool = server.user()
    spool.put("INBOX", MESSAGE)
    with Client(server.connect(tls=True)) as client:
        client.line()
        client.ok('ID ("name" "Tester" "version" "7")')
        client.ok(f"LOGIN {user} secret")
        client.ok("SELECT INBOX")
        (row,) = told(server.base, "who", user)
        assert row["client"] == "Tester 7"
        assert row["tls"].startswith("TLSv1.")
        assert row["mailbox"] == "INBOX"
        assert row["state"] == "waiting"
        assert row["commands"] == 3
        assert row["octets_in"] > 0
        assert row["octets_out"] > 0
        assert row["peer"] == f"127.0.0.1:{client.sock.getsockname()[1]}"
        client.send(b"x IDLE\r\n")
        client.line()
        until(lambda: told(server.base, "who", user)[0]["state"] == "idle")
        line = run(server.base, "who", user).stdout
        assert line.split("\t")[:2] == [row["session"], user]
    until(lambda: told(server.base, "who", user) == [])


def test_who_sees_those_who_have_not_logged_in(server: Running) -> None:
    with Client.to(server.port) as client:
        peer = f"127.0.0.1:{client.sock.getsockname()[1]}"
        (row,) = [each for each in told(server.base, "who") if each["peer"] == peer]
        assert row["user"] is None
        assert row["state"] == "greeted"


def test_sessions_have_names_of_their_own(server: Running) -> None:
    user, _ = server.user()
    spread(server, user)
    names = [row["session"] for row in told(server.base, "who", user)]
    assert len(names) == len(set(names)) >= 3
    lines = [line for line in (server.base / "log").read_text().splitlines() if f"login user={user} " in line]
    assert set(names) <= {line.rpartition("session=")[2] for line in lines}


# --- kick -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kick_of_a_user_in_all_workers_one_idle(server: Running) -> None:
    user, _ = server.user()
    clients = spread(server, user)
    clients[0].ok("SELECT INBOX")
    clients[0].send(b"x IDLE\r\n")
    clients[0].line()
    assert len(told(server.base, "kick", user)["kicked"]) == 3
    for client in clients:
        assert client.line().startswith(b"* BYE The administrator has ended this session")
        assert client.line() == b""


@pytest.mark.slow
def test_kick_of_one_session(server: Running) -> None:
    user, _ = server.user()
    clients = spread(server, user)
    rows = told(server.base, "who", user)
    found = run(server.base, "kick", rows[0]["session"])
    assert (found.returncode, found.stdout) == (0, "1 session sent away.\n")
    until(lambda: {row["session"] for row in told(server.base, "who", user)} == {row["session"] for row in rows[1:]})
    assert len(clients) == 3


@pytest.mark.slow
def test_kick_of_a_session_whose_client_reads_nothing(server: Running) -> None:
    """In the middle of a long FETCH it hears no BYE, so it is cut."""
    user, spool = server.user()
    spool.put("INBOX", b"Subject: x\r\n\r\n" + b"x" * (1 << 24))
    with Client.to(server.port, user=user) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.ok("SELECT INBOX")
        client.send(b"x FETCH 1 BODY[]\r\n")
        until(lambda: told(server.base, "who", user)[0]["command"] == "FETCH")
        told(server.base, "kick", user)
        until(lambda: told(server.base, "who", user) == [])


def test_kick_of_nobody(server: Running) -> None:
    found = run(server.base, "kick", "nobody-of-that-name")
    assert found.returncode == 67
    assert "no session of that name" in found.stderr


# --- reload and stop --------------------------------------------------------------------------------


@pytest.mark.slow
def test_reload_says_what_has_changed(own: tuple[Running, Path]) -> None:
    server, file = own
    client = Client.to(server.port, user="u1")
    old = {each["pid"] for each in told(server.base, "status")["workers"]}
    file.write_text('slow_command = 4\ngreeting = "hello"\n')
    found = told(server.base, "reload")
    assert found["changed"] == [
        {"setting": "greeting", "before": '"maildir-imapd ready"', "after": '"hello"'},
        {"setting": "slow_command", "before": "3", "after": "4"},
    ]
    client.ok("NOOP")
    workers = told(server.base, "status")["workers"]
    assert any(each["retired"] and each["pid"] in old and each["sessions"] == 1 for each in workers)
    (row,) = told(server.base, "who", "u1")
    assert row["worker"] in old
    before = told(server.base, "status")["figures"]
    told(server.base, "kick", "u1")
    until(lambda: not any(each["retired"] for each in told(server.base, "status")["workers"]))
    after = told(server.base, "status")["figures"]
    assert after["logins"] == before["logins"], "what a worker has done that has ended still counts"
    assert run(server.base, "reload").stdout == ""


@pytest.mark.slow
def test_a_broken_configuration_is_told_and_the_old_one_goes_on(own: tuple[Running, Path]) -> None:
    server, file = own
    file.write_text("slow_command = 4\nslow_comand = 4\n")
    found = run(server.base, "reload")
    assert found.returncode == 78
    assert f"{file}:2: unknown setting 'slow_comand'" in found.stderr
    Client.to(server.port, user="u1").ok("NOOP")
    status = run(server.base, "status", "--json")
    assert status.returncode == 1
    assert [each["what"] for each in json.loads(status.stdout)["wrong"]] == ["reload-failed"]


@pytest.mark.slow
def test_stop(own: tuple[Running, Path]) -> None:
    server, _ = own
    client = Client.to(server.port, user="u1")
    found = run(server.base, "stop")
    assert found.returncode == 0
    assert "has ended" in found.stdout
    assert client.line().startswith(b"* BYE")
    assert server.process.wait(30) == 0
    assert not Path(control_place(server.base)).exists()


@pytest.mark.slow
def test_a_worker_that_hangs_is_named_and_holds_nobody_up(own: tuple[Running, Path]) -> None:
    server, _ = own
    workers = [each["pid"] for each in told(server.base, "status")["workers"]]
    os.kill(workers[0], signal.SIGSTOP)
    try:
        found = told(server.base, "status", status=1)
        assert {"no-answer"} == {each["what"] for each in found["wrong"]}
        assert [each["pid"] for each in found["workers"] if not each["answers"]] == [workers[0]]
        listed = run(server.base, "who")
        assert listed.returncode == 1
        assert str(workers[0]) in listed.stderr
    finally:
        os.kill(workers[0], signal.SIGCONT)
    until(lambda: run(server.base, "status").returncode == 0)


@pytest.mark.slow
def test_a_worker_that_died(own: tuple[Running, Path]) -> None:
    server, _ = own
    os.kill(told(server.base, "status")["workers"][0]["pid"], signal.SIGKILL)
    until(lambda: run(server.base, "status").returncode == 1)
    found = told(server.base, "status", status=1)
    assert "worker-died" in {each["what"] for each in found["wrong"]}


@pytest.mark.slow
def test_the_socket_of_a_server_that_was_killed_is_replaced(tmp_path: Path) -> None:
    server = start_server(tmp_path, users=1)
    workers = [each["pid"] for each in told(tmp_path, "status")["workers"]]
    server.process.kill()
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()
    assert run(tmp_path, "status").returncode == 69
    assert Path(control_place(tmp_path)).is_socket()
    again = start_server(tmp_path, users=1)
    assert told(tmp_path, "status")["pid"] == again.process.pid
    stop_server(again)
    until(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in workers))


@pytest.mark.slow
def test_a_path_that_cannot_be_made_is_an_error_only_where_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="did not start"):
        start_server(tmp_path, "--control-socket=/nowhere/at/all", users=1)
    server = start_server(tmp_path, "--control-socket=none", users=1, log="second")
    stop_server(server)


# --- who may ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not ROOT, reason="needs another user")
def test_a_reader_looks_and_changes_nothing(server: Running) -> None:
    """Nobody is in control_readers of this server."""
    with Talk(server.base) as talk:
        assert "result" in talk.ask("status")
    for command, refused in ((["status"], False), (["who"], False), (["kick", "u1"], True), (["stop"], True)):
        found = run_as_nobody(server.base, *command)
        assert (found["error"]["code"] == "denied") if refused else ("result" in found), (command, found)


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="needs another user")
def test_another_user_may_not_even_connect(own: tuple[Running, Path]) -> None:
    server, _ = own
    assert stat.S_IMODE(Path(control_place(server.base)).stat().st_mode) == 0o600
    assert run_as_nobody(server.base, "status") == "PermissionError"


def run_as_nobody(base: Path, command: str, *words: str) -> Any:
    """Ask as another user, who can read nothing of this repository."""
    request = {"version": 1, "command": command, **({"whom": words[0]} if words else {})}
    program = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1])\n"
        "except PermissionError: print('\"PermissionError\"'); sys.exit()\n"
        "s.sendall(sys.argv[2].encode()+b'\\n')\n"
        "print(s.makefile().readline())\n"
    )
    found = subprocess.run(
        ["/usr/bin/env", "python3", "-c", program, control_place(base), json.dumps(request)],
        capture_output=True,
        text=True,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    return json.loads(found.stdout)


# --- the protocol -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\n\n{}\n", "bad-version"),
        (b"hello\n", "bad-request"),
        (b"[1]\n", "bad-request"),
        (b'"x"\n', "bad-request"),
        (b"\xff\xfe\n", "bad-request"),
        (b"[" * 60_000 + b"\n", "bad-request"),
        (b'{"version":2,"command":"status"}\n', "bad-version"),
        (b'{"version":1}\n', "bad-request"),
        (b'{"version":1,"command":["status"]}\n', "bad-request"),
        (b'{"version":1,"command":"kick"}\n', "bad-request"),
        (b'{"version":1,"command":"kick","whom":7}\n', "bad-request"),
        (b'{"version":1,"command":"who","user":{}}\n', "bad-request"),
        (b'{"version":1,"command":"follow","level":"loud"}\n', "bad-request"),
        (b'{"version":1,"command":"rawlog","do":"on","user":"a","seconds":-1}\n', "bad-request"),
        (b'{"version":1,"command":"rawlog","do":"on","user":"a","octets":NaN}\n', "bad-request"),
        (b'{"version":1,"command":"rawlog","do":"on","user":"a","octets":true}\n', "bad-request"),
        (b"x" * (REQUEST_OCTETS + 10), "bad-request"),
    ],
)
def test_nonsense_is_answered(server: Running, said: bytes, code: str) -> None:
    with Talk(server.base) as talk:
        talk.raw(said)
        assert talk.read()["error"]["code"] == code
    assert told(server.base, "status")["ok"]


def test_requests_in_pieces_and_in_a_row(server: Running) -> None:
    with Talk(server.base) as talk:
        line = b'{"version":1,"command":"status"}\n'
        for octet in line:
            talk.raw(bytes([octet]))
        assert "result" in talk.read()
        talk.raw(line * 3 + b"nonsense\n" + line)
        assert [next(name for name in talk.read() if name != "version") for _ in range(5)] == [
            *["result"] * 3,
            "error",
            "result",
        ]
        talk.sock.shutdown(socket.SHUT_WR)
        assert talk.read() is None


def test_thousands_of_requests_in_a_row(server: Running) -> None:
    """Those that are answered at once, or are nonsense, nest in nothing; those that wait are bounded."""
    with Talk(server.base) as talk:
        talk.raw(b'{"version":1,"command":"rawlog","do":"list"}\n' * 3000 + b"nonsense\n" * 3000)
        assert sum("result" in talk.read() for _ in range(3000)) == 3000
        assert {talk.read()["error"]["code"] for _ in range(3000)} == {"bad-request"}
    with Talk(server.base) as talk:
        talk.raw(b'{"version":1,"command":"kick","whom":"x"}\n{"version":1,"command":"status"}\n')
        assert talk.read()["error"]["code"] == "not-here"
        assert "result" in talk.read()


def test_whoever_ends_what_he_sends_still_hears_the_answer(server: Running) -> None:
    with Talk(server.base) as talk:
        talk.send({"version": 1, "command": "status"})
        talk.sock.shutdown(socket.SHUT_WR)
        assert "result" in talk.read()
        assert talk.read() is None


def test_hundreds_that_break_off(server: Running) -> None:
    for n in range(300):
        talk = Talk(server.base)
        talk.raw((b'{"version":1,"command":"status"}\n', b'{"version":1,"comm', b"", b"\0\n")[n % 4])
        talk.close()
    talks = [Talk(server.base) for _ in range(control.CLIENTS + 5)]
    until(lambda: run(server.base, "status").returncode == 69)  # those that stay are all that there is room for
    for talk in talks:
        talk.close()
    until(lambda: run(server.base, "status").returncode == 0)
    open_now = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    with Talk(server.base) as talk:
        assert "result" in talk.ask("status")
    until(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) <= open_now)


# --- the log ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_follow_tells_the_events_of_all_workers(server: Running) -> None:
    user, _ = server.user()
    with Talk(server.base) as talk, Talk(server.base) as other:
        talk.send({"version": 1, "command": "follow", "user": user})
        other.send({"version": 1, "command": "follow", "level": "warning"})
        # The workers take their questions one by one: those that have answered this follow.
        told(server.base, "who")
        clients = spread(server, user)
        for client in clients:
            client.ok("LOGOUT")
        events = []
        # Connections that were one too many in a worker end as well, and each worker's news come on their own way.
        while len({each["pid"] for each in events if each["event"] == "logout"}) < 3:
            events.append(talk.read()["event"])
        assert all(each["user"] == user for each in events if "user" in each)
        assert len({each["pid"] for each in events if each["event"] == "login"}) == 3
        out = next(each for each in events if each["event"] == "logout")
        assert out["commands"] >= 1
        assert out["session"]
        with Client.to(server.port) as client:
            client.command("LOGIN u1 wrong")
        assert other.read()["event"]["event"] == "login failed"


def _hears_ctrl_c() -> None:
    """Begin as whatever a person starts: a shell that runs tests in the background has them ignore SIGINT, and more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_follow_as_a_command(server: Running) -> None:
    words = [sys.executable, "-m", "maildir_imapd", "log", "follow", f"--socket={control_place(server.base)}", "--json"]
    user, _ = server.user()
    with subprocess.Popen(words, stdout=subprocess.PIPE, preexec_fn=_hears_ctrl_c) as process:
        try:
            assert process.stdout is not None
            os.set_blocking(process.stdout.fileno(), False)
            said = b""
            deadline = time.monotonic() + 30
            while f'"user": "{user}"'.encode() not in said:
                assert time.monotonic() < deadline
                Client.to(server.port, user=user).close()
                said += process.stdout.read() or b""
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert all(json.loads(line) for line in said.splitlines()[:-1])


@pytest.mark.slow
def test_whoever_reads_slowly_loses_lines_and_is_told(server: Running) -> None:
    user, _ = server.user()
    with Talk(server.base) as talk:
        talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk.send({"version": 1, "command": "follow"})
        client = Client.to(server.port, user=user)
        # The log bounds a field; so many lines are more than may wait.
        for _ in range(3500):
            client.send(b'a ID ("name" "%b")\r\n' % (b"x" * 480))
            while not client.line().startswith(b"a OK"):
                pass
        client.ok("NOOP")
        lost = 0
        while not lost:
            lost = talk.read().get("lost", 0)
        assert lost > 0
        # Nobody waits for it.
        client.ok("NOOP")
        assert user in {each["user"] for each in told(server.base, "who", user)}


# --- top ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_top_once(server: Running) -> None:
    user, spool = server.user()
    spool.put("INBOX", MESSAGE)
    with Client.to(server.port, user=user) as client:
        client.ok("SELECT INBOX")
        found = told(server.base, "top")
        assert user in {each["user"] for each in found["busiest"]}
        assert found["sessions"] >= 1
        lines = run(server.base, "top").stdout
        assert lines.startswith("sessions\t")


def _on_a_terminal_of_its_own() -> None:
    """Begin as whatever a person starts, with standard input as its terminal."""
    _hears_ctrl_c()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_top_on_a_terminal(server: Running, key: bytes) -> None:
    """It shows a live client, ends by q or Ctrl-C, and leaves the terminal as it was."""
    user, _ = server.user()
    client = Client.to(server.port, user=user)
    client.ok("SELECT INBOX")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, 150, 0, 0))
    before = termios.tcgetattr(theirs)
    words = [sys.executable, "-m", "maildir_imapd", "top", f"--socket={control_place(server.base)}", "--interval=0.2"]
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=_on_a_terminal_of_its_own,
    )
    try:
        said = b""
        while user.encode() not in said or b"Sessions" not in said:
            said += os.read(ours, 65536)
        os.write(ours, key)
        while process.poll() is None:
            if select.select([ours], [], [], 0.1)[0]:
                os.read(ours, 65536)
        assert process.returncode == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


# --- raw logs -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rawlog_of_open_and_new_sessions(server: Running) -> None:
    user, spool = server.user()
    spool.put("INBOX", MESSAGE)
    open_one = Client.to(server.port, user=user)
    strange, _ = server.user()
    stranger = Client.to(server.port, user=strange)
    found = told(server.base, "rawlog", "on", user, "--for", "10m", "--octets", "64K")
    assert [each["user"] for each in found] == [user]
    open_one.ok("SELECT INBOX")
    stranger.ok("NOOP")
    new = Client.to(server.port, user=user)
    new.ok("NOOP")
    new.ok("UNAUTHENTICATE")
    new.ok(f"LOGIN {user} secret")
    new.ok("CAPABILITY")
    files = sorted((server.base / "raw").glob(f"{user}.*"))
    assert len(files) >= 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    text = b"".join(path.read_bytes() for path in files)
    assert b"SELECT INBOX" in text
    assert b"* 1 EXISTS" in text
    assert b"secret" not in text
    assert not [path for path in (server.base / "raw").iterdir() if path.name.startswith(f"{strange}.")]
    assert told(server.base, "rawlog", "list")[0]["octets"] == 64 * 1024
    assert told(server.base, "rawlog", "off", user) == []
    sizes = sum(path.stat().st_size for path in files)
    open_one.ok("NOOP")
    open_one.ok("NOOP")
    assert sum(path.stat().st_size for path in files) == sizes
    assert run(server.base, "rawlog", "off", user).returncode == 67


def test_rawlog_is_bounded(server: Running) -> None:
    user, spool = server.user()
    spool.put("INBOX", b"Subject: x\r\n\r\n" + b"x" * 100_000)
    told(server.base, "rawlog", "on", user, "--octets", "2K")
    with Client.to(server.port, user=user) as client:
        client.ok("SELECT INBOX")
        client.ok("FETCH 1 BODY.PEEK[]")
        client.ok("FETCH 1 BODY.PEEK[]")
    (file,) = (server.base / "raw").glob(f"{user}.*")
    assert file.stat().st_size < 3 * 1024
    assert file.read_bytes().endswith(b"-- enough octets\n")
    told(server.base, "rawlog", "off", user)


@pytest.mark.slow
def test_rawlog_needs_a_directory(own: tuple[Running, Path]) -> None:
    found = run(own[0].base, "rawlog", "on", "u1")
    assert found.returncode == 78
    assert "rawlog_dir" in found.stderr
