"""Several back ends in order: the first that knows the user decides; what was right is remembered, what is wrong waits.

An order between back ends decides who may come in, so none is passed over: when one that comes before cannot be asked,
nobody knows who would have decided, and the answer is Unavailable.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from maildir_imapd.auth.base import (
    Authenticator,
    Credential,
    External,
    Identity,
    NoCredential,
    Password,
    Proven,
    Registered,
    Token,
    keeper,
)
from maildir_imapd.auth.devices import DeviceSource, find_device
from maildir_imapd.auth.masters import Masters, nobody_such
from maildir_imapd.auth.names import Spelling, valid_user
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, Goodbye, Unavailable
from maildir_imapd.events import Log
from maildir_imapd.store.threads import locks

log = Log(__name__)

MAX_FAILURES: Final = 4
# Seconds, whatever has been counted: below login_timeout.
_LONGEST_PAUSE_SECONDS: Final = 60.0
_CACHE_SIZE: Final = 10_000
_AS_SHOWN: Final = Spelling()
# Why a login failed that need not be counted: this very credential was wrong a moment ago, from the same address.
AGAIN: Final = "again"
# Seconds for which it is known to be wrong; the second where a back end does not show that a secret has changed.
_WRONG_SECONDS: Final = 600.0
_WRONG_UNSEEN_SECONDS: Final = 30.0


class FailureCount(Protocol):
    """How often logins have failed of late, counted beyond this chain (``server/failures.py``)."""

    def add(self, user: str, host: str) -> None:
        """Count a failure; *host* "": by no address."""
        ...

    def doublings(self, user: str, host: str) -> int:
        """How often the pause after a failure of *user* from *host* is to be doubled."""
        ...


class Chain:
    """The back ends of a process; safe from any thread.

    *remember*: seconds for which a credential that was right needs no back end to check it.  *delay*: seconds from a
    wrong one to its answer, before they are doubled.  *spelling*: how names are spelled before a back end is asked.
    *salt_key*: what salts are made up from, for users who have none; whoever does not know it cannot tell them.
    *masters*: those who may act for others.  *devices*: where passwords of users' devices are.
    """

    def __init__(
        self,
        back_ends: Sequence[Authenticator],
        *,
        remember: float = 0.0,
        delay: float = 0.0,
        failures: FailureCount | None = None,
        spelling: Spelling = _AS_SHOWN,
        salt_key: bytes = b"",
        masters: Masters | None = None,
        devices: Sequence[DeviceSource] = (),
    ) -> None:
        self.back_ends = tuple(back_ends)
        self._spelling = spelling
        self.failures = failures
        self._remember = remember
        self._delay = delay
        self._key = os.urandom(32)
        self._salt_key = salt_key or self._key
        self._masters = masters
        self._devices = tuple(devices)
        self._lock = locks.make(locks.Rank.GUARD)  # guards _known and _wrong
        # By digest: what the back end had on record, what it answered, and until when that holds.
        self._known: OrderedDict[bytes, tuple[Registered, Identity, float]] = OrderedDict()
        # By digest of a credential and an address: what the back end had on record, and until when that holds.
        self._wrong: OrderedDict[bytes, tuple[Registered | None, float]] = OrderedDict()

    # --- who there is -----------------------------------------------------------------------------

    def find(self, user: str) -> Identity | None:
        """Say who *user* is, by this very name and without a credential; raises Unavailable."""
        return self._named(self._spelling.of(user))

    def _named(self, user: str) -> Identity | None:
        for back_end in self.back_ends:
            registered = back_end.look_up(user)
            if registered is not None:
                return registered.identity
        return None

    @property
    def at_hand(self) -> bool:
        """Whether all back ends have their users here, so that ``everybody`` asks no other program."""
        return all(getattr(back_end, "at_hand", True) for back_end in self.back_ends)

    def everybody(self, *, at_hand: bool = False) -> Iterator[Identity]:
        """Go through all users that the back ends have a list of, or only those *at_hand*; raises Unavailable."""
        seen: set[str] = set()
        for back_end in self.back_ends:
            if at_hand and not getattr(back_end, "at_hand", True):
                continue
            for name in back_end.users():
                if name not in seen and (found := self._named(name)) is not None:
                    seen.add(name)
                    yield found

    @property
    def has_devices(self) -> bool:
        """Whether users may have passwords of devices beside their own."""
        return bool(self._devices)

    # --- secrets ----------------------------------------------------------------------------------

    def stored(self, user: str, host: str | None = None) -> str | None:
        """Tell the secret that is kept of *user*; None where there is none that lets him in from the address *host*.

        Raises Unavailable.
        """
        apart = self._masters.of(user) if self._masters is not None else None
        if self._masters is not None and apart is not None:
            return self._masters.stored(apart[1], host)
        user = self._spelling.of(user)
        if not valid_user(user):
            return None
        back_end, user, registered = _first(self._able(Proven), user)
        keeps = keeper(back_end)
        # Of a stranger as well, for a question that is not put shows in the time.
        secret = keeps.stored(user) if keeps is not None else None
        if secret is None or registered is None or not registered.may_log_in or not _fits(registered.identity, host):
            return None
        return secret

    def salt(self, user: str) -> bytes:
        """Make up a salt for one of whom no secret is kept, the same each time."""
        name = self._spelling.of(user).lower().encode("utf-8", "surrogatepass")
        return hmac.digest(self._salt_key, b"salt\0" + name, hashlib.sha256)[:16]

    def _able(self, kind: type[Credential]) -> list[Authenticator]:
        """The back ends that decide about a kind of credentials; raises Unavailable where there is none.

        A proof stands in the place of a password: whoever would decide about that decides.
        """
        kinds = {kind, Password} if kind is Proven else {kind}
        able = [back_end for back_end in self.back_ends if not kinds.isdisjoint(back_end.takes)]
        if not any(kind in back_end.takes for back_end in able):
            raise Unavailable
        return able

    # --- who is this ------------------------------------------------------------------------------

    def identify(self, credential: Credential, host: str | None = None) -> Identity:
        """Check *credential*, shown from the address *host*; a right one is remembered for a while, as a keyed digest.

        It is remembered for that address: a back end may have rules about where one comes from.
        Raises AuthenticationFailed, AuthorizationFailed for one who may not act as whom he names, Unavailable.  A
        password that was wrong from that address a while ago is wrong again without a look at it, as long as the user
        is the same on record: a telephone with an old one costs no hash.  The failure's detail is AGAIN then.
        """
        if isinstance(credential, NoCredential):
            raise AuthenticationFailed
        if isinstance(credential, Password | External):
            credential = replace(credential, host=host)
        masters = self._masters
        acting = masters.acting(credential) if masters is not None else None
        if masters is None or acting is None:
            return self._identified(credential, host)
        shown, user = acting
        return self._acted_for(masters, masters.check(shown, host), user, host)

    def answerable(self, credential: Credential) -> str:
        """Name whoever it is whose secret was tried: of ``user*master`` the master."""
        apart = self._masters.of(credential.user) if self._masters is not None else None
        return credential.user if apart is None else apart[1]

    def _acted_for(self, masters: Masters, master: Identity, user: str, host: str | None) -> Identity:
        """Say who *user* is, for whom *master* acts: somebody who could log in himself, from here."""
        user = self._spelling.of(user)
        if not valid_user(user) or not self.back_ends:
            raise nobody_such()
        back_end, user, registered = _first(self.back_ends, user)
        masters.demand_right(master, user)
        if registered is None or not registered.may_log_in or not _fits(registered.identity, host):
            raise nobody_such()
        # One that cannot say whether he is locked out lets nobody act for him.
        if External not in back_end.takes:
            raise AuthenticationFailed(detail="acts-for-unchecked")
        identity = back_end.check(External(user, host=host))
        # The name that was asked for may be another one of his, and what was on record older than this.
        masters.demand_right(master, identity.user)
        if not _fits(identity, host):
            raise nobody_such()
        return replace(identity, acting=master.user)

    def _identified(self, credential: Credential, host: str | None) -> Identity:
        able = self._able(type(credential))
        user = self._spelling.of(credential.user)
        # Of a name that can be nobody's the back ends are asked as of nobody: it takes as long as a wrong password.
        back_end, user, registered = _first(able, user if valid_user(user) else "")
        if registered is not None and host is not None and not registered.identity.may_come_from(host):
            # From there he is unknown: whether the password is right must not show in how long the answer takes.
            user, registered = "", None
        identity = self._not_again(back_end, credential, user, registered, host)
        if (registered is None or identity != registered.identity) and not _fits(identity, host):
            # Only the credential said who he is, or from where he may come, and of that nothing has been looked at yet.
            raise AuthenticationFailed
        if self._himself(credential, identity):
            anybody = isinstance(credential, External) and credential.anonymous
            return replace(identity, read_only=True) if anybody else identity
        if self._masters is None or credential.authzid is None or identity.device is not None:
            raise AuthorizationFailed
        # Only now is it known whose token it is, or by which name a certificate goes.
        master = self._masters.demand_master(identity.user, host)
        return self._acted_for(self._masters, master, credential.authzid, host)

    def _by_device(
        self, back_end: Authenticator, credential: Password, registered: Registered | None
    ) -> Identity | None:
        """Say who it is by the password of one of his devices; None where it is none of them.

        Raises AuthenticationFailed for one who may not log in whatever he shows, Unavailable.
        """
        # A back end that cannot say who is locked out lets nobody in by what it has not checked.
        if not self._devices or External not in back_end.takes:
            return None
        if registered is None or not registered.may_log_in:
            return None
        device = find_device(self._devices, registered.identity.user, credential.password)
        if device is None:
            return None
        identity = back_end.check(External(credential.user, host=credential.host))
        # What was on record may be older: whose name that was then.
        if identity.user != registered.identity.user:
            raise AuthenticationFailed
        return replace(identity, device=device.name, read_only=device.read_only)

    def _himself(self, credential: Credential, identity: Identity) -> bool:
        """Whether the client wants to act as whom it has shown to be."""
        wanted = credential.authzid
        # Of a token the name that the client says is shown by nothing.
        if (
            wanted is None
            or wanted == identity.user
            or (wanted == credential.user and not isinstance(credential, Token))
        ):
            return True
        spelled = self._spelling.of(wanted)
        return valid_user(wanted) and identity.user in (spelled, spelled.lower())

    def _not_again(
        self,
        back_end: Authenticator,
        credential: Credential,
        user: str,
        registered: Registered | None,
        host: str | None,
    ) -> Identity:
        """Check *credential* for *user*, unless it is known to be wrong; raises as ``identify``."""
        if not isinstance(credential, Password):
            return self._checked(back_end, _renamed(credential, user), registered)
        # By the name as it was shown: to a stranger the same happens as to one who is there.
        shown = self._digest((host or "").encode() + b"\0" + _octets(credential))
        if self._was_wrong(shown, registered):
            raise AuthenticationFailed(detail=AGAIN)
        try:
            device = self._by_device(back_end, replace(credential, user=user), registered)
            return device or self._checked(back_end, _renamed(credential, user), registered)
        except AuthenticationFailed as error:
            # Where there is something to mend, that is done without a new password.
            if not error.detail:
                self._note_wrong(shown, registered)
            raise

    def _checked(self, back_end: Authenticator, credential: Credential, registered: Registered | None) -> Identity:
        if not isinstance(credential, Password):
            # A proof has cost nothing, and comes but once; a token ends, which its back end knows.
            if not isinstance(credential, back_end.takes):
                raise AuthenticationFailed
            return back_end.check(credential)
        digest = self._digest(_octets(credential))
        now = time.monotonic()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and known[0] == registered and now < known[2]:
            return known[1]
        identity = back_end.check(credential)
        if self._remember and registered is not None:
            with self._lock:
                self._known[digest] = (registered, identity, now + self._remember)
                while len(self._known) > _CACHE_SIZE:
                    self._known.popitem(last=False)
        return identity

    def _digest(self, octets: bytes) -> bytes:
        return hmac.digest(self._key, octets, hashlib.sha256)

    def _was_wrong(self, digest: bytes, registered: Registered | None) -> bool:
        with self._lock:
            known = self._wrong.get(digest)
        return known is not None and known[0] == registered and time.monotonic() < known[1]

    def _note_wrong(self, digest: bytes, registered: Registered | None) -> None:
        until = time.monotonic() + (_WRONG_SECONDS if _shows_changes(registered) else _WRONG_UNSEEN_SECONDS)
        with self._lock:
            self._wrong[digest] = (registered, until)
            self._wrong.move_to_end(digest)
            while len(self._wrong) > _CACHE_SIZE:
                self._wrong.popitem(last=False)

    # --- who was wrong ----------------------------------------------------------------------------

    def pause(self, tries: int, user: str, host: str) -> float:
        """Seconds from the question to the answer after a wrong password, the connection's *tries* th."""
        doublings = max(tries - 1, self.failures.doublings(user, host) if self.failures is not None else 0)
        return float(min(self._delay * 2**doublings, _LONGEST_PAUSE_SECONDS))

    def tries(self, host: str, peer: str, *, longest: float = _LONGEST_PAUSE_SECONDS) -> Tries:
        """Begin to count the tries of a connection from *host*; *peer* is its name in the log.

        *longest*: seconds that an answer may be late at the most.
        """
        return Tries(self, host, peer, longest)


class Tries:
    """One connection's tries to log in.  Only the thread of that connection calls it, and sleeps in it."""

    def __init__(self, chain: Chain, host: str, peer: str, longest: float) -> None:
        self._chain = chain
        self._longest = longest
        self._host = host
        self._peer = peer
        # Whether failures are counted by that address.
        self._counted = True
        self._failures = 0

    def comes_from(self, host: str, peer: str, *, counted: bool) -> None:
        """Go on as for a client at *host*; *counted*: what is wrong counts against that address."""
        self._host, self._peer, self._counted = host, peer, counted

    def identify(self, credential: Credential) -> Identity:
        """As ``Chain.identify``: a wrong one is answered late, later each time, then with Goodbye.

        The pause counts from the question: how long the check took does not show.
        """
        began = time.monotonic()
        chain, user = self._chain, credential.user
        counted = self._host if self._counted else ""
        try:
            identity = chain.identify(credential, self._host)
            if identity.acting is not None:
                log.info("acts for another", master=identity.acting, user=identity.user, peer=self._peer)
            return identity
        except AuthenticationFailed as error:
            self._failures += 1
            who = chain.answerable(credential)
            if chain.failures is not None and error.detail != AGAIN:
                chain.failures.add(who, counted)
            # Where it is no password that was tried now, an administrator has something to mend.
            why = {"why": error.detail} if error.detail else {}
            log.warning("login failed", user=user, peer=self._peer, tries=self._failures, **why)
            # In this connection's thread only: others do not wait.
            pause = min(chain.pause(self._failures, who, counted), self._longest)
            left = began + pause - time.monotonic()
            if left > 0:
                time.sleep(left)
            if self._failures >= MAX_FAILURES:
                raise Goodbye("Too many wrong passwords") from None
            raise


def _first(able: Sequence[Authenticator], user: str) -> tuple[Authenticator, str, Registered | None]:
    """Find the first back end that knows *user*, as he is spelled or in small letters, and by which of the two.

    The first of all takes a stranger, so that he costs what a wrong password does.
    """
    for back_end in able:
        for name in dict.fromkeys((user, user.lower())):
            registered = back_end.look_up(name)
            if registered is not None:
                return back_end, name, registered
    return able[0], user, None


def _shows_changes(registered: Registered | None) -> bool:
    """Whether *registered* compares unequal once another password is right; None does once there is such a user."""
    version = None if registered is None else registered.version
    # Of a back end that is joined with others each has its own.
    parts = version if isinstance(version, tuple) else (version,)
    return registered is None or None not in parts


def _fits(identity: Identity, host: str | None) -> bool:
    return valid_user(identity.user) and (host is None or identity.may_come_from(host))


def _renamed(credential: Credential, user: str) -> Credential:
    """The same credential for the name that the back end knows."""
    return credential if credential.user == user else replace(credential, user=user)


def _octets(credential: Password) -> bytes:
    """Make a digest that two passwords have alike only if they are one."""
    # None of the names can have a NUL in it: what is before the secret is read in one way only.
    names = (credential.user, credential.authzid or "", credential.host or "")
    return "\0".join(names).encode() + b"\0" + credential.password
