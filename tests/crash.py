"""End a process in the middle of what it does: in a child, which can die at any single step of ``durable``."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

from maildir_imapd.store.disk import durable

DEAD = 66


class Died(BaseException):
    """The process would end here: for what can be looked at without another process."""


def die_at(number: int, torn: bool) -> None:
    """End the process at step *number*; with *torn*, in the middle of write *number*."""
    left = [number]

    def step(action: str, what: Any) -> None:
        # A few bytes within a sector are written or not.
        if torn and (action != "write" or len(what[1]) <= 32):
            return
        left[0] -= 1
        if left[0] > 0:
            return
        if torn:
            tear(what, 2 / 3)
        os._exit(DEAD)

    durable.step = step


def tear(what: Any, share: float) -> None:
    """Do the first part of a write, as a machine does that fails in the middle of it."""
    fd, data, offset = what
    part = bytes(data)[: max(1, int(len(data) * share))]
    if offset is None:
        os.write(fd, part)
    else:
        os.pwrite(fd, part, offset)


def run(work: Callable[[], object]) -> tuple[bool, Any]:
    """Run *work* in a child; return whether it lived to the end, and what it said until then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            found = work()
            durable.step = None
            with open(writing, "wb") as pipe:
                pickle.dump(found, pipe)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as pipe:
        data = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DEAD), code
    return code == 0, pickle.loads(data) if data else None
