"""Questions to a back end that may let one wait: bounded, and in time."""

from __future__ import annotations

import gc
import threading

import pytest

from maildir_imapd.auth.waiting import LineBroken, Pool, Until
from maildir_imapd.errors import Unavailable


class FakeLine:
    """A connection; *broken* makes it one that breaks at the next question."""

    def __init__(self) -> None:
        self.broken = False
        self.closed = False

    def close(self) -> None:
        self.closed = True


def question(line: FakeLine, until: Until) -> str:
    assert not line.closed
    if line.broken:
        raise LineBroken
    return "answer"


def test_a_line_is_kept_and_opened_anew_when_it_has_broken() -> None:
    made: list[FakeLine] = []

    def opens(until: Until) -> FakeLine:
        made.append(FakeLine())
        return made[-1]

    pool = Pool("fake", opens, most=2, seconds=5)
    assert [pool.ask(question) for _ in range(3)] == ["answer"] * 3
    assert len(made) == 1
    made[0].broken = True
    assert pool.ask(question) == "answer"
    assert made[0].closed
    assert len(made) == 2
    del pool
    gc.collect()
    assert made[1].closed


def test_what_cannot_be_asked_is_unavailable() -> None:
    def refused(until: Until) -> FakeLine:
        raise ConnectionRefusedError("refused")

    with pytest.raises(Unavailable) as caught:
        Pool("fake", refused, most=1, seconds=1).ask(question)
    assert caught.value.detail == "fake: refused"

    def broken(until: Until) -> FakeLine:
        line = FakeLine()
        line.broken = True
        return line

    with pytest.raises(Unavailable):
        Pool("fake", broken, most=1, seconds=1).ask(question)


def test_another_error_ends_the_line_and_nothing_else() -> None:
    lines: list[FakeLine] = []

    def opens(until: Until) -> FakeLine:
        lines.append(FakeLine())
        return lines[-1]

    def defect(line: FakeLine, until: Until) -> str:
        raise ZeroDivisionError

    pool = Pool("fake", opens, most=1, seconds=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.ask(defect)
    assert all(line.closed for line in lines)
    assert pool.ask(question) == "answer"


def test_when_all_are_busy_the_next_one_waits_no_longer_than_the_limit() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(line: FakeLine, until: Until) -> str:
        entered.set()
        leave.wait(30)
        return "late"

    pool = Pool("fake", lambda until: FakeLine(), most=1, seconds=0.05)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(pool.ask(slow)))
    asking.start()
    assert entered.wait(30)
    with pytest.raises(Unavailable) as caught:
        pool.ask(question)
    assert caught.value.detail == "fake: busy"
    leave.set()
    asking.join()
    assert answers == ["late"]
    assert pool.ask(question) == "answer"


def test_until() -> None:
    assert Until(0.0).over
    assert Until(0.0).left > 0
    assert not Until(float("inf")).over
