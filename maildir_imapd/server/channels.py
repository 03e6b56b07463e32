"""The supervisor's channels to its workers: questions out, answers and events in, and nothing that waits."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from maildir_imapd.events import Log
from maildir_imapd.server.lines import Broken, Garbage, Lines, decode

log = Log(__name__)

# Octets of a worker's answer.
ANSWER_OCTETS: Final = 64 << 20


class Channels:
    """One for each worker, by its process.  *epoll*: where they are looked at; whoever has it calls ``serve``.

    *hear* gets what a worker says, and raises KeyError, TypeError or ValueError for what is no such thing; *miss* is
    told of each worker that is heard no more.
    """

    def __init__(
        self, epoll: select.epoll, hear: Callable[[int, Mapping[str, Any]], None], miss: Callable[[int], None]
    ) -> None:
        self._epoll = epoll
        self._hear, self._miss = hear, miss
        self._lines: dict[int, Lines] = {}
        self._pids: dict[int, int] = {}  # by descriptor

    def pids(self) -> list[int]:
        """All workers that can be asked."""
        return list(self._lines)

    def add(self, pid: int, sock: socket.socket) -> None:
        """Take a new worker's channel, which is this object's from here on."""
        lines = self._lines[pid] = Lines(sock, ANSWER_OCTETS)
        self._pids[lines.number] = pid
        self._epoll.register(lines.number, select.EPOLLIN)

    def remove(self, pid: int) -> None:
        """Hear what a worker has still said that has ended, and forget it."""
        if pid in self._lines:
            self._receive(pid)
            self._drop(pid)

    def close(self) -> None:
        """Close all."""
        for lines in self._lines.values():
            lines.close()

    def serve(self, number: int, events: int) -> bool:
        """Do what can be done for the descriptor *number*; False where it is no worker's."""
        pid = self._pids.get(number)
        if pid is None:
            return False
        if events & select.EPOLLOUT:
            self._flush(pid)
        if pid in self._lines:
            self._receive(pid)
        return True

    def tell(self, pid: int, question: Mapping[str, object]) -> None:
        """Have a worker told something, if it is there."""
        if pid in self._lines:
            self._lines[pid].put(question)
            self._flush(pid)

    def _receive(self, pid: int) -> None:
        lines = self._lines[pid]
        try:
            for line in lines.receive():
                self._hear(pid, decode(line))
        except (Broken, Garbage, KeyError, TypeError, ValueError) as error:
            log.error("a worker is not understood", worker=pid, why=error)
            self._drop(pid)
            return
        if lines.ended:
            self._drop(pid)

    def _flush(self, pid: int) -> None:
        lines = self._lines[pid]
        try:
            lines.flush()
        except Broken:
            self._drop(pid)
            return
        watch(self._epoll, lines)

    def _drop(self, pid: int) -> None:
        lines = self._lines.pop(pid, None)
        if lines is not None:
            self._pids.pop(lines.number, None)
            unwatch(self._epoll, lines.number)
            lines.close()
            self._miss(pid)


def watch(epoll: select.epoll, lines: Lines) -> None:
    """Look at one end for what can be done there now."""
    events = (0 if lines.ended else select.EPOLLIN) | (select.EPOLLOUT if lines.waiting else 0)
    try:
        epoll.modify(lines.number, events)
    except FileNotFoundError:
        if events:
            epoll.register(lines.number, events)


def unwatch(epoll: select.epoll, number: int) -> None:
    """Look at it no longer; harmless twice."""
    try:
        epoll.unregister(number)
    except (OSError, ValueError):
        pass  # it is not there any more
