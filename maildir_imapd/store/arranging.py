"""Making the mailboxes that the administrator sets up for users (records/usual.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import ImapdError, MailboxExists, MailboxMissing, NotSelectable, StoreError
from maildir_imapd.events import Log

if TYPE_CHECKING:
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.records.usual import UsualMailbox

log = Log(__name__)


def arrange(account: Account) -> None:
    """Make, and subscribe, what ``Account.usual`` says and is not there, and what somebody began; never an error.

    One that the user is subscribed to, or not, once it is there, stays so.
    """
    account.arranged = True
    try:
        missing = [each for each in account.usual if each.auto != "no" and not _there(account, each)]
        if missing:
            account.making.add(missing)
        wanted = account.making.wanted()
        if wanted:
            made: list[str] = []
            account.making.done([each for each in wanted if _make(account, each, made)])
            if made:
                log.info("mailboxes made", path=account.root, mailboxes=", ".join(made))
    except ImapdError as error:
        log.warning("mailboxes not made", path=account.root, why=error.text, detail=error.detail)


def _there(account: Account, mailbox: UsualMailbox) -> bool:
    try:
        account.folder_of(mailbox.name(account.prefix, account.delimiter))
    except (MailboxMissing, NotSelectable):
        return False
    return True


def _make(account: Account, mailbox: UsualMailbox, made: list[str]) -> bool:
    """Make one and note its name; False where it is to be tried again when the mail is opened next."""
    name = mailbox.name(account.prefix, account.delimiter)
    try:
        if not _there(account, mailbox):
            try:
                account.create(name)
                made.append(name)
            except MailboxExists:
                pass  # somebody was faster
        if mailbox.auto == "subscribe":
            account.subscribe(name)
    except ImapdError as error:
        log.warning("mailbox not made", path=account.root, mailbox=name, why=error.text, detail=error.detail)
        # A name that cannot be, or a quota, is no matter of time.
        return not isinstance(error, StoreError)
    return True
