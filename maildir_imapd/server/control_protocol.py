"""The protocol of the control socket, for both ends: version, statuses of errors, and where the socket is.

A request is one line, an object of JSON: ``{"version": 1, "command": "who", ...}``.  An answer is one line or several:
``{"version": 1, "event": {...}}`` while something is streamed, and at the end ``{"version": 1, "result": {...}}`` or
``{"version": 1, "error": {"code": "...", "text": "...", "status": N}}``, the status one of sysexits.  After that the
next request may come over the same connection.
"""

from __future__ import annotations

import os
from typing import Final

VERSION: Final = 1
# Octets of a request; whoever sends a longer line is answered with an error and cut.
REQUEST_OCTETS: Final = 64 * 1024
# A raw log: how long and how large, if nothing is said and at the most.
RAWLOG_SECONDS: Final = 3600.0
LONGEST_RAWLOG_SECONDS: Final = 7 * 86400.0
RAWLOG_OCTETS: Final = 1 << 20
MOST_RAWLOG_OCTETS: Final = 1 << 30
# What control_socket may be beside a path.
AUTO: Final = "auto"
NONE: Final = "none"
# Of root's server, and whose path others try as well.
SYSTEM_PLACE: Final = "/run/maildir-imapd/control"


class Refusal(Exception):
    """An answer that says why nothing was done.  *code*: never changes; *status*: of sysexits."""

    def __init__(self, code: str, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.code, self.text, self.status = code, text, status

    def as_json(self) -> dict[str, object]:
        """Make an object of it."""
        return {"code": self.code, "text": self.text, "status": self.status}


def own_place() -> str | None:
    """Where the socket of this user's server is, if nothing else is said; None where there is no such place."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given:
        # Made for us by the service manager, whoever we are.
        return os.path.join(given, "control")
    if os.geteuid() == 0:
        return SYSTEM_PLACE
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return os.path.join(base, "maildir-imapd", "control") if os.path.isdir(base) else None


def places(setting: str) -> list[str]:
    """Where a command looks for the server, by the value of ``control_socket``."""
    if setting == AUTO:
        return list(dict.fromkeys(each for each in (own_place(), SYSTEM_PLACE) if each is not None))
    return [] if setting in (NONE, "") else [setting]
