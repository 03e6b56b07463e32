"""The process beside a worker (beside.py): it hears what is to be done for which user, and has it done.

It waits a little, and forks a process for each user whose turn it is (jobs.py). That one becomes the user, ends when it
is done, and takes its memory along; what goes wrong in it is nobody else's. One job at a time, for the disk is
everybody's; for one that a client waits for, the one under way is asked to end and begun again later.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from maildir_imapd import log as logs
from maildir_imapd.events import Log
from maildir_imapd.imap.columns.danger import Message
from maildir_imapd.server import jobs, shared
from maildir_imapd.server.programs import children, end_children

log = Log(__name__)

# Seconds until a user whose job has failed has another try; doubled up to the longest.
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
# Folders and users that are remembered.
_WAITING: Final = 10_000
# Users of a round who wait at once.
_AT_ONCE: Final = 100
# Seconds between two looks at a job.
_LOOK_SECONDS: Final = 0.5
# Seconds that a job has to end when it is asked to.
_ENDS_SECONDS: Final = 3.0
# Deaths at one message that are not chance any more, and messages that are remembered for it.
_DEATHS: Final = 2
_LISTED: Final = 1024
# Of one thing that is to be done, in words.
MESSAGE_OCTETS: Final = 8192
_USUAL, _URGENT = b"-", b"!"


# Does what is wanted for a user in a process of its own, which it may spoil, and returns how that ended (jobs.py):
# the cells are those of jobs.py, then come the messages to leave out and the process that it is to end with.
Work = Callable[[str, Sequence[bytes], "memoryview[int]", Collection[Message], int], int]


class Round(Protocol):
    """Everybody's turn, now and then."""

    def patience(self) -> float:
        """Seconds until somebody has his turn; 0: now."""

    def some(self, count: int) -> list[str]:
        """Users whose turn it is, *count* at most; [] where that is nobody, or the last has had it."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """How jobs of one kind are done."""

    name: str
    work: Work
    delay_seconds: float
    """From the first word for a user until his job begins: what comes in a burst is one job."""
    rest_seconds: float
    """From one job of a user's to the next."""
    round: Round | None = None
    """Whose turn it is without a word."""


def render(user: str, what: bytes, *, urgent: bool) -> bytes:
    """Write down what is to be done for a user, for the other process."""
    return (_URGENT if urgent else _USUAL) + user.encode(errors="surrogateescape") + b"\0" + what


@dataclass(slots=True)
class _Job:
    """A process at work for a user."""

    process: int
    user: str
    wants: list[bytes]
    urgent: bool
    end: int  # a descriptor that can be read when it has ended; -1: there is none


class Queue:
    """The process beside the worker: one thread, one wait."""

    def __init__(
        self,
        kind: JobKind,
        theirs: socket.socket,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._socket = theirs
        # None, unless somebody runs it beside others: a job alone, with what it leaves behind, is to be ended.
        self._others = frozenset(children())
        theirs.setblocking(False)  # recv_fds of the library passes flags over
        self._now = now
        # What a client waits for: it is done at once, or not at all.
        self._urgent: tuple[str, bytes] | None = None
        # By user, the first to wait first: from when on, and what is wanted.
        self._waiting: dict[str, tuple[float, dict[bytes, None]]] = {}
        self._pauses: dict[str, tuple[float, float]] = {}  # until when, and how long it was
        self._job: _Job | None = None
        self._cells = shared.words(jobs.CELLS)
        self._deaths: dict[Message, int] = {}

    def run(self) -> NoReturn:
        """Hear, and have done what is due, until the worker has gone."""
        while self.turn():
            pass
        self._end()
        os._exit(0)

    def turn(self) -> bool:
        """Wait for a word, a job's end or the time for the next one; False when the worker has gone."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if self._job is not None and self._job.end >= 0:
            poll.register(self._job.end, select.POLLIN)
        poll.poll(self._patience() * 1000)
        there = self._hear()
        logs.reopen()
        self._look()
        if self._kind.round is not None and not self._waiting:
            for user in self._kind.round.some(_AT_ONCE):
                self.want(user, b"")
        if there and self._job is None:
            self._begin()
        return there

    def _patience(self) -> float:
        if self._job is not None:
            return _LOOK_SECONDS
        if self._urgent is not None:
            return 0.0
        if not self._waiting:
            return 60.0 if self._kind.round is None else min(60.0, self._kind.round.patience())
        return max(0.0, min(self._due(user) for user in self._waiting) - self._now())

    def _due(self, user: str) -> float:
        return max(self._waiting[user][0], self._pauses.get(user, (0.0, 0.0))[0])

    # --- what is to be done -------------------------------------------------------------------------

    def _hear(self) -> bool:
        """Take in all that has been said; False when the worker has gone."""
        while True:
            try:
                said, numbers, _, _ = socket.recv_fds(self._socket, MESSAGE_OCTETS, 4)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if numbers:
                logs.adopt(numbers)
                continue
            if not said:
                return False
            name, _, what = said[1:].partition(b"\0")
            user = name.decode(errors="surrogateescape")
            if said.startswith(_URGENT):
                self._hurry(user, what)
            else:
                self.want(user, what)

    def want(self, user: str, what: bytes) -> None:
        """Note that something is to be done for a user."""
        if user not in self._waiting and len(self._waiting) >= _WAITING:
            return
        _, wants = self._waiting.setdefault(user, (self._now() + self._kind.delay_seconds, {}))
        if len(wants) < _WAITING:
            wants[what] = None

    def _hurry(self, user: str, what: bytes) -> None:
        """Note what a client waits for, unless another one is served so already: by the end of that it is too late."""
        until, pause = self._pauses.get(user, (0.0, 0.0))
        if pause and until > self._now():
            return  # his last job has failed
        if self._job is not None:
            if self._job.urgent:
                return
            self._cells[jobs.END] = 1
        self._urgent = user, what

    def _next(self) -> tuple[str, list[bytes], bool] | None:
        """Take what is to be done now, and for whom; whether somebody waits for it."""
        if self._urgent is not None:
            (user, what), self._urgent = self._urgent, None
            return user, [what], True
        now = self._now()
        found = next((user for user in self._waiting if self._due(user) <= now), None)
        if found is None:
            return None
        return found, list(self._waiting.pop(found)[1]), False

    def _begin(self) -> None:
        due = self._next()
        if due is None:
            return
        user, wants, urgent = due
        for cell in range(jobs.CELLS):
            self._cells[cell] = 0
        left_out = frozenset(message for message, deaths in self._deaths.items() if deaths >= _DEATHS)
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            log.error("no process for a job", kind=self._kind.name, user=user, why=error)
            self._put_off(user)
            return
        if process == 0:
            status = jobs.FAILED
            try:
                self._socket.close()
                status = self._kind.work(user, wants, self._cells, left_out, parent)
            except BaseException:
                log.exception("job has failed", kind=self._kind.name, user=user)
            finally:
                os._exit(status)
        self._job = _Job(process, user, wants, urgent, _end_of(process))

    def _put_off(self, user: str) -> None:
        _, last = self._pauses.get(user, (0.0, 0.0))
        pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, last * 2))
        self._rest(user, self._now() + pause, pause)

    def _rest(self, user: str, until: float, pause: float) -> None:
        if len(self._pauses) >= _WAITING:
            self._pauses.clear()
        self._pauses[user] = (until, pause)

    # --- the job that is done -----------------------------------------------------------------------

    def _look(self) -> None:
        """See whether the job has ended."""
        job = self._job
        if job is None:
            return
        found, status = os.waitpid(job.process, os.WNOHANG)
        if found:
            self._job = None
            if job.end >= 0:
                os.close(job.end)
            # One that was killed had no time to end its programs.
            end_children(self._others)
            self._ended(job, os.waitstatus_to_exitcode(status))

    def _ended(self, job: _Job, status: int) -> None:
        if status == jobs.DONE:
            # Of some messages nothing can be had, and clients ask for them again and again.
            if not job.urgent:
                self._rest(job.user, self._now() + self._kind.rest_seconds, 0.0)
            return
        if status == jobs.AGAIN:
            # Not all is done; the others have their turn first.
            self._want_again(job)
            return
        self._put_off(job.user)
        if status == jobs.FAILED:
            return
        message = Message(*self._cells[: jobs.END])
        kind = self._kind.name
        log.error("job has died", kind=kind, user=job.user, status=status, inode=message.inode, uid=message.uid)
        if message.uid and len(self._deaths) < _LISTED:
            self._deaths[message] = self._deaths.get(message, 0) + 1
            if self._deaths[message] == _DEATHS:
                log.warning("message left out: jobs have died of it", kind=self._kind.name, uid=message.uid)
        self._want_again(job)

    def _want_again(self, job: _Job) -> None:
        if not job.urgent:
            for want in job.wants:
                self.want(job.user, want)

    def _end(self) -> None:
        """Have the job end with what it has, and kill it if it does not."""
        self._cells[jobs.END] = 1
        deadline = time.monotonic() + _ENDS_SECONDS
        while self._job is not None and time.monotonic() < deadline:
            self._look()
            time.sleep(0.05)
        end_children(self._others)


def _end_of(process: int) -> int:
    """A descriptor that can be read when the process has ended, or -1."""
    try:
        return os.pidfd_open(process)
    except OSError:
        return -1  # an old kernel, or no descriptor: then it is looked for now and then
