"""The door: passwords, the pause after a wrong one, how many may be inside, and whose mail is whose."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import pwd
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

from maildir_imapd.auth.base import Password
from maildir_imapd.auth.passwdfile import allowed_from
from maildir_imapd.config import Config
from maildir_imapd.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    ConfigError,
    Goodbye,
    LimitReached,
    MailboxMissing,
    Unavailable,
)
from maildir_imapd.imap.session import Access
from maildir_imapd.location import expand
from maildir_imapd.server import identity as identities
from maildir_imapd.server.failures import Failures, network
from maildir_imapd.store.account import Account
from maildir_imapd.store.threads import locks
from maildir_imapd.values import quota_rule

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Credential, Identity
    from maildir_imapd.auth.passwdfile import Entry, PasswdFile
    from maildir_imapd.server.identity import Owner
    from maildir_imapd.store.maildir.layout import Places
    from maildir_imapd.store.watch import Watcher

logger = logging.getLogger(__name__)

# A user name becomes part of a path: letters and digits of any script and a few marks, never a slash
# (robustness rule 17).
_USER = re.compile(r"[\w+@=-][\w.+@=~&'-]{0,254}\Z").match
MAX_FAILURES = 4
# Seconds, whatever has been counted: below login_timeout.
_LONGEST_PAUSE = 60.0
# Connections that were sent away for others and have not gone yet, beyond which new ones are refused.
_LEAVING = 256
# Password hashes that may be worked out at a time in one process: each takes a core and, of argon2, 64 MiB.
_HASHES = max(2, os.cpu_count() or 1)
# Seconds for which one waits for its turn.
_HASH_TURN = 60.0
_CACHE_SIZE = 10_000
_ACCOUNTS_KEPT = 256


def valid_user(name: str) -> bool:
    """Whether *name* may be a user's name at all.

    %n and %d are what stands before and after the ``@``: neither may be empty, hidden, or ``..``.
    """
    return _USER(name) is not None and all(part and not part.startswith(".") for part in name.split("@"))


def open_account(config: Config, places: Places, watcher: Watcher | None, limits: tuple[int, int]) -> Account:
    """The account at *places*, kept as the settings say; *limits* of its quota in octets and messages."""
    return Account(
        places,
        delimiter=config.delimiter,
        fsync=config.fsync,
        watcher=watcher,
        mirror=config.mirror,
        coexist=config.coexist,
        prefix=config.prefix,
        quota_storage=limits[0],
        quota_messages=limits[1],
        quota_mailboxes=config.quota_mailboxes or 0,
    )


class Door:
    """Shared by all connections of a worker; safe from any thread."""

    def __init__(
        self,
        config: Config,
        users: PasswdFile | None,
        watcher: Watcher | None,
        failures: Failures | None = None,
    ) -> None:
        self.config = config
        self.users = users
        self.watcher = watcher
        self.failures = failures if failures is not None else Failures(64)
        self._key = os.urandom(32)
        # A flood of wrong passwords waits for its turn; a password that is known needs none.
        self._hashing = threading.BoundedSemaphore(_HASHES)
        # With mail_user no thread of a worker becomes another, and the right to is given up.
        self._own = identities.own() if identities.supported() and config.mail_user is None else None
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._known: OrderedDict[bytes, tuple[Entry, float]] = OrderedDict()
        self._accounts: WeakValueDictionary[tuple[Places, Owner | None], Account] = WeakValueDictionary()
        self._kept: OrderedDict[tuple[Places, Owner | None], Account] = OrderedDict()
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._inside = 0
        self._waiting: OrderedDict[Arrival, None] = OrderedDict()  # who has not logged in, the longest first
        self._leaving = 0  # who was sent away for another and has not gone yet

    # --- how many ---------------------------------------------------------------------------------

    def arrive(self, host: str) -> Arrival:
        """Count a new connection; raises LimitReached when there are too many.

        Where only room is lacking, whoever has been here longest without logging in gives way: connections that are
        opened and left keep nobody out.
        """
        arrival = Arrival(network(host))
        oldest = None
        with self._lock:
            if self._by_address[arrival.network] >= self.config.connections_per_address:
                raise LimitReached(why="Too many connections from your address")
            if self._inside >= self.config.connections or len(self._waiting) >= self.config.connections_before_login:
                if not self._waiting or self._leaving >= _LEAVING:
                    raise LimitReached(why="Too many connections; try again later")
                oldest, _ = self._waiting.popitem(last=False)
                oldest.sent_away = True
                self._leaving += 1
            self._by_address[arrival.network] += 1
            self._inside += 1
            self._waiting[arrival] = None
        if oldest is not None:
            logger.info("connection gave way", extra={"fields": {"network": oldest.network}})
            oldest.ring()
        return arrival

    def leave(self, arrival: Arrival, user: str | None) -> None:
        """Take back what ``arrive`` and a login counted."""
        with self._lock:
            self._inside -= 1
            self._waiting.pop(arrival, None)
            if arrival.sent_away:
                self._leaving -= 1
            self._by_address[arrival.network] -= 1
            if not self._by_address[arrival.network]:
                del self._by_address[arrival.network]
        if user is not None:
            self._forget(user)

    def _logged_in(self, arrival: Arrival) -> None:
        with self._lock:
            self._waiting.pop(arrival, None)

    def _waits_again(self, arrival: Arrival) -> None:
        with self._lock:
            if not arrival.sent_away:
                self._waiting[arrival] = None

    def _forget(self, user: str) -> None:
        with self._lock:
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]

    # --- who --------------------------------------------------------------------------------------

    def identify(self, user: str, password: bytes, host: str | None = None) -> Identity:
        """Check a password, given from the address *host*; a right one is remembered for a while, as a keyed digest.

        Raises AuthenticationFailed, Unavailable.
        """
        if self.users is None:
            raise Unavailable
        if not valid_user(user):
            # The database is asked about nobody, so that this takes as long as a wrong password.
            user = ""
        entry = self.users.entry(user)
        if entry is None and (entry := self.users.entry(user.lower())) is not None:
            user = user.lower()
        if entry is not None and host is not None and not allowed_from(entry.identity, host):
            # From there he is unknown: whether the password is right must not show in how long the answer takes.
            user, entry = "", None
        digest = hmac.digest(self._key, user.encode() + b"\0" + password, hashlib.sha256)
        now = time.monotonic()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and known[0] == entry and now < known[1]:
            return known[0].identity
        locks.waits("hashing")
        if not self._hashing.acquire(timeout=_HASH_TURN):
            raise Unavailable
        try:
            identity = self.users.check(user, password)
        finally:
            self._hashing.release()
        if self.config.auth_cache_time and entry is not None:
            with self._lock:
                self._known[digest] = (entry, now + self.config.auth_cache_time)
                while len(self._known) > _CACHE_SIZE:
                    self._known.popitem(last=False)
        return identity

    def admit(self, identity: Identity, arrival: Arrival | None = None) -> Access:
        """Open the mail of a user who has been identified; raises Unavailable, LimitReached, StoreError.

        From here on the calling thread acts as the owner of the mail.
        """
        user = identity.user
        owner = self.owner(identity)
        with identities.acting_as(owner):
            account = self.account(identity, owner)
        with self._lock:
            if self._by_user[user] >= self.config.connections_per_user:
                raise LimitReached(why="You have too many connections")
            self._by_user[user] += 1
        if owner is not None:
            try:
                identities.become(owner)
            except OSError:
                self._forget(user)
                raise
        groups = identity.extra.get("userdb_acl_groups") or identity.extra.get("acl_groups") or ""
        named = frozenset(group.strip() for group in groups.split(",") if group.strip())
        if arrival is not None:
            self._logged_in(arrival)
        return Access(user, account, lambda: self._dismiss(user, arrival), named)

    def _dismiss(self, user: str, arrival: Arrival | None) -> None:
        """Take back a login: the calling thread is the process again; raises Goodbye if it cannot."""
        self._forget(user)
        if arrival is not None:
            self._waits_again(arrival)
        if self._own is not None:
            try:
                identities.become(self._own)
            except OSError as error:
                logger.error("cannot take an identity back", extra={"fields": {"user": user, "why": error}})
                raise Goodbye("Please connect again") from error

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
                raise ValueError("the passwd-file gives a group and no user")
            if uid == os.geteuid():
                if gid is not None and gid != os.getegid() and gid not in os.getgroups():
                    raise ValueError(f"the server is not in the group {gid} that the passwd-file gives")
                return None
            if os.geteuid() != 0:
                raise ValueError(f"the server is not root and cannot become user {uid} of the passwd-file")
            if not identities.supported():
                raise ValueError(f"this system does not let a thread become user {uid} of the passwd-file")
            if self.config.mail_user is not None and self._whose() is None:
                raise ValueError(f"mail_user is root, and the passwd-file gives user {uid}")
            return identities.owner(uid, gid)
        except ValueError as error:
            logger.error("user refused", extra={"fields": {"user": identity.user, "why": error}})
            raise Unavailable from error

    def _whose(self) -> Owner | None:
        """Whom to become for a user whose line says nothing; raises ValueError where root would be at work.

        He may own the directory, and what root does in there he can turn elsewhere.
        """
        if os.geteuid() != 0:
            return self._own
        if self.config.mail_user is None:
            raise ValueError("the passwd-file gives no uid, and there is no mail_user: root itself serves nobody")
        try:
            entry = pwd.getpwnam(self.config.mail_user)
        except KeyError:
            raise ValueError(f"mail_user: there is no user {self.config.mail_user!r}") from None
        if entry.pw_uid == 0:
            return None  # the administrator says that all spools are root's own
        if not identities.supported():
            raise ValueError("this system does not let a thread become mail_user")
        return identities.owner(entry.pw_uid, entry.pw_gid)

    def account(self, identity: Identity, owner: Owner | None = None, *, make: bool = True) -> Account:
        """The account of a user, one object a process; the caller acts as *owner*.

        Without *make* mail that is not there is MailboxMissing, and nothing is made.
        """
        template = identity.extra.get("userdb_mail") or identity.extra.get("mail") or self.config.mail_location
        try:
            places = expand(template, identity.user, identity.home)
        except (ConfigError, ValueError) as error:
            logger.error("no mail location", extra={"fields": {"user": identity.user, "why": error}})
            raise Unavailable from error
        inbox = places.inbox or places.root
        if not make and not os.path.isdir(os.path.join(inbox, b"cur")):
            raise MailboxMissing("There is no Maildir", detail=os.fsdecode(inbox))
        key = (places, owner)
        with self._lock:
            account = self._accounts.get(key)
        limits = self._limits(identity)
        if account is None:
            watcher = self.watcher
            if watcher is not None and owner is not None:
                watcher = cast("Watcher", identities.OwnedWatcher(watcher, owner))
            made = open_account(self.config, places, watcher, limits)
            with self._lock:
                # Race: another thread may have opened it meanwhile; there must be one for both.
                account = self._accounts.setdefault(key, made)
        else:
            account.limit(*limits)
        dropped: list[object] = []  # whose end may close files: not under the lock
        with self._lock:
            dropped.append(self._kept.pop(key, None))
            self._kept[key] = account
            while len(self._kept) > _ACCOUNTS_KEPT:
                dropped.append(self._kept.popitem(last=False))
        return account

    def _limits(self, identity: Identity) -> tuple[int, int]:
        """The user's quota: octets and messages, 0 for none."""
        rule = identity.extra.get("userdb_quota_rule") or identity.extra.get("quota_rule")
        if rule is not None:
            try:
                return quota_rule(rule)
            except ValueError as error:
                logger.error("quota passed over", extra={"fields": {"user": identity.user, "why": error}})
        return self.config.quota_storage or 0, self.config.quota_messages or 0

    def pause(self, tries: int, user: str, host: str) -> float:
        """Seconds from the question to the answer after a wrong password, the connection's *tries* th."""
        doublings = max(tries - 1, self.failures.doublings(user, host))
        return float(min(self.config.auth_failure_delay * 2**doublings, _LONGEST_PAUSE))

    def gate(self, host: str, peer: str, arrival: Arrival | None = None) -> Gate:
        """The door as one connection from *host* sees it; *peer* is its name in the log."""
        return Gate(self, host, peer, arrival)


class Arrival:
    """A connection, as the door counts it.  *ring* wakes its thread, which looks whether it was *sent_away*."""

    __slots__ = ("network", "ring", "sent_away")

    def __init__(self, counted: str) -> None:
        self.network = counted
        self.sent_away = False
        self.ring: Callable[[], None] = lambda: None


class Gate:
    """One connection's tries."""

    def __init__(self, door: Door, host: str, peer: str, arrival: Arrival | None) -> None:
        self._door = door
        self._host = host
        self._peer = peer
        self._arrival = arrival
        self._failures = 0

    def __call__(self, credential: Credential) -> Access:
        """As ``imap.session.Gate``: a wrong password is answered late, later each time, then with BYE.

        The pause counts from the question: how long the password took to check does not show.
        """
        if not isinstance(credential, Password):
            raise AuthenticationFailed
        user, password, authzid = credential.user, credential.password, credential.authzid
        began = time.monotonic()
        try:
            identity = self._door.identify(user, password, self._host)
        except AuthenticationFailed:
            self._failures += 1
            self._door.failures.add(user, self._host)
            logger.warning(
                "login failed", extra={"fields": {"user": user, "peer": self._peer, "tries": self._failures}}
            )
            # In this connection's thread only: others do not wait.
            left = began + self._door.pause(self._failures, user, self._host) - time.monotonic()
            if left > 0:
                time.sleep(left)
            if self._failures >= MAX_FAILURES:
                raise Goodbye("Too many wrong passwords") from None
            raise
        if authzid is not None and authzid not in (user, identity.user):
            raise AuthorizationFailed
        return self._door.admit(identity, self._arrival)
