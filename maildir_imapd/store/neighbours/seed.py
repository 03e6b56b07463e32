"""The beginning of an index, from another server's files, for a folder that we meet for the first time."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Seed:
    """The values that the index of such a folder begins with."""

    uidvalidity: int
    uidnext: int = 1
    uids: dict[bytes, int] = field(default_factory=dict)  # base -> UID
    keywords: dict[int, bytes] = field(default_factory=dict)
    modseq: int = 1
    first_recent: int = 0  # the lowest UID that is \\Recent, 0 if it is not known
