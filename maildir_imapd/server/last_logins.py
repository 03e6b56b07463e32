"""Telling a database of logins, in a thread of its own: no login waits for it, and none depends on it.

Of each user one login is told in a while, the last one that is known when his turn comes.  What the database does not
take, or cannot be told, is in the log; the others wait meanwhile, so many of them, and the oldest is forgotten first.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.sql import LoginFacts
from maildir_imapd.errors import ConfigError, Unavailable
from maildir_imapd.events import Log
from maildir_imapd.store.threads.longlived import BEAT_SECONDS, LongLived

if TYPE_CHECKING:
    from collections.abc import Callable

    from maildir_imapd.auth.sql import Database, Query
    from maildir_imapd.auth.waiting import Pool

log = Log(__name__)

# Seconds between two statements about one user.
EVERY_SECONDS: Final = 60.0
# Seconds that a database is left alone which could not be told.
PAUSE_SECONDS: Final = 10.0
# Users who wait, and who are remembered as told.
WAITING: Final = 10_000
# Seconds that a worker which ends has for those who wait.
LAST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class LastLoginQuery:
    """A statement about a login, and whom to ask it."""

    pool: Pool[Database]
    query: Query


class LastLogins:
    """The logins of a worker that are to be told; safe from any thread.

    The thread begins with ``start``, as whoever calls that, and not as a user.
    """

    def __init__(self, told: LastLoginQuery, *, now: Callable[[], float] = time.monotonic) -> None:
        self._told = told
        self._now = now
        self._wake = threading.Condition()  # guards the next two
        self._waiting: OrderedDict[str, LoginFacts] = OrderedDict()
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._quick = threading.Event()  # set when nobody is waited for any more
        self._thread = LongLived("last logins", self._loop)

    def start(self) -> None:
        """Begin, or begin again where the thread has ended; raises RuntimeError."""
        self._thread.start()

    def note(self, user: str, service: str, address: str, _program: str = "") -> None:
        """Note a login; waits for nothing."""
        with self._wake:
            if self._now() - self._noted.get(user, -EVERY_SECONDS) < EVERY_SECONDS:
                return
            self._noted[user] = self._now()
            self._noted.move_to_end(user)
            self._waiting[user] = LoginFacts(int(time.time()), address, service)
            for each in (self._noted, self._waiting):
                while len(each) > WAITING:
                    each.popitem(last=False)
            self._wake.notify()

    def close(self) -> None:
        """Tell of those who wait, as far as that is done in a moment, and end."""
        self._thread.ask_to_end()
        self._quick.set()
        with self._wake:
            self._wake.notify()
        self._thread.join(LAST_SECONDS)

    def _loop(self) -> None:
        while True:
            self._thread.beat()
            with self._wake:
                if not self._waiting:
                    if self._thread.ending:
                        return
                    self._wake.wait(BEAT_SECONDS)
                found = self._waiting.popitem(last=False) if self._waiting else None
            if found is None or self._tell(*found):
                continue
            with self._wake:
                # Unless he has come again meanwhile.
                self._waiting.setdefault(found[0], found[1])
                self._waiting.move_to_end(found[0], last=False)
            if self._thread.ending:
                return
            self._quick.wait(PAUSE_SECONDS)

    def _tell(self, user: str, login: LoginFacts) -> bool:
        """Say it to the database; False where it may be said later."""
        query = self._told.query
        try:
            self._told.pool.ask(lambda database, until: database.rows(query, user, until, 0, login))
        except Unavailable:
            return False  # the log has it
        except ConfigError as error:
            log.error("the database does not take sql_last_login_query", user=user, why=error.text)
        return True
