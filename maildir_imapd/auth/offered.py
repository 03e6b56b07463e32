"""Which mechanisms are offered: those that are named, or else usual, and can let somebody in where this one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd.auth import mechanisms
from maildir_imapd.auth.base import Credential, Password, keeper
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Exchange, Situation
from maildir_imapd.errors import PrivacyRequired


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One row of the table.

    *shows*: the kind of credential that comes of it.  *schemes*: how a secret has to be stored for it, where that
    matters.
    """

    name: str
    begin: Callable[[Situation], Exchange]
    shows: type[Credential]
    schemes: frozenset[str] = frozenset()


# In the order in which they are announced.
MECHANISMS: Final[dict[str, Mechanism]] = {
    row.name: row
    for row in (
        Mechanism("PLAIN", lambda _: mechanisms.plain(), Password),
        Mechanism("LOGIN", lambda _: mechanisms.login(), Password),
    )
}


class Offered:
    """As ``mechanisms.Ways``, of one connection.  *named*: the mechanisms that an administrator has named, () for none.

    *situation*: says where the connection is when it is asked.
    """

    def __init__(self, chain: Chain, named: Sequence[str], situation: Callable[[], Situation]) -> None:
        self._chain = chain
        self._named = named
        self._situation = situation

    def offered(self, *, private: bool) -> tuple[bytes, ...]:
        """As ``Ways.offered``."""
        if not private:
            return ()
        situation = self._situation()
        return tuple(row.name.encode("ascii") for row in MECHANISMS.values() if self._can_succeed(row, situation))

    def begin(self, name: bytes, *, private: bool) -> Exchange:
        """As ``Ways.begin``."""
        row = MECHANISMS.get(name.decode("ascii", "replace"))
        if row is None or (self._named and row.name not in self._named):
            raise mechanisms.unknown()
        if not private:
            raise PrivacyRequired
        situation = self._situation()
        if not self._can_succeed(row, situation):
            raise mechanisms.unknown()
        return row.begin(situation)

    def _can_succeed(self, row: Mechanism, situation: Situation) -> bool:
        """Whether a row can let somebody in; where it is not named, whether it lets in whoever has a password.

        A client that finds a mechanism takes it, and many do not try another when it fails: one that is for some users
        alone shuts the others out, unless the administrator knows that it does not.
        """
        named = row.name in self._named
        if self._named and not named:
            return False
        able = [back_end for back_end in self._chain.back_ends if row.shows in back_end.takes]
        if not able or not row.schemes or named:
            return bool(able)
        with_passwords = [back_end for back_end in self._chain.back_ends if Password in back_end.takes]
        keepers = [keeper(back_end) for back_end in with_passwords]
        return all(keeps is not None and keeps.all_kept_as(row.schemes) for keeps in keepers)
