"""The spools of some or all users, for commands that go from one to the next."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from maildir_imapd.auth.base import Identity
from maildir_imapd.errors import ConfigError, MailboxMissing, NoUser
from maildir_imapd.location import expand
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.store.maildir.instead import instead

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.server.accounts import Mail
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account


def chosen(config: Config, users: tuple[str, ...], *, everybody: bool) -> list[Identity]:
    """The users a command is for: those named, all of the passwd-file, or whoever runs it.

    Raises NoUser for one that is not there, ConfigError, Unavailable.
    """
    if not users and not everybody:
        return [myself()]
    chain = settings.chain(config)
    if not chain.back_ends:
        raise ConfigError("which users? give --passwd-file FILE, or neither --user nor --all for your own mail")
    if everybody:
        return list(chain.everybody())
    found = []
    for name in users:
        identity = chain.find(name)
        if identity is None:
            places = ", ".join(back_end.name for back_end in chain.back_ends)
            raise NoUser(f"there is no user {name} in {places}")
        found.append(identity)
    return found


def myself() -> Identity:
    """Whoever runs this: his mail is below $HOME, as for every other program; raises ConfigError for no user."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ConfigError(f"user {os.geteuid()} is not a user of this machine") from None
    home = os.environ.get("HOME", "")
    return Identity(entry.pw_name, home=home if os.path.isabs(home) else entry.pw_dir)


@contextmanager
def opened(config: Config, identity: Identity) -> Iterator[Account]:
    """The mail of one user, as its owner or mail_user; raises ConfigError, MailboxMissing, StoreError, Unavailable.

    Root acts in no directory that another may change.
    """
    owner = owner_of(config, identity)
    with owners.acting_as(owner):
        yield Accounts(settings.mail(config), None).account(identity, owner, make=False)


def owner_of(config: Config, identity: Identity) -> Owner | None:
    """Return whom to act as for the mail of one user; None: the process is the right one. Raises as ``opened``."""
    mail = settings.mail(config)
    if os.geteuid() == 0 and identity.uid is None and identity.gid is None and mail.user is None:
        return _owner_of_spool(mail, identity)
    return Accounts(mail, None).owner(identity)


def _owner_of_spool(mail: Mail, identity: Identity) -> Owner | None:
    """Return the owner of a user's mail where nothing is said of him; None: root, and nobody else can change it.

    Raises ConfigError, MailboxMissing.
    """
    try:
        root = expand(mail.location_of(identity), identity.user, identity.home).root
        state = os.stat(root)
    except ValueError as error:
        raise ConfigError(f"no mail location: {error}") from error
    except OSError as error:
        raise MailboxMissing("There is no Maildir:", detail=instead(root)) from error
    if state.st_uid != 0:
        if not owners.supported():
            raise ConfigError(f"run it as the owner of {os.fsdecode(root)}")
        # Should another directory have taken its place by then, the store does not open it.
        return owners.owner(state.st_uid, state.st_gid)
    loose = _changeable(root)
    if loose is not None:
        raise ConfigError(f"root does not work in {os.fsdecode(root)}: others can change {os.fsdecode(loose)}")
    return None


def _changeable(path: bytes) -> bytes | None:
    """The first directory on the way to *path* in which another than root may put something else."""
    real = os.path.realpath(path)
    way = [real]
    while way[-1] != b"/":
        way.append(os.path.dirname(way[-1]))
    for directory in reversed(way):
        state = os.stat(directory)
        # In a sticky directory only the owner of a thing puts another in its place.
        loose = state.st_mode & 0o022 and not state.st_mode & stat.S_ISVTX
        if state.st_uid != 0 or loose:
            return directory
    return None
