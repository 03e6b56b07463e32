"""GETQUOTA, GETQUOTAROOT, SETQUOTA: one root for all of a user's mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd import mutf7
from maildir_imapd.errors import BadArgument, CannotDo, MailboxMissing, NoPermission, Refused
from maildir_imapd.imap.mailboxes.rights import demand, rights_of, visible
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.store.branch import SpaceKind
from maildir_imapd.store.records.quota import Amount
from maildir_imapd.wire.render import quota_line, quotaroot_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.branch import Branch
    from maildir_imapd.wire.commands import GetQuota, GetQuotaRoot, SetQuota

ROOT: Final = b"User quota"
# Octets in a unit of STORAGE (RFC 9208 5.1).
UNIT_OCTETS: Final = 1024


def _root(session: Session, branch: Branch) -> bytes:
    """The quota root of a branch: of somebody else's account with whose it is, in modified UTF-7."""
    if branch.account.quota is session.account.own.quota:
        return ROOT
    whose = branch.owner if branch.kind is SpaceKind.OTHERS else branch.prefix.removesuffix(branch.delimiter)
    return ROOT + b" of " + mutf7.encode(whose)


def _branch_of(session: Session, root: bytes) -> Branch:
    """The branch whose quota root this is, of those of which the user may see a mailbox; raises Refused."""
    account = session.account
    if root == ROOT:
        return account.branch
    for branch in account.branches():
        if _root(session, branch) == root:
            names = {row.name for row in visible(session) if row.selectable}
            if any((found := account.locate(name)) is not None and found.branch is branch for name in names):
                return branch
    raise Refused("There is no such quota root")


def _resources(account: Account) -> list[tuple[bytes, int, int]]:
    """List resources that are limited with usage and limit (RFC 9208 5)."""
    usage = account.quota.usage()
    found = []
    if usage is not None and usage.limit.storage:
        found.append((b"STORAGE", -(-usage.used.storage // UNIT_OCTETS), -(-usage.limit.storage // UNIT_OCTETS)))
    if usage is not None and usage.limit.messages:
        found.append((b"MESSAGE", usage.used.messages, usage.limit.messages))
    if account.quota_mailboxes:
        found.append((b"MAILBOX", account.mailbox_count(), account.quota_mailboxes))
    return found


def _announced(session: Session) -> list[bytes]:
    """For whom there is a limit, or who may set one: others are shown an empty bar by clients that look for it."""
    own = session.account.own
    if not (_may_set(session) or own.quota_mailboxes or own.quota.limited):
        return []
    return [b"QUOTA", b"QUOTA=RES-STORAGE", b"QUOTA=RES-MESSAGE", b"QUOTA=RES-MAILBOX"]


def _may_set(session: Session) -> bool:
    """Whether SETQUOTA is there for this user."""
    return session.policy.quota_set and session.account.own.quota.settable


@command(b"GETQUOTA", states=LOGGED_IN, announces=_announced)
def getquota(session: Session, cmd: GetQuota, reply: Reply) -> Done:
    """Tell limits and usage of a quota root (RFC 9208 4.1.1)."""
    branch = _branch_of(session, cmd.root)
    reply.write(quota_line(_root(session, branch), _resources(branch.account)))
    return Done("GETQUOTA completed")


@command(b"GETQUOTAROOT", states=LOGGED_IN)
def getquotaroot(session: Session, cmd: GetQuotaRoot, reply: Reply) -> Done:
    """Tell the quota root of a mailbox, which need not exist (RFC 9208 4.1.2).

    Without limits its list is empty (4.2.1): a QUOTA response is REQUIRED, and older clients stumble without one.
    """
    mailbox = session.mailbox_name(cmd.mailbox)
    place = session.account.locate(mailbox)
    branch = session.account.branch if place is None else place.branch
    if rights_of(session, mailbox) is not None:
        # RFC 9208 6.
        demand(session, mailbox, "r")
    elif branch.account is not session.account.own:
        # How much others have is for those who may read something of it.
        raise MailboxMissing
    root = _root(session, branch)
    account = session.account.own if root == ROOT else branch.account
    reply.write(quotaroot_line(session.spell(mailbox), [root], utf8=session.utf8))
    reply.write(quota_line(root, _resources(account)))
    return Done("GETQUOTAROOT completed")


@command(
    b"SETQUOTA",
    states=LOGGED_IN,
    changes=True,
    announces=lambda session: [b"QUOTASET"] if _may_set(session) else [],
)
def setquota(session: Session, cmd: SetQuota, reply: Reply) -> Done:
    """Set limits (RFC 9208 4.1.3): those not named go; that of MAILBOX stays, for it is not the client's."""
    if not _may_set(session):
        raise NoPermission("Only the administrator sets limits")
    if cmd.root != ROOT:
        raise Refused("There is no such quota root")
    # RFC 9208 6.
    demand(session, "INBOX", "a")
    limits = dict(cmd.limits)
    if len(limits) != len(cmd.limits):
        raise BadArgument("each resource once")
    if not limits.keys() <= {b"STORAGE", b"MESSAGE"}:
        raise CannotDo(why="Only STORAGE and MESSAGE can be limited")
    if 0 in limits.values():
        # RFC 9208 3.1.2 has 0 forbid any use; in maildirsize it is no limit.
        raise CannotDo(why="A limit cannot be 0; leave it out for none")
    session.account.own.quota.change(Amount(limits.get(b"STORAGE", 0) * UNIT_OCTETS, limits.get(b"MESSAGE", 0)))
    reply.write(quota_line(ROOT, _resources(session.account.own)))
    session.note("setquota", limits=" ".join(f"{name.decode()}={limit}" for name, limit in limits.items()))
    return Done("SETQUOTA completed")
