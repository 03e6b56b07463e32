"""Jobs that work out, in a process of their own, what clients ask of messages: after deliveries, and while one waits.

They say nothing to anybody: what they have made is in the folder's cache (imap/columns/ahead.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import LockTimeout, MailboxMissing
from maildir_imapd.events import Log
from maildir_imapd.imap import commands as _commands  # noqa: F401  (it makes all fields known)
from maildir_imapd.imap.columns import ahead
from maildir_imapd.server import jobs
from maildir_imapd.server.job_queue import JobKind
from maildir_imapd.store.threads.ahead import parse

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.imap.columns.danger import Message
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.account import Account

log = Log(__name__)

# Seconds from the first word of a folder until a job begins: what comes in a burst is one.
DELAY_SECONDS: Final = 1.0
# Seconds from one job of a user's to the next.
REST_SECONDS: Final = 10.0


def kind(config: Config, opens: Opens | None = None) -> JobKind:
    """Return how such jobs are done; *opens*: what opens the mail of a user, if not as the settings say."""
    found = opens or jobs.of_users(config)

    def begin(
        user: str, wants: Sequence[bytes], cells: memoryview[int], left_out: Collection[Message], parent: int
    ) -> int:
        return work(found, user, wants, jobs.Noting(cells, left_out), parent)

    return JobKind("fields", begin, DELAY_SECONDS, REST_SECONDS)


def work(opens: Opens, user: str, wants: Sequence[bytes], noting: jobs.Noting, parent: int) -> int:
    """Work out what is wanted (``Want.render``) of a user's messages; as ``jobs.carry_out``."""

    def do(account: Account) -> int:
        for want in map(parse, wants):
            if noting.ending:
                break
            try:
                mailbox = account.mailbox_at(want.path)
                noting.folder(mailbox)
                done = ahead.work(mailbox, want, noting)
            except (MailboxMissing, LockTimeout):
                continue  # it has gone meanwhile, or somebody holds it: whoever asks works it out
            if done:
                log.debug("worked out ahead", path=want.path, messages=done)
        return noting.ended

    return jobs.carry_out(do, opens, user, noting, parent, warn=partial(log.warning, "nothing worked out ahead"))
