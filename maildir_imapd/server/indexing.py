"""The process beside a worker that has indexes of texts filled, at low priority.

Parsing and folding hold the interpreter's lock, so a thread of the worker would slow all its clients down; a process
gets what time they leave. It is forked before the worker has any thread, with the worker's rights and confinement,
hears from it which folders have something new, waits a little, and forks a process for each user whose turn it is
(index_jobs.py). That one becomes the user, ends when it is done, and takes its memory along; what goes wrong in it is
nobody else's. One job at a time, for the disk is everybody's.

It ends with its worker: the worker's end of the socket closes whatever has become of it.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from maildir_imapd import log as logs
from maildir_imapd.events import Log
from maildir_imapd.imap.columns.danger import Message
from maildir_imapd.server import index_jobs, settings, shared
from maildir_imapd.server.extracting import Extractors, adopt_orphans, end_children
from maildir_imapd.store.records import texts

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.server.extracting import Extracting
    from maildir_imapd.server.index_jobs import Opens

log = Log(__name__)

# Seconds from the first word of a folder until it is indexed: what comes in a burst is one job.
DELAY_SECONDS: Final = 5.0
# Seconds from one job of a user's to the next.
REST_SECONDS: Final = 30.0
# Seconds until a user whose index could not be filled has another try; doubled up to the longest.
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
# Folders and users that are remembered.
_WAITING: Final = 10_000
# Seconds between two looks at a job.
_LOOK_SECONDS: Final = 0.5
# Seconds that a job has to end when it is asked to.
_ENDS_SECONDS: Final = 3.0
# Deaths at one message that are not chance any more, and messages that are remembered for it.
_DEATHS: Final = 2
_LISTED: Final = 1024
_MESSAGE_OCTETS: Final = 8192
_NICE: Final = 10


class Indexing:
    """A worker's end of it; safe from any thread."""

    def __init__(self, ours: socket.socket, process: int) -> None:
        self._socket = ours
        self._process = process
        self._gone = False

    def ask(self, user: str, path: bytes) -> None:
        """Say that a folder of a user's has something new; never an error, and nothing waits."""
        message = user.encode(errors="surrogateescape") + b"\0" + path
        if len(message) > _MESSAGE_OCTETS:
            return
        try:
            self._socket.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it is busy, and the next search asks again; or it has gone, and ``look`` says so

    def share_log(self) -> None:
        """Have it go on in the log file that this process has open now."""
        logs.hand_over(self._socket)

    def look(self) -> None:
        """Note once if it has gone; this worker cannot start another, for it has threads."""
        if self._gone:
            return
        try:
            found, status = os.waitpid(self._process, os.WNOHANG)
        except ChildProcessError:
            found, status = self._process, 0
        if found:
            self._gone = True
            log.error("indexes of texts are filled no more until the next start or SIGHUP", status=status)

    def close(self) -> None:
        """Have it end."""
        self._socket.close()


def wanted(config: Config) -> bool:
    """Whether any user has an index of texts, as far as that can be known now."""
    if settings.mail(config).search_index:
        return True
    users = settings.chain(config)
    return any(who.search_index for who in users.everybody())


def start(config: Config, theirs: Iterable[socket.socket] = (), opens: Opens | None = None) -> Indexing | None:
    """Fork it where any user has an index; *theirs* are sockets that it is not to keep open.

    *opens*: what opens the mail of a user, if not as the settings say.

    To be called before the process has any thread. Where it cannot be had that is in the log, and the mail goes on.
    """
    if not wanted(config):
        return None
    if not texts.available():
        log.error("no index of texts: the SQLite of this Python has no FTS5 with trigrams")
        return None
    try:
        ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = os.fork()
    except OSError as error:
        log.error("no index of texts: no process for it", why=error)
        return None
    if process == 0:
        try:
            ours.close()
            for each in theirs:
                each.close()
            os.nice(_NICE)
            adopt_orphans()
            extracting = settings.extracting(config)
            Queue(opens or index_jobs.of_users(config), far, extracting).run()
        except BaseException:
            log.exception("indexing failed")
        finally:
            os._exit(1)
    far.close()
    return Indexing(ours, process)


@dataclass(slots=True)
class _Job:
    """A process that fills an index."""

    process: int
    user: str
    paths: list[bytes]


class Queue:
    """The process beside the worker: one thread, one wait."""

    def __init__(
        self,
        opens: Opens,
        theirs: socket.socket,
        extracting: Extracting,
        *,
        delay: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opens = opens
        self._extracting = extracting
        self._socket = theirs
        theirs.setblocking(False)  # recv_fds of the library passes flags over
        self._delay = DELAY_SECONDS if delay is None else delay
        self._now = now
        # By user, the first to wait first: from when on, and his folders.
        self._waiting: dict[str, tuple[float, dict[bytes, None]]] = {}
        self._pauses: dict[str, tuple[float, float]] = {}  # until when, and how long it was
        self._job: _Job | None = None
        self._cells = shared.words(index_jobs.CELLS)
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
        poll.poll(self._patience() * 1000)
        there = self._hear()
        logs.reopen()
        self._look()
        if there and self._job is None:
            self._begin()
        return there

    def _patience(self) -> float:
        if self._job is not None:
            return _LOOK_SECONDS
        if not self._waiting:
            return 60.0
        return max(0.0, min(self._due(user) for user in self._waiting) - self._now())

    def _due(self, user: str) -> float:
        return max(self._waiting[user][0], self._pauses.get(user, (0.0, 0.0))[0])

    # --- what is to be done -------------------------------------------------------------------------

    def _hear(self) -> bool:
        """Take in all that has been said; False when the worker has gone."""
        while True:
            try:
                said, numbers, _, _ = socket.recv_fds(self._socket, _MESSAGE_OCTETS, 4)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if numbers:
                logs.adopt(numbers)
                continue
            if not said:
                return False
            user, _, path = said.partition(b"\0")
            self.want(user.decode(errors="surrogateescape"), path)

    def want(self, user: str, path: bytes) -> None:
        """Note that a folder is to be indexed."""
        if user not in self._waiting and len(self._waiting) >= _WAITING:
            return
        _, paths = self._waiting.setdefault(user, (self._now() + self._delay, {}))
        if len(paths) < _WAITING:
            paths[path] = None

    def _begin(self) -> None:
        now = self._now()
        user = next((user for user in self._waiting if self._due(user) <= now), None)
        if user is None:
            return
        _, paths = self._waiting.pop(user)
        for cell in range(index_jobs.CELLS):
            self._cells[cell] = 0
        left_out = frozenset(message for message, deaths in self._deaths.items() if deaths >= _DEATHS)
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            log.error("texts are not indexed now: no process for it", user=user, why=error)
            self._put_off(user)
            return
        if process == 0:
            status = index_jobs.FAILED
            try:
                self._socket.close()
                noting = index_jobs.Noting(self._cells, left_out, Extractors(self._extracting))
                status = index_jobs.work(self._opens, user, list(paths), noting, parent)
            except BaseException:
                log.exception("indexing failed", user=user)
            finally:
                os._exit(status)
        self._job = _Job(process, user, list(paths))

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
            # One that was killed had no time to end its programs.
            end_children()
            self._ended(job, os.waitstatus_to_exitcode(status))

    def _ended(self, job: _Job, status: int) -> None:
        if status == index_jobs.DONE:
            # Some messages can't be indexed, and each search asks for them.
            self._rest(job.user, self._now() + REST_SECONDS, 0.0)
            return
        if status == index_jobs.AGAIN:
            # Not all is done; the others have their turn first.
            for path in job.paths:
                self.want(job.user, path)
            return
        self._put_off(job.user)
        if status == index_jobs.FAILED:
            return
        message = Message(*self._cells[: index_jobs.END])
        log.error("indexing has died", user=job.user, status=status, inode=message.inode, uid=message.uid)
        if message.uid and len(self._deaths) < _LISTED:
            self._deaths[message] = self._deaths.get(message, 0) + 1
            if self._deaths[message] == _DEATHS:
                log.warning("message left out of the index of texts: jobs have died of it", uid=message.uid)
        for path in job.paths:
            self.want(job.user, path)

    def _end(self) -> None:
        """Have the job end with what it has, and kill it if it does not."""
        self._cells[index_jobs.END] = 1
        deadline = time.monotonic() + _ENDS_SECONDS
        while self._job is not None and time.monotonic() < deadline:
            self._look()
            time.sleep(0.05)
        end_children()
