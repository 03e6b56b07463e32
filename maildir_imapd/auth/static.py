"""The back end that knows every user, and of all the same: where homes are, by a template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from maildir_imapd.auth import fields
from maildir_imapd.auth.base import Registered
from maildir_imapd.auth.names import filled, valid_user
from maildir_imapd.errors import ConfigError


class Static:
    """Says of each user what *said* has: fields of ``fields.py``, with %u, %n and %d filled in.  Checks nothing.

    ``mail`` is left as it is: it has the variables of mail_location.  Raises ConfigError.
    """

    def __init__(self, said: Mapping[str, str]) -> None:
        self._said = dict(said)
        try:
            self._of("user@example.org")
        except ValueError as error:
            raise ConfigError(f"auth_static: {error}") from error

    def _of(self, user: str) -> Registered:
        words = {name: value if name == "mail" else filled(value, user) for name, value in self._said.items()}
        return Registered(fields.identity(user, words), may_log_in=fields.may_log_in(words))

    def look_up(self, user: str) -> Registered | None:
        """As ``UserSource.look_up``: anybody who can be one."""
        return self._of(user) if valid_user(user) else None

    def users(self) -> Iterable[str]:
        """As ``UserSource.users``: it has no list."""
        return ()
