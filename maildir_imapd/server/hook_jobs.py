"""Jobs that run hooks: commands of the administrator's for messages that clients put into a mailbox, or take out.

A hook is run for each message, one at a time of each worker, as the mail's owner, with the message on its standard
input and what has happened in its environment; without a shell.  It has so much time, and is ended with all that it has
started.  Nobody waits for it: what comes while too much waits, or when the server ends, is run for nobody.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from maildir_imapd.errors import ConfigError, ImapdError, LockTimeout, MailboxMissing, StoreError
from maildir_imapd.events import Log
from maildir_imapd.server import confine, jobs, settings
from maildir_imapd.server.extracting import INPUT_OCTETS, adopt_orphans, children, end_program, end_with_parent, talk
from maildir_imapd.server.job_queue import JobKind
from maildir_imapd.store.threads.moves import Moved, parse

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.imap.columns.danger import Message
    from maildir_imapd.server.hook import Hook
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.mailbox import Mailbox

log = Log(__name__)

# Seconds from the first word for a user until a job begins, and from one of his to the next.
DELAY_SECONDS: Final = 0.2
REST_SECONDS: Final = 0.0
# Seconds that a hook has, by the clock and of the processor, and its memory.
PATIENCE_SECONDS: Final = 60.0
MEMORY_OCTETS: Final = 2 << 30
# Seconds that it has to end once it has closed its output.
_ENDS_SECONDS: Final = 5.0
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_SAID_OCTETS: Final = 200


def kind(config: Config, opens: Opens | None = None) -> JobKind:
    """Return how such jobs are done; *opens*: what opens the mail of a user, if not as the settings say."""
    found, hooks = opens or jobs.of_users(config), settings.hooks(config)

    def begin(
        user: str, moves: Sequence[bytes], cells: memoryview[int], left_out: Collection[Message], parent: int
    ) -> int:
        return work(found, hooks, user, moves, jobs.Noting(cells, left_out), parent)

    return JobKind("hooks", begin, DELAY_SECONDS, REST_SECONDS)


def work(
    opens: Opens, hooks: Sequence[Hook], user: str, moves: Sequence[bytes], noting: jobs.Noting, parent: int
) -> int:
    """Run what is to be run for messages of a user (``Moved.render``); returns how it ended.

    The process is good for nothing else afterwards, and ends with its *parent*.
    """
    try:
        account = opens(user)
        if account is None:
            return jobs.DONE
        if not jobs.watch(noting, parent):
            return jobs.FAILED
        adopt_orphans()
        for moved in map(parse, moves):
            if noting.ending:
                break
            try:
                mailbox = account.mailbox_at(moved.path)
                noting.folder(mailbox)
                _each(hooks, user, mailbox, moved, noting)
            except (MailboxMissing, LockTimeout):
                continue  # it has gone meanwhile, or somebody holds it
    except ImapdError as error:
        log.warning("hooks not run", user=user, why=error.text, detail=error.detail)
    # Never again: what was run once is not run twice.
    return jobs.DONE


def _each(hooks: Sequence[Hook], user: str, mailbox: Mailbox, moved: Moved, noting: jobs.Noting) -> None:
    wanted = [hook for hook in hooks if hook.folder in (moved.source, moved.target)]
    rows = mailbox.sync(keep_new=True)
    if rows.uidvalidity != moved.uidvalidity:
        return
    for uid in range(moved.first, moved.last + 1):
        at = rows.position(uid)
        if at < 0 or not noting.at(uid):
            continue
        try:
            file = mailbox.load(uid, under=moved.uidvalidity, limit=INPUT_OCTETS)
        except StoreError:
            continue  # it has gone on
        if not file.whole:
            log.info("hook not run", user=user, uid=uid, why="the message is too large")
            continue
        flags = b" ".join(rows.flag_names(rows.flags[at], uid))
        environment = _environment(user, moved, uid, flags.decode("utf-8", "replace"))
        for hook in wanted:
            noting.moves()
            _run(hook, environment, file.data, user, uid)
        noting.at(0)


def _environment(user: str, moved: Moved, uid: int, flags: str) -> dict[str, str]:
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/nonexistent"
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": home,
        "MAILDIR_IMAPD_USER": user,
        "MAILDIR_IMAPD_COMMAND": moved.verb,
        "MAILDIR_IMAPD_FROM": moved.source,
        "MAILDIR_IMAPD_TO": moved.target,
        "MAILDIR_IMAPD_UID": str(uid),
        "MAILDIR_IMAPD_FLAGS": flags,
    }


def _run(hook: Hook, environment: Mapping[str, str], data: bytes, user: str, uid: int) -> None:
    name = hook.command[0]
    program = shutil.which(name, path=_PATH)
    if program is None:
        log.error("no such program for a hook", program=name)
        return
    try:
        said, why = _talk(program, hook.command, environment, data)
    except OSError as error:
        said, why = b"", str(error)
    if why:
        log.warning("hook failed", program=name, user=user, uid=uid, why=why, said=said[:_SAID_OCTETS])
    else:
        facts = {"source": environment["MAILDIR_IMAPD_FROM"], "target": environment["MAILDIR_IMAPD_TO"]}
        log.info("hook run", program=name, user=user, uid=uid, **facts)


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
