"""Failures of login as all workers count them."""

from __future__ import annotations

import os

import pytest

from maildir_imapd.server.failures import Failures, network


class Clock:
    """Seconds, as a test has them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:abcd::3", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_whom_an_address_stands_for(host: str, counted: str) -> None:
    assert network(host) == counted


def test_it_fades() -> None:
    clock = Clock()
    failures = Failures(64, clock)
    for _ in range(12):
        failures.add("ann", "192.0.2.1")
    assert failures.doublings("ben", "192.0.2.1") > 0
    assert failures.doublings("Ann", "192.0.2.77") > 0
    assert failures.doublings("ben", "192.0.2.2") == 0
    clock.now += 3600
    assert failures.doublings("ann", "192.0.2.1") == 0


def test_failures_are_counted_in_a_place_of_fixed_size() -> None:
    """A flood of names pushes out what has faded most, and what is counted cannot be read."""
    clock = Clock()
    failures = Failures(2, clock)
    for _ in range(30):
        failures.add("ann", "192.0.2.1")
    for n in range(1000):
        failures.add(f"flood{n}", f"10.0.{n // 250}.{n % 250}")
    assert failures.doublings("ann", "192.0.2.1") > 0
    assert b"ann" not in bytes(failures._tags) + bytes(failures._counts)


def test_other_processes_count_too() -> None:
    failures = Failures(64)
    child = os.fork()
    if child == 0:
        try:
            for _ in range(20):
                failures.add("ann", "192.0.2.1")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert failures.doublings("ben", "192.0.2.1") > 0
