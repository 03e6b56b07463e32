"""A back end around another one: what it does not do otherwise the inner one does."""

from __future__ import annotations

from collections.abc import Container

from maildir_imapd.auth.base import Authenticator, Credential, keeper
from maildir_imapd.auth.mechanisms import Exchange, Situation, relay, unknown


class Around:
    """As ``SecretKeeper`` and ``Relay`` of *inner*, as far as that is either: ``takes`` says so."""

    def __init__(self, inner: Authenticator) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """As ``Authenticator.name``."""
        return self.inner.name

    @property
    def takes(self) -> tuple[type[Credential], ...]:
        """As ``Authenticator.takes``."""
        return self.inner.takes

    @property
    def relayed(self) -> tuple[str, ...]:
        """As ``Relay.relayed``."""
        relays = relay(self.inner)
        return relays.relayed if relays is not None else ()

    def relay(self, name: str, situation: Situation) -> Exchange:
        """As ``Relay.relay``."""
        relays = relay(self.inner)
        if relays is None:
            raise unknown()
        return relays.relay(name, situation)

    def stored(self, user: str) -> str | None:
        """As ``SecretKeeper.stored``, asked each time."""
        keeps = keeper(self.inner)
        return keeps.stored(user) if keeps is not None else None

    def all_kept_as(self, schemes: Container[str]) -> bool:
        """As ``SecretKeeper.all_kept_as``."""
        keeps = keeper(self.inner)
        return keeps is not None and keeps.all_kept_as(schemes)
