"""The one line that says that connections are taken, and where: for whoever starts the server, and reads its ports."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maildir_imapd import __version__

if TYPE_CHECKING:
    from maildir_imapd.server.worker import Acceptor


def ready_line(listeners: Sequence[Acceptor], also: Sequence[str], workers: int) -> str:
    """Write it; *also*: other places, each with what it is for."""
    places = [f"{kind(listener)} {place(listener.sock)}" for listener in listeners]
    return (
        f"maildir-imapd {__version__} ready: {', '.join([*places, *also])}; "
        f"{workers} worker{'s' if workers != 1 else ''}, pid {os.getpid()}"
    )


def kind(listener: Acceptor) -> str:
    """Name what is served at a socket, as the settings do and units of systemd's."""
    return listener.service + ("s" if listener.implicit_tls else "") + ("_proxy" if listener.proxy else "")


def place(sock: socket.socket) -> str:
    """Where a socket listens: its path, or its address and port."""
    if sock.family == socket.AF_UNIX:
        return str(sock.getsockname())
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
