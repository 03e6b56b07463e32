"""Jobs that tell of quotas which fill up, by a command of the administrator's: each threshold that is crossed once.

Whatever changes mail says that a threshold may be crossed (``Quota.tell``), and waits for nothing.  A job counts,
writes down what it has found under the account's lock, and runs the command if it is the one that wrote: so of several
workers and commands one tells it.  Who dies in between has told nobody.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError
from maildir_imapd.events import Log
from maildir_imapd.server import jobs, programs, quotas
from maildir_imapd.server.job_queue import JobKind
from maildir_imapd.store.records.quota_warned import Crossing, Fullness

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.imap.columns.danger import Message
    from maildir_imapd.quota_values import QuotaWarning
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.account import Account

log = Log(__name__)
_not_looked_for: Final = partial(log.warning, "quota warning not looked for")

# Seconds from the first word for a user until a job begins, and from one of his to the next.
DELAY_SECONDS: Final = 0.2
REST_SECONDS: Final = 0.0


def kind(config: Config, opens: Opens | None = None) -> JobKind:
    """Return how such jobs are done; *opens*: what opens the mail of a user, if not as the settings say."""
    found, warnings = opens or jobs.of_users(config), quotas.warnings(config)

    def begin(
        user: str, _wants: Sequence[bytes], cells: memoryview[int], left_out: Collection[Message], parent: int
    ) -> int:
        return work(found, warnings, user, jobs.Noting(cells, left_out), parent)

    return JobKind("quota warnings", begin, DELAY_SECONDS, REST_SECONDS)


def work(opens: Opens, warnings: Sequence[QuotaWarning], user: str, noting: jobs.Noting, parent: int) -> int:
    """Tell of a user's quota; as ``jobs.carry_out``."""

    def do(account: Account) -> int:
        programs.adopt_orphans()
        warn(account, warnings, user)
        return jobs.DONE

    jobs.carry_out(do, opens, user, noting, parent, warn=_not_looked_for)
    # However it ended: what goes on filling up is found at the next change.
    return jobs.DONE


def aside(account: Account, warnings: Sequence[QuotaWarning], user: str) -> None:
    """Tell of a user's quota in a process of its own, for which nobody waits; this one is the owner of the mail.

    It has none of the descriptors by which whoever runs this one hears that it has ended.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    status = 1
    try:
        if os.fork() == 0:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            # It ends by itself, whatever hangs.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(jobs.STANDS_SECONDS)
            programs.adopt_orphans()
            warn(account, warnings, user)
        status = 0
    except ImapdError as error:
        _not_looked_for(user=user, why=error.text, detail=error.detail)
    finally:
        os._exit(status)


def warn(account: Account, warnings: Sequence[QuotaWarning], user: str) -> None:
    """Run the command for what has been crossed since the last one, if anything has; raises StoreError, LockTimeout."""
    warned = account.quota.warned
    if warned is None:
        return

    def measure() -> Fullness:
        usage = account.quota.usage()
        return Fullness(0) if usage is None else usage.fullness

    crossing = warned.cross(measure, sorted({each.percent for each in warnings}))
    chosen = None if crossing is None else choose(warnings, crossing)
    if crossing is None or chosen is None:
        return
    now = crossing.now
    environment = programs.environment(
        user,
        PERCENT=str(chosen.percent),
        RESOURCE=now.resource,
        USED=str(now.used),
        LIMIT=str(now.limit),
    )
    command = [_filled(word, user) for word in chosen.command]
    facts = {"percent": chosen.percent, "resource": now.resource, "used": now.used, "limit": now.limit}
    said, why = programs.run(command, environment, b"")
    if why:
        log.warning("quota warning failed", program=command[0], user=user, **facts, why=why, said=said)
    else:
        log.info("quota warning run", program=command[0], user=user, under=chosen.under, **facts)


def choose(warnings: Sequence[QuotaWarning], crossing: Crossing) -> QuotaWarning | None:
    """Return the one to run: of those that are reached the highest, of those that are left the lowest."""
    reached = [each for each in warnings if not each.under and crossing.rises_over(each.percent)]
    left = [each for each in warnings if each.under and crossing.falls_under(each.percent)]
    return max(reached, key=_percent, default=min(left, key=_percent, default=None))


def _percent(warning: QuotaWarning) -> int:
    return warning.percent


def _filled(word: str, user: str) -> str:
    """Fill the variables into a word of a command: what is in a name is never read as one, nor by a shell."""
    local, _, domain = user.partition("@")
    values = {"u": user, "n": local, "d": domain, "%": "%"}
    pieces = word.split("%")
    filled, at = [pieces[0]], 1
    while at < len(pieces):
        if pieces[at]:
            filled.append(values[pieces[at][0]] + pieces[at][1:])
            at += 1
        else:
            # Two percent signs, and what is behind them as it is.
            filled.append("%" + (pieces[at + 1] if at + 1 < len(pieces) else ""))
            at += 2
    return "".join(filled)
