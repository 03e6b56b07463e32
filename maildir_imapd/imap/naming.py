"""The one spelling that a mailbox name has, whoever wrote it: a client, or a person with a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd import normal
from maildir_imapd.wire.names import ancestors, decode_mailbox

if TYPE_CHECKING:
    from maildir_imapd.store.account import Account


def name_of(account: Account, name: str) -> str:
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
