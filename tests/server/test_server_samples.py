"""Figures of the last hour: bounded, and rates that never fall below nothing."""

from __future__ import annotations

from typing import Any

from maildir_imapd.server.samples import COUNTED, MOST, Samples


def status(moment: float, *, sessions: int = 0, count: int = 0) -> dict[str, Any]:
    figures = dict.fromkeys(COUNTED, count)
    return {"since": 1000.0, "uptime_seconds": moment - 1000.0, "sessions": sessions, "figures": figures}


def test_rates_and_sessions() -> None:
    samples = Samples()
    for n in range(3):
        samples.add(status(2000.0 + 10 * n, sessions=n, count=50 * n * n))
    assert samples.sessions(2020.0) == [(2000.0, 0.0), (2010.0, 1.0), (2020.0, 2.0)]
    assert samples.rates("logins", 2020.0) == [(2010.0, 5.0), (2020.0, 15.0)]


def test_the_same_moment_twice_and_a_sum_that_falls() -> None:
    samples = Samples()
    for count in (5, 9, 0):
        samples.add(status(2000.0 + (count == 0), count=count))
    assert samples.rates("commands", 2001.0) == [(2001.0, 0.0)]


def test_an_hour_and_no_more() -> None:
    samples = Samples()
    for n in range(2 * MOST):
        samples.add(status(2000.0 + n))
    assert len(samples.sessions(2000.0 + 2 * MOST)) == MOST
    assert samples.sessions(2000.0 + 2 * MOST + 3600) == []
