"""The door of a worker: how many may be inside, and how one who has been identified comes in and leaves."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import Offered
from maildir_imapd.errors import Goodbye, LimitReached
from maildir_imapd.events import Log
from maildir_imapd.imap.gate import Access
from maildir_imapd.server import client_certificate, owners
from maildir_imapd.server.counts import Counts
from maildir_imapd.server.failures import network
from maildir_imapd.server.new_device import Newcomer
from maildir_imapd.server.reach import Reach
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maildir_imapd.auth.base import Credential, Identity
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.auth.last_use import LastUse
    from maildir_imapd.auth.mechanisms import SaslOffer
    from maildir_imapd.imap.gate import Gate
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.counts import WorkerCounts
    from maildir_imapd.server.last_logins import LastLogins
    from maildir_imapd.server.new_device import DeviceMessage
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport

log = Log(__name__)

# Connections that were sent away for others and have not gone yet, beyond which new ones are refused.
_LEAVING: Final = 256
# No limit.
_EVER_SO_MANY: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections one worker has room for, as the settings of these names say."""

    connections: int
    connections_before_login: int
    connections_per_address: int
    connections_per_user: int
    connections_per_user_and_address: int


@dataclass(frozen=True, slots=True)
class Logins:
    """How clients may log in, as the settings say; *scope* and *discovery* as of ``Situation``."""

    mechanisms: tuple[str, ...] = ()
    client_name: str = "commonName"
    anonymous: str | None = None
    scope: str = ""
    discovery: str = ""


def _each(called: Sequence[Callable[[str], None]], program: str) -> None:
    for each in called:
        each(program)


def _at(user: str, visit: Visit) -> str:
    """Return what a user's connections from one address are counted under, which is no user's name."""
    return f"{user}\0{network(visit.host)}"


class Door:
    """Shared by all connections of a worker; safe from any thread.

    *counts*: of users, over all workers.  *last_use*: of devices.  *new_device*: what a user gets who
    comes from a new one.  *last_login*: of users; *last_logins*: a database's.  *reach*: what there is beside their own
    mail.
    """

    def __init__(
        self,
        chain: Chain,
        accounts: Accounts,
        room: Room,
        counts: WorkerCounts | None = None,
        last_use: LastUse | None = None,
        new_device: DeviceMessage | None = None,
        last_login: LastUse | None = None,
        last_logins: LastLogins | None = None,
        reach: Reach | None = None,
    ) -> None:
        self.chain = chain
        self.accounts = accounts
        self.room = room
        self.last_use = last_use
        self.new_device = new_device
        self.last_login = last_login
        self.last_logins = last_logins
        self.reach = Reach((), accounts) if reach is None else reach
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._by_network: Counter[str] = Counter()  # of those who have not logged in
        self._by_user = Counts(1).of(0) if counts is None else counts
        self._inside = 0
        self._waiting: OrderedDict[Visit, None] = OrderedDict()  # who has not logged in, the longest first
        self._leaving: set[Visit] = set()  # who was sent away for another and has not gone yet

    # --- how many ---------------------------------------------------------------------------------

    def arrive(self, visit: Visit) -> None:
        """Count a new connection; raises LimitReached when there are too many.

        Whoever has been here longest without logging in gives way, of one address or, where room is lacking, of all:
        connections that are opened and left keep nobody out, and those of a webmail or behind one address who have
        logged in are not counted here.
        """
        oldest = None
        around = network(visit.host)
        with self._lock:
            full = self._inside >= self.room.connections or len(self._waiting) >= self.room.connections_before_login
            if self._by_network[around] >= self.room.connections_per_address:
                oldest = next((each for each in self._waiting if network(each.host) == around), None)
            elif full:
                oldest = next(iter(self._waiting), None)
            if oldest is not None and len(self._leaving) < _LEAVING:
                self._no_longer_waiting(oldest)
                self._leaving.add(oldest)
            elif oldest is not None or full:
                raise LimitReached(why="Too many connections; try again later")
            self._inside += 1
            self._wait(visit)
        if oldest is not None:
            log.info("connection gave way", network=network(oldest.host))
            oldest.send_away(Goodbye("Too many connections; try again later"))

    def leave(self, visit: Visit) -> None:
        """Take back what ``arrive`` and a login counted."""
        with self._lock:
            self._inside -= 1
            self._no_longer_waiting(visit)
            self._leaving.discard(visit)
        if visit.user is not None:
            self._forget(visit.user, visit)
            visit.user = None
        self._left(visit)

    def _wait(self, visit: Visit) -> None:
        """Count one who has not logged in. Under the lock."""
        self._waiting[visit] = None
        self._by_network[network(visit.host)] += 1

    def _no_longer_waiting(self, visit: Visit) -> None:
        """Take that back, if it was counted. Under the lock."""
        if visit in self._waiting:
            del self._waiting[visit]
            self._one_less(network(visit.host))

    def _one_less(self, around: str) -> None:
        """Count one that has not logged in less, of a network. Under the lock."""
        self._by_network[around] -= 1
        if not self._by_network[around]:
            del self._by_network[around]

    def _left(self, visit: Visit) -> None:
        """Keep the mail of who has gone open for a while."""
        newcomer, visit.newcomer = visit.newcomer, None
        if newcomer is not None:
            newcomer.judge()
        account, visit.account = visit.account, None
        mail, visit.mail = visit.mail, None
        if account is not None:
            self.accounts.left(account)
        if mail is not None:
            self.reach.left(mail)

    def _note(self, user: str, visit: Visit, own: int | None) -> None:
        """Count a login; raises LimitReached. *own*: how many his back end says that he may have."""
        most = self.room.connections_per_user if own is None else own
        here = self.room.connections_per_user_and_address
        with self._lock:
            if not self._by_user.enter(user, most or _EVER_SO_MANY):
                raise LimitReached(why="You have too many connections")
            if not self._by_user.enter(_at(user, visit), here or _EVER_SO_MANY):
                self._by_user.leave(user)
                raise LimitReached(why="You have too many connections")

    def _forget(self, user: str, visit: Visit) -> None:
        with self._lock:
            self._by_user.leave(user)
            self._by_user.leave(_at(user, visit))

    def forward(self, visit: Visit, host: str, peer: str) -> None:
        """Count a connection that has not logged in as one from *host*, for which it has come; *peer* as of Visit."""
        with self._lock:
            waiting = visit in self._waiting
            if waiting:
                self._one_less(network(visit.host))
            visit.host, visit.peer, visit.shared = host, peer, False
            if waiting:
                self._by_network[network(host)] += 1

    # --- who --------------------------------------------------------------------------------------

    def gate(self, visit: Visit) -> Gate:
        """The door as one connection sees it."""
        tries = self.chain.tries(visit.host, visit.peer)

        def come(credential: Credential) -> Access:
            tries.comes_from(visit.host, visit.peer, counted=not visit.shared)
            return self.admit(tries.identify(credential), visit)

        return come

    def ways(self, visit: Visit, transport: Transport, logins: Logins) -> SaslOffer:
        """The mechanisms by which a connection may log in."""

        def situation() -> Situation:
            shown = transport.client_certificate
            return Situation(
                bindings=transport.bindings,
                stored=partial(self.chain.stored, host=visit.host),
                salt=self.chain.salt,
                anonymous=logins.anonymous,
                scope=logins.scope,
                discovery=logins.discovery,
                host=visit.host,
                certified=client_certificate.user(shown, logins.client_name) if shown is not None else None,
            )

        return Offered(self.chain, logins.mechanisms, situation)

    def admit(self, identity: Identity, visit: Visit) -> Access:
        """Open the mail of a user who has been identified; raises Unavailable, LimitReached, StoreError.

        From here on the calling thread acts as the owner of the mail.
        """
        user = identity.user
        owner = self.accounts.owner(identity)
        with owners.acting_as(owner):
            account = self.accounts.account(identity, owner)
        self._note(user, visit, identity.connections)
        if owner is not None:
            try:
                owners.become(owner)
            except OSError:
                self._forget(user, visit)
                raise
        visit.user, visit.account = user, account
        with self._lock:
            self._no_longer_waiting(visit)
        visit.mail = mail = self.reach.namespaces(identity, account, owner)
        access = Access(
            user,
            mail,
            lambda: self._dismiss(visit),
            identity.groups,
            identity.read_only,
            reach=self.reach.reading,
            spelled=self.chain.spelled,
        )
        used: list[Callable[[str], None]] = []
        if self.last_use is not None and identity.device is not None:
            used.append(partial(self.last_use.note, user, identity.device, visit.host))
        if self.last_login is not None and identity.acting is None:
            used.append(partial(self.last_login.note, user, "", visit.host))
        if self.last_logins is not None and identity.acting is None:
            self.last_logins.note(user, visit.service, visit.host)
        # Who acts for a user is an administrator, and a webmail that does not say for whom it comes says nothing.
        if self.new_device is not None and identity.acting is None and not visit.shared:
            visit.newcomer = Newcomer(self.new_device, user, account, visit.host, identity.device or "")
            used.append(visit.newcomer.used)
        return replace(access, used=partial(_each, used)) if used else access

    def _dismiss(self, visit: Visit) -> None:
        """Take back a login: the calling thread is the process again; raises Goodbye if it cannot."""
        user, visit.user = visit.user, None
        if user is not None:
            self._forget(user, visit)
        self._left(visit)
        with self._lock:
            if visit not in self._leaving:
                self._wait(visit)
        own = self.accounts.own
        if own is not None:
            try:
                owners.become(own)
            except OSError as error:
                log.error("cannot take an identity back", user=user, why=error)
                raise Goodbye("Please connect again") from error
