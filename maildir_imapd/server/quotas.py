"""How much users may keep: what is said of a user, of his groups and of everybody, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd import normal
from maildir_imapd.errors import ConfigError
from maildir_imapd.store.records.quota_rooms import NO_GRACE, Grace, MailboxRoom

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.quota_values import GroupQuota, QuotaException, QuotaWarning
    from maildir_imapd.store.account import Account


@dataclass(frozen=True, slots=True)
class QuotaOfUser:
    """Limits of one user, and exceptions from them; 0 is no limit."""

    storage: int = 0
    messages: int = 0
    mailboxes: int = 0
    rooms: tuple[MailboxRoom, ...] = ()
    grace: Grace = NO_GRACE

    def put(self, account: Account) -> None:
        """Have an account go by it."""
        account.limit(self.storage, self.messages, self.mailboxes, self.rooms)
        account.quota.grace = self.grace


NOTHING_SAID: Final = QuotaOfUser()


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of users of whom nothing else is said, and of groups."""

    everybody: QuotaOfUser = NOTHING_SAID
    groups: tuple[GroupQuota, ...] = ()
    thresholds: tuple[int, ...] = ()
    """The percents of the limit that somebody wants to hear of, rising."""

    def of(self, identity: Identity) -> QuotaOfUser:
        """Return what one user may keep.

        Of each of the three limits what is said of him goes before the most that any of his groups may, and that before
        what holds for everybody.
        """
        said, groups = identity.quota, [each for each in self.groups if each.group in identity.groups]

        def limit(own: int | None, of_groups: list[int | None], usual: int) -> int:
            if own is not None:
                return own
            found = [each for each in of_groups if each is not None]
            return usual if not found else 0 if 0 in found else max(found)

        usual = self.everybody
        return QuotaOfUser(
            limit(None if said is None else said.octets, [each.storage for each in groups], usual.storage),
            limit(None if said is None else said.messages, [each.messages for each in groups], usual.messages),
            limit(None if said is None else said.mailboxes, [each.mailboxes for each in groups], usual.mailboxes),
            _joined(rooms(identity.quota_exceptions), usual.rooms),
            usual.grace,
        )


NO_QUOTAS: Final = Quotas()


def of_settings(config: Config) -> Quotas:
    """Read what the settings say; raises ConfigError for what is said twice."""
    names = [each.group for each in config.quota_groups]
    _demand_once("quota_groups has two items for the group", names)
    found = rooms(config.quota_exceptions)
    _demand_once("quota_exceptions has two items for", ["/".join(each.levels) for each in found])
    grace = Grace(config.quota_grace.octets, config.quota_grace.percent)
    everybody = QuotaOfUser(
        config.quota_storage or 0, config.quota_messages or 0, config.quota_mailboxes or 0, found, grace
    )
    thresholds = tuple(sorted({each.percent for each in warnings(config)}))
    return Quotas(everybody, tuple(config.quota_groups), thresholds)


def warnings(config: Config) -> tuple[QuotaWarning, ...]:
    """Read what is run when quotas fill up; raises ConfigError for what is said twice."""
    found: tuple[QuotaWarning, ...] = tuple(config.quota_warnings)
    _demand_once(
        "quota_warnings has two commands for", [f"{'under ' * each.under}{each.percent} percent" for each in found]
    )
    return found


def _demand_once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{what} {name}")
        seen.add(name)


def rooms(exceptions: Iterable[QuotaException]) -> tuple[MailboxRoom, ...]:
    """Make the store's values of what is written."""
    return tuple(
        MailboxRoom(
            tuple(normal.composed(level) for level in each.levels),
            each.ignored,
            each.storage,
            each.storage_percent,
            each.messages,
            each.messages_percent,
        )
        for each in exceptions
    )


def _joined(own: tuple[MailboxRoom, ...], usual: tuple[MailboxRoom, ...]) -> tuple[MailboxRoom, ...]:
    """Both together; of one mailbox the user's own goes before everybody's."""
    if not own:
        return usual
    names = {each.levels for each in own}
    return (*own, *(each for each in usual if each.levels not in names))
