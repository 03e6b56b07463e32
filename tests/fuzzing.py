"""Octets that nobody would send, for seconds or for hours: no parser may raise, be quadratic, or take much memory.

Each turn takes one of ``targets``, makes up what is repeated from pieces of its own and of the corpus, and compares
the processor time for n octets and for 2n.  It ends at the first failure, with what repeats it.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from pathlib import Path

from growth import MOST, growth, repeated
from targets import TARGETS, WORDS, Target

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parent / "corpus").glob("*.eml"))]
# Octets of memory that a turn may take beyond what the process has at the beginning; its input has 512 KiB at most.
MEMORY = 512 * 1024 * 1024
LONGEST = 400


def unit(target: Target, chance: random.Random) -> bytes:
    """Make up what is repeated."""
    pieces: list[bytes] = []
    for _ in range(chance.choice((1, 2, 2, 3, 5, 9))):
        kind = chance.randrange(10)
        if kind < 6:
            pieces.append(chance.choice(target.units) * chance.choice((1, 1, 1, 2, 7, 40)))
        elif kind < 8:
            pieces.append(chance.choice(WORDS))
        elif kind < 9:
            message = chance.choice(CORPUS)
            start = chance.randrange(len(message) + 1)
            pieces.append(message[start : start + chance.randrange(LONGEST)])
        else:
            pieces.append(chance.randbytes(chance.randrange(1, 9)))
    return b"".join(pieces)[:LONGEST] or b"a"


def turn(name: str, chance: random.Random) -> str | None:
    """Try one target with one input; returns what is wrong."""
    target = TARGETS[name]
    repeats, begin, end = unit(target, chance), target.begin, target.end
    if not chance.randrange(4):
        begin += unit(target, chance)
    if not chance.randrange(4):
        end = unit(target, chance) + end
    what = f"{name}: {begin!r} + {repeats!r} * n + {end!r}"
    try:
        ratio, size, seconds = growth(target, repeated(repeats, begin, end))
    except MemoryError:
        return f"{what}: takes more than {MEMORY >> 20} MiB"
    except Exception as error:
        return f"{what}: raises {error!r}"
    if ratio > MOST:
        return f"{what}: {2 * size} octets take {ratio:.1f} times the work of {size}, {seconds:.2f} s"
    return None


def bound_memory() -> None:
    """Have the process get no more memory than it has now and ``MEMORY``."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    """Run; the exit status is 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor's time (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="of the first turn (default: another each time)")
    parser.add_argument("--only", default="", help="targets whose name has this in it")
    options = parser.parse_args()
    names = [name for name in TARGETS if options.only in name]
    if not names:
        parser.error(f"no such target; there are: {', '.join(TARGETS)}")
    bound_memory()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    begin, turns = time.process_time(), 0
    while time.process_time() - begin < options.seconds:
        chance = random.Random(seed + turns)
        if (wrong := turn(chance.choice(names), chance)) is not None:
            again = f" --only {options.only!r}" if options.only else ""
            print(f"--seed {seed + turns}{again}\n{wrong}")
            return 1
        turns += 1
    print(f"{turns} turns from seed {seed}: nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
