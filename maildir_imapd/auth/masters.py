"""Master users: those who may act for others, with a password, proof or certificate of their own.

They stand in a passwd-file of their own.  Whether the other one may log in at all is not theirs to say.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TypeAlias

from maildir_imapd.auth.base import Credential, Identity, Registered, Token, Vouched
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed

# The credential as the master's alone, and for whom he acts.
Acting: TypeAlias = tuple[Credential, str]


class Masters:
    """Safe from any thread.  *separator*: stands between a user and who acts for him, and in no name."""

    def __init__(self, file: PasswdFile, separator: str) -> None:
        self._file = file
        self._separator = separator

    def of(self, name: str) -> tuple[str, str] | None:
        """Take ``user*master`` apart; None for a name that is none such."""
        user, separator, master = name.rpartition(self._separator)
        return (user, master) if separator and user and master else None

    def acting(self, credential: Credential) -> Acting | None:
        """Say for whom somebody wants to act, by his name or by an authorization identity; None for himself.

        Of a token nobody knows before it is checked, and a back end that leads exchanges has masters of its own.
        Raises AuthorizationFailed for two at once, Unavailable.
        """
        apart = self.of(credential.user)
        if isinstance(credential, Token | Vouched):
            return None
        if apart is not None:
            user, master = apart
            if credential.authzid not in (None, credential.user, user):
                raise AuthorizationFailed
            return replace(credential, user=master, authzid=None), user
        if credential.authzid in (None, credential.user) or self._registered(credential.user) is None:
            return None
        return replace(credential, authzid=None), str(credential.authzid)

    def _registered(self, name: str) -> Registered | None:
        return self._file.look_up(name) or self._file.look_up(name.lower())

    def registered(self, name: str, host: str | None) -> Registered | None:
        """Find a master who may come from the address *host*, and is not locked out; raises Unavailable."""
        found = self._registered(name)
        if found is None or not found.may_log_in or (host is not None and not found.identity.may_come_from(host)):
            return None
        return found

    def stored(self, name: str, host: str | None) -> str | None:
        """As ``Chain.stored``, of a master."""
        found = self.registered(name, host)
        return self._file.stored(found.identity.user) if found is not None else None

    def check(self, credential: Credential, host: str | None) -> Identity:
        """Say which master has shown *credential*; raises AuthenticationFailed, as late for a stranger, Unavailable."""
        found = self.registered(credential.user, host)
        return self._file.check(replace(credential, user=found.identity.user if found is not None else ""))

    def demand_right(self, master: Identity, user: str) -> None:
        """Raise AuthorizationFailed where *master* may not act for *user*."""
        # Where the line says nothing it is everybody.
        patterns = master.acts_for if master.acts_for is not None else ("*",)
        if not any(fnmatchcase(user.lower(), pattern.lower()) for pattern in patterns):
            raise AuthorizationFailed

    def demand_master(self, name: str, host: str | None) -> Identity:
        """Find a master who has been identified elsewhere; raises AuthorizationFailed for who is none, Unavailable."""
        found = self.registered(name, host)
        if found is None:
            raise AuthorizationFailed
        return found.identity


def nobody_such() -> AuthenticationFailed:
    """The failure of a master who is good and acts for somebody who cannot log in; the log says so."""
    return AuthenticationFailed(detail="acts-for-nobody")
