"""The servers that may be neighbours, by the names that the settings have for them."""

from __future__ import annotations

from typing import Final

from maildir_imapd.store.neighbours.courier import Courier
from maildir_imapd.store.neighbours.dovecot import Dovecot
from maildir_imapd.store.neighbours.neighbour import Neighbour

SERVERS: Final[dict[str, type[Dovecot] | type[Courier]]] = {"dovecot": Dovecot, "courier": Courier}

Server = type[Dovecot] | type[Courier]


def others(server: type[Neighbour] | None) -> list[Server]:
    """Return all servers but that one."""
    return [other for other in SERVERS.values() if other is not server]
