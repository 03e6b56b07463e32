"""Sockets that listen: every address that a host's name stands for."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maildir_imapd.errors import ConfigError

if TYPE_CHECKING:
    from maildir_imapd.values import Endpoint

BACKLOG = 1024
# Of one address of several: this machine has no such address, or no IPv6.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listen(endpoint: Endpoint) -> list[socket.socket]:
    """Bind and listen, at each address of the host; raises ConfigError.

    An address that this machine does not have is passed over where it has another one of that name.  Port 0 is the same
    free port at all of them.  The sockets do not block: a worker that lost the race for a connection must not sleep in
    accept.
    """
    found: list[socket.socket] = []
    lacking: OSError | None = None
    port = endpoint.port
    try:
        for family, host in _addresses(endpoint):
            try:
                found.append(_bound(family, host, port))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                lacking = error
            else:
                port = found[-1].getsockname()[1]
        if not found:
            raise lacking or OSError(errno.EADDRNOTAVAIL, "no address has this name")
    except (OSError, OverflowError) as error:
        for sock in found:
            sock.close()
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {endpoint}: {why}") from error
    return found


@dataclass(frozen=True, slots=True)
class Named:
    """A file or socket that was made at a path: device and inode tell it from what others put there."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Named:
        """Remember what is there now; raises OSError."""
        state = os.lstat(path)
        return cls(path, state.st_dev, state.st_ino)

    def remove(self) -> None:
        """Remove it, unless something else is there; never an error."""
        try:
            state = os.lstat(self.path)
            if (state.st_dev, state.st_ino) == (self.device, self.inode):
                os.unlink(self.path)
        except OSError:
            pass  # an administrator was faster


@dataclass(frozen=True, slots=True)
class SocketRights:
    """Whose a socket is that is made at a path, by names of users and groups; None for whoever makes it."""

    mode: int
    owner: str | None = None
    group: str | None = None


def listen_at(path: str, rights: SocketRights) -> socket.socket:
    """Make a socket at *path* and listen; raises ConfigError.

    What is left of a server that has ended without removing its own is replaced; nothing else ever is.  Whoever may
    write in the directory may put something else in its place meanwhile: it is a socket, by its inode, that gets an
    owner.
    """
    try:
        uid = -1 if rights.owner is None else pwd.getpwnam(rights.owner).pw_uid
        gid = -1 if rights.group is None else grp.getgrnam(rights.group).gr_gid
    except KeyError as error:
        raise ConfigError(f"cannot listen on {path}: there is no {rights.owner} or {rights.group}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left(path)
        # Nobody connects before it is as it is to be.
        before = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        made = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(made).st_mode):
                raise OSError(errno.ENOTSOCK, "something else is there now")
            if (uid, gid) != (-1, -1):
                os.chown(f"/proc/self/fd/{made}", uid, gid)
            os.chmod(f"/proc/self/fd/{made}", rights.mode)
        finally:
            os.close(made)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def _remove_left(path: str) -> None:
    """Remove a socket at which nobody listens any more; raises OSError when there is anything else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "there is something that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # a full queue is somebody's
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _addresses(endpoint: Endpoint) -> list[tuple[socket.AddressFamily, str]]:
    """Every address of the host, once; raises OSError for a name that nobody knows."""
    if endpoint.host == "::":
        if socket.has_dualstack_ipv6():
            return [(socket.AF_INET6, "::")]
        return [(socket.AF_INET, "0.0.0.0")]  # noqa: S104  # the administrator asked for every address
    rows = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    found = [(family, str(address[0])) for family, _, _, _, address in rows]
    if endpoint.host == "localhost":
        # What the name means, whatever the file of hosts has of it.
        found += [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    return list(dict.fromkeys(found))


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
