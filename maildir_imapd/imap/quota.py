"""GETQUOTA, GETQUOTAROOT, SETQUOTA: one root for all of a user's mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import NoPermission, Refused
from maildir_imapd.imap.acl import demand, rights_of
from maildir_imapd.imap.registry import LOGGED_IN, Done, command
from maildir_imapd.wire.render import quota_line, quotaroot_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import GetQuota, GetQuotaRoot, SetQuota

ROOT: Final = b"User quota"


def _resources(session: Session) -> list[tuple[bytes, int, int]]:
    """What is limited, with usage and limit (RFC 9208 5); nothing without a quota.  STORAGE counts 1024 octets."""
    usage = session.account.quota.usage()
    if usage is None:
        return []
    found = []
    if usage.limit.storage:
        found.append((b"STORAGE", -(-usage.used.storage // 1024), -(-usage.limit.storage // 1024)))
    if usage.limit.messages:
        found.append((b"MESSAGE", usage.used.messages, usage.limit.messages))
    return found


@command(b"GETQUOTA", states=LOGGED_IN)
def getquota(session: Session, cmd: GetQuota, reply: Reply) -> Done:
    """RFC 9208 4.1.1."""
    resources = _resources(session) if cmd.root == ROOT else []
    if not resources:
        raise Refused("There is no such quota root")
    reply.write(quota_line(ROOT, resources))
    return Done("GETQUOTA completed")


@command(b"GETQUOTAROOT", states=LOGGED_IN)
def getquotaroot(session: Session, cmd: GetQuotaRoot, reply: Reply) -> Done:
    """RFC 9208 4.1.2: the mailbox need not exist."""
    mailbox = session.mailbox_name(cmd.mailbox)
    if rights_of(session, mailbox) is not None:
        # RFC 9208 6.
        demand(session, mailbox, "r")
    name = session.spell(mailbox)
    resources = _resources(session)
    reply.write(quotaroot_line(name, [ROOT] if resources else [], utf8=session.utf8))
    if resources:
        reply.write(quota_line(ROOT, resources))
    return Done("GETQUOTAROOT completed")


@command(b"SETQUOTA", states=LOGGED_IN)
def setquota(session: Session, cmd: SetQuota, reply: Reply) -> Done:
    """RFC 9208 4.1.3: only the administrator sets limits, so QUOTASET is not announced."""
    raise NoPermission("Only the administrator sets limits")
