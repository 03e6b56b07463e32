"""Sockets that listen: every address that a host's name stands for."""

from __future__ import annotations

import errno
import socket
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
