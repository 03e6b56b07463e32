"""Who is alive: the page that processes share, the threads of one, and whom the supervisor kills."""

from __future__ import annotations

import os
import signal

import pytest

from maildir_imapd.config import load
from maildir_imapd.server import heartbeat, supervisor
from maildir_imapd.server.heartbeat import Beats, Page
from maildir_imapd.server.supervisor import (
    HANGS_AFTER_SECONDS,
    LOOK_AGAIN_SECONDS,
    STOOD_STILL_SECONDS,
    Child,
    Supervisor,
)

SLOT = 3


def test_whoever_looks_sees_a_whole_moment() -> None:
    """While another process writes, nobody sees zero, or half of one moment and half of the next."""
    page = Page(8)
    # No octet of one is that of the other.
    moments = (float.fromhex("0x1.23456789abcdep+500"), float.fromhex("-0x1.fedcba9876543p-500"))
    page.beat(SLOT, moments[0])
    pid = os.fork()
    if pid == 0:
        while True:
            page.beat(SLOT, moments[1])
            page.beat(SLOT, moments[0])
    try:
        seen = {page.moment(SLOT) for _ in range(300_000)}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen <= set(moments)
    assert [page.moment(slot) for slot in (SLOT - 1, SLOT + 1)] == [0.0, 0.0]


def test_marks_and_moments_are_apart() -> None:
    page = Page(2)
    page.mark(0, True)
    page.beat(1, 5.0)
    assert [page.marked(slot) for slot in range(2)] == [True, False]
    assert [page.moment(slot) for slot in range(2)] == [0.0, 5.0]
    page.mark(0, False)
    assert not page.marked(0)


def test_a_process_is_as_alive_as_its_slowest_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    beats = Beats()
    main, watch = beats.of("main"), beats.of("watch", slack=20.0)
    now[0] = 110.0
    main()
    assert beats.oldest() == 110.0  # the other may take until 120
    now[0] = 130.0
    main()
    assert beats.oldest() == 120.0
    watch()
    assert beats.oldest() == 130.0
    now[0] = 140.0
    watch()
    beats.forget("main")
    beats.forget("main")
    assert beats.oldest() == 160.0


class Watching:
    """A supervisor of one worker, by a clock of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parent = Supervisor(load(None, {}), lambda: load(None, {}))
        self.page = self.parent._page
        self.killed: list[int] = []
        monkeypatch.setattr(supervisor, "_kill", lambda pid, number: self.killed.append(number))
        self.now = 1000.0
        self.parent.children[4711] = Child(4711, SLOT, self.now)

    def look(self, later: float) -> list[int]:
        self.now += later
        self.parent._kill_hanging(self.now)
        return self.killed


def test_a_worker_without_a_heartbeat_is_killed_at_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(monkeypatch)
    watching.page.beat(SLOT, watching.now - HANGS_AFTER_SECONDS - 1)
    assert watching.look(0) == []
    assert watching.look(LOOK_AGAIN_SECONDS / 2) == []
    assert watching.look(LOOK_AGAIN_SECONDS / 2) == [signal.SIGKILL]


def test_a_worker_that_moves_between_two_looks_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(monkeypatch)
    for late in (0, 1, 2):
        # Ever too old, but not the same: it moves.
        watching.page.beat(SLOT, watching.now - HANGS_AFTER_SECONDS - 10 + late)
        assert watching.look(LOOK_AGAIN_SECONDS) == []
    watching.page.beat(SLOT, watching.now)
    assert watching.look(LOOK_AGAIN_SECONDS) == []
    watching.page.beat(SLOT, watching.now - HANGS_AFTER_SECONDS - 10)
    assert watching.look(LOOK_AGAIN_SECONDS) == []


def test_zero_is_no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(monkeypatch)
    for _ in range(5):
        assert watching.look(LOOK_AGAIN_SECONDS) == []


def test_where_the_supervisor_stood_still_no_worker_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped, or the machine was: all have stood still with it."""
    watching = Watching(monkeypatch)
    watching.page.beat(SLOT, watching.now)
    assert watching.look(1) == []
    assert watching.look(HANGS_AFTER_SECONDS + STOOD_STILL_SECONDS) == []
    assert watching.page.moment(SLOT) == watching.now
    assert watching.look(LOOK_AGAIN_SECONDS) == []
