"""The door of a worker: how many may be inside, and how one who has been identified comes in and leaves."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import Goodbye, LimitReached
from maildir_imapd.events import Log
from maildir_imapd.imap.gate import Access
from maildir_imapd.server import owners
from maildir_imapd.server.failures import network
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Credential, Identity
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.imap.gate import Gate
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.sessions import Visit

log = Log(__name__)

# Connections that were sent away for others and have not gone yet, beyond which new ones are refused.
_LEAVING: Final = 256


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections one worker has room for, as the settings of these names say."""

    connections: int
    connections_before_login: int
    connections_per_address: int
    connections_per_user: int


class Door:
    """Shared by all connections of a worker; safe from any thread."""

    def __init__(self, chain: Chain, accounts: Accounts, room: Room) -> None:
        self.chain = chain
        self.accounts = accounts
        self.room = room
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._by_network: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._inside = 0
        self._waiting: OrderedDict[Visit, None] = OrderedDict()  # who has not logged in, the longest first
        self._leaving: set[Visit] = set()  # who was sent away for another and has not gone yet

    # --- how many ---------------------------------------------------------------------------------

    def arrive(self, visit: Visit) -> None:
        """Count a new connection; raises LimitReached when there are too many.

        Where only room is lacking, whoever has been here longest without logging in gives way: connections that are
        opened and left keep nobody out.
        """
        oldest = None
        around = network(visit.host)
        with self._lock:
            if self._by_network[around] >= self.room.connections_per_address:
                raise LimitReached(why="Too many connections from your address")
            if self._inside >= self.room.connections or len(self._waiting) >= self.room.connections_before_login:
                if not self._waiting or len(self._leaving) >= _LEAVING:
                    raise LimitReached(why="Too many connections; try again later")
                oldest, _ = self._waiting.popitem(last=False)
                self._leaving.add(oldest)
            self._by_network[around] += 1
            self._inside += 1
            self._waiting[visit] = None
        if oldest is not None:
            log.info("connection gave way", network=network(oldest.host))
            oldest.send_away(Goodbye("Too many connections; try again later"))

    def leave(self, visit: Visit) -> None:
        """Take back what ``arrive`` and a login counted."""
        around = network(visit.host)
        with self._lock:
            self._inside -= 1
            self._waiting.pop(visit, None)
            self._leaving.discard(visit)
            self._by_network[around] -= 1
            if not self._by_network[around]:
                del self._by_network[around]
        if visit.user is not None:
            self._forget(visit.user)
            visit.user = None
        self._left(visit)

    def _left(self, visit: Visit) -> None:
        """Keep the mail of who has gone open for a while."""
        account, visit.account = visit.account, None
        if account is not None:
            self.accounts.left(account)

    def _forget(self, user: str) -> None:
        with self._lock:
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]

    # --- who --------------------------------------------------------------------------------------

    def gate(self, visit: Visit) -> Gate:
        """The door as one connection sees it."""
        tries = self.chain.tries(visit.host, visit.peer)

        def come(credential: Credential) -> Access:
            return self.admit(tries.identify(credential), visit)

        return come

    def admit(self, identity: Identity, visit: Visit) -> Access:
        """Open the mail of a user who has been identified; raises Unavailable, LimitReached, StoreError.

        From here on the calling thread acts as the owner of the mail.
        """
        user = identity.user
        owner = self.accounts.owner(identity)
        with owners.acting_as(owner):
            account = self.accounts.account(identity, owner)
        most = self.room.connections_per_user if identity.connections is None else identity.connections
        with self._lock:
            if self._by_user[user] >= most:
                raise LimitReached(why="You have too many connections")
            self._by_user[user] += 1
        if owner is not None:
            try:
                owners.become(owner)
            except OSError:
                self._forget(user)
                raise
        visit.user, visit.account = user, account
        with self._lock:
            self._waiting.pop(visit, None)
        return Access(user, account, lambda: self._dismiss(visit), identity.groups)

    def _dismiss(self, visit: Visit) -> None:
        """Take back a login: the calling thread is the process again; raises Goodbye if it cannot."""
        user, visit.user = visit.user, None
        if user is not None:
            self._forget(user)
        self._left(visit)
        with self._lock:
            if visit not in self._leaving:
                self._waiting[visit] = None
        own = self.accounts.own
        if own is not None:
            try:
                owners.become(own)
            except OSError as error:
                log.error("cannot take an identity back", user=user, why=error)
                raise Goodbye("Please connect again") from error
