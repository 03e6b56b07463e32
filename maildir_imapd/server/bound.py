"""All that a server has bound, or that was bound for it, and what says that it is here: sockets and the pid file."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final

from maildir_imapd import log as logs
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import service_manager, settings
from maildir_imapd.server.announcing import kind
from maildir_imapd.server.listening import Named, listen, listen_at
from maildir_imapd.server.settings import ListeningPlace
from maildir_imapd.server.worker import Acceptor

if TYPE_CHECKING:
    from maildir_imapd.config import Config

# By the name that a unit of systemd's gives a socket (FileDescriptorName=), what is served there.
KINDS: Final = {
    "imap": ListeningPlace(""),
    "imaps": ListeningPlace("", implicit_tls=True),
    "imap_proxy": ListeningPlace("", proxy=True),
    "imaps_proxy": ListeningPlace("", implicit_tls=True, proxy=True),
    "auth": ListeningPlace("", "auth", asked=True),
    "lookup": ListeningPlace("", "lookup", asked=True),
    "policy": ListeningPlace("", "policy", asked=True),
    "lmtp": ListeningPlace("", "lmtp", asked=True),
    "auth_http": ListeningPlace("", "auth_http", asked=True),
}


class Bound:
    """The supervisor's sockets that listen; of its thread."""

    def __init__(self) -> None:
        self.listeners: list[Acceptor] = []
        # What is ours to remove at the end.
        self._named: list[Named] = []

    def bind(self, config: Config, environ: MutableMapping[str, str]) -> None:
        """Listen where the settings say, and take what was bound for us; raises ConfigError.

        *environ* loses the variables that say so.
        """
        for name, sock in service_manager.inherited(environ):
            if name not in KINDS:
                raise ConfigError(
                    f"a socket that was bound for the server is called {name!r}: FileDescriptorName= must be one of "
                    f"{', '.join(KINDS)}"
                )
            self._take([sock], KINDS[name])
        settings.demand_listening(config, [KINDS[kind(listener)] for listener in self.listeners])
        for place in settings.listening(config):
            if isinstance(place.address, str):
                self._take([listen_at(place.address, settings.socket_rights(config))], place)
                self._named.append(Named.of(place.address))
            else:
                self._take(listen(place.address), place)

    def _take(self, found: list[socket.socket], place: ListeningPlace) -> None:
        self.listeners += [
            Acceptor(sock, place.implicit_tls, place.service, proxy=place.proxy, asked=place.asked) for sock in found
        ]

    def write_pid(self, path: str | None) -> None:
        """Write the process number into a file, if it is wanted; raises ConfigError."""
        if not path:
            return
        try:
            with open(logs.open_file(path), "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o644)
                os.ftruncate(file.fileno(), 0)
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            raise ConfigError(f"pid_file {path}: {error.strerror}") from error
        self._named.append(Named.of(path))

    def close(self) -> None:
        """Listen no more in this process; what has names stays."""
        for listener in self.listeners:
            listener.sock.close()

    def remove(self) -> None:
        """Remove what has names, at the end of all."""
        for named in self._named:
            named.remove()
