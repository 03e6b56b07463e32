"""The namespaces of users: what is made of the setting ``namespaces`` when somebody logs in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakValueDictionary

from maildir_imapd.auth.base import QuotaLimits
from maildir_imapd.auth.names import valid_user
from maildir_imapd.errors import ConfigError, Goodbye, ImapdError, MailboxMissing
from maildir_imapd.events import Log
from maildir_imapd.imap.gate import Access
from maildir_imapd.location import private_index_of
from maildir_imapd.namespace_rules import prefixes
from maildir_imapd.server import owners
from maildir_imapd.store.branch import Branch, Space, SpaceKind
from maildir_imapd.store.namespaces import Namespaces, OneAccount, OtherUsers
from maildir_imapd.store.share_news import ShareNews

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.namespace_rules import NamespaceRule
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.branch import Listing, PrivateSeen
    from maildir_imapd.store.private import SeenOfReader
    from maildir_imapd.store.records.shares import ShareList
    from maildir_imapd.store.virtual_account import VirtualAccount
    from maildir_imapd.store.watch import Watcher

log = Log(__name__)

# What an account has without a word about limits: those that its own files say.
_NO_LIMITS: Final = QuotaLimits(0, 0)
_READING: Final = frozenset("lr")


class Reach:
    """Makes the namespaces of users as *rules* say; safe from any thread.

    *find* looks a user up by name, whoever the thread acts as; None where users cannot be looked up, and then nobody's
    mail but the user's own is reached.  *shares*, *news*: who shares with whom, and what says that it has changed.
    """

    def __init__(
        self,
        rules: Sequence[NamespaceRule],
        accounts: Accounts,
        find: Callable[[str], Identity | None] | None = None,
        shares: ShareList | None = None,
        news: ShareNews | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self._accounts = accounts
        self._find = find
        self._shares = shares
        self._news = news
        # Those of one user, whose sessions share them; a session that has them, or a shelf, keeps them.
        self._virtual: WeakValueDictionary[tuple[bytes, str], VirtualAccount] = WeakValueDictionary()
        self._seen: WeakValueDictionary[bytes, SeenOfReader] = WeakValueDictionary()

    def namespaces(self, identity: Identity, account: Account, owner: Owner | None) -> Account | Namespaces:
        """Return a user's mail as his session sees it; *account* is his own, *owner* whom his thread acts as."""
        if not self.rules:
            return account
        made = _Made(self._accounts, self._shares, identity, account, owner, self._find)
        made.seen = partial(self._seen_of, account, owner)
        real = [rule for rule in self.rules if rule.type != "virtual"]
        spaces = [space for rule in real if (space := made.space(rule)) is not None]
        if len(real) < len(self.rules):
            from maildir_imapd.server.virtuals import virtual_spaces

            spaces += virtual_spaces(self._accounts, self._virtual, self.rules, identity, account, owner, spaces)
        listen = None if self._news is None else self._news.listen
        return Namespaces(account, spaces, user=identity.user, listen=listen)

    def _seen_of(self, account: Account, owner: Owner | None) -> SeenOfReader:
        """Return what keeps for a user what he has seen of others' mail; his sessions share it."""
        from maildir_imapd.store.private import SeenOfReader

        found = self._seen.get(account.root)
        if found is None or found.own_quota is not account.quota:
            watcher = self._accounts.watcher_as(owner)
            found = self._seen[account.root] = SeenOfReader(account, self._accounts.mail.keeping, watcher)
        return found

    @contextmanager
    def reading(self, user: str) -> Iterator[Access]:
        """As ``Access.reach``: act as the owner of a user's mail, which is not made if it is not there."""
        found = self._find(user) if self._find is not None and valid_user(user) else None
        if found is None:
            raise MailboxMissing(detail="there is no such user")
        with self._acting(self._accounts.own):
            try:
                owner = self._accounts.owner(found)
            except ImapdError as error:
                raise MailboxMissing(detail=error.text) from error
            with self._acting(owner):
                try:
                    account = self._accounts.account(found, owner, make=False)
                    mail = self.namespaces(found, account, owner)
                except (ImapdError, OSError) as error:
                    raise MailboxMissing(detail=str(getattr(error, "detail", "") or error)) from error
                try:
                    yield Access(found.user, mail, groups=found.groups, read_only=True)
                finally:
                    self._accounts.shelve(account)
                    self.left(mail)

    @contextmanager
    def _acting(self, who: Owner | None) -> Iterator[None]:
        """As ``owners.acting_as``; raises Goodbye where the thread cannot be again who it was: it must not go on."""
        before = None if who is None else owners.current()
        try:
            with owners.acting_as(who):
                yield
        finally:
            if before is not None and owners.current() != before:
                log.error("cannot take an identity back", uid=owners.current().uid)
                raise Goodbye("Please connect again")

    def left(self, mail: Account | Namespaces) -> None:
        """Keep for a while what was opened of others' mail, whose reader has gone."""
        if isinstance(mail, Namespaces):
            for account in mail.opened():
                self._accounts.shelve(account)


class _Made:
    """The namespaces of one user on their way."""

    seen: Callable[[], SeenOfReader]
    """Returns what keeps what he has seen of others' mail, where that is his own."""

    def __init__(
        self,
        accounts: Accounts,
        shares: ShareList | None,
        identity: Identity,
        own: Account,
        owner: Owner | None,
        find: Callable[[str], Identity | None] | None,
    ) -> None:
        self._accounts = accounts
        self._shares = shares
        self._identity = identity
        self._own = own
        self._owner = owner
        self._find = find

    def space(self, rule: NamespaceRule) -> Space | None:
        """Return a namespace; None for one that this user cannot have."""
        prefix, delimiter = prefixes([rule], self._own.delimiter)[0], self._own.delimiter
        if any(delimiter in level for level in rule.fixed):
            log.warning("namespace not shown, its prefix has the delimiter in it", prefix=rule.written())
            return None
        if rule.type == "others":
            if self._find is None:
                return None
            names = UserLevel(rule.levels[-1], self._identity.user)
            return OtherUsers(
                prefix,
                delimiter,
                spelled=names.spelled,
                read=names.read,
                owners=_Owners(self._shares, self._identity),
                opens=partial(self._other, rule),
                listed=_listed(rule),
            )
        kind = SpaceKind.PUBLIC if rule.type == "public" else SpaceKind.PERSONAL
        opens = {"deleted": self._deleted, "alias": self._alias}.get(rule.type, self._located)
        return OneAccount(
            kind,
            prefix,
            partial(opens, rule, prefix),
            listed=_listed(rule),
            subscriptions=rule.subscriptions == "there" or rule.type == "alias",
        )

    def _other(self, rule: NamespaceRule, user: str, prefix: str) -> Branch | None:
        """Open the mail of another user, as the reader may: what its files allow him is the system's matter."""
        assert self._find is not None
        if user == self._identity.user or not valid_user(user):
            return None
        found = self._find(user)
        if found is None or found.user == self._identity.user:
            return None
        if rule.location is not None:
            found = replace(found, mail=rule.location)
        account = self._accounts.account(found, self._owner, make=False)
        if account.root == self._own.root:
            log.error("two users have the same mail, not shown as shared", user=self._identity.user, owner=found.user)
            return None
        return Branch(
            account,
            SpaceKind.OTHERS,
            prefix,
            self._own.delimiter,
            found.user,
            own=False,
            inbox="prefix" if rule.inbox == "prefix" else "named",
            private=self._private(rule, found),
        )

    def _located(self, rule: NamespaceRule, prefix: str) -> Branch | None:
        """Open a spool of its own: everybody's, which is there, or another one of the user's, which is made."""
        personal = rule.type == "personal"
        whose = replace(self._identity, mail=rule.location, quota=_NO_LIMITS, mailboxes="no", keep_expunged=0.0)
        try:
            account = self._accounts.account(whose, self._owner, make=personal, works=False)
        except MailboxMissing as error:
            log.warning("namespace not shown", prefix=prefix, why=error.text, detail=error.detail)
            return None
        if account.root == self._own.root:
            log.error("namespace is the user's own mail, not shown", prefix=prefix, user=self._identity.user)
            return None
        account.acls.prefix = prefix
        return Branch(
            account,
            SpaceKind.PERSONAL if personal else SpaceKind.PUBLIC,
            prefix,
            self._own.delimiter,
            self._identity.user if personal else "",
            own=personal,
            usual=rule.rights,
            inbox="named" if os.path.isdir(os.path.join(account.inbox, b"cur")) else "none",
            private=self._private(rule),
        )

    def _private(self, rule: NamespaceRule, whose: Identity | None = None) -> PrivateSeen | None:
        """Return what keeps what this user has seen, where *whose* mail it is wants so, or else the rule."""
        private = rule.private_seen == "yes"
        if whose is not None and whose.private_seen is not None:
            private = whose.private_seen
        if not private:
            return None
        if not rule.private_index:
            return self.seen().of
        reader, owner = self._identity, "" if whose is None else whose.user
        try:
            before = private_index_of(rule.private_index, reader.user, reader.home, owner)
        except ConfigError as error:
            log.warning("what was seen before is not looked for", user=reader.user, why=error.text)
            return self.seen().of
        return partial(self.seen().of, below=before)

    def _alias(self, rule: NamespaceRule, prefix: str) -> Branch | None:
        """Return the user's own account under another prefix, for clients that are set to it."""
        own, user = self._own, self._identity.user
        return Branch(own, SpaceKind.PERSONAL, prefix, own.delimiter, user, inbox="prefix")

    def _deleted(self, rule: NamespaceRule, prefix: str) -> Branch | None:
        """Open what was expunged and is kept, to be read and copied; there may be nothing yet."""
        deleted = self._own.deleted
        if not deleted.there():
            return None
        return Branch(
            deleted.account(), SpaceKind.PERSONAL, prefix, self._own.delimiter, self._identity.user, most=_READING
        )


def reach_of(
    rules: Sequence[NamespaceRule], accounts: Accounts, look_up: Callable[[str], Identity | None], watcher: Watcher
) -> Reach:
    """Return what users of a process reach beside their own mail; *look_up* finds others by their names."""

    def find(user: str) -> Identity | None:
        # What users are known by is for the process to read, and not for one of them.
        with owners.acting_as(accounts.own):
            return look_up(user)

    shares = accounts.sharing.list
    news = None if shares is None else ShareNews(shares, watcher)
    return Reach(rules, accounts, find, shares, news)


def _listed(rule: NamespaceRule) -> Listing:
    return cast("Listing", rule.list)


class _Owners:
    """Users who share something with one, as the list has it; the same object while that says the same."""

    def __init__(self, shares: ShareList | None, identity: Identity) -> None:
        self._shares = shares
        self._identity = identity
        self._last: tuple[str, ...] = ()

    def __call__(self) -> tuple[str, ...]:
        if self._shares is not None:
            found = self._shares.owners(self._identity.user, self._identity.groups)
            if found != self._last:
                self._last = found
        return self._last


class UserLevel:
    """How the level of a prefix names a user: *template* with %u, %n or %n@%d; *reader* is of the same domain."""

    def __init__(self, template: str, reader: str) -> None:
        self._template = template
        self._domain = reader.partition("@")[2]

    def spelled(self, user: str) -> str | None:
        """Return what stands in names for *user*; None for one of another domain where only %n is there."""
        if "%n" in self._template and "%d" not in self._template and user.partition("@")[2] != self._domain:
            return None
        name, _, domain = user.partition("@")
        branches = {"%u": user, "%n": name, "%d": domain}
        return re.sub("%[und]", lambda found: branches[found[0]], self._template)

    def read(self, level: str) -> str | None:
        """Return the user whom *level* means; None for nobody."""
        if "%n" in self._template and "%d" not in self._template:
            level = f"{level}@{self._domain}" if self._domain else level
        return level if valid_user(level) else None
