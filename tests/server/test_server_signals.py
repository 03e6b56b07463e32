"""Signals by a descriptor, and a supervisor's waits: each hears what comes, and nothing that has not."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import signals, supervisor
from maildir_imapd.server.signals import UNUSED, Signal, Signals
from maildir_imapd.server.supervisor import Child, Supervisor
from maildir_imapd.store.disk.descriptors import Descriptor

# Waits for next to no time, so that a stop is always longer than that.
HEARING = """
import signal, sys
from maildir_imapd.server import signals
if sys.argv[1] == "pending":
    signals._signalfd = lambda wanted: None
heard = signals.Signals({signal.SIGTERM, signal.SIGHUP})
print("ready", flush=True)
while True:
    found = heard.wait(0.001)
    if found is not None:
        print(found.number.name, found.sender, flush=True)
        if found.number == signal.SIGTERM:
            break
"""


@pytest.fixture(params=["signalfd", "pending"])
def hearing(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that says which signals it hears."""
    with subprocess.Popen(
        [sys.executable, "-c", HEARING, request.param],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stop_and_continue(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    select.select([], [], [], 0.02)  # what it waits for is over by then; if not, the test has tried less
    process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_stop_that_outlasts_the_wait_is_no_signal(hearing: subprocess.Popen[str]) -> None:
    """CPython's sigtimedwait then returns what happens to lie in memory."""
    for _ in range(20):
        stop_and_continue(hearing)
    hearing.send_signal(signal.SIGTERM)
    assert next_line(hearing) == f"SIGTERM {os.getpid()}"
    assert hearing.wait(30) == 0
    assert next_line(hearing) == ""


def test_what_nobody_asked_for_is_nothing(hearing: subprocess.Popen[str]) -> None:
    for number in [*sorted(UNUSED - {signal.SIGHUP}), signal.SIGPIPE, signal.SIGWINCH, signal.SIGCHLD]:
        hearing.send_signal(number)
    hearing.send_signal(signal.SIGHUP)
    assert next_line(hearing) == f"SIGHUP {os.getpid()}"
    hearing.send_signal(signal.SIGTERM)
    assert next_line(hearing) == f"SIGTERM {os.getpid()}"
    assert hearing.wait(30) == 0


@pytest.fixture
def mask() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("way", ["signalfd", "pending"])
def test_a_wait_ends_with_another_descriptor(way: str, mask: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "pending":
        monkeypatch.setattr(signals, "_signalfd", lambda wanted: None)
    heard = Signals({signal.SIGUSR2})
    ours, theirs = os.pipe()
    os.write(theirs, b"+")
    # With a failure it would last for an hour.
    assert heard.wait(3600, [ours]) is None
    # What has come is told although the other can be read, too.
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    assert heard.wait(3600, [ours]) == Signal(signal.SIGUSR2, os.getpid())
    assert heard.wait(0) is None
    heard.close()
    heard.close()
    os.close(ours)
    os.close(theirs)


# --- what a supervisor waits for --------------------------------------------------------------------


class Scripted:
    """In the place of Signals: each wait gives the next of *events*; a call is made, and gives nothing."""

    def __init__(self, *events: signal.Signals | Callable[[], object] | None) -> None:
        self.events = list(events)

    def wait(self, timeout: float, also: Sequence[int] = ()) -> Signal | None:
        event = self.events.pop(0)
        if callable(event):
            event()
            return None
        return None if event is None else Signal(event, 1)

    def close(self) -> None:
        """Nothing to close."""


class Starting:
    """A supervisor whose workers are pipes: *say* lets the one that starts say something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
        self.parent = Supervisor(load(None, {"workers": workers}), lambda: load(None, {"workers": workers}))
        self.started: list[int] = []
        self.killed: list[tuple[int, int]] = []
        self.dead: list[tuple[int, int]] = []
        self._theirs = -1
        monkeypatch.setattr(self.parent, "_spawn", self.spawn)
        monkeypatch.setattr(supervisor, "_kill", lambda pid, number: self.killed.append((pid, number)))
        monkeypatch.setattr("os.waitpid", lambda *_: self.dead.pop(0) if self.dead else (0, 0))

    def hears(self, *events: signal.Signals | Callable[[], object] | None) -> None:
        self.parent._signals = Scripted(*events)  # type: ignore[assignment]

    def spawn(self) -> tuple[Child, Descriptor]:
        ours, self._theirs = os.pipe()
        os.set_blocking(ours, False)
        pid = 100_000_000 + len(self.started)
        self.started.append(pid)
        child = self.parent.children[pid] = Child(pid, len(self.started), time.monotonic())
        return child, Descriptor(ours)

    def say(self, text: bytes = b"+") -> None:
        os.write(self._theirs, text)
        self.end()

    def end(self) -> None:
        os.close(self._theirs)


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Starting:
    return Starting(monkeypatch)


def test_workers_start_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = Starting(monkeypatch, workers=2)
    starting.hears(None, starting.say, signal.SIGCHLD, starting.say)
    assert starting.parent._start(2)
    assert len(starting.started) == 2
    assert not starting.parent._signals.events  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_does_not_get_ready_does_not_keep_the_end_waiting(
    starting: Starting, number: signal.Signals
) -> None:
    starting.hears(None, number)
    assert not starting.parent._start(1)
    assert starting.parent._ending
    starting.end()


def test_the_end_comes_during_a_reload(starting: Starting) -> None:
    old = starting.parent.children[7] = Child(7, 0, time.monotonic())
    starting.hears(None, signal.SIGTERM)
    starting.parent._reload()
    assert starting.parent._ending
    assert not old.retired
    starting.end()


def test_a_worker_that_ends_before_it_is_ready_ends_the_wait(starting: Starting) -> None:
    starting.hears(starting.end)
    with pytest.raises(ConfigError, match="did not start"):
        starting.parent._start(1)


def test_a_worker_says_why_it_cannot_start(starting: Starting) -> None:
    starting.hears(lambda: starting.say(b"the moon is full"))
    with pytest.raises(ConfigError, match="the moon is full"):
        starting.parent._start(1)


def test_a_worker_that_takes_too_long(starting: Starting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "READY_SECONDS", -1.0)
    starting.hears(None)
    with pytest.raises(ConfigError, match="did not start"):
        starting.parent._start(1)
    starting.end()


def test_the_dead_are_taken_in_and_the_hanging_killed_during_a_reload(starting: Starting) -> None:
    """And what has taken a dead worker's number is left alone."""
    parent = starting.parent
    now = time.monotonic()
    died, hung = Child(7, 40, now), Child(8, 41, now)
    parent.children |= {7: died, 8: hung}
    starting.dead = [(7, 9)]
    hung.suspect, hung.suspected = now - supervisor.HANGS_AFTER_SECONDS - 9, now - supervisor.LOOK_AGAIN_SECONDS
    parent._page.beat(hung.slot, hung.suspect)

    def say() -> None:
        assert 7 not in parent.children
        starting.say()

    starting.hears(signal.SIGCHLD, say)
    parent._reload()
    assert (8, signal.SIGKILL) in starting.killed
    assert [pid for pid, number in starting.killed if number == signal.SIGUSR1] == [8]
    assert not parent._page.marked(died.slot)
    assert parent._page.marked(hung.slot)


def test_a_reload_that_is_asked_for_during_a_reload_comes_after_it(starting: Starting) -> None:
    parent = starting.parent
    starting.hears(signal.SIGHUP, signal.SIGHUP, starting.say, None, starting.say, signal.SIGTERM)
    parent._watch()
    # One for the first, one for all that came meanwhile.
    assert len(starting.started) == 2
    assert parent.children[starting.started[0]].retired
    assert not parent.children[starting.started[1]].retired


def test_a_supervisor_that_fails_goes_on(
    starting: Starting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "AFTER_ERROR_SECONDS", 0.0)

    def fail() -> None:
        raise MemoryError

    starting.hears(fail, None, signal.SIGTERM)
    starting.parent._watch()
    assert "supervisor failed" in caplog.text
    for _ in starting.started:
        starting.end()


def test_without_descriptors_a_worker_cannot_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parent = Supervisor(load(None, {}), lambda: load(None, {}))

    def refuse() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe", refuse)
    with pytest.raises(ConfigError, match="Too many open files"):
        parent._spawn()
