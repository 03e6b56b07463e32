"""Jobs that run hooks: commands of the administrator's for messages that clients put into a mailbox, or take out.

A hook is run for each message, one at a time of each worker, as the mail's owner, with the message on its standard
input and what has happened in its environment; without a shell.  It has so much time, and is ended with all that it has
started.  Nobody waits for it: what comes while too much waits, or when the server ends, is run for nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import LockTimeout, MailboxMissing, StoreError
from maildir_imapd.events import Log
from maildir_imapd.server import jobs, programs, settings
from maildir_imapd.server.extracting import INPUT_OCTETS
from maildir_imapd.server.job_queue import JobKind
from maildir_imapd.store.threads.moves import Moved, parse

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.imap.columns.danger import Message
    from maildir_imapd.server.hook import Hook
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox

log = Log(__name__)

# Seconds from the first word for a user until a job begins, and from one of his to the next.
DELAY_SECONDS: Final = 0.2
REST_SECONDS: Final = 0.0


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
    """Run what is to be run for messages of a user (``Moved.render``); as ``jobs.carry_out``."""

    def do(account: Account) -> int:
        programs.adopt_orphans()
        for moved in map(parse, moves):
            if noting.ending:
                break
            try:
                mailbox = account.mailbox_at(moved.path)
                noting.folder(mailbox)
                _each(hooks, user, mailbox, moved, noting)
            except (MailboxMissing, LockTimeout):
                continue  # it has gone meanwhile, or somebody holds it
        return jobs.DONE

    jobs.carry_out(do, opens, user, noting, parent, warn=partial(log.warning, "hooks not run"))
    # However it ended, never again: what was run once is not run twice.
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
    return programs.environment(user, COMMAND=moved.verb, FROM=moved.source, TO=moved.target, UID=str(uid), FLAGS=flags)


def _run(hook: Hook, environment: Mapping[str, str], data: bytes, user: str, uid: int) -> None:
    said, why = programs.run(hook.command, environment, data)
    name = hook.command[0]
    if why:
        log.warning("hook failed", program=name, user=user, uid=uid, why=why, said=said)
    else:
        facts = {"source": environment["MAILDIR_IMAPD_FROM"], "target": environment["MAILDIR_IMAPD_TO"]}
        log.info("hook run", program=name, user=user, uid=uid, **facts)
