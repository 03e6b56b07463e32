"""The system's users, by NSS: who they are, and no passwords; those are PAM's matter."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from typing import Final

from maildir_imapd.auth.base import Identity, Registered
from maildir_imapd.auth.names import valid_user

# "nobody", and the number that stands for none, on every Linux.
_NOBODIES: Final = (65534, 65535)


class System:
    """Users of the machine from *first_uid* on: root and accounts of the system are never among them."""

    def __init__(self, first_uid: int) -> None:
        self._first_uid = max(first_uid, 1)

    def look_up(self, user: str) -> Registered | None:
        """As ``UserSource.look_up``; the name is the system's own spelling of it."""
        if not valid_user(user):
            return None
        try:
            entry = pwd.getpwnam(user)
        except (KeyError, ValueError):
            return None
        return Registered(_identity(entry)) if self._serves(entry) else None

    def _serves(self, entry: pwd.struct_passwd) -> bool:
        return entry.pw_uid >= self._first_uid and entry.pw_uid not in _NOBODIES and valid_user(entry.pw_name)

    def users(self) -> Iterator[str]:
        """As ``UserSource.users``: those that the system names when it is asked for all."""
        for entry in pwd.getpwall():
            if self._serves(entry):
                yield entry.pw_name


def _identity(entry: pwd.struct_passwd) -> Identity:
    return Identity(entry.pw_name, home=entry.pw_dir or None, uid=entry.pw_uid, gid=entry.pw_gid)
