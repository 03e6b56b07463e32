"""A worker as its supervisor knows it, and what leads there."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass


@dataclass
class Child:
    """A worker process.  *slot* is its place in the heartbeat page."""

    pid: int
    slot: int
    started: float
    # The supervisor's end of what leads there: a log file that was opened anew is sent by it.
    channel: socket.socket | None = None
    retired: bool = False
    # The beat that was found too old, and when that was seen; the next look must find the same one.
    suspect: float = 0.0
    suspected: float = 0.0
    # The beat at which it was seen to stand, and when; the beat at which it was asked for its stacks, and when; and the
    # one at which that was not waited for any longer.
    stands: float = 0.0
    stood: float = 0.0
    asked: float = 0.0
    asked_at: float = 0.0
    forced: float = 0.0


def pair(
    kind: socket.SocketKind, ours_alone: contextlib.ExitStack, after: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    """Make two sockets that lead to each other; raises OSError.  Each is closed by the one who has no use for it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours_alone.callback(ours.close)
    after.callback(theirs.close)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs
