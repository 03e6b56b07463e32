from __future__ import annotations

import json

from maildir_imapd.imap.tally import COUNT, FIRST, MICROSECONDS, PLACES, Tally
from maildir_imapd.server.figures import Sums, WorkerFigures, of_session, total


def test_a_command_is_counted_by_its_time() -> None:
    tally = Tally()
    for seconds in (0.0, 0.000_003, 0.001, 1.0, 1e6):
        tally.count(b"FETCH", seconds)
    row = tally.kinds[b"FETCH"]
    assert row[COUNT] == sum(row[FIRST:]) == 5
    assert row[MICROSECONDS] == 3 + 1000 + 1_000_000 + 1_000_000_000_000
    assert row[FIRST] == 1, "less than a microsecond"
    assert row[FIRST + PLACES - 1] == 1, "what takes ever so long is in the last place"
    for place in range(PLACES - 1):
        tally = Tally()
        tally.count(b"X", (4**place - 1) / 1e6)
        tally.count(b"X", 4**place / 1e6)
        row = tally.kinds[b"X"]
        assert sum(row[FIRST : FIRST + place + 1]) == 1, "the bound of a place is 4 ** place"


def test_sums() -> None:
    one = Sums(connections=1, logins=2, kinds={"NOOP": (1, 2, 3), "A": (1, 1, 1)})
    other = Sums(connections=10, octets_in=7, kinds={"NOOP": (4, 5, 6)})
    both = total([one, other])
    assert both == Sums(connections=11, logins=2, octets_in=7, kinds={"NOOP": (5, 7, 9), "A": (1, 1, 1)})
    assert both.commands == 6
    assert Sums.from_json(json.loads(json.dumps(both.as_json()))) == both


def test_a_worker_keeps_what_sessions_have_done_that_are_gone() -> None:
    figures = WorkerFigures()
    first, second = figures.begin(), figures.begin()
    first.count(b"NOOP", 0.0)
    second.count(b"NOOP", 0.0)
    second.heard = 9
    figures.end(first)
    figures.end(first)
    assert figures.now().kinds["NOOP"][COUNT] == 2
    assert figures.now().connections == 2
    figures.end(second)
    assert figures.now().octets_in == 9
    assert of_session(second).connections == 1


def test_rates_are_those_of_the_last_minute() -> None:
    now = [1000.0]
    figures = WorkerFigures(lambda: now[0])
    tally = figures.begin()
    for _ in range(120):
        now[0] += 1
        tally.count(b"NOOP", 0.0)
        figures.sample()
    assert figures.rates(figures.now())["commands"] == 1.0
    for _ in range(70):
        now[0] += 1
        figures.sample()
    assert figures.rates(figures.now())["commands"] == 0.0
