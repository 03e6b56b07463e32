"""Jobs that let messages go by themselves (autoexpunge): after a user has left, and once a day for everybody.

The daily round is made by one of all workers: whoever finds that a day is over begins it. For users of whom no back end
has a list there is none.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError, LockTimeout, MailboxMissing, NotSelectable
from maildir_imapd.events import Log
from maildir_imapd.server import jobs, settings, shared
from maildir_imapd.server.job_queue import JobKind
from maildir_imapd.store.expiring import expire

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.imap.columns.danger import Message
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.account import Account

log = Log(__name__)

# Seconds from when a user leaves until his job begins, and from one of his to the next.
DELAY_SECONDS: Final = 2.0
REST_SECONDS: Final = 60.0
DAY_SECONDS: Final = 86400
# Seconds from the start of the server until the first round, and from a round that could not begin to the next try.
FIRST_SECONDS: Final = 600
AGAIN_SECONDS: Final = 3600
# Seconds by which workers look at different times.
_APART_SECONDS: Final = 60.0
# When the next round begins, in seconds since the machine started; 0: none has yet.  Made with this module, before the
# supervisor forks, so all its workers have the same.
_NEXT: Final = shared.words(1)


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class DailyRound:
    """Everybody's turn, once a day; of those who share *following* one has it. As ``job_queue.Round``."""

    def __init__(
        self,
        everybody: Callable[[], Iterator[str]],
        following: memoryview[int] = _NEXT,
        *,
        now: Callable[[], float] = _since_boot,
        apart: float | None = None,
    ) -> None:
        self._everybody = everybody
        self._next = following
        self._now = now
        apart = random.uniform(0, _APART_SECONDS) if apart is None else apart  # noqa: S311  # no secret
        self._first = now() + FIRST_SECONDS + apart
        self._apart = apart
        self._under_way: Iterator[str] | None = None

    def patience(self) -> float:
        """As ``Round.patience``."""
        if self._under_way is not None:
            return 0.0
        return max(0.0, self._due() - self._now())

    def _due(self) -> float:
        following = self._next[0]
        return max(self._first, following + self._apart) if following else self._first

    def some(self, count: int) -> list[str]:
        """As ``Round.some``."""
        if self._under_way is None:
            if self._due() > self._now():
                return []
            self._next[0] = int(self._now()) + DAY_SECONDS
            self._under_way = iter(())
            log.info("daily round")
            try:
                self._under_way = self._everybody()
            except ImapdError as error:
                self._put_off(error)
        try:
            found = list(islice(self._under_way, count))
        except ImapdError as error:
            self._put_off(error)
            return []
        if not found:
            self._under_way = None
        return found

    def _put_off(self, error: ImapdError) -> None:
        """Try again in an hour."""
        log.warning("daily round put off", why=error.text, detail=error.detail)
        self._under_way = iter(())
        self._next[0] = int(self._now()) + AGAIN_SECONDS


def wanted(config: Config) -> bool:
    """Whether messages of any user go by themselves, as far as that can be known now."""
    mail = settings.mail(config)
    if mail.keep_expunged or any(each.expires for each in mail.usual or ()):
        return True
    users = settings.chain(config)
    # What another program says of its users is not known before they come.
    return not users.at_hand or any(map(mail.expires_of, users.everybody()))


def kind(config: Config, opens: Opens | None = None) -> JobKind:
    """Return how such jobs are done; *opens*: what opens the mail of a user, if not as the settings say."""
    concerns = settings.mail(config).expires_of
    found = opens or jobs.of_users(config, concerns)

    def begin(
        user: str, wants: Sequence[bytes], cells: memoryview[int], left_out: Collection[Message], parent: int
    ) -> int:
        return work(found, user, jobs.Noting(cells, left_out), parent)

    def everybody() -> Iterator[str]:
        return (who.user for who in settings.chain(config).everybody() if concerns(who))

    # A tunnel has one user, who is here.
    return JobKind("expiry", begin, DELAY_SECONDS, REST_SECONDS, DailyRound(everybody) if opens is None else None)


def work(opens: Opens, user: str, noting: jobs.Noting, parent: int, now: Callable[[], float] = time.time) -> int:
    """Let go what is over of a user's messages; as ``jobs.carry_out``."""

    def those_here(user: str) -> Account | None:
        try:
            return opens(user)
        except MailboxMissing:
            return None  # he has never been here

    def do(account: Account) -> int:
        _each(account, user, noting, now)
        return noting.ended

    return jobs.carry_out(do, those_here, user, noting, parent, warn=partial(log.warning, "no autoexpunge"))


def _each(account: Account, user: str, noting: jobs.Noting, now: Callable[[], float]) -> None:
    def go_on() -> bool:
        noting.moves()
        return not noting.ending

    for rule in account.usual:
        if not rule.expires or not go_on():
            continue
        name = rule.name(account.prefix, account.delimiter)
        try:
            mailbox = account.mailbox(name)
            noting.folder(mailbox)
            count = expire(mailbox, rule, now(), go_on)
        except (MailboxMissing, NotSelectable, LockTimeout):
            continue  # it is not there, or somebody holds it: it has its turn the next time
        except ImapdError as error:
            log.warning("no autoexpunge", user=user, mailbox=name, why=error.text, detail=error.detail)
            continue
        if count:
            log.info("autoexpunge", user=user, mailbox=name, messages=count)
    try:
        count = account.deleted.expire(now(), go_on)
    except LockTimeout:
        return  # as above
    if count:
        log.info("expunged messages gone for good", user=user, messages=count)
