"""Dovecot's extra fields, made into an identity: ``key=value`` words, whatever back end they stand in.

    userdb_mail, mail                where the mail is
    userdb_quota_rule, quota_rule    *:storage=1G:messages=1000
    userdb_acl_groups, acl_groups    groups for access rights, joined by commas
    allow_nets                       from where he may log in: 192.0.2.0/24,2001:db8::/32
    userdb_search_index, search_index  yes or no: whether what his messages say is indexed
    nologin                          he may not log in at all

The first of two names goes before the second; a word that is not here is passed over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from maildir_imapd.auth.base import Identity, Network, QuotaLimits
from maildir_imapd.events import Log
from maildir_imapd.values import MOST, number, size, switch

log = Log(__name__)


def words(written: str) -> dict[str, str]:
    """Read ``key=value`` words; one without a value is "yes", as in Dovecot."""
    found = {}
    for word in written.split():
        key, _, value = word.partition("=")
        found[key] = value or "yes"
    return found


def identity(
    user: str, fields: Mapping[str, str], *, home: str | None = None, uid: int | None = None, gid: int | None = None
) -> Identity:
    """Make the identity of *user*; raises ValueError, without the value, for ``allow_nets`` that is none.

    A quota that cannot be understood is passed over with a line in the log: the settings' holds then.
    """
    groups = fields.get("userdb_acl_groups") or fields.get("acl_groups") or ""
    nets = fields.get("allow_nets")
    return Identity(
        user,
        home=home,
        uid=uid,
        gid=gid,
        mail=fields.get("userdb_mail") or fields.get("mail"),
        groups=frozenset(group.strip() for group in groups.split(",") if group.strip()),
        quota=_quota(user, fields.get("userdb_quota_rule") or fields.get("quota_rule")),
        search_index=_search_index(user, fields.get("userdb_search_index") or fields.get("search_index")),
        nets=None if nets is None else networks(nets),
    )


def may_log_in(fields: Mapping[str, str]) -> bool:
    """Whether nothing keeps the user from logging in."""
    return "nologin" not in fields


def _search_index(user: str, written: str | None) -> bool | None:
    if written is None:
        return None
    try:
        return switch(written)
    except ValueError as error:
        log.error("search_index passed over", user=user, why=error)
        return None


def networks(written: str) -> tuple[Network, ...]:
    """Read ``allow_nets``: addresses and networks, joined by commas; raises ValueError."""
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in written.split(",") if word)
    except ValueError:
        # The message holds nothing of the value: where a field is missing, the password may stand in its place.
        raise ValueError("allow_nets is not a list of networks such as 192.0.2.0/24,2001:db8::/32") from None


def _quota(user: str, rule: str | None) -> QuotaLimits | None:
    if rule is None:
        return None
    try:
        return quota_rule(rule)
    except ValueError as error:
        log.error("quota passed over", user=user, why=error)
        return None


def quota_rule(written: str) -> QuotaLimits:
    """Read Dovecot's ``*:storage=1G:messages=1000``; raises ValueError for what is understood otherwise.

    As there, a storage without a unit is in KiB.
    """
    mailbox, _, rest = written.partition(":")
    octets = messages = 0
    for word in rest.split(":"):
        name, equals, value = word.partition("=")
        if mailbox != "*" or not equals or name not in ("storage", "bytes", "messages"):
            raise ValueError("the rule for a quota must be as *:storage=1G:messages=1000")
        if name == "messages":
            messages = number(0, MOST)(value)
        else:
            in_kib = name == "storage" and value.isdigit()
            octets = size(0, MOST)(value + "K" if in_kib else value)
    return QuotaLimits(octets, messages)
