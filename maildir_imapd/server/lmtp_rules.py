"""How a worker takes mail by LMTP, as the settings say, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maildir_imapd.lmtp.answers import Answer
    from maildir_imapd.lmtp.dialogue import LmtpPolicy
    from maildir_imapd.store.maildir.delivery import Delivery
    from maildir_imapd.values import Network


@dataclass(frozen=True, slots=True)
class LmtpRules:
    """*networks*: from where it is taken over TCP; *delimiters*: between a user and what is his own affair."""

    policy: LmtpPolicy
    networks: tuple[Network, ...]
    delimiters: bytes
    over_quota: Answer
    works_ahead: bool
    """Whether what clients ask of messages is worked out of those that come in."""
    keywords: Callable[[Delivery], Sequence[bytes]] = lambda _: ()
    """Gives a message keywords, by what is in it."""
