"""From the address of a recipient to his mail: who it is, whose files these are, and which folder is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import ImapdError, MailboxMissing, OverQuota
from maildir_imapd.events import Log
from maildir_imapd.lmtp.answers import UNAVAILABLE, UNKNOWN_USER, RecipientRefused, why
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
            try:
                account = self._accounts.account(self._identity, self._owner, make=False)
                account.quota.demand_message(max(octets, 1))
            except MailboxMissing:
                return  # it is made with the first message, and is empty then
            self._account = account
            # The message may never come.
            self._accounts.left(account)

    def left(self) -> None:
        """As ``Destination.left``."""
        account, self._account = self._account, None
        if account is not None:
            self._accounts.left(account)


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
