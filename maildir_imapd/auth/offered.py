"""Which mechanisms are offered: those that are named, or else usual, and can let somebody in where this one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from maildir_imapd.auth import bearer, cram, mechanisms, schemes, scram, scram_exchange
from maildir_imapd.auth.base import Credential, External, Password, Proven, Token, keeper
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Exchange, Relay, Situation
from maildir_imapd.errors import PrivacyRequired


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One row of the table.

    *shows*: the kind of credential that comes of it.  *schemes*: how a secret has to be stored for it, where that
    matters.  *binds*: it binds to the connection.  *only_named*: it is there where it is named and nowhere else.
    *possible*: whether the connection allows it.
    """

    name: str
    begin: Callable[[Situation], Exchange]
    shows: type[Credential]
    schemes: frozenset[str] = frozenset()
    binds: bool = False
    only_named: bool = False
    possible: Callable[[Situation], bool] = lambda situation: True


def _scram(name: str) -> Mechanism:
    return Mechanism(
        name,
        partial(scram_exchange.exchange, name),
        Proven,
        scram_exchange.usable(name),
        binds=name.endswith("-PLUS"),
        possible=lambda situation: scram.available(),
    )


# What clients bind to if they know one kind only: of TLS 1.2 and before, and of TLS 1.3 (RFC 5802 6, RFC 9266).
_DEFAULT_BINDINGS: Final = frozenset({"tls-unique", "tls-exporter"})

# In the order in which they are announced.
MECHANISMS: Final[dict[str, Mechanism]] = {
    row.name: row
    for row in (
        _scram("SCRAM-SHA-256-PLUS"),
        _scram("SCRAM-SHA-1-PLUS"),
        _scram("SCRAM-SHA-256"),
        _scram("SCRAM-SHA-1"),
        Mechanism("OAUTHBEARER", bearer.oauthbearer, Token),
        Mechanism("XOAUTH2", bearer.xoauth2, Token),
        Mechanism(
            "EXTERNAL", mechanisms.external, External, possible=lambda situation: situation.certified is not None
        ),
        Mechanism("PLAIN", lambda _: mechanisms.plain(), Password),
        Mechanism("LOGIN", lambda _: mechanisms.login(), Password),
        Mechanism("CRAM-MD5", cram.exchange, Proven, schemes.READABLE, only_named=True),
        Mechanism(
            "ANONYMOUS",
            mechanisms.anonymous,
            External,
            only_named=True,
            possible=lambda situation: situation.anonymous is not None,
        ),
    )
}


class Offered:
    """As ``mechanisms.SaslOffer``, of one connection.

    *named*: the mechanisms that an administrator has named, () for none.  *situation*: says where the connection is
    when it is asked.
    """

    def __init__(self, chain: Chain, named: Sequence[str], situation: Callable[[], Situation]) -> None:
        self._chain = chain
        self._named = named
        self._situation = situation

    def offered(self, *, private: bool) -> tuple[bytes, ...]:
        """As ``SaslOffer.offered``."""
        if not private:
            return ()
        return tuple(name.encode("ascii") for name in self._names(self._situation()))

    def begin(self, name: bytes, *, private: bool) -> Exchange:
        """As ``SaslOffer.begin``."""
        wanted = name.decode("ascii", "replace")
        row = MECHANISMS.get(wanted)
        known = row is not None or self._relaying(wanted) is not None
        if not known or (self._named and wanted not in self._named):
            raise mechanisms.unknown()
        if not private:
            raise PrivacyRequired
        situation = self._situation()
        names = self._names(situation)
        if wanted not in names:
            raise mechanisms.unknown()
        if row is not None and self._can_succeed(row, situation):
            return mechanisms.counted(row.begin(replace(situation, offered=frozenset(names))))
        relays = self._relaying(wanted)
        if relays is None:
            raise mechanisms.unknown()
        return relays.relay(wanted, situation)

    def _names(self, situation: Situation) -> list[str]:
        relayed = {name for relays in self._relays() for name in relays.relayed}
        if not self._named and (self._chain.has_devices or not self._one_decides()):
            # By these only the users of that back end come in, and nobody by a device's password.
            relayed = set()
        relayed &= set(self._named or relayed)
        own = [name for name, row in MECHANISMS.items() if name in relayed or self._can_succeed(row, situation)]
        # What a client takes if it has the choice stands first: what sends no password.
        return [*sorted(relayed.difference(own)), *own]

    def _relays(self) -> list[Relay]:
        found = [mechanisms.relay(back_end) for back_end in self._chain.back_ends]
        return [each for each in found if each is not None]

    def _relaying(self, name: str) -> Relay | None:
        return next((relays for relays in self._relays() if name in relays.relayed), None)

    def _one_decides(self) -> bool:
        """Whether one back end alone decides about passwords."""
        return len([back_end for back_end in self._chain.back_ends if Password in back_end.takes]) == 1

    def _can_succeed(self, row: Mechanism, situation: Situation) -> bool:
        """Whether a row can let somebody in; where it is not named, whether it lets in whoever has a password.

        A client that finds a mechanism takes it, and many do not try another when it fails: one that is for some users
        alone shuts the others out, unless the administrator knows that it does not.
        """
        named = row.name in self._named
        if (self._named and not named) or (row.binds and not situation.bindings):
            return False
        if not row.possible(situation) or (row.only_named and not named):
            return False
        if row.binds and not named and _DEFAULT_BINDINGS.isdisjoint(situation.bindings):
            return False
        able = [back_end for back_end in self._chain.back_ends if row.shows in back_end.takes]
        if not able or not row.schemes or named:
            return bool(able)
        if self._chain.has_devices:
            return False  # the password of a device would be wrong
        with_passwords = [back_end for back_end in self._chain.back_ends if Password in back_end.takes]
        keepers = [keeper(back_end) for back_end in with_passwords]
        return all(keeps is not None and keeps.all_kept_as(row.schemes) for keeps in keepers)
