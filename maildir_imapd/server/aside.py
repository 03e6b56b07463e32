"""The process that has questions about passwords answered by processes of their own (``auth/beside.py``).

The supervisor forks it before anything is given up, so that PAM can look where only root may; workers, which have given
up all that, ask by a socket that they inherit, and each of their questions brings along the socket for its answer.  The
process hears only which question it is and what stands in it: what is run for it was settled before.  It forks for
each question, kills what has not answered in time, and ends when nobody is left who could ask.
"""

from __future__ import annotations

import array
import ctypes
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd import log as logs
from maildir_imapd.auth.beside import MOST_OCTETS, Answer
from maildir_imapd.auth.waiting import Until
from maildir_imapd.events import Log

log = Log(__name__)

_MOMENT: Final = struct.Struct("=d")
_LENGTH: Final = struct.Struct("=H")
_QUESTION_OCTETS: Final = MOST_OCTETS + 256
_ANSWER_OCTETS: Final = 1 << 17
# Seconds between two looks at the log's file.
_LOOK_SECONDS: Final = 1.0
# Seconds from one start to the next.
_YOUNG_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None)


def render(name: str, parts: Sequence[bytes], until: Until) -> bytes:
    """Write down a question; the moment is the machine's and holds in every process."""
    written = b"".join(_LENGTH.pack(len(part)) + part for part in (name.encode(), *parts))
    return _MOMENT.pack(until.moment) + written


def parse(message: bytes) -> tuple[str, list[bytes], Until]:
    """Read a question; raises ValueError for what is none."""
    try:
        (moment,) = _MOMENT.unpack_from(message)
        parts = []
        place = _MOMENT.size
        while place < len(message):
            (length,) = _LENGTH.unpack_from(message, place)
            place += _LENGTH.size
            parts.append(message[place : place + length])
            if len(parts[-1]) != length:
                raise ValueError
            place += length
        return parts.pop(0).decode(), parts, Until(moment)
    except (struct.error, IndexError, ValueError):
        raise ValueError("no question") from None


class Aside:
    """The supervisor's and the workers' end of that process; safe from any thread."""

    def __init__(self, answers: Mapping[str, Answer], *, most: int) -> None:
        self._answers = answers
        self._most = most
        self._ours, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = 0
        self._started = 0.0

    def start(self, let_go: Callable[[], None] = lambda: None) -> None:
        """Fork it, also in the place of one that has ended; *let_go*: closes what it is not to keep open.

        To be called before the process has any thread.
        """
        process = os.fork()
        if process == 0:
            try:
                self._ours.close()
                let_go()
                _Answering(self._answers, self._far, self._most).run()
            except BaseException:
                log.exception("the process that asks about passwords has failed")
            finally:
                os._exit(1)
        self.process, self._started = process, time.monotonic()

    def ended(self, process: int, status: int) -> None:
        """Note that a child of the supervisor has ended, if it was this."""
        if process == self.process:
            self.process = 0
            log.error("the process that asks about passwords has ended", status=os.waitstatus_to_exitcode(status))

    def renew(self, let_go: Callable[[], None]) -> None:
        """Start it again where it has ended, but not one that ends at once again and again."""
        if not self.process and time.monotonic() >= self._started + _YOUNG_SECONDS:
            try:
                self.start(let_go)
            except OSError as error:
                self._started = time.monotonic()
                log.error("cannot start the process that asks about passwords", why=error.strerror)

    def keep_only_asking(self) -> None:
        """Let go of what only the supervisor needs; called in a worker."""
        self._far.close()

    def put(self, name: str, parts: Sequence[bytes], until: Until) -> bytes:
        """As ``Asks.put``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                self._send(render(name, parts, until), theirs, until)
            ours.settimeout(until.left)
            said = ours.recv(_ANSWER_OCTETS)
        if not said:
            raise ConnectionResetError("no answer in time" if until.over else "it has ended without an answer")
        return said

    def _send(self, message: bytes, back: socket.socket, until: Until) -> None:
        poll = select.poll()
        poll.register(self._ours, select.POLLOUT)
        while True:
            try:
                socket.send_fds(self._ours, [message], [back.fileno()], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                return
            except BlockingIOError:
                if until.over:
                    raise TimeoutError("busy") from None
                poll.poll(until.left * 1000)

    def close(self) -> None:
        """Have it end, once the last worker that may ask has ended too."""
        self._ours.close()
        self._far.close()


class Directly:
    """Answers in a process that is forked from this one, for commands, which have no threads."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    def put(self, name: str, parts: Sequence[bytes], until: Until) -> bytes:
        """As ``Asks.put``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                process = _fork(self._answers[name], parts, until, theirs, (ours,))
            try:
                ours.settimeout(until.left)
                said = ours.recv(_ANSWER_OCTETS)
            finally:
                _kill(process)
                os.waitpid(process, 0)
        if not said:
            raise ConnectionResetError("it has ended without an answer")
        return said


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that is being answered.  *end* can be read when its process has ended."""

    process: int
    end: int
    until: Until


class _Answering:
    """The process itself: one thread, one wait."""

    def __init__(self, answers: Mapping[str, Answer], asked: socket.socket, most: int) -> None:
        self._answers = answers
        self._socket = asked
        self._most = most
        self._at_work: list[_Asked] = []

    def run(self) -> None:
        """Answer until nobody is left who could ask."""
        while self._turn():
            pass
        for each in self._at_work:
            _kill(each.process)
        os._exit(0)

    def _turn(self) -> bool:
        poll = select.poll()
        room = len(self._at_work) < self._most
        if room:
            poll.register(self._socket, select.POLLIN)
        for each in self._at_work:
            poll.register(each.end, select.POLLIN)
        patience = min((each.until.left for each in self._at_work), default=_LOOK_SECONDS)
        ready = {number for number, _ in poll.poll(min(patience, _LOOK_SECONDS) * 1000)}
        logs.reopen()
        self._look(ready)
        return self._hear() if self._socket.fileno() in ready else True

    def _look(self, ended: set[int]) -> None:
        """Take in those that have ended, and kill those whose time is over."""
        still = []
        for each in self._at_work:
            if each.end in ended or each.until.over:
                _kill(each.process)
                os.waitpid(each.process, 0)
                os.close(each.end)
            else:
                still.append(each)
        self._at_work = still

    def _hear(self) -> bool:
        """Take one question; False when nobody is left."""
        message, backs = _receive(self._socket)
        try:
            if not message and not backs:
                return False
            name, parts, until = parse(message)
            if until.over:
                return True  # nobody waits any more
            end, alive = os.pipe()
            try:
                process = _fork(self._answers[name], parts, until, backs[0], (self._socket,))
            except OSError:
                os.close(end)
                raise
            finally:
                os.close(alive)
            self._at_work.append(_Asked(process, end, until))
        except (ValueError, KeyError, IndexError):
            log.error("no question about a password", octets=len(message))
        except OSError as error:
            log.error("cannot ask about a password", why=error.strerror)
            time.sleep(0.1)
        finally:
            for back in backs:
                back.close()
        return True


def _receive(sock: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """Receive a message, and the sockets that came along."""
    # recv_fds of the library passes flags over.
    message, extra, _, _ = sock.recvmsg(_QUESTION_OCTETS, socket.CMSG_LEN(4), socket.MSG_CMSG_CLOEXEC)
    numbers = array.array("i")
    for level, kind, octets in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(octets[: len(octets) - len(octets) % numbers.itemsize])
    return message, [socket.socket(fileno=number) for number in numbers]


def _fork(
    answer: Answer, parts: Sequence[bytes], until: Until, back: socket.socket, theirs: Iterable[socket.socket]
) -> int:
    """Fork a process that answers on *back* and ends; it is a group of its own, with all that it starts."""
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    try:
        for each in theirs:
            each.close()
        os.setsid()
        _libc.prctl(ctypes.c_int(_PR_SET_PDEATHSIG), ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        said = answer(parts, until)
        try:
            back.send(said)
        except OSError:
            pass  # whoever asked has ended meanwhile
    except BaseException:
        log.exception("a question about a password has failed")
    finally:
        os._exit(0)


def _kill(process: int) -> None:
    """Kill a process that has not been waited for, and all that it has started."""
    for kill in (os.killpg, os.kill):  # it may not be a group yet
        try:
            kill(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
