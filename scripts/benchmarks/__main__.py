"""Measure our server beside Dovecot.

Where Dovecot is not installed, or may not be started (it wants root), only ours is measured.  Both servers
run on 127.0.0.1 with their mail in a temporary directory, which is removed at the end.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# In the order of the table, which they fill.
from . import rows_session  # noqa: F401  # isort: skip
from . import rows_reading  # noqa: F401  # isort: skip
from . import rows_changing  # noqa: F401  # isort: skip
from . import rows_searching  # noqa: F401  # isort: skip
from . import rows_crowd  # noqa: F401  # isort: skip
from .client import Failed
from .mail import Spool
from .report import HEAD, Result, write_json
from .rows import ROWS, Row, Scene
from .servers import MAIL_USER, Dovecot, Ours, Server


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--sizes",
        default="1000,10000,100000",
        help="messages in the mailboxes, with commas between; rows that take one size take the middle one",
    )
    parser.add_argument("--rounds", type=int, default=5, help="figures per row and server (default: 5)")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="only rows with such a name; again for more")
    parser.add_argument("--ours-only", action="store_true", help="leave Dovecot out")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures here too")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and end")
    parser.add_argument("--directory", metavar="DIR", help="make the temporary directory in there")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for."""
    options = arguments()
    chosen = [r for r in ROWS.values() if not options.only or any(fnmatch.fnmatch(r.name, p) for p in options.only)]
    if not chosen:
        print("no row is called that: --list names them", file=sys.stderr)
        return 2
    if options.list:
        for row in chosen:
            print(f"{row.name:<20} {row.title}")
        return 0
    sizes = sorted({int(size) for size in options.sizes.split(",")})
    results: list[Result] = []
    with servers(ours_only=options.ours_only, directory=options.directory) as (spool, running):
        print(HEAD)
        for row in chosen:
            for size in _sizes(row, sizes):
                result = measure(row, size, spool, running, options.rounds)
                results.append(result)
                print(result.as_line(), flush=True)
                if options.json:
                    write_json(options.json, results)
    return 1 if any(result.error for result in results) else 0


def _sizes(row: Row, sizes: list[int]) -> list[int | None]:
    if row.sizes == "none":
        return [None]
    return [*sizes] if row.sizes == "all" else [sizes[len(sizes) // 2]]


@contextmanager
def servers(*, ours_only: bool, directory: str | None) -> Iterator[tuple[Spool, list[Server]]]:
    """The servers, running, and the spool their mail comes from."""
    root = Path(tempfile.mkdtemp(prefix="maildir-imapd-bench-", dir=directory))
    owner = None
    if os.geteuid() == 0:
        # The mail is read by somebody who is not root, as it should be.
        root.chmod(0o755)
        user = pwd.getpwnam(MAIL_USER)
        owner = (user.pw_uid, user.pw_gid)
    spool = Spool(root / "spool", owner)
    running: list[Server] = [Ours(root / "ours", spool)]
    if not ours_only and Dovecot.installed():
        running.append(Dovecot(root / "dovecot", spool))
    elif not ours_only:
        print("Dovecot is not installed, or this is not root: only ours is measured", file=sys.stderr)
    try:
        for server in running:
            server.start()
        yield spool, running
    finally:
        for server in running:
            server.stop()
        shutil.rmtree(root, ignore_errors=True)


def measure(row: Row, size: int | None, spool: Spool, running: list[Server], rounds: int) -> Result:
    """Ask the servers in turn, the first of a round being the second of the next."""
    result = Result(row, size)
    plays = {server.name: row.play(Scene(server, spool, size or 0)) for server in running}
    try:
        for turn in range(rounds):
            for name in sorted(plays, reverse=turn % 2 == 0):
                result.figures.setdefault(name, []).append(next(plays[name]))
    except (Failed, OSError, ValueError) as error:
        result.error = f"{type(error).__name__}: {error}"
    finally:
        for play in plays.values():
            play.close()  # type: ignore[attr-defined]
    return result


if __name__ == "__main__":
    sys.exit(main())
