"""The users of a back end as it has said, remembered for a while, so that not every login has to ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from maildir_imapd.auth.around import Around
from maildir_imapd.auth.base import Authenticator, Credential, Identity, Registered
from maildir_imapd.errors import AuthenticationFailed
from maildir_imapd.store.threads import locks

_SIZE: Final = 10_000


class LookUps(Around):
    """A back end, whose answers to ``look_up`` hold for *seconds*, and "nobody" for *nobody_seconds*.

    What a check answers is not remembered here: whatever it says, the next question who the user is is asked anew.
    """

    at_hand: Final = False
    """Its users are another program's (``Chain.at_hand``)."""

    def __init__(self, back_end: Authenticator, *, seconds: float, nobody_seconds: float) -> None:
        super().__init__(back_end)
        self._seconds = seconds
        self._nobody_seconds = nobody_seconds
        self._lock = locks.make(locks.Rank.GUARD)  # guards _known
        self._known: OrderedDict[str, tuple[Registered | None, float]] = OrderedDict()

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``; may be as old as was said."""
        now = time.monotonic()
        with self._lock:
            known = self._known.get(user)
        if known is not None and now < known[1]:
            return known[0]
        found = self.inner.look_up(user)
        seconds = self._nobody_seconds if found is None else self._seconds
        if seconds:
            with self._lock:
                self._known[user] = (found, now + seconds)
                self._known.move_to_end(user)
                while len(self._known) > _SIZE:
                    self._known.popitem(last=False)
        return found

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``."""
        try:
            identity = self.inner.check(credential)
        except AuthenticationFailed:
            self._forget(credential.user)
            raise
        self._forget(credential.user)
        return identity

    def _forget(self, user: str) -> None:
        with self._lock:
            self._known.pop(user, None)

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``."""
        return self.inner.users()
