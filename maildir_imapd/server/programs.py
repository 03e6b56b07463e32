"""Running a program that the administrator names, in a job that is the owner of the mail, and ending it.

Without a shell, with an environment of its own and nothing else of ours; it has so much time, memory and output, and is
ended with all that it has started.
"""

from __future__ import annotations

import ctypes
import os
import pwd
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
from maildir_imapd.server import confine

# Seconds that a command has, by the clock and of the processor, its memory, and what it may say, in octets.
PATIENCE_SECONDS: Final = 60.0
MEMORY_OCTETS: Final = 2 << 30
OUTPUT_OCTETS: Final = 16 << 20
# Seconds that it has to end once it has closed its output.
_ENDS_SECONDS: Final = 5.0
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_SAID_OCTETS: Final = 200
_PIECE_OCTETS: Final = 1 << 16
# Rounds in which what a program has started is looked for and killed.
_ROUNDS: Final = 100

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class ProgramBounds:
    """Limits of a program: what it may take, and what it may do."""

    seconds: float
    """By the clock, and of the processor."""
    memory_octets: int
    output_octets: int
    ends_seconds: float
    """For which it may go on once it has closed its output."""
    files: int | None = None
    """Descriptors; None: as many as we may have."""
    heard: bool = False
    """Whether what it says on its standard error is output too; else it is thrown away."""
    landlock: bool = False
    """Whether it may read the system's files alone and write none, where the kernel knows how."""


def environment(user: str, **facts: str) -> dict[str, str]:
    """Make the environment of a command that is run for a user; *facts* by the end of their names."""
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/nonexistent"
    named = {f"MAILDIR_IMAPD_{name}": fact for name, fact in facts.items()}
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "MAILDIR_IMAPD_USER": user, **named}


def run(command: Sequence[str], environment: Mapping[str, str], data: bytes) -> tuple[bytes, str]:
    """Run a command, *data* on its standard input; returns the begin of what it says, and what went wrong, or ""."""
    program = find(command)
    if program is None:
        return b"", "there is no such program, or it cannot be run"
    bounds = ProgramBounds(PATIENCE_SECONDS, MEMORY_OCTETS, OUTPUT_OCTETS, _ENDS_SECONDS, heard=True)
    try:
        said, why = run_within(bounds, program, command, environment, data)
    except OSError as error:
        said, why = b"", str(error)
    return said[:_SAID_OCTETS], why


def find(command: Sequence[str]) -> str | None:
    """Return the path of the program of a command; None where there is none that can be run."""
    return shutil.which(command[0], path=PATH)


def run_within(
    bounds: ProgramBounds, program: str, command: Sequence[str], environment: Mapping[str, str], data: bytes
) -> tuple[bytes, str]:
    """Run what ``find`` has found; returns all that it says, and what is wrong, or "".

    For a process without threads, which adopts orphans. Raises OSError where it cannot be begun.
    """
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    others = frozenset(children())  # whose, if any, is none of our business
    process = os.fork()
    if process == 0:
        _become(bounds, program, command, environment, theirs_in, theirs_out)
    os.close(theirs_in)
    os.close(theirs_out)
    patience = 0.0
    try:
        said, why = _talk(ours_in, ours_out, data, bounds)
        patience = 0.0 if why else bounds.ends_seconds
    finally:
        status = _end_program(process, patience, others)
    return said, why or (f"status {status}" if status else "")


def _become(
    bounds: ProgramBounds, program: str, command: Sequence[str], environment: Mapping[str, str], stdin: int, stdout: int
) -> NoReturn:
    try:
        os.setsid()
        # To write there is forbidden to a confined server.
        stderr = stdout if bounds.heard else os.open(os.devnull, os.O_RDONLY)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.chdir("/")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _give_up(bounds)
        end_with_parent()
        os.execve(program, list(command), dict(environment))  # noqa: S606  # no shell, and the administrator's command
    except (OSError, ValueError, ConfigError):
        pass
    finally:
        os._exit(127)


def _give_up(bounds: ProgramBounds) -> None:
    """Have no right that a program which reads and writes two pipes does not need."""
    limits = [
        (resource.RLIMIT_AS, bounds.memory_octets),
        (resource.RLIMIT_CPU, int(bounds.seconds)),
        (resource.RLIMIT_CORE, 0),
    ]
    if bounds.files is not None:
        limits.append((resource.RLIMIT_NOFILE, bounds.files))
    for limit, most in limits:
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    confine.drop_capabilities()
    confine.no_new_privileges()
    if bounds.landlock:
        confine.landlock(confine.to_read(()), ())


def _talk(stdin: int, stdout: int, octets: bytes, bounds: ProgramBounds) -> tuple[bytes, str]:
    """Give *octets*, and take what comes until its end; returns that, and what is wrong. Closes both."""
    deadline = time.monotonic() + bounds.seconds
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
                    if len(found) > bounds.output_octets:
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


def _end_program(process: int, patience: float, others: frozenset[int]) -> int:
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
