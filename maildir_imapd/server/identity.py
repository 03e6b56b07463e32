"""The server as a process: whom its workers become, what they reach, how much they may have open."""

from __future__ import annotations

import os
import pwd
import resource
from typing import TYPE_CHECKING

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server import confine, settings
from maildir_imapd.store.disk import filesystems

if TYPE_CHECKING:
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.config import Config

log = Log(__name__)


def mail_user(config: Config, users: Chain) -> pwd.struct_passwd | None:
    """Whom the workers become; raises ConfigError."""
    name = settings.mail(config).user
    if name is None:
        if os.geteuid() == 0:
            log.warning("running as root; mail_user would confine the server to one user's files", **_nobodies(users))
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"mail_user: there is no user {name!r}") from None
    if entry.pw_uid != os.geteuid() and os.geteuid() != 0:
        raise ConfigError(f"mail_user: only root can become {name}")
    return entry


def user_of_mail(config: Config) -> pwd.struct_passwd | None:
    """Return the user that ``mail_user`` names, and who is there, without a word."""
    name = settings.mail(config).user
    return None if name is None else pwd.getpwnam(name)


def _nobodies(users: Chain) -> dict[str, object]:
    """Say for the log who cannot log in, since root itself serves nobody: how many have no uid, and one of them."""
    found = [who.user for who in users.everybody(at_hand=True) if who.uid is None]
    return {"without_uid": len(found), "refused": found[0]} if found else {}


def mail(config: Config, users: Chain) -> list[bytes]:
    """Below which directories the mail is, where the workers are to reach nothing else."""
    mail = settings.mail(config)
    if mail.user is None or not settings.confinement(config).landlock:
        return []
    if not users.at_hand:
        return [b"/"]  # another program says where its users' mail is, once they come
    return [over_mount(path, mail.keeping.shared_spool) for path in confine.of_users(mail, users.everybody())]


def over_mount(path: bytes, shared: filesystems.SharedSpool) -> bytes:
    """Return the directory that the mount of a shared spool lies in, or *path* where there is no such.

    A right to what is below a directory is one to that mount of it: another that takes its place would be out of reach.
    """
    if not filesystems.is_shared_path(path, shared):
        return path
    try:
        device, above = os.stat(path).st_dev, path
        while os.stat(above).st_dev == device and above != b"/":
            above = os.path.dirname(above)
    except OSError:
        return path
    return path if above == b"/" else above


def become(entry: pwd.struct_passwd | None) -> None:
    """Have this process become *entry*, for good; None: it stays who it is."""
    if entry is not None and entry.pw_uid != os.geteuid():
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def raise_descriptor_limit() -> None:
    """A connection takes two descriptors and an open mailbox some more: take what the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # then with what there is
