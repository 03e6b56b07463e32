"""A process that looks again and again: it ends with its supervisor, is started again, and is never waited for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from maildir_imapd.config import load
from maildir_imapd.server import lookout, settings, shared
from maildir_imapd.server.lookout import Lookout, Wait

LIMITS = settings.confinement(load(None, {}))


class Looking:
    """Counts its looks in shared memory, and hangs while it is told to."""

    def __init__(self) -> None:
        self.looks = shared.words(1)
        self.ended = shared.words(1)
        self.end, self.hold = os.pipe()
        self.lookout = Lookout("test", self.live, LIMITS)

    def live(self, wait: Wait) -> None:
        while True:
            self.looks[0] += 1
            if not wait(0.01):
                self.ended[0] = 1
                return

    def start(self) -> None:
        self.lookout.renew(lambda: None)


@pytest.fixture
def looking() -> Iterator[Looking]:
    found = Looking()
    yield found
    found.lookout.close()
    os.close(found.end)
    os.close(found.hold)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


def reap(process: int) -> int:
    return os.waitpid(process, 0)[1]


def test_it_looks_until_the_supervisor_has_gone(looking: Looking) -> None:
    looking.start()
    process = looking.lookout.process
    looking.start()
    assert looking.lookout.process == process
    until(lambda: looking.looks[0] > 2)
    looking.lookout.let_go()
    assert reap(process) == 0
    assert looking.ended[0] == 1


def test_it_is_started_again(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    looking.start()
    process = looking.lookout.process
    os.kill(process, signal.SIGKILL)
    looking.lookout.ended(process, reap(process))
    assert looking.lookout.process == 0
    # Not at once: it may end at once for ever.
    looking.start()
    assert looking.lookout.process == 0
    monkeypatch.setattr(lookout, "YOUNG_SECONDS", -1.0)
    looking.start()
    assert looking.lookout.process not in (0, process)


def test_one_that_stands_still_is_not_waited_for(looking: Looking) -> None:
    looking.start()
    process = looking.lookout.process
    os.kill(process, signal.SIGSTOP)
    looking.lookout.close()
    assert looking.lookout.process == 0
    looking.lookout.close()
    try:
        reap(process)  # SIGKILL ends it all the same
    except ChildProcessError:
        pass  # it has been so fast
