"""Values of the settings for the probe of the spool."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probed:
    """The directories to look at, and how many seconds an answer may take.

    *named*: an administrator has named them, so they are to be there.  *marker*: the file of ``spool_marker``.
    """

    paths: tuple[bytes, ...] = ()
    timeout: float = 15.0
    named: bool = False
    marker: bytes | None = None


def beginnings(path: str) -> Collection[bytes]:
    """The directory of a mail_location's path that is the same for all users; none where it lies in their homes."""
    if path.startswith("~") or not path.startswith("/"):
        return ()
    before, variable, _ = path.partition("%")
    return (os.fsencode((before if variable else path).rpartition("/")[0] or "/"),)
