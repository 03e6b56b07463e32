"""Which names a user may have, whatever back end knows him."""

from __future__ import annotations

import re

# A user name becomes part of a path: letters and digits of any script and a few marks, never a slash.
_USER = re.compile(r"[\w+@=-][\w.+@=~&'-]{0,254}\Z").match


def valid_user(name: str) -> bool:
    """Whether *name* may be a user's name at all.

    %n and %d are what stands before and after the ``@``: neither may be empty, hidden, or ``..``.
    """
    return _USER(name) is not None and all(part and not part.startswith(".") for part in name.split("@"))
