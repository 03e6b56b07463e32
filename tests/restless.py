"""Run the server so that what may happen on a loaded machine does happen: for tests only.

    python tests/restless.py [options] -- serve --imap 127.0.0.1:0 ...

The server's command line runs in this process. In every process it forks, calls of the system rest a random time,
up to three milliseconds: after a number has been closed or given out, before one is used that another thread may have
closed meanwhile, between two writes that belong together. And a thread may compute for 10 microseconds only. Nothing
is simulated that a scheduler could not do.

With --report a worker that finds the file ``DIR/<pid>.please`` writes what it holds (threads, listeners, sessions) to
``DIR/<pid>``. A thread of ours looks for it, for a signal would disturb the server's main thread.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import gc
import json
import os
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

# Where a thread rests: what another may do in the meantime is what has gone wrong.
AFTER = ("close", "open", "fstat", "stat", "rename", "unlink", "link", "eventfd")
BEFORE = ("dup", "eventfd_write", "pwrite", "write", "pread", "fdatasync", "fsync", "ftruncate", "listdir", "scandir")
# These go to a number that another thread may close: they rest more often.
USES = ("dup", "eventfd_write", "pwrite")
SWITCH_INTERVAL = 10e-6


class Rests:
    """*share* of the calls rest, up to *longest* seconds."""

    def __init__(self, seed: int, share: float, longest: float) -> None:
        self.share = share
        self.longest = longest
        self.random = random.Random(f"{seed} {os.getpid()}")
        self.sleep = time.sleep

    def rest(self, share: float) -> None:
        draw = self.random.random()
        if draw < share:
            # The draw is used twice: below the share it is as random as above.
            self.sleep(draw / share * self.longest)

    def around(self, call: Callable[..., Any], *, before: bool, after: bool, share: float) -> Callable[..., Any]:
        @functools.wraps(call)
        def resting(*args: Any, **kwargs: Any) -> Any:
            if before:
                self.rest(share)
            try:
                return call(*args, **kwargs)
            finally:
                if after:
                    self.rest(share)

        return resting

    def install(self) -> None:
        """Put rests around what the process calls from now on."""
        for name in AFTER + BEFORE:
            before = name in BEFORE
            after = not before or name == "pwrite"
            share = min(0.6, 4 * self.share) if name in USES else self.share
            setattr(os, name, self.around(getattr(os, name), before=before, after=after, share=share))
        fcntl.flock = self.around(fcntl.flock, before=False, after=True, share=self.share)
        real = socket.socket._real_close  # type: ignore[attr-defined]  # what close() comes down to
        socket.socket._real_close = self.around(real, before=False, after=True, share=self.share)  # type: ignore[attr-defined]


def held() -> dict[str, Any]:
    """What this process holds, by kind."""
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.threads.listeners import Listener

    gc.collect()
    kinds = {Listener: "listeners", Session: "sessions", Mailbox: "mailboxes"}
    counts = Counter(kinds[type(found)] for found in gc.get_objects() if type(found) in kinds)
    return {**counts, "threads": threading.active_count(), "names": sorted(t.name for t in threading.enumerate())}


def _report_to(directory: Path) -> None:
    wanted, answer = directory / f"{os.getpid()}.please", directory / str(os.getpid())
    unlink, rename = os.unlink, os.rename  # as they are before anything rests

    def watch() -> None:
        while True:
            time.sleep(0.1)
            try:
                unlink(wanted)
            except FileNotFoundError:
                continue
            temporary = answer.with_suffix(".tmp")
            temporary.write_text(json.dumps(held()))
            rename(temporary, answer)

    threading.Thread(target=watch, name="report", daemon=True).start()


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="restless", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=0, help="of the rests")
    parser.add_argument("--share", type=float, default=0.15, help="of the calls that rest; 0: none")
    parser.add_argument("--longest", type=float, default=0.003, help="seconds of a rest")
    parser.add_argument(
        "--switch", type=float, default=SWITCH_INTERVAL, help="seconds a thread may compute; 0: as it is"
    )
    parser.add_argument("--kept", type=int, help="mailboxes a process keeps open that nobody has selected")
    parser.add_argument("--check-locks", action="store_true", help="raise where the order of locks is not kept")
    parser.add_argument("--sanitize", type=Path, metavar="DIR", help="write what is wrong with descriptors there")
    parser.add_argument("--clock", type=float, default=0.0, help="seconds by which the clock is wrong")
    parser.add_argument("--report", type=Path, metavar="DIR", help="where workers say what they hold")
    before, after = sys.argv[1:], []
    if "--" in before:
        cut = before.index("--")
        before, after = before[:cut], before[cut + 1 :]
    return parser.parse_args(before), after


def _set_clock(seconds: float) -> None:
    """Have this machine's clock go wrong by so much, as far as Python reads it."""
    seconds_now, nanoseconds_now = time.time, time.time_ns
    time.time = lambda: seconds_now() + seconds
    time.time_ns = lambda: nanoseconds_now() + int(seconds * 1e9)


def main() -> None:
    """Read our options, prepare, and be the server."""
    options, words = _arguments()
    if options.clock:
        _set_clock(options.clock)
    if options.check_locks:
        import lockcheck

        lockcheck.install()
    from maildir_imapd import cli
    from maildir_imapd.imap import engine
    from maildir_imapd.server import worker
    from maildir_imapd.store import watch
    from maildir_imapd.store.disk import unused

    if options.kept is not None:
        # A mailbox has some three descriptors.
        unused.DESCRIPTORS_MOST = 3 * options.kept
        watch.LINGERING = options.kept  # what was watched is kept, too
    # Whoever is silent for a moment has his mailbox closed, while others are at work in it.
    engine.REST_SECONDS = 0.005
    if options.switch:
        worker.SWITCH_SECONDS = options.switch

    def in_child() -> None:
        if options.sanitize is not None:
            import sanitizer

            sanitizer.install(sanitizer.to_directory(options.sanitize))
        if options.report is not None:
            _report_to(options.report)
        if options.share:
            Rests(options.seed, options.share, options.longest).install()

    os.register_at_fork(after_in_child=in_child)
    sys.argv = ["maildir-imapd", *words]
    cli.main()


if __name__ == "__main__":
    main()
