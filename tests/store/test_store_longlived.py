"""Threads that live as long as their owners."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

import pytest

from maildir_imapd.store.threads import longlived
from maildir_imapd.store.threads.longlived import LongLived

LONG = 20.0  # a test that waits so long has failed


def test_the_pause_after_errors_grows_and_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(longlived.time, "monotonic", lambda: now[0])
    runs = iter([0.0, 1.0, 0.0, longlived.HEALTHY_SECONDS + 1, 0.0])
    pauses: list[float] = []

    def loop() -> None:
        lasted = next(runs, None)
        if lasted is None:
            thread.ask_to_end()
            return
        now[0] += lasted
        raise OSError("trouble")

    thread = LongLived("example", loop)
    monkeypatch.setattr(thread, "_rest", pauses.append)
    thread._run()
    first = longlived.PAUSE_SECONDS
    assert pauses == [first, 2 * first, 4 * first, first, 2 * first]
    assert caplog.text.count("thread failed and starts again name=example") == 5


def test_the_pause_has_an_end_and_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longlived, "PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(longlived, "LONGEST_PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(longlived, "BEAT_SECONDS", 0.001)
    beats: queue.Queue[int] = queue.Queue()

    def loop() -> None:
        raise MemoryError

    thread = LongLived("example", loop, lambda: beats.put(1))
    thread.start()
    for _ in range(10):
        beats.get(timeout=LONG)
    thread.ask_to_end()
    assert thread.join(LONG)
    thread.start()
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_thread_at_a_time_and_again_after_its_death() -> None:
    alive: queue.Queue[int] = queue.Queue()
    go_on = threading.Event()

    def loop() -> None:
        alive.put(threading.get_ident())
        assert go_on.wait(LONG)
        raise SystemExit

    thread = LongLived("example", loop)
    assert thread.join()
    for _ in range(2):
        go_on.clear()
        for _ in range(3):
            thread.start()
        alive.get(timeout=LONG)
        assert alive.empty()
        assert not thread.join(0)
        go_on.set()
        assert thread.join(LONG)


def test_a_log_that_fails_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    errors = [ValueError()]

    def loop() -> None:
        if errors:
            raise errors.pop()
        done.set()
        thread.ask_to_end()

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(longlived, "log", SimpleNamespace(error=fail))
    thread = LongLived("example", loop)
    thread.start()
    assert done.wait(LONG)
    assert thread.join(LONG)
