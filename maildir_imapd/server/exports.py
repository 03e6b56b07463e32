"""Values of the settings for serving figures by HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maildir_imapd.server.confine import Confinement
    from maildir_imapd.server.listening import SocketRights
    from maildir_imapd.values import Endpoint


@dataclass(frozen=True, slots=True)
class Exports:
    """Where figures are served by HTTP, and whether there is a page for people as well."""

    places: tuple[Endpoint | str, ...] = ()
    status_page: bool = False
    rights: SocketRights | None = None
    limits: Confinement | None = None
