"""The users of a back end as it has said, remembered for a while, so that not every login has to ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Final

from maildir_imapd.auth.base import Authenticator, Credential, Identity, Registered, keeper
from maildir_imapd.auth.mechanisms import Exchange, Situation, relay, unknown
from maildir_imapd.errors import AuthenticationFailed
from maildir_imapd.store.threads import locks

_SIZE: Final = 10_000


class LookUps:
    """A back end, whose answers to ``look_up`` hold for *seconds*, and "nobody" for *nobody_seconds*.

    What a check answers is not remembered here: whatever it says, the next question who the user is is asked anew.
    """

    at_hand: Final = False
    """Its users are another program's (``Chain.at_hand``)."""

    def __init__(self, back_end: Authenticator, *, seconds: float, nobody_seconds: float) -> None:
        self._back_end = back_end
        self._seconds = seconds
        self._nobody_seconds = nobody_seconds
        self._lock = locks.make(locks.Rank.GUARD)  # guards _known
        self._known: OrderedDict[str, tuple[Registered | None, float]] = OrderedDict()

    @property
    def name(self) -> str:
        """As ``Authenticator.name``."""
        return self._back_end.name

    @property
    def takes(self) -> tuple[type[Credential], ...]:
        """As ``Authenticator.takes``."""
        return self._back_end.takes

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``; may be as old as was said."""
        now = time.monotonic()
        with self._lock:
            known = self._known.get(user)
        if known is not None and now < known[1]:
            return known[0]
        found = self._back_end.look_up(user)
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
            identity = self._back_end.check(credential)
        except AuthenticationFailed:
            self._forget(credential.user)
            raise
        self._forget(credential.user)
        return identity

    @property
    def relayed(self) -> tuple[str, ...]:
        """As ``Relay.relayed``."""
        relays = relay(self._back_end)
        return relays.relayed if relays is not None else ()

    def relay(self, name: str, situation: Situation) -> Exchange:
        """As ``Relay.relay``."""
        relays = relay(self._back_end)
        if relays is None:
            raise unknown()
        return relays.relay(name, situation)

    def stored(self, user: str) -> str | None:
        """As ``SecretKeeper.stored``, asked each time."""
        keeps = keeper(self._back_end)
        return keeps.stored(user) if keeps is not None else None

    def all_kept_as(self, schemes: Container[str]) -> bool:
        """As ``SecretKeeper.all_kept_as``."""
        keeps = keeper(self._back_end)
        return keeps is not None and keeps.all_kept_as(schemes)

    def _forget(self, user: str) -> None:
        with self._lock:
            self._known.pop(user, None)

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``."""
        return self._back_end.users()
