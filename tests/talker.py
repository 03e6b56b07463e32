"""A conversation with another server that goes on beside ours."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ANSWER_WITHIN = 60.0  # seconds; Dovecot itself waits 120 at most for a lock, and none is held that long here


class Talker:
    """A server on pipes that stays, for one command after the other. One that does not answer in time is ended."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.process = process
        self.name = name
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def command(self, text: str) -> list[bytes]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        hung = threading.Event()

        def end() -> None:
            hung.set()
            self.process.kill()

        guard = threading.Timer(ANSWER_WITHIN, end)
        guard.start()
        lines = []
        try:
            self.process.stdin.write(f"t {text}\r\n".encode())
            self.process.stdin.flush()
            while line := self.process.stdout.readline():
                lines.append(line)
                if line.startswith(b"t "):
                    break
        finally:
            guard.cancel()
        assert not hung.is_set(), f"{self.name} did not answer {text!r} in {ANSWER_WITHIN:.0f} s; it said {lines}"
        assert lines, f"{self.name} closed the connection at {text!r}"
        assert lines[-1].startswith(b"t "), f"{self.name} closed the connection at {text!r}, having said {lines}"
        assert not lines[-1].startswith(b"t BAD"), lines[-1]
        return lines

    def end(self) -> None:
        """See it off; it has been told to go, or it goes now."""
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate(timeout=30)


class Ours:
    """A session of ours on the same spool, in a process of its own: interop/coexisting.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def at_it(self) -> bool:
        """Whether it is still at work."""
        return self._process.poll() is None

    def added(self) -> int:
        """Wait for its end, and return how many messages it has put in."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        return int(said)


@contextmanager
def ours(
    mode: str, home: Path, *more: str, seed: int, steps: int, seconds: int = 0, control: str = ""
) -> Iterator[Ours]:
    """Start one; it is ended if it does not come to an end by itself."""
    script = Path(__file__).parent / "interop" / "coexisting.py"
    words = [mode, str(home / "Maildir"), str(seed), str(steps), str(seconds), control, *more]
    process = subprocess.Popen(
        [sys.executable, str(script), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    guard = threading.Timer(seconds + 180, process.kill)
    guard.start()
    try:
        yield Ours(process)
    finally:
        guard.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


def meddle(theirs: Talker, we: Ours, rng: random.Random, least: int, append: str) -> int:
    """Let the other server change the INBOX as long as *we* are at it, *least* times at least.

    Returns how many messages it has put in, each with the command *append*.
    """
    theirs.command("SELECT INBOX")
    added = steps = 0
    while we.at_it or steps < least:
        steps += 1
        match rng.randrange(8):
            case 0:
                added += theirs.command(append)[-1].startswith(b"t OK")
            case 1:
                theirs.command(f"STORE {rng.randint(1, 5)} +FLAGS (\\Flagged)")
            case 2:
                theirs.command(f"STORE {rng.randint(1, 5)} {rng.choice('+-')}FLAGS (theirs)")
            case 3:
                theirs.command(f"STORE {rng.randint(1, 5)} -FLAGS (\\Flagged)")
            case 4 if steps % 10 == 0:
                theirs.command("STORE 2 +FLAGS.SILENT (\\Deleted)")
                theirs.command("EXPUNGE")
            case _:
                theirs.command("NOOP")
    return added
