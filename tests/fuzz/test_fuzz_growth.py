"""No parser, fold, key or file format takes more than about twice the work for twice the octets (docs/rules.md, H)."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from growth import demand_linear, growth, repeated
from targets import TARGETS

from maildir_imapd.message import thread

TESTS = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_twice_the_octets_are_twice_the_work(name: str) -> None:
    target = TARGETS[name]
    for unit in dict.fromkeys(target.units):
        demand_linear(target, repeated(unit, target.begin, target.end), f"{name} of {unit!r}", largest=16 * 1024)


@pytest.mark.slow
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


# --- many messages together -----------------------------------------------------------------------


def entries(shape: str) -> Callable[[int], list[thread.ThreadEntry]]:
    """Return what makes messages whose references are of a shape; *size* counts their references."""

    def make(size: int) -> list[thread.ThreadEntry]:
        count = size // 8
        chance = random.Random(1)

        def references(n: int) -> list[int]:
            match shape:
                case "chain":
                    return list(range(max(0, n - 8), n))
                case "chain from its end":
                    return list(range(count - n, min(count - n + 8, count)))
                case "star":
                    return [0]
                case "circle":
                    return [(n + 1) % count, (n - 1) % count]
                case "any":
                    return [chance.randrange(count) for _ in range(8)]
                case "missing":
                    return [count + n * 8 + each for each in range(8)]
                case "turned round":
                    return list(range(n + 8, n, -1))
            return []

        return [
            thread.ThreadEntry(
                n + 1,
                b"%d@x" % n,
                tuple(b"%d@x" % each for each in references(n)),
                "" if shape == "no subject" else "A" * 1000 + str(n % 7) if shape == "subjects" else "S",
                n % 3 == 0,
                chance.randrange(1000),
            )
            for n in range(count)
        ]

    return make


SHAPES = [
    *("chain", "chain from its end", "star", "circle", "any", "missing", "turned round"),
    *("one subject", "no subject", "subjects"),
]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", [thread.references, thread.refs, thread.ordered_subject])
def test_twice_the_messages_are_twice_the_work(
    algorithm: Callable[[Sequence[thread.ThreadEntry]], list[thread.ThreadNode]], shape: str
) -> None:
    def run(messages: list[thread.ThreadEntry]) -> None:
        thread.render_threads(algorithm(messages))

    demand_linear(run, entries(shape), shape, largest=64 * 1024)
