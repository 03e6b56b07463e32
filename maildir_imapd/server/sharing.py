"""Accounts are told of sharing: the list of who shares with whom, and the administrator's rules about rights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log
from maildir_imapd.server import owners
from maildir_imapd.store.records.acl import FILES_ALONE, AclRules
from maildir_imapd.store.records.acl_global import GlobalAcls
from maildir_imapd.store.records.shares import ShareList

if TYPE_CHECKING:
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.records.acl import Who

log = Log(__name__)


@dataclass(frozen=True, slots=True)
class SharingSettings:
    """Settings about rights to all users' mailboxes."""

    rights: bool = True
    """Whether lists of rights count at all."""
    shared_list: str | None = None
    """The file that says who shares with whom."""
    acl_global: str | None = None
    """Rights by names of mailboxes: a file or directory."""
    files: bool = True
    """Whether the mailboxes' own lists count."""
    from_inbox: bool = False
    """Whether INBOX's counts for those whom they do not mean."""


UNSHARED: Final = SharingSettings()


class Sharing:
    """One process's, for all its accounts; safe from any thread.

    *own*: whom the process itself is, where its threads act as others; the files are read and written as him.
    """

    def __init__(self, said: SharingSettings, own: Owner | None) -> None:
        acting = partial(owners.acting_as, own)
        self.list = None if said.shared_list is None else ShareList(os.fsencode(said.shared_list), acting)
        general = None if said.acl_global is None else GlobalAcls(os.fsencode(said.acl_global), acting)
        self.rules = FILES_ALONE
        if general is not None or not said.files or said.from_inbox:
            self.rules = AclRules(general, said.files, said.from_inbox)

    def have(self, account: Account, user: str | None) -> None:
        """Have an account of *user*'s go by the rules, and tell the list what changes; None: it is nobody's."""
        account.acls.rules = self.rules
        told = None if user is None else self.list
        account.acls.shared = None if told is None else partial(self._note, told, user or "")

    @staticmethod
    def _note(shares: ShareList, user: str, to: frozenset[Who], whole: bool) -> None:
        try:
            shares.put(user, to if whole else to | shares.of(user))
        except StoreError as error:
            # The rights count all the same: others come in by the mailbox's name, and do not see it in lists.
            mend = f"maildir-imapd acl rebuild {user}"
            log.error("list of shares not kept", path=shares.path, user=user, why=error.detail, mend=mend)
