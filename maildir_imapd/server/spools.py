"""The spools of some or all users, for commands that go from one to the next."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from maildir_imapd.auth.base import Identity
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import identity as identities
from maildir_imapd.server.door import Door

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.store.account import Account


def chosen(config: Config, users: tuple[str, ...], *, everybody: bool) -> list[Identity]:
    """The users a command is for: those named, all of the passwd-file, or whoever runs it.

    Raises ConfigError for one that is not there.
    """
    if not users and not everybody:
        entry = pwd.getpwuid(os.geteuid())
        return [Identity(entry.pw_name, home=entry.pw_dir)]
    if config.passwd_file is None:
        raise ConfigError("which users? give --passwd-file FILE, or neither --user nor --all for your own mail")
    known = PasswdFile(config.passwd_file)
    found = []
    for name in known.users() if everybody else users:
        identity = known.look_up(name)
        if identity is None:
            raise ConfigError(f"there is no user {name} in {config.passwd_file}")
        found.append(identity)
    return found


@contextmanager
def opened(config: Config, identity: Identity) -> Iterator[Account]:
    """The mail of one user, under his own identity where the server takes it; raises MailboxMissing, StoreError."""
    door = Door(config, None, None)
    owner = door.owner(identity)
    with identities.acting_as(owner):
        yield door.account(identity, owner, make=False)
