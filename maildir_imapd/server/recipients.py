"""From the address of a recipient to his mail: who it is, whose files these are, and which folder is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import ImapdError, MailboxMissing, NotSelectable, OverQuota
from maildir_imapd.events import Log
from maildir_imapd.lmtp.answers import UNAVAILABLE, UNKNOWN_USER, RecipientRefused, why
from maildir_imapd.lmtp.putting import choose
from maildir_imapd.server import owners
from maildir_imapd.server.lookup_service import parted, recipient

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.lmtp.commands import EnvelopeAddress
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.lmtp_rules import LmtpRules
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account

log = Log(__name__)


class UserDestination:
    """As ``lmtp.putting.Destination``: a user's mail, as *owner* (None: as the process)."""

    def __init__(self, identity: Identity, folder: str, accounts: Accounts, owner: Owner | None) -> None:
        self.user = identity.user
        self.folder = folder
        self.owner: object = owner
        self._identity = identity
        self._accounts = accounts
        self._owner = owner
        self._account: Account | None = None

    def acting(self) -> AbstractContextManager[None]:
        """As ``Destination.acting``."""
        return owners.acting_as(self._owner)

    def account(self) -> Account:
        """As ``Destination.account``; mail that is not there yet is made."""
        if self._account is None:
            self._account = self._accounts.account(self._identity, self._owner)
        return self._account

    def demand_room(self, octets: int) -> None:
        """Raise OverQuota when there is no room for a message of so many octets, as far as that can be known now."""
        with self.acting():
            self._account = demand_room(self._identity, self.folder, octets, self._accounts, self._owner)

    def left(self) -> None:
        """As ``Destination.left``."""
        account, self._account = self._account, None
        if account is not None:
            self._accounts.left(account)


def demand_room(
    identity: Identity, folder: str, octets: int, accounts: Accounts, owner: Owner | None
) -> Account | None:
    """Raise OverQuota when there is no room for a message of so many octets, 0 for what is not known.

    *folder*: as an address asks for it.  Returns the user's mail, None where there is none yet; the caller acts as
    *owner*.
    """
    try:
        account = accounts.account(identity, owner, make=False)
    except MailboxMissing:
        return None  # it is made with the first message, and is empty then
    try:
        # An account without a quota is not asked for the name.
        path = account.folder_of(choose(account, folder, made=False)) if account.quota.look() else b""
        account.quota.demand_message(max(octets, 1), path)
    except (MailboxMissing, NotSelectable):
        pass  # it goes as we look: what comes finds another one, or is told
    finally:
        # The message may never come.
        accounts.left(account)
    return account


def destination_of(
    address: EnvelopeAddress, octets: int, chain: Chain, accounts: Accounts, rules: LmtpRules
) -> UserDestination:
    """Find a recipient, who has room for a message of so many octets; raises RecipientRefused."""
    try:
        found = find_user(address, chain, rules.delimiters)
        if found is None:
            raise RecipientRefused(UNKNOWN_USER)
        identity, folder = found
        destination = UserDestination(identity, folder, accounts, accounts.owner(identity))
        destination.demand_room(octets)
    except RecipientRefused:
        raise
    except OverQuota:
        raise RecipientRefused(rules.over_quota) from None
    except (ImapdError, OSError) as error:
        raise RecipientRefused(UNAVAILABLE, detail=why(error)) from error
    return destination


def find_user(address: EnvelopeAddress, chain: Chain, delimiters: bytes) -> tuple[Identity, str] | None:
    """Return the user, and the folder that the address asks for; the whole address goes before its parts."""
    whole = recipient(chain, address.plain)
    if whole is not None:
        return whole, ""
    parts = parted(address.plain, delimiters)
    found = None if parts is None else recipient(chain, parts[0])
    return None if parts is None or found is None else (found, parts[1].decode("utf-8", "replace"))
