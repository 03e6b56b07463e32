"""Users with virtual mailboxes, in memory: those of ``shared_mail``, and a namespace of searches for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shared_mail import SharedMail

from maildir_imapd.imap.search.virtual import Virtual, read
from maildir_imapd.store.account import Account
from maildir_imapd.store.branch import Branch
from maildir_imapd.store.folder.keeping import Keeping
from maildir_imapd.store.namespaces import Namespaces, OneAccount, SpaceKind
from maildir_imapd.store.virtual_account import VirtualAccount
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import VirtualSources

USUAL = {
    "All": "!INBOX\n*\n-Trash\n  ALL\n",
    "Unread": "*\n  UNSEEN\n",
    "Flagged": "*\n  FLAGGED\n",
    "Words": "INBOX\n  SUBJECT wanted\n",
    "Body": "INBOX\nWork\n  BODY needle\n",
    "Shared": "shared/*\nPublic/*\n  ALL\n",
    "Sub/Deep": "*\n  KEYWORD Deep\n",
}


class VirtualMail(SharedMail):
    """*files*: what is written in the definitions, by name."""

    def __init__(self, root: Path, files: Mapping[str, str] = USUAL, *, usual: frozenset[str] = frozenset()) -> None:
        super().__init__(root, usual=usual)
        self.definitions: Mapping[str, Virtual] = {name: read(text) for name, text in files.items()}
        self._virtual: dict[str, VirtualAccount] = {}

    def define(self, files: Mapping[str, str]) -> None:
        """Have other ones."""
        self.definitions = {name: read(text) for name, text in files.items()}

    def virtual(self, user: str, own: Account, sources: VirtualSources) -> VirtualAccount:
        """The account of virtual mailboxes, one of a user."""
        found = self._virtual.get(user)
        if found is None:
            keeping = Keeping(fsync="never")
            found = self._virtual[user] = VirtualAccount(own, lambda: self.definitions, VirtualSpace(sources), keeping)
        return found

    def namespaces(self, user: str) -> Namespaces:
        """The mail as *user* sees it."""
        before = super().namespaces(user)
        own = self.accounts[user]
        inner = Namespaces(own, before.spaces, user=user, partial=True)
        account = self.virtual(user, own, VirtualSources(inner, user, frozenset(), lists=True))
        branch = Branch(account, prefix="Virtual/", delimiter="/", owner=user, most=frozenset("lrswipte"), inbox="none")
        space = OneAccount(SpaceKind.PERSONAL, "Virtual/", lambda: branch, virtual=True)
        return Namespaces(own, [*before.spaces, space], user=user)
