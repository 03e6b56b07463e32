"""What commit() and copy_from() of a mailbox say, whichever way they say it: for tests."""

from __future__ import annotations

from typing import Any


def uids(result: Any) -> list[int]:
    """The UIDs that ``Mailbox.commit`` gave."""
    return list(getattr(result, "uids", result))


def pairs(result: Any) -> list[tuple[int, int]]:
    """The (old UID, new UID) of ``Mailbox.copy_from``."""
    return list(getattr(result, "pairs", result))
