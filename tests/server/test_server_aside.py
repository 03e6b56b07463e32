"""Questions about passwords, answered in processes of their own."""

from __future__ import annotations

import imaplib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from running import Running, start_server, stop_server

from maildir_imapd.auth.beside import DOWN, RIGHT, WRONG, Questions
from maildir_imapd.auth.waiting import Until
from maildir_imapd.errors import AuthenticationFailed, Unavailable
from maildir_imapd.server.aside import Aside, Directly, parse, render


def answer(parts: Sequence[bytes], until: Until) -> bytes:
    user, password = parts
    match user:
        case b"hangs":
            threading.Event().wait()
        case b"dies":
            os._exit(7)
        case b"fails":
            raise ZeroDivisionError
        case b"down":
            return DOWN + b"the directory is away"
    return RIGHT + f"{user.decode()} {os.getpid()}".encode() if password == b"secret" else WRONG + b"account-expired"


@pytest.fixture(params=["aside", "directly"])
def asks(request: pytest.FixtureRequest) -> Iterator[Aside | Directly]:
    if request.param == "directly":
        yield Directly({"test": answer})
        return
    aside = Aside({"test": answer}, most=2)
    aside.start()
    aside.keep_only_asking()
    yield aside
    aside.close()
    assert os.waitpid(aside.process, 0)[1] == 0


def questions(asks: Aside | Directly, seconds: float = 30) -> Questions:
    return Questions("test", asks, most=2, seconds=seconds)


def test_right_and_wrong(asks: Aside | Directly) -> None:
    said = [questions(asks).put("ann", b"secret").decode().split() for _ in range(2)]
    assert [name for name, _ in said] == ["ann", "ann"]
    # Each in a process of its own.
    assert len({process for _, process in said} | {str(os.getpid())}) == 3
    with pytest.raises(AuthenticationFailed) as caught:
        questions(asks).put("ann", b"wrong")
    assert caught.value.detail == "account-expired"


@pytest.mark.parametrize("user", ["dies", "fails", "down"])
def test_what_is_not_answered_is_not_wrong(asks: Aside | Directly, user: str) -> None:
    with pytest.raises(Unavailable):
        questions(asks).put(user, b"secret")
    assert questions(asks).put("ann", b"secret")


@pytest.mark.slow
def test_what_hangs_is_killed_and_others_are_answered(asks: Aside | Directly) -> None:
    for _ in range(4):
        with pytest.raises(Unavailable):
            questions(asks, 0.3).put("hangs", b"secret")
    assert questions(asks).put("ann", b"secret")


@pytest.mark.parametrize(("user", "password"), [("a\0b", b"secret"), ("ann", b"secret\0"), ("ann", b"s" * 5000)])
def test_what_cannot_be_asked_is_wrong(asks: Aside | Directly, user: str, password: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        questions(asks).put(user, password)


def test_a_question_is_read_as_it_was_written() -> None:
    until = Until(time.monotonic() + 1)
    assert parse(render("pam", [b"ann", b"se\ncret", b""], until)) == ("pam", [b"ann", b"se\ncret", b""], until)
    whole = render("pam", [b"ann", b"secret"], until)
    for wrong in (b"", b"x", whole[:-1], whole[:8], whole + b"x"):
        with pytest.raises(ValueError, match="no question"):
            parse(wrong)


def test_nonsense_and_unknown_questions_end_nothing(asks: Aside | Directly) -> None:
    if isinstance(asks, Directly):
        return
    for name in ("other", ""):
        with pytest.raises(OSError):
            asks.put(name, [b"ann"], Until(time.monotonic() + 5))
    asks._ours.send(b"nonsense")
    assert questions(asks).put("ann", b"secret")


def test_another_one_takes_the_place_of_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = Aside({"test": answer}, most=2)
    aside.start()
    first = aside.process
    os.kill(first, 9)
    _, status = os.waitpid(first, 0)
    aside.ended(os.getpid(), 0)
    assert aside.process == first
    aside.ended(first, status)
    aside.renew(lambda: None)
    assert not aside.process  # not at once again
    monkeypatch.setattr("maildir_imapd.server.aside._YOUNG_SECONDS", 0)
    aside.renew(lambda: None)
    assert aside.process not in (0, first)
    assert questions(aside).put("ann", b"secret")
    aside.close()
    assert os.waitpid(aside.process, 0)[1] == 0


CHECK = """#!{python}
import os, sys
user, password, *_ = os.read(3, 4096).split(b"\\0")
# Who asks is the parent's parent: the parent is there for this question alone.
stat = open(f"/proc/{{os.getppid()}}/stat").read()
with open("{base}/pids", "a") as pids:
    print(stat.rpartition(")")[2].split()[1], file=pids)
if (user, password) != (b"u0", b"secret"):
    sys.exit(1)
os.environ.update(USER="u0", HOME="{base}")
os.execv(sys.argv[1], sys.argv[1:])
"""


def login(running: Running, password: str = "secret") -> str:
    with imaplib.IMAP4("127.0.0.1", running.port) as client:
        try:
            client.login("u0", password)
        except imaplib.IMAP4.error as error:
            return str(error)
        return str(client.state)


def until(true: Callable[[], object]) -> None:
    """Wait, and not for ever: what never comes true hangs the whole suite."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)


def logged(running: Running, event: str) -> None:
    until(lambda: event in (running.base / "log").read_text())
    assert running.process.poll() is None


@pytest.mark.slow
def test_a_server_asks_it_through_a_reload_and_after_its_end(tmp_path: Path) -> None:
    program = tmp_path / "check"
    program.write_text(CHECK.format(python=sys.executable, base=tmp_path))
    program.chmod(0o755)
    running = start_server(tmp_path, "--auth=command", f"--auth-command={program}", "--auth-cache-time=0", users=1)
    pid = running.process.pid
    try:
        assert login(running) == "AUTH"
        assert "AUTHENTICATIONFAILED" in login(running, "wrong")
        before = set((tmp_path / "pids").read_text().split())
        running.process.send_signal(signal.SIGHUP)
        logged(running, "reloaded")

        def asked_anew() -> bool:
            """Whether the last one was asked for by the new process: a worker that retires may still take a client."""
            assert login(running) == "AUTH"
            return (tmp_path / "pids").read_text().split()[-1] not in before

        until(asked_anew)
        told = (tmp_path / "pids").read_text().split()
        os.kill(int(told[-1]), signal.SIGKILL)
        logged(running, "the process that asks about passwords has ended")
        assert "UNAVAILABLE" in login(running) or login(running) == "AUTH"
        until(lambda: login(running) == "AUTH")  # it comes back
        told = (tmp_path / "pids").read_text().split()
    finally:
        stop_server(running)
    assert running.process.pid == pid
    until(lambda: not Path(f"/proc/{told[-1]}").exists())  # it ends with the server
