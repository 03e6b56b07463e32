"""The door: passwords, the pause after a wrong one, how many may be inside, and whose mail is whose."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import threading
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from maildir_imapd.config import Config, expand_location
from maildir_imapd.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    ConfigError,
    Goodbye,
    LimitReached,
    Unavailable,
)
from maildir_imapd.imap.session import Access
from maildir_imapd.store.account import Account

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.auth.passwdfile import PasswdFile
    from maildir_imapd.store.watch import Watcher

logger = logging.getLogger(__name__)

# A user name becomes part of a path: letters and digits of any script and a few marks, never a slash, never
# a dot in front (robustness rule 17).
_USER = re.compile(r"[\w+@=~-][\w.+@=~&'-]{0,254}\Z").match
MAX_FAILURES = 4
_CACHE_SIZE = 10_000
_ACCOUNTS_KEPT = 256


def valid_user(name: str) -> bool:
    """Whether *name* may be a user's name at all."""
    return _USER(name) is not None


class Door:
    """Shared by all connections of a worker; safe from any thread."""

    def __init__(self, config: Config, users: PasswdFile | None, watcher: Watcher | None) -> None:
        self.config = config
        self.users = users
        self.watcher = watcher
        self._key = os.urandom(32)
        self._lock = threading.Lock()  # guards everything below
        self._known: OrderedDict[bytes, tuple[str, float, Identity]] = OrderedDict()
        self._accounts: WeakValueDictionary[bytes, Account] = WeakValueDictionary()
        self._kept: OrderedDict[bytes, Account] = OrderedDict()
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._inside = 0

    # --- how many ---------------------------------------------------------------------------------

    def arrive(self, host: str) -> None:
        """Count a new connection; raises LimitReached when there are too many."""
        with self._lock:
            if self._inside >= self.config.connections:
                raise LimitReached(why="Too many connections; try again later")
            if self._by_address[host] >= self.config.connections_per_address:
                raise LimitReached(why="Too many connections from your address")
            self._by_address[host] += 1
            self._inside += 1

    def leave(self, host: str, user: str | None) -> None:
        """Take back what ``arrive`` and a login counted."""
        with self._lock:
            self._inside -= 1
            self._by_address[host] -= 1
            if not self._by_address[host]:
                del self._by_address[host]
            if user is not None:
                self._by_user[user] -= 1
                if not self._by_user[user]:
                    del self._by_user[user]

    # --- who --------------------------------------------------------------------------------------

    def identify(self, user: str, password: bytes) -> Identity:
        """Check a password; a right one is remembered for a while, as a keyed digest."""
        if self.users is None:
            raise Unavailable
        if not _USER(user):
            # The database is asked about nobody, so that this takes as long as a wrong password.
            return self.users.check("", password)
        stored = self.users.stored(user)
        if not stored and self.users.stored(user.lower()):
            user = user.lower()
            stored = self.users.stored(user)
        digest = hmac.digest(self._key, user.encode() + b"\0" + password, hashlib.sha256)
        now = time.monotonic()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and known[0] == stored and now < known[1]:
            return known[2]
        identity = self.users.check(user, password)
        if self.config.auth_cache_time:
            with self._lock:
                self._known[digest] = (stored, now + self.config.auth_cache_time, identity)
                while len(self._known) > _CACHE_SIZE:
                    self._known.popitem(last=False)
        return identity

    def admit(self, identity: Identity) -> Access:
        """Open the mail of a user who has been identified; raises Unavailable, LimitReached, StoreError."""
        user = identity.user
        account = self.account(identity)
        with self._lock:
            if self._by_user[user] >= self.config.connections_per_user:
                raise LimitReached(why="You have too many connections")
            self._by_user[user] += 1
        return Access(user, account)

    def account(self, identity: Identity) -> Account:
        """The account of a user, one object a process."""
        template = identity.extra.get("userdb_mail") or identity.extra.get("mail") or self.config.mail_location
        try:
            root = os.path.abspath(expand_location(template, identity.user, identity.home))
        except (ConfigError, KeyError) as error:
            logger.error("no mail location", extra={"fields": {"user": identity.user, "why": error}})
            raise Unavailable from error
        with self._lock:
            account = self._accounts.get(root)
        if account is None:
            made = Account(root, delimiter=self.config.delimiter, fsync=self.config.fsync, watcher=self.watcher)
            with self._lock:
                # Race: another thread may have opened it meanwhile; there must be one for both.
                account = self._accounts.setdefault(root, made)
        with self._lock:
            self._kept[root] = account
            self._kept.move_to_end(root)
            if len(self._kept) > _ACCOUNTS_KEPT:
                self._kept.popitem(last=False)
        return account

    def gate(self, peer: str) -> Gate:
        """The door as one connection sees it."""
        return Gate(self, peer)


class Gate:
    """One connection's tries."""

    def __init__(self, door: Door, peer: str) -> None:
        self._door = door
        self._peer = peer
        self._failures = 0

    def __call__(self, user: str, password: bytes, authzid: str | None) -> Access:
        """As ``imap.session.Gate``: after a wrong password it waits, longer each time, then says BYE."""
        try:
            identity = self._door.identify(user, password)
        except AuthenticationFailed:
            self._failures += 1
            logger.warning(
                "login failed", extra={"fields": {"user": user, "peer": self._peer, "tries": self._failures}}
            )
            # In this connection's thread only: others do not wait.
            time.sleep(self._door.config.auth_failure_delay * 2 ** (self._failures - 1))
            if self._failures >= MAX_FAILURES:
                raise Goodbye("Too many wrong passwords") from None
            raise
        if authzid is not None and authzid not in (user, identity.user):
            raise AuthorizationFailed
        return self._door.admit(identity)
