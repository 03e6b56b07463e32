"""Users who share mail, in memory: ann, bob and carol, and a public spool, each an account of its own directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from memory import POLICY, MemoryClient

from maildir_imapd.errors import MailboxMissing
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.store.account import Account
from maildir_imapd.store.branch import Branch, Space, SpaceKind
from maildir_imapd.store.namespaces import Namespaces, OneAccount, OtherUsers
from maildir_imapd.store.records.acl import NONE

USERS = ("ann", "bob", "carol")


class SharedMail:
    """*delimiters*: of users who have another one than ``/``; *usual*: rights to public mailboxes without a list."""

    def __init__(
        self, root: Path, *, delimiters: Mapping[str, str] | None = None, usual: frozenset[str] = NONE
    ) -> None:
        self.root = root
        self.usual = usual
        delimiters = delimiters or {}
        self.accounts = {
            user: Account(os.fsencode(root / user), delimiter=delimiters.get(user, "/"), fsync="never")
            for user in (*USERS, "public")
        }
        # Who shares with whom, as the list of shares says; it may lie.
        self.shares: dict[str, tuple[str, ...]] = dict.fromkeys(USERS, ())
        # Whose mail was read on the strength of a URL.
        self.reached: list[str] = []

    def share(self, owner: str, user: str) -> None:
        """Put on the list that *owner* shares something with *user*."""
        self.shares[user] = (*self.shares[user], owner)

    def namespaces(self, user: str) -> Namespaces:
        """The mail as *user* sees it."""

        def opens(owner: str, prefix: str) -> Branch | None:
            if owner not in USERS or owner == user:
                return None
            account = self.accounts[owner]
            return Branch(account, SpaceKind.OTHERS, prefix, "/", owner, own=False, inbox="prefix")

        public = Branch(self.accounts["public"], SpaceKind.PUBLIC, "Public/", "/", own=False, usual=self.usual)
        alias = Branch(self.accounts[user], prefix="INBOX/", delimiter="/", owner=user, inbox="prefix")
        spaces: list[Space] = [
            OtherUsers(
                "shared/", "/", spelled=str, read=lambda name: name, owners=lambda: self.shares[user], opens=opens
            ),
            OneAccount(SpaceKind.PUBLIC, "Public/", lambda: public),
            OneAccount(SpaceKind.PERSONAL, "INBOX/", lambda: alias, listed="no", subscriptions=True),
        ]
        return Namespaces(self.accounts[user], spaces, user=user)

    @contextmanager
    def reach(self, user: str) -> Iterator[Access]:
        """As ``Access.reach``."""
        if user not in USERS:
            raise MailboxMissing
        self.reached.append(user)
        yield Access(user, self.namespaces(user), read_only=True)

    def client(self, user: str, policy: Policy = POLICY, groups: frozenset[str] = frozenset()) -> MemoryClient:
        """A session of *user*, logged in."""
        client = MemoryClient(self.namespaces(user), policy, user, groups, self.reach)
        client.read_line()
        assert client.command(b"L LOGIN %b secret" % user.encode())[-1].startswith(b"L OK")
        return client
