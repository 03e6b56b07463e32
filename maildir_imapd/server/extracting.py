"""Texts out of attachments, by programs that the administrator names: in jobs of indexing, and nowhere else.

A program gets an attachment on its standard input and gives a text in UTF-8 on its standard output. It has the rights
of the mail's owner and, where the kernel knows landlock, those to read the system's files alone: no mail and no file
to write. It has so much time, memory and output, and is ended with all that it has started.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import select
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server import confine
from maildir_imapd.store.records.texts import EXTRACT_CHARACTERS

log = Log(__name__)

# Seconds that a program has, by the clock and of the processor.
PATIENCE_SECONDS: Final = 30.0
# What it is given and what it may give, in octets, and its memory.
INPUT_OCTETS: Final = 64 << 20
OUTPUT_OCTETS: Final = 4 * EXTRACT_CHARACTERS
MEMORY_OCTETS: Final = 1 << 30
_FILES: Final = 64
_PIECE_OCTETS: Final = 1 << 16
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_ENVIRONMENT: Final = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/nonexistent"}
# Seconds that a program has to end once it has said all.
_ENDS_SECONDS: Final = 1.0
# Rounds in which what a program has started is looked for and killed.
_ROUNDS: Final = 100

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Extracting:
    """Which programs take which media types, as the settings say."""

    commands: Mapping[bytes, Sequence[str]]
    landlock: bool = True


class Extractors:
    """The programs, for a process without threads that has no other children."""

    def __init__(self, extracting: Extracting) -> None:
        self._commands = extracting.commands
        self._landlock = extracting.landlock
        self._missing: set[bytes] = set()
        if self._commands:
            adopt_orphans()

    def takes(self, kind: bytes) -> bool:
        """Whether there is a program for this media type."""
        return kind in self._commands and kind not in self._missing

    def extract(self, kind: bytes, octets: bytes) -> str:
        """Return what the program makes of an attachment; "" where that is nothing, with a line in the log."""
        if len(octets) > INPUT_OCTETS:
            return ""
        command = self._commands[kind]
        program = shutil.which(command[0], path=_PATH)
        if program is None:
            self._missing.add(kind)
            log.warning("no such program to extract texts", program=command[0])
            return ""
        try:
            found, why = self._run(program, command, octets)
        except OSError as error:
            log.warning("text not extracted", program=command[0], why=error)
            return ""
        if why:
            log.info("text not extracted", program=command[0], why=why)
            return ""
        return found.decode("utf-8", "replace")[:EXTRACT_CHARACTERS]

    def _run(self, program: str, command: Sequence[str], octets: bytes) -> tuple[bytes, str]:
        """Run a program; returns what it says, and what is wrong with it."""
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        others = frozenset(children())  # whose, if any, is none of our business
        process = os.fork()
        if process == 0:
            self._become(program, command, theirs_in, theirs_out)
        os.close(theirs_in)
        os.close(theirs_out)
        patience = 0.0
        try:
            found, why = talk(ours_in, ours_out, octets)
            patience = 0.0 if why else _ENDS_SECONDS
        finally:
            status = end_program(process, patience, others)
        if not why and status:
            why = f"status {status}"
        return found, why

    def _become(self, program: str, command: Sequence[str], stdin: int, stdout: int) -> NoReturn:
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)  # to write is forbidden to a confined server
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            os.dup2(nothing, 2)
            os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            os.chdir("/")
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            self._give_up()
            end_with_parent()
            os.execve(program, list(command), _ENVIRONMENT)  # noqa: S606  # no shell, and the administrator's command
        except (OSError, ValueError, ConfigError):
            pass
        finally:
            os._exit(127)

    def _give_up(self) -> None:
        """Have no right that a program which reads and writes two pipes does not need."""
        seconds = int(PATIENCE_SECONDS)
        for limit, most in (
            (resource.RLIMIT_AS, MEMORY_OCTETS),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, _FILES),
        ):
            hard = resource.getrlimit(limit)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (most, most))
        confine.drop_capabilities()
        confine.no_new_privileges()
        if self._landlock:
            confine.landlock(confine.to_read(()), ())


def talk(stdin: int, stdout: int, octets: bytes, seconds: float = PATIENCE_SECONDS) -> tuple[bytes, str]:
    """Give *octets*, and take what comes until its end; returns that, and what is wrong. Closes both."""
    deadline = time.monotonic() + seconds
    left, found = memoryview(octets), bytearray()
    for number in (stdin, stdout):
        os.set_blocking(number, False)
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    writing = True
    try:
        while True:
            patience = deadline - time.monotonic()
            if patience <= 0:
                return b"", "it takes too long"
            for number, _ in poll.poll(patience * 1000):
                if number == stdout:
                    piece = os.read(stdout, _PIECE_OCTETS)
                    found += piece
                    if not piece:
                        return bytes(found), ""
                    if len(found) > OUTPUT_OCTETS:
                        return b"", "it says too much"
                    continue
                try:
                    left = left[os.write(stdin, left[:_PIECE_OCTETS]) :]
                except BrokenPipeError:
                    left = left[:0]  # it has enough
                if not left:
                    poll.unregister(stdin)
                    os.close(stdin)
                    writing = False
    finally:
        if writing:
            os.close(stdin)
        os.close(stdout)


def end_program(process: int, patience: float, others: frozenset[int]) -> int:
    """End a program with all that it has started, and return how it ended itself, within *patience* seconds.

    *others* are children that were there before it.
    """
    deadline = time.monotonic() + patience
    # It is looked at and not taken in: as long as it stands there its number is nobody else's.
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        os.killpg(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it has no group of its own yet
    os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    end_children(others)
    return status


def end_children(others: frozenset[int] = frozenset()) -> None:
    """Kill all children of this process but *others*, and what they leave behind."""
    for _ in range(_ROUNDS):
        there = [child for child in children() if child not in others]
        if not there:
            break
        for child in there:
            try:
                os.kill(child, signal.SIGKILL)
            except PermissionError:
                _kill_as_its_user(child)
            os.waitpid(child, 0)


def _kill_as_its_user(child: int) -> None:
    """Kill a child that is another user's, whom root without CAP_KILL may become but not signal."""
    with open(f"/proc/{child}/status", "rb") as file:
        found = _UID(file.read())
    if found is None:
        return
    killer = os.fork()
    if killer == 0:
        try:
            user = int(found[1])
            os.setresuid(user, user, user)
            os.kill(child, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(killer, 0)


_UID: Final = re.compile(rb"^Uid:\t([0-9]{1,10})\t", re.MULTILINE).search


def adopt_orphans() -> None:
    """Have what children leave behind when they end become a child of this process, so that it is found."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have the kernel end this process with its parent; becoming another user undoes it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(what: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _libc.prctl(ctypes.c_int(what), ctypes.c_ulong(value), zero, zero, zero)


def children() -> list[int]:
    """List our children, also those that a program has left behind."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []
