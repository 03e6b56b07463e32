"""How a mailbox is called: the one spelling that its name has, whoever wrote it, and what identifies it for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd import normal
from maildir_imapd.wire.names import Pattern, ancestors, decode_mailbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maildir_imapd.store.account import Account
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.namespaces import Namespaces


def name_of(account: Account | Namespaces, name: str) -> str:
    """Return what a decoded name is here; raises StoreError.

    INBOX in any case is INBOX as a first level too: one mailbox has one name.  What is not in Normalization Form C
    names what it is in that form (RFC 9051 5.1), unless just that name, or its parent, is shown beside the
    composed one: other programs have made both.  A delimiter at the end is dropped: CREATE may have one (6.3.3),
    and clients that were served by nested directories put it elsewhere, too.
    """
    if len(name) > 1:
        name = name.removesuffix(account.delimiter)
    if not name.isascii() and not normal.is_composed(name):
        shown = {folder.name for folder in account.folders()}
        names = (name, *ancestors(name, account.delimiter))
        there = next((known for known in names if known in shown), "")
        name = there + normal.composed(name[len(there) :])
    first, delimiter, rest = name.partition(account.delimiter)
    return f"INBOX{delimiter}{rest}" if first.isascii() and first.upper() == "INBOX" else name


def written_name(account: Account, written: str) -> str:
    """Return the name that a person has written, in UTF-8; raises BadMailboxName, BadArgument, StoreError."""
    return name_of(account, decode_mailbox(written.encode("utf-8", "surrogateescape"), utf8=True))


def matcher(account: Account | Namespaces, patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return what says whether a name matches one of *patterns*, in which * and % are LIST's."""
    wanted = [Pattern(each, account.delimiter) for each in patterns]
    return lambda name: any(each.matches(name) for each in wanted)


def matching(account: Account | Namespaces, patterns: Iterable[str]) -> list[str]:
    """List the mailboxes that match one of *patterns*; raises StoreError."""
    matches = matcher(account, patterns)
    return [row.name for row in account.folders() if row.selectable and matches(row.name)]


def mailbox_id(mailbox: Mailbox, snapshot: Snapshot) -> bytes:
    """RFC 8474 4: UIDVALIDITY comes from a counter of the account that never gives a number twice, stays
    with the folder when it is renamed, and so identifies it; where another server gave it, with a word of the folder's.
    """
    word = mailbox.word
    return b"F%x-%b" % (snapshot.uidvalidity, word) if word else b"F%x" % snapshot.uidvalidity


def told_id(account: Namespaces, name: str, mailbox: Mailbox, snapshot: Snapshot) -> bytes:
    """The same as the client is told it (RFC 8474 4): no other mailbox that he may see has it.

    Two accounts may give one UIDVALIDITY, for it is the time: of mailboxes outside the user's own account it is told
    which account that is.
    """
    plain = mailbox_id(mailbox, snapshot)
    if account.single:
        return plain
    place = account.locate(name)
    return plain if place is None or place.branch.account is account.own else b"%b-%b" % (plain, place.branch.tag)
