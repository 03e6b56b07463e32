"""A worker's part of a drain, under a clock of the test's: who is told when."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from maildir_imapd.errors import BeingEmptied
from maildir_imapd.server.draining import AGAIN_SECONDS, IDLE_SECONDS, STEP_SECONDS, Draining
from maildir_imapd.server.entrance import Entrance
from maildir_imapd.server.sessions import Sessions, Visit

WITHIN, GRACE = 100.0, 10.0


@dataclass
class House:
    """A worker with visits and a clock; it notes when each was told to go, and when it was cut."""

    now: float = 1000.0
    sessions: Sessions = field(default_factory=Sessions)
    entrance: Entrance = field(default_factory=lambda: Entrance(2))
    told: dict[str, float] = field(default_factory=dict)
    cut: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draining = Draining(self.entrance, 1, self.sessions, lambda: self.now)

    def come(self, name: str, *, service: str = "imap", stays: bool = False) -> Visit:
        visit = Visit("127.0.0.1", name, service, name)
        visit.tally.began = 0.0

        def ring() -> None:
            if visit.goodbye is not None:
                self.told.setdefault(name, self.now)
                if not stays:
                    self.sessions.leave(visit)

        def cut() -> None:
            self.cut.setdefault(name, self.now)
            self.sessions.leave(visit)

        visit.ring, visit.cut = ring, cut
        self.sessions.enter(visit)
        return visit

    def begin(self, within: float = WITHIN) -> None:
        self.entrance.begin(self.entrance.drain + 1, self.now, self.now + within, self.now + within + GRACE)

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += min(self.draining.turn(), end - self.now)
        self.draining.turn()


def test_without_a_drain_nobody_goes() -> None:
    house = House()
    house.come("a")
    house.go_on(1000)
    assert not house.told
    assert house.entrance.left(1) in (None, 0)


def test_idle_clients_go_evenly() -> None:
    house = House()
    visits = [house.come(f"{number}") for number in range(500)]
    house.begin()
    house.go_on(0.0)
    assert house.entrance.left(1) == 500
    for tenth in range(1, 11):
        house.go_on(WITHIN / 10)
        assert abs(len(house.told) - 50 * tenth) <= 1
    assert all(isinstance(visit.goodbye, BeingEmptied) for visit in visits)
    house.go_on(1.0)
    assert house.entrance.left(1) == 0
    assert not house.cut
    # Never many at a time.
    moments = sorted(house.told.values())
    most = max(sum(first <= each < first + 1.0 for each in moments) for first in moments)
    assert most <= 6


def test_who_is_busy_goes_at_the_end() -> None:
    house = House()
    busy, writing, idling = house.come("busy"), house.come("writing"), house.come("idling")
    busy.tally.running = b"FETCH"
    writing.amid = lambda: True
    idling.tally.began = house.now  # it has asked just now, but is in IDLE
    idling.look = lambda: {"state": "idle"}
    house.begin()
    house.go_on(WITHIN - STEP_SECONDS)
    assert set(house.told) == {"idling"}
    house.go_on(1.0)
    # One at a command hears it with its end; one in the middle of a literal is waited for.
    assert set(house.told) == {"idling", "busy"}
    writing.amid = lambda: False
    house.go_on(STEP_SECONDS)
    assert set(house.told) == {"idling", "busy", "writing"}
    assert not house.cut


def test_who_was_busy_for_a_moment_goes_in_time() -> None:
    house = House()
    visit = house.come("a")
    visit.tally.running = b"FETCH"
    house.begin(10.0)
    house.draining.turn()
    house.now += 10.0 - 4 * AGAIN_SECONDS
    visit.tally.running = None
    visit.tally.began = house.now
    house.go_on(IDLE_SECONDS + AGAIN_SECONDS)
    house.go_on(AGAIN_SECONDS + 0.1)
    assert "a" in house.told


def test_who_hangs_is_cut() -> None:
    house = House()
    half = house.come("half", stays=True)
    half.amid = lambda: True
    stuck = house.come("stuck", stays=True)
    stuck.tally.running = b"FETCH"
    house.begin()
    house.go_on(WITHIN + GRACE - STEP_SECONDS)
    assert set(house.told) == {"stuck"}
    assert not house.cut
    house.go_on(3 * STEP_SECONDS)
    assert set(house.cut) == {"half", "stuck"}
    # It hears the BYE before it is cut.
    assert house.told["half"] < house.cut["half"]
    assert house.entrance.left(1) == 0


def test_programs_that_ask_stay() -> None:
    house = House()
    house.come("postfix", service="auth")
    house.come("mta", service="lmtp")
    house.begin(0.0)
    house.go_on(60.0)
    assert set(house.told) == {"mta"}
    assert house.entrance.left(1) == 0


def test_taken_back() -> None:
    house = House()
    for number in range(100):
        house.come(f"{number}")
    house.begin()
    house.go_on(WITHIN / 2)
    gone = len(house.told)
    assert 40 <= gone <= 60
    house.entrance.end()
    house.go_on(10 * WITHIN)
    assert len(house.told) == gone
    # And again, with less time.
    house.begin(10.0)
    house.go_on(11.0)
    assert len(house.told) == 100


def test_the_clock_is_that_of_the_figures() -> None:
    """A visit's ``idle`` compares with what the engine noted, by the same clock."""
    visit = Visit("127.0.0.1", "a")
    visit.tally.began = time.monotonic()
    assert not visit.idle(time.monotonic(), 60.0)
    assert visit.idle(time.monotonic() + 61.0, 60.0)
