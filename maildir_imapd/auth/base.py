"""Identities, the credentials that clients show for them, and the questions to a back end.

A back end (``passwdfile.py`` is one) reads its own spelling and gives these values; nothing above ``auth`` knows any
spelling of a back end's.  What a back end has no word for is None, and the server's settings decide.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast

from maildir_imapd.quota_values import QuotaException

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """The most that a user may keep in all mailboxes together; 0 for no limit, None where nothing is said."""

    octets: int | None = 0
    messages: int | None = 0
    mailboxes: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as a back end knows him."""

    user: str
    home: str | None = None
    uid: int | None = None
    """The system user who owns the mail."""
    gid: int | None = None
    mail: str | None = None
    """Where the mail is, written as the setting mail_location is."""
    groups: frozenset[str] = frozenset()
    """That he is in, for access rights; no groups of the system."""
    quota: QuotaLimits | None = None
    quota_exceptions: tuple[QuotaException, ...] = ()
    """Mailboxes that the quota treats otherwise, before those of the setting quota_exceptions."""
    nets: tuple[Network, ...] | None = None
    """From where he may log in: an empty tuple is nowhere, None is anywhere."""
    search_index: bool | None = None
    """Whether what his messages say is indexed, in place of the setting search_index."""
    mailboxes: str | None = None
    """Which mailboxes are set up for him, in place of the setting mailboxes: its items joined by ``;``, or no."""
    keep_expunged: float | None = None
    """For how many seconds his expunged messages can be had back, in place of the setting keep_expunged."""
    private_seen: bool | None = None
    """Whether what others have seen of his mail is each reader's own, in place of private_seen in namespaces."""
    connections: int | None = None
    """How many he may have, in place of the setting connections_per_user."""

    acts_for: tuple[str, ...] | None = None
    """Patterns of the users for whom a master may act; None where nothing is said."""
    acting: str | None = None
    """The master who acts for him now."""
    device: str | None = None
    """The device whose password he has shown."""
    read_only: bool = False
    """Whether he may change nothing, by what he has shown."""

    def may_come_from(self, host: str) -> bool:
        """Say whether he may log in from the address *host*, which may carry a zone; what is no address may not."""
        if self.nets is None:
            return True
        found = address(host)
        if found is None:
            return False
        return any(found.version == network.version and found in network for network in self.nets)


def address(host: str | None) -> Address | None:
    """Read an address, which may carry a zone; None for what is none.  One of IPv4 written as IPv6 is one of IPv4."""
    try:
        found = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


# --- what a client shows --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password; *authzid*: as whom the client wants to act, None for himself.

    *host*: the address that it was shown from, for a back end that has rules of its own about that.
    """

    user: str
    password: bytes = field(repr=False)
    authzid: str | None = None
    host: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of an issuer's; *user*: whom the client says it is for, "" where it says nothing.

    *refusal*: a challenge that the client gets, and answers, before it hears that the token is not good; b"" for none.
    """

    user: str
    token: bytes = field(repr=False)
    authzid: str | None = None
    refusal: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class External:
    """Proof outside of what back ends know, by the client's certificate for one: that it is *user* who is there.

    *anonymous*: anybody may be this user, who may change nothing then.  *host*: as of ``Password``.
    """

    user: str
    authzid: str | None = None
    anonymous: bool = False
    host: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The outcome of an exchange in which no password is sent: whether *user* knows the secret that is kept of him.

    *stored*: the secret that his proof was compared with, as the back end has it; "" where there was none.
    """

    user: str
    mechanism: str
    holds: bool
    stored: str = field(repr=False)
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class Vouched:
    """The outcome of an exchange that a back end has led itself and found good: *user*, and what it *said* of him.

    Only that back end's own exchange makes one.
    """

    user: str
    said: Mapping[str, str] = field(repr=False, compare=False)
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class NoCredential:
    """Something that could be nobody's credential, so that no back end is asked: it counts as a wrong one."""

    user: str = ""
    authzid: str | None = None


Credential: TypeAlias = Password | Token | External | Proven | Vouched | NoCredential


# --- what a back end is asked ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """A user as a back end has him on record, before anything secret is looked at.

    *version* compares unequal once a credential that was right may be wrong: it is of the stored secret, where the
    back end can see one.  *may_log_in*: False of one who is locked out, as far as the back end can see that here.
    """

    identity: Identity
    version: object = field(default=None, repr=False)
    may_log_in: bool = True


class UserSource(Protocol):
    """Whoever knows users, whether it can check what they show or not.  Safe from any thread."""

    def look_up(self, user: str) -> Registered | None:
        """As of ``Authenticator``."""
        ...

    def users(self) -> Iterable[str]:
        """As of ``Authenticator``."""
        ...


class Authenticator(Protocol):
    """A back end.  Safe from any thread; whoever can wait in one waits with a limit of time, and then Unavailable."""

    @property
    def name(self) -> str:
        """The name that an administrator knows it by."""
        ...

    @property
    def takes(self) -> tuple[type[Credential], ...]:
        """The kinds of credentials that it can check."""
        ...

    def look_up(self, user: str) -> Registered | None:
        """Find *user* by this very name; None for nobody.  Raises Unavailable when it cannot be known."""
        ...

    def check(self, credential: Credential) -> Identity:
        """Say who showed *credential*; where he may act for his ``authzid``, say who that is.

        Raises AuthenticationFailed for what is wrong and for an unknown user alike, after the same amount of work; its
        detail, a word like-this that the log alone has, says where no password would have been right.
        "" is nobody's name.  Raises Unavailable when it cannot be known, which is never said as "wrong".
        """
        ...

    def users(self) -> Iterable[str]:
        """Name all users, in an order of its own; nobody where it has no list.  Raises Unavailable."""
        ...


class SecretKeeper(Authenticator, Protocol):
    """A back end that takes ``Proven``, for it can tell the secrets that it keeps."""

    def stored(self, user: str) -> str | None:
        """Tell the secret of *user* as it is stored, ``{SCHEME}data``; None for nobody's.  Raises Unavailable."""
        ...

    def all_kept_as(self, schemes: Container[str]) -> bool:
        """Whether every user who has a secret has it in one of *schemes*; False where that cannot be known."""
        ...


def keeper(back_end: Authenticator) -> SecretKeeper | None:
    """The same one as one that keeps secrets, if it does."""
    return cast(SecretKeeper, back_end) if Proven in back_end.takes else None
