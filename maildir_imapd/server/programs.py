"""Running a command of the administrator's, in a job that is the owner of the mail: for hooks and warnings.

Without a shell, with an environment of its own and nothing else of ours; it has so much time, and is ended with all
that it has started.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from maildir_imapd.errors import ConfigError
from maildir_imapd.server import confine
from maildir_imapd.server.extracting import children, end_program, end_with_parent, talk

# Seconds that a program has, by the clock and of the processor, and its memory.
PATIENCE_SECONDS: Final = 60.0
MEMORY_OCTETS: Final = 2 << 30
# Seconds that it has to end once it has closed its output.
_ENDS_SECONDS: Final = 5.0
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_SAID_OCTETS: Final = 200


def environment(user: str, **facts: str) -> dict[str, str]:
    """Make the environment of a program that is run for a user; *facts* by the end of their names."""
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/nonexistent"
    named = {f"MAILDIR_IMAPD_{name}": fact for name, fact in facts.items()}
    return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": home, "MAILDIR_IMAPD_USER": user, **named}


def run(command: Sequence[str], environment: Mapping[str, str], data: bytes) -> tuple[bytes, str]:
    """Run a program, *data* on its standard input; returns the begin of what it says, and what went wrong, or ""."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return b"", "there is no such program, or it cannot be run"
    try:
        said, why = _talk(program, command, environment, data)
    except OSError as error:
        said, why = b"", str(error)
    return said[:_SAID_OCTETS], why


def _talk(program: str, command: Sequence[str], environment: Mapping[str, str], data: bytes) -> tuple[bytes, str]:
    """Run it; returns what it says, and what is wrong."""
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    others = frozenset(children())
    process = os.fork()
    if process == 0:
        _become(program, command, environment, theirs_in, theirs_out)
    os.close(theirs_in)
    os.close(theirs_out)
    patience = 0.0
    try:
        said, why = talk(ours_in, ours_out, data, PATIENCE_SECONDS)
        patience = 0.0 if why else _ENDS_SECONDS
    finally:
        status = end_program(process, patience, others)
    return said, why or (f"status {status}" if status else "")


def _become(program: str, command: Sequence[str], environment: Mapping[str, str], stdin: int, stdout: int) -> NoReturn:
    try:
        os.setsid()
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(stdout, 2)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.chdir("/")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.alarm(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for limit, most in (
            (resource.RLIMIT_AS, MEMORY_OCTETS),
            (resource.RLIMIT_CPU, int(PATIENCE_SECONDS)),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(limit)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (most, most))
        confine.drop_capabilities()
        confine.no_new_privileges()
        end_with_parent()
        os.execve(program, list(command), dict(environment))  # noqa: S606  # no shell, and the administrator's command
    except (OSError, ValueError, ConfigError):
        pass
    finally:
        os._exit(127)
