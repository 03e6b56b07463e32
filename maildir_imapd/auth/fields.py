"""Dovecot's extra fields, made into an identity: ``key=value`` words, whatever back end they stand in.

    home, uid, gid     where passwd-files have a place of their own for them and others do not; names or numbers
    mail               where the mail is
    quota_rule         *:storage=1G:messages=1000
    quota_rule2        Trash:storage=+100M, or Trash:ignore, for a single mailbox; and so on up to quota_rule9
    quota_storage      one of the limits alone, or quota_storage_size as Dovecot 2.4 has it: 1G
    quota_messages     or quota_message_count
    quota_mailboxes    or quota_mailbox_count
    acl_groups         groups for access rights, joined by commas
    allow_nets         from where he may log in: 192.0.2.0/24,2001:db8::/32
    connections        how many he may have at once; 0 for no limit
    search_index       yes or no: whether what his messages say is indexed
    mailboxes          as the setting, joined by ";", a blank as %20: Trash:auto=subscribe,autoexpunge=7d; or no
    keep_expunged      for how long expunged messages can be had back: 14d
    private_seen       yes or no: whether what others have seen of his mail is each reader's own
    acts_for           of a master user: for whom he may act, joined by commas: *@example.org
    nologin            he may not log in at all

Each may have ``userdb_`` in front, and then goes before the one without; a word that is not here is passed over.
"""

from __future__ import annotations

import grp
import ipaddress
import pwd
from collections.abc import Callable, Mapping
from typing import Final

from maildir_imapd.auth.base import Identity, Network, QuotaLimits
from maildir_imapd.events import Log
from maildir_imapd.quota_values import QuotaException, exception_of_dovecot
from maildir_imapd.values import MOST, duration, number, size, switch

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
    """Make the identity of *user*; raises ValueError, without the value, for ``allow_nets``, uid or gid that is none.

    A quota, or a number of connections, that cannot be understood is passed over with a line in the log: the settings'
    holds then.
    """

    def said(name: str) -> str | None:
        return fields.get(f"userdb_{name}") or fields.get(name)

    nets = fields.get("userdb_allow_nets", fields.get("allow_nets"))
    return Identity(
        user,
        home=home if home is not None else said("home"),
        uid=uid if uid is not None else owner(said("uid") or ""),
        gid=gid if gid is not None else group(said("gid") or ""),
        mail=said("mail"),
        groups=frozenset(each.strip() for each in (said("acl_groups") or "").split(",") if each.strip()),
        quota=_quota(user, said),
        quota_exceptions=_exceptions(user, said),
        mailboxes=said("mailboxes"),
        keep_expunged=_keep_expunged(user, said("keep_expunged")),
        search_index=_switch(user, said("search_index"), "search_index passed over"),
        private_seen=_switch(user, said("private_seen"), "private_seen passed over"),
        connections=_connections(user, said("connections")),
        nets=None if nets is None else networks(nets),
        acts_for=_names(fields.get("acts_for")),
    )


def _names(written: str | None) -> tuple[str, ...] | None:
    return None if written is None else tuple(each.strip() for each in written.split(",") if each.strip())


# The messages hold nothing of the line: where a field is missing, the password may stand in its place.


def owner(written: str) -> int | None:
    """Read a uid, or the name of a user of this machine; None for ""; raises ValueError."""
    if not written:
        return None
    try:
        return _number(written) if written.isdigit() else pwd.getpwnam(written).pw_uid
    except (KeyError, OverflowError):
        raise ValueError("the uid is not a user of this machine") from None


def group(written: str) -> int | None:
    """Read a gid, or the name of a group of this machine; None for ""; raises ValueError."""
    if not written:
        return None
    try:
        return _number(written) if written.isdigit() else grp.getgrnam(written).gr_gid
    except (KeyError, OverflowError):
        raise ValueError("the gid is not a group of this machine") from None


def _number(written: str) -> int:
    number = int(written) if written.isascii() and len(written) <= 10 else 1 << 32
    if number >= (1 << 32) - 1:
        raise OverflowError
    return number


def may_log_in(fields: Mapping[str, str]) -> bool:
    """Whether nothing keeps the user from logging in."""
    return "nologin" not in fields and "userdb_nologin" not in fields


def _switch(user: str, written: str | None, event: str) -> bool | None:
    """Read yes or no; *event* is noted where it is neither."""
    if written is None:
        return None
    try:
        return switch(written)
    except ValueError as error:
        log.error(event, user=user, why=error)
        return None


def _keep_expunged(user: str, written: str | None) -> float | None:
    if written is None:
        return None
    try:
        return duration(0, MOST)(written)
    except ValueError as error:
        log.error("keep_expunged passed over", user=user, why=error)
        return None


def _connections(user: str, written: str | None) -> int | None:
    if written is None:
        return None
    try:
        return number(0, MOST)(written)
    except ValueError as error:
        log.error("connections passed over", user=user, why=error)
        return None


def networks(written: str) -> tuple[Network, ...]:
    """Read ``allow_nets``: addresses and networks, joined by commas; raises ValueError."""
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in written.split(",") if word)
    except ValueError:
        # The message holds nothing of the value: where a field is missing, the password may stand in its place.
        raise ValueError("allow_nets is not a list of networks such as 192.0.2.0/24,2001:db8::/32") from None


# Fields that have the limits, and those for single mailboxes.
_LIMITS: Final[tuple[tuple[tuple[str, ...], Callable[[str], int]], ...]] = (
    (("quota_storage", "quota_storage_size"), size(0, MOST)),
    (("quota_messages", "quota_message_count"), number(0, MOST)),
    (("quota_mailboxes", "quota_mailbox_count"), number(0, MOST)),
)
_RULES: Final = ("quota_rule", *(f"quota_rule{n}" for n in range(2, 10)))


def _quota(user: str, said: Callable[[str], str | None]) -> QuotaLimits | None:
    """Read the limits: a rule says both of the first two, and a field of one of them goes before it."""
    limits: list[int | None] = [None, None, None]
    for rule in filter(_of_all, (said(name) for name in _RULES)):
        try:
            found = quota_rule(rule or "")
        except ValueError as error:
            log.error("quota passed over", user=user, why=error)
            continue
        limits[:2] = [(new or old or 0) for new, old in zip((found.octets, found.messages), limits, strict=False)]
    for at, (names, read) in enumerate(_LIMITS):
        for written in filter(None, map(said, names)):
            try:
                limits[at] = 0 if written == "unlimited" else read(written.replace(" ", ""))
            except ValueError as error:
                log.error("quota passed over", user=user, field=names[0], why=error)
    return None if limits == [None, None, None] else QuotaLimits(*limits)


def _of_all(rule: str | None) -> bool:
    """Whether a rule is about all mailboxes; one that is about none is told of as such a rule."""
    return rule is not None and (rule.startswith("*") or ":" not in rule)


def _exceptions(user: str, said: Callable[[str], str | None]) -> tuple[QuotaException, ...]:
    found: dict[tuple[str, ...], QuotaException] = {}
    for rule in (said(name) for name in _RULES):
        if rule is None or _of_all(rule):
            continue
        try:
            one = exception_of_dovecot(rule)
        except ValueError as error:
            log.error("quota passed over", user=user, why=error)
        else:
            found.setdefault(one.levels, one)
    return tuple(found.values())


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
