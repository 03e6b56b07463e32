"""The back end that asks a running Dovecot: passwords, users, and whole exchanges of mechanisms that are its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from maildir_imapd.auth import fields
from maildir_imapd.auth.base import Credential, External, Identity, NoCredential, Password, Registered, Vouched
from maildir_imapd.auth.dovecot_talk import Checks, LooksUp, challenge, named
from maildir_imapd.auth.names import valid_user
from maildir_imapd.auth.waiting import LineBroken, Pool, Until
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from maildir_imapd.auth.mechanisms import Exchange, Situation

log = Log(__name__)

T = TypeVar("T")

_PASSWORD_OCTETS: Final = 4096
_STRANGER: Final = "-"
# Seconds for which its list of mechanisms holds, and after which it is asked again where it could not be had.
_LIST_SECONDS: Final = 60.0
# Exchanges that go on at the same time: a client may take its time for each step, and each has a connection.
_EXCHANGES: Final = 100
# These are sent as passwords, or are ours to decide about: a certificate, and who anybody may be.
_OUR_OWN: Final = frozenset({"PLAIN", "LOGIN", "EXTERNAL", "ANONYMOUS"})


class DovecotAuth:
    """The back end over a running Dovecot.  Safe from any thread.

    *checks*: the path of its socket for clients, *knows*: of that for look-ups; None: it cannot be asked that.  Without
    *knows* whoever can be a user may be one.
    """

    name = "dovecot"

    def __init__(self, checks: str | None, knows: str | None, *, most: int, seconds: float) -> None:
        self._open = partial(Checks, checks or "")
        self._seconds = seconds
        self._exchanges = threading.BoundedSemaphore(_EXCHANGES)
        self._listing = locks.make(locks.Rank.GUARD)  # guards _list
        # What it offers, and until when that is not asked again.
        self._list: tuple[tuple[str, ...], float] = ((), 0.0)
        self._checking = (
            None if checks is None else Pool(self.name, lambda until: Checks(checks, until), most=most, seconds=seconds)
        )
        self._knowing = (
            None if knows is None else Pool(self.name, lambda until: LooksUp(knows, until), most=most, seconds=seconds)
        )

    @property
    def takes(self) -> tuple[type[Credential], ...]:
        """As ``Authenticator.takes``: who is locked out its socket for look-ups says."""
        shown: tuple[type[Credential], ...] = (Password, External)
        return (*shown[: 1 if self._knowing is None else 2], *(() if self._checking is None else (Vouched,)))

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``; user databases do not say all of who is locked out, ``check`` does."""
        if not valid_user(user):
            return None
        if self._knowing is None:
            return Registered(Identity(user))
        said = self._knowing.ask(lambda talk, until: talk.user(user, until))
        if said[0] == b"NOTFOUND":
            return None
        if said[0] == b"FAIL":
            raise self._unavailable(named(said[2:]).get("reason", "it cannot say who a user is"))
        name = said[2].decode("utf-8", "surrogateescape") if len(said) > 2 else user
        said_of_him = named(said[3:])
        return Registered(self._identity(name, said_of_him), may_log_in=fields.may_log_in(said_of_him))

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``."""
        if isinstance(credential, External):
            return self._check_without_password(credential.user, credential.host)
        if isinstance(credential, Vouched):
            if not valid_user(credential.user):
                raise AuthenticationFailed
            return self._let_in(credential.user, dict(credential.said))
        if self._checking is None or not isinstance(credential, Password) or not credential.password:
            raise AuthenticationFailed
        user, password = credential.user, credential.password
        known = valid_user(user)
        if b"\0" in password or len(password) > _PASSWORD_OCTETS:
            raise AuthenticationFailed
        asked = user if known else _STRANGER
        said = self._checking.ask(lambda talk, until: talk.check(asked, password, credential.host, until))
        words = named(said[2:])
        if said[0] == b"FAIL":
            self._demand_no_trouble(words)
            raise AuthenticationFailed(detail=words.get("code", "").replace("_", "-"))
        if not known:
            raise AuthenticationFailed
        return self._let_in(words.pop("user", user), words)

    def _let_in(self, name: str, words: dict[str, str]) -> Identity:
        """Say who it is whom Dovecot has let in with *words*; raises as ``check``."""
        if not fields.may_log_in(words):
            raise AuthenticationFailed
        found = self.look_up(name) if self._knowing is not None else None
        if found is not None and not found.may_log_in:
            raise AuthenticationFailed
        if found is not None:
            return found.identity
        if self._knowing is not None:
            log.warning("Dovecot's userdb does not know the user", user=name)
            raise AuthenticationFailed(detail="not-in-userdb")
        return self._identity(name, words)

    def _demand_no_trouble(self, words: dict[str, str]) -> None:
        """Raise Unavailable where a failure says nothing of the client."""
        # The first of these is 2.2's, the second 2.3's.
        if "temp" in words or words.get("code") == "temp_fail":
            raise self._unavailable("its own back ends cannot be asked")

    # --- mechanisms of its own --------------------------------------------------------------------

    @property
    def relayed(self) -> tuple[str, ...]:
        """As ``Relay.relayed``: as it has said a while ago; a Dovecot that cannot be asked offers what it has offered.

        One thread asks, the others go on with what is known.
        """
        names, until = self._list
        if self._checking is None or time.monotonic() < until or not self._listing.acquire(blocking=False):
            return names
        try:
            names = self._checking.ask(lambda talk, until: talk.mechanisms)
        except Unavailable:
            pass  # which the log has
        finally:
            # Bound to a connection that is not this one: nothing could be bound.
            kept = tuple(name for name in names if name not in _OUR_OWN and not name.endswith("-PLUS"))
            self._list = (kept, time.monotonic() + _LIST_SECONDS)
            self._listing.release()
        return kept

    def relay(self, name: str, situation: Situation) -> Exchange:
        """As ``Relay.relay``: each exchange has a connection to Dovecot, for as long as it goes on."""
        if not self._exchanges.acquire(blocking=False):
            raise self._unavailable("too many exchanges go on")
        talk: Checks | None = None
        try:
            talk = self._waited(self._open)
            said = self._waited(lambda until: talk.begin(name, situation.host, until))
            while said[0] == b"CONT":
                response = yield challenge(said)
                said = self._waited(partial(talk.go_on, response))
        except LineBroken as error:
            raise self._unavailable(str(error)) from error
        finally:
            # Also when the client has left in the middle of it.
            if talk is not None:
                talk.close()
            self._exchanges.release()
        words = named(said[2:])
        if said[0] == b"FAIL":
            self._demand_no_trouble(words)
            return NoCredential(words.get("user", ""))
        return Vouched(words.pop("user", ""), words)

    def _waited(self, step: Callable[[Until], T]) -> T:
        """Take a step of an exchange, within the limit of time; raises Unavailable."""
        until = Until(time.monotonic() + self._seconds)
        try:
            return step(until)
        except (OSError, LineBroken) as error:
            raise self._unavailable(str(error) or "no answer in time") from error

    # --- who somebody is --------------------------------------------------------------------------

    def _check_without_password(self, user: str, host: str | None) -> Identity:
        """Say who a user is whom Dovecot would let in, as far as its back ends can tell without a password."""
        found = self.look_up(user)
        if self._knowing is None or found is None or not found.may_log_in:
            raise AuthenticationFailed
        said = self._knowing.ask(lambda talk, until: talk.may_log_in(user, host, until))
        if said[0] == b"FAIL":
            raise self._unavailable("it cannot say without a password whether a user may log in")
        if said[0] == b"NOTFOUND" or not fields.may_log_in(named(said[2:])):
            raise AuthenticationFailed
        return found.identity

    def _identity(self, user: str, words: dict[str, str]) -> Identity:
        try:
            if not valid_user(user):
                raise ValueError("its name cannot be a user's")
            return fields.identity(user, words)
        except ValueError as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, why: str) -> Unavailable:
        log.error("back end cannot be asked", name=self.name, why=why)
        return Unavailable(detail=f"{self.name}: {why}")

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``, as far as its user databases have lists."""
        if self._knowing is None:
            return []
        try:
            found = self._knowing.ask(lambda talk, until: talk.names(until))
        except ConfigError as error:
            raise self._unavailable(error.text) from error
        return [name for name in found if valid_user(name)]
