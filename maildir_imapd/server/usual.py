"""Which mailboxes are set up for users: from what is written to values of the store's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from maildir_imapd import normal
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.store.records.usual import Auto, UsualMailbox
from maildir_imapd.values import MailboxRule, mailbox_rules

log = Log(__name__)


def of_rules(rules: Iterable[MailboxRule]) -> tuple[UsualMailbox, ...]:
    """Return what they set up; raises ConfigError where two are about one mailbox, or of one special use."""
    found: dict[tuple[str, ...], UsualMailbox] = {}
    uses: dict[str, str] = {}
    for rule in rules:
        levels = tuple(normal.composed(level) for level in rule.levels)
        name = "/".join(levels)
        if levels in found:
            raise ConfigError(f"mailboxes has two items for {name}")
        if rule.use is not None:
            other = uses.setdefault(rule.use, name)
            if other != name:
                raise ConfigError(f"mailboxes has two of the special use {rule.use}: {other} and {name}")
        found[levels] = UsualMailbox(
            levels,
            None if rule.use is None else b"\\" + rule.use.encode("ascii"),
            cast("Auto", rule.auto),
            rule.autoexpunge,
            rule.autoexpunge_count,
        )
    return tuple(found.values())


def of_user(user: str, written: str, otherwise: tuple[UsualMailbox, ...] | None) -> tuple[UsualMailbox, ...] | None:
    """Read what the user database says; what is wrong is in the log, and *otherwise* holds."""
    try:
        return of_rules(mailbox_rules(written))
    except (ValueError, ConfigError) as error:
        log.error("mailboxes passed over", user=user, why=error)
        return otherwise
