"""No parser, fold, key or file format takes more than about twice the work for twice the octets (docs/rules.md, H)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from growth import demand_linear, growth, repeated
from targets import TARGETS

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("name", TARGETS)
def test_twice_the_octets_are_twice_the_work(name: str) -> None:
    target = TARGETS[name]
    for unit in dict.fromkeys(target.units):
        demand_linear(target, repeated(unit, target.begin, target.end), f"{name} of {unit!r}", largest=16 * 1024)


def test_the_clock_sees_what_is_quadratic() -> None:
    def quadratic(octets: bytes) -> int:
        return sum(octets.count(b"b") for _ in range(len(octets) // 8))

    ratio, size, _ = growth(quadratic, repeated(b"a"))
    assert ratio > 3.0
    assert size < 256 * 1024
    assert growth(lambda octets: sorted(octets), repeated(b"ab"))[0] == 0.0


@pytest.mark.slow
def test_a_minute_of_anything() -> None:
    """As scripts/fuzz does, for as long as one likes."""
    command = [sys.executable, "-m", "fuzzing", "--seconds", "60", "--seed", "1"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
