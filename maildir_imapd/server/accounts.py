"""Whose mail is whose: from a user to the mail, and to the system user that a thread must be to touch it."""

from __future__ import annotations

import os
import pwd
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, cast
from weakref import WeakValueDictionary

from maildir_imapd.errors import ConfigError, MailboxMissing, NoSpool, Unavailable
from maildir_imapd.events import Log
from maildir_imapd.location import expand, grounds
from maildir_imapd.namespace_rules import prefixes
from maildir_imapd.server import owners, usual
from maildir_imapd.server.quotas import NO_QUOTAS
from maildir_imapd.server.sharing import UNSHARED, Sharing, SharingSettings
from maildir_imapd.store.account import Account
from maildir_imapd.store.arranging import arrange
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.unused import Cost, Shelf, Unused
from maildir_imapd.store.maildir import ground
from maildir_imapd.store.maildir.decide import decide
from maildir_imapd.store.maildir.instead import instead
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.location import Ground
    from maildir_imapd.namespace_rules import NamespaceRule
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.server.quotas import QuotaOfUser, Quotas
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.maildir.layout import Places
    from maildir_imapd.store.records.usual import UsualMailbox
    from maildir_imapd.store.threads.ahead import Want
    from maildir_imapd.store.threads.moves import Moved
    from maildir_imapd.store.watch import Watcher
    from maildir_imapd.virtual_rules import VirtualRule

log = Log(__name__)

# What an account takes in memory without a mailbox in it, and the name of each of these.
_OCTETS: Final = 32 * 1024
_NAME_OCTETS: Final = 1500
# Roots that are remembered as served: where one of them is missing it has been taken away, and nobody new has come.
ROOTS_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Mail:
    """Where mail is, whose it is and how it is kept, for users about whom their back end says nothing."""

    location: str
    """As the setting mail_location."""
    user: str | None
    """The system user who owns all spools (mail_user)."""
    marker: bytes | None
    """The file without which a file system is not mounted (spool_marker)."""
    delimiter: str
    prefix: str
    keeping: Keeping
    """How folders are kept."""
    quotas: Quotas = NO_QUOTAS
    search_index: bool = False
    """Whether what messages say is indexed."""
    hooked: frozenset[str] = frozenset()
    """Mailboxes for which there are hooks."""
    usual: tuple[UsualMailbox, ...] | None = None
    """The mailboxes that are set up for users (mailboxes); None for those that new users have, for these alone."""

    namespaces: tuple[NamespaceRule, ...] = ()
    """What there is beside each user's own mail."""
    virtual: tuple[VirtualRule, ...] = ()
    """The virtual mailboxes where no file says what there is (virtual_mailboxes)."""
    lists: bool = True
    """Whether access control lists count (acl)."""
    keep_expunged: float = 0.0
    """Seconds for which expunged messages can be had back; 0: not."""
    keep_expunged_storage: int = 0
    """Octets that they may take up for one user; 0: any number."""
    sharing: SharingSettings = UNSHARED

    def location_of(self, identity: Identity) -> str:
        """Where the mail of one user is, with the variables not yet filled in."""
        return identity.mail or self.location

    def search_index_of(self, identity: Identity) -> bool:
        """Say whether what one user's messages say is indexed."""
        return self.search_index if identity.search_index is None else identity.search_index

    def usual_of(self, identity: Identity) -> tuple[UsualMailbox, ...] | None:
        """Return which mailboxes are set up for one user, as ``usual``; with a line in the log for what is wrong."""
        if identity.mailboxes is None:
            return self.usual
        return usual.of_user(identity.user, identity.mailboxes, self.usual)

    def keep_expunged_of(self, identity: Identity) -> float:
        """Return for how many seconds one user's expunged messages can be had back."""
        return self.keep_expunged if identity.keep_expunged is None else identity.keep_expunged

    def expires_of(self, identity: Identity) -> bool:
        """Say whether messages of one user go by themselves, those that are kept for a while counted."""
        usual = self.usual_of(identity) or ()
        return bool(self.keep_expunged_of(identity)) or any(each.expires for each in usual)


def demand_ground(mail: Mail, grounds: Iterable[Ground], *, anywhere: bool = False) -> None:
    """Raise SpoolGone where mail may be neither served nor made; *anywhere*: its parents may be made, too."""
    for each in grounds:
        ground.demand(each.path, None if anywhere else each.above, mail.marker)


def _demand_mail(places: Places) -> None:
    """Raise MailboxMissing where there is no INBOX yet, in whatever way the spool is laid out."""
    try:
        decided = decide(places).places
    except NoSpool as error:
        raise MailboxMissing("There is no Maildir:", detail=instead(places.root)) from error
    inbox = decided.inbox or decided.root
    if not os.path.isdir(os.path.join(inbox, b"cur")):
        raise MailboxMissing("There is no Maildir:", detail=instead(inbox))


def _demand_spool(places: Places, *, make: bool) -> None:
    """Raise MailboxMissing where a spool that may have no INBOX is not there; with *make* its directory is made."""
    with durable.as_store_error(places.root):
        if make:
            os.makedirs(places.root, mode=0o700, exist_ok=True)
        if not os.path.isdir(places.root):
            raise MailboxMissing("There is no Maildir:", detail=instead(places.root))


def open_account(
    mail: Mail,
    places: Places,
    watcher: Watcher | None,
    allowed: QuotaOfUser,
    unused: Unused | None = None,
    mailboxes: tuple[UsualMailbox, ...] | None = (),
    *,
    inbox: bool = True,
) -> Account:
    """Open the account at *places*.

    *unused*: the process's list of what is open unused; *mailboxes*: those that are set up, as ``Mail.usual``; *inbox*:
    as of ``Account``.
    """
    account = Account(
        places,
        mail.keeping,
        delimiter=mail.delimiter,
        watcher=watcher,
        prefix=mail.prefix,
        unused=unused,
        welcome=mailboxes is None,
        inbox=inbox,
    )
    allowed.put(account)
    account.usual = mailboxes or ()
    account.beside = prefixes(mail.namespaces, account.delimiter)
    account.deleted.seconds, account.deleted.octets = mail.keep_expunged, mail.keep_expunged_storage
    return account


class Background(Protocol):
    """Whoever does work beside the sessions (beside.py); nothing waits for it."""

    @property
    def has_texts(self) -> bool:
        """Whether indexes of texts are filled."""

    @property
    def has_fields(self) -> bool:
        """Whether fields of messages are worked out ahead."""

    @property
    def has_hooks(self) -> bool:
        """Whether hooks are run."""

    def run_hooks(self, user: str, moved: Moved) -> None:
        """Say that a client of a user's has put messages into a mailbox."""

    @property
    def has_warnings(self) -> bool:
        """Whether commands are run when quotas fill up."""

    def warn(self, user: str) -> None:
        """Say that a user's quota may have crossed a threshold."""

    @property
    def has_expiry(self) -> bool:
        """Whether messages go by themselves."""

    def expire(self, user: str) -> None:
        """Say that a user has left, or got mail: what is over may go."""

    def fill_texts(self, user: str, path: bytes) -> None:
        """Say that a folder of a user's has something new for the index of texts."""

    def work_ahead(self, user: str, want: Want, urgent: bool) -> None:
        """Say what is to be worked out of a user's messages before a client needs it, or while he waits."""


class Accounts:
    """The accounts of a process, one object each; safe from any thread.

    Not *acts*: no thread becomes another user, the process is one already.
    """

    def __init__(
        self,
        mail: Mail,
        watcher: Watcher | None,
        unused: Unused | None = None,
        background: Background | None = None,
        *,
        acts: bool = True,
    ) -> None:
        self.mail = mail
        self._watcher = watcher
        self.unused = Unused() if unused is None else unused
        self._background = background
        # With mail_user no thread of a worker becomes another, and the right to is given up.
        self.own = owners.own() if acts and owners.supported() and mail.user is None else None
        self.sharing = Sharing(mail.sharing, self.own)
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._accounts: WeakValueDictionary[tuple[Places, Owner | None], Account] = WeakValueDictionary()
        # Open although their users have gone: the next login finds them so.
        self._shelf: Shelf[int, Account] = Shelf(self.unused)  # by id()
        self._served: OrderedDict[bytes, bytes] = OrderedDict()  # roots, with where INBOX was; the last ones

    def owner(self, identity: Identity) -> Owner | None:
        """Whom the thread must become for this user's mail; None where the process is the right one already.

        Raises Unavailable, with a line in the log, for a user whose files this process cannot keep apart.
        """
        uid, gid = identity.uid, identity.gid
        try:
            if uid is None and gid is None:
                return self._whose()
            if uid == 0:
                raise ValueError("mail of root is not served: give the spool to a user without rights")
            if uid is None:
                raise ValueError("the user database gives a group and no user")
            if uid == os.geteuid():
                if gid is not None and gid != os.getegid() and gid not in os.getgroups():
                    raise ValueError(f"the server is not in the group {gid} that the user database gives")
                return None
            if os.geteuid() != 0:
                raise ValueError(f"the server is not root and cannot become user {uid} of the user database")
            if not owners.supported():
                raise ValueError(f"this system does not let a thread become user {uid} of the user database")
            if self.mail.user is not None and self._whose() is None:
                raise ValueError(f"mail_user is root, and the user database gives user {uid}")
            return owners.owner(uid, gid)
        except ValueError as error:
            log.error("user refused", user=identity.user, why=error)
            raise Unavailable from error

    def watcher_as(self, owner: Owner | None) -> Watcher | None:
        """Return what watches folders, and looks at them as *owner*."""
        watcher = self._watcher
        if watcher is not None and owner is not None:
            watcher = cast("Watcher", owners.OwnedWatcher(watcher, owner))
        return watcher

    def _whose(self) -> Owner | None:
        """Whom to become for a user of whom nothing is said; raises ValueError where root would be at work.

        He may own the directory, and what root does in there he can turn elsewhere.
        """
        if os.geteuid() != 0:
            return self.own
        if self.mail.user is None:
            raise ValueError("the user database gives no uid, and there is no mail_user: root itself serves nobody")
        try:
            entry = pwd.getpwnam(self.mail.user)
        except KeyError:
            raise ValueError(f"mail_user: there is no user {self.mail.user!r}") from None
        if entry.pw_uid == 0:
            return None  # the administrator says that all spools are root's own
        if not owners.supported():
            raise ValueError("this system does not let a thread become mail_user")
        return owners.owner(entry.pw_uid, entry.pw_gid)

    def account(
        self,
        identity: Identity,
        owner: Owner | None = None,
        *,
        make: bool = True,
        anywhere: bool = False,
        works: bool = True,
    ) -> Account:
        """The account of a user, one object a process; the caller acts as *owner*.

        Raises Unavailable, with a line in the log, where nothing says where the mail is, and SpoolGone where it was
        or might be, and its file system is not there.  Without *make* mail that is not there is MailboxMissing, and
        nothing is made; with *anywhere* the directories above it are made, too.  Not *works*: it
        is no user's mail but a spool beside it, which may have no INBOX, and nothing is done in it in the background.
        """
        try:
            written = self.mail.location_of(identity)
            places = expand(written, identity.user, identity.home)
            stands_on = grounds(written, identity.user, identity.home)
        except (ConfigError, ValueError) as error:
            log.error("no mail location", user=identity.user, why=error)
            raise Unavailable from error
        key = (places, owner)
        with self._lock:
            account = self._accounts.get(key)
            served = self._served.get(places.root)
        if not works:
            _demand_spool(places, make=make)
        elif not make and account is None:
            _demand_mail(places)
        demand_ground(self.mail, stands_on, anywhere=anywhere)
        if served is not None and works:
            ground.demand_served(places.root, served)
        allowed, mailboxes = self.mail.quotas.of(identity), self.mail.usual_of(identity)
        if account is None:
            watcher = self.watcher_as(owner)
            made = open_account(self.mail, places, watcher, allowed, self.unused, mailboxes, inbox=works)
            with self._lock:
                # Race: another thread may have opened it meanwhile; there must be one for both.
                account = self._accounts.setdefault(key, made)
        else:
            allowed.put(account)
            account.usual = mailboxes or ()
        self.sharing.have(account, identity.user if works else None)
        account.deleted.seconds = self.mail.keep_expunged_of(identity)
        account.deleted.octets = self.mail.keep_expunged_storage
        if make and not account.arranged:
            arrange(account)
        if not works:
            return account
        self._have_work_done(account, identity)
        with self._lock:
            self._served[account.root] = account.inbox
            self._served.move_to_end(account.root)
            while len(self._served) > ROOTS_REMEMBERED:
                self._served.popitem(last=False)
        return account

    def _have_work_done(self, account: Account, identity: Identity) -> None:
        """Have the account tell whoever works in the background what is to be done, as far as somebody does."""
        beside = self._background
        if beside is None:
            return
        indexed = beside.has_texts and self.mail.search_index_of(identity)
        account.texts.wanted = partial(beside.fill_texts, identity.user) if indexed else None
        account.ahead.wanted = partial(beside.work_ahead, identity.user) if beside.has_fields else None
        account.moves.wanted = partial(beside.run_hooks, identity.user) if beside.has_hooks else None
        account.moves.folders = self.mail.hooked
        account.quota.crossing = partial(beside.warn, identity.user) if beside.has_warnings else None
        account.quota.thresholds = self.mail.quotas.thresholds
        expires = beside.has_expiry and self.mail.expires_of(identity)
        account.expiring = partial(beside.expire, identity.user) if expires else None
        account.deleted.wanted = account.expiring

    def left(self, account: Account) -> None:
        """Keep an account for a while whose user has gone; harmless if he is here again, or in another session."""
        if account.expiring is not None:
            account.expiring()
        self.shelve(account)

    def shelve(self, account: Account) -> None:
        """Keep an account for a while that nobody uses just now."""
        names = 0 if account.last_tree is None else len(account.last_tree.folders)
        self._shelf.put(id(account), account, Cost(octets=_OCTETS + _NAME_OCTETS * names))
