"""First contact with a folder that another server has kept: its UIDs, UIDVALIDITY and keywords become ours.

Nothing of the other server's is changed here.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maildir_imapd.store import courier, durable, keywords, uidlist
from maildir_imapd.store.folder import Seed

if TYPE_CHECKING:
    from maildir_imapd.store.mailbox import Mailbox

logger = logging.getLogger(__name__)

DOVECOT = b"dovecot-uidlist"
DOVECOT_KEYWORDS = b"dovecot-keywords"


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of another server's in a folder.

    *server* is "dovecot", "courier" or "" for nothing; *words* are Courier's keywords by base; *problems* is
    for people.
    """

    server: str = ""
    uids: uidlist.UidList | None = None
    keywords: dict[int, bytes] = field(default_factory=dict)
    words: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def seed(self) -> Seed | None:
        """What the index begins with; None where there is nothing to believe.

        The first mod-sequence is the clock in microseconds: far above any that Dovecot counted up to, far
        below what a client can hold, and rising should the folder go back and come again.
        """
        if self.uids is None:
            return None
        return Seed(
            uidvalidity=self.uids.uidvalidity,
            uidnext=self.uids.uidnext,
            uids=self.uids.uids(),
            keywords=dict(self.keywords),
            modseq=time.time_ns() // 1000,
        )


def look(folder: bytes, control: bytes | None = None) -> Found:
    """See what other servers have left in *folder*, or in *control*, Dovecot's CONTROL directory for it.

    Where both have been, the file that was written last counts.
    """
    candidates = []
    for server, name, place in (
        ("dovecot", DOVECOT, control or folder),
        ("courier", courier.UIDDB, folder),
    ):
        data, stamp = _read(place, name)
        if data is not None:
            candidates.append((stamp, server, place, data))
    if not candidates:
        return Found()
    _, server, place, data = max(candidates, key=lambda candidate: candidate[0])
    found = uidlist.parse(data)
    problems: tuple[str, ...] = ()
    if found is None:
        problems = ("the file of UIDs cannot be understood",)
        logger.warning(
            "another server's UIDs cannot be taken over",
            extra={"fields": {"folder": folder, "server": server, "why": problems[0]}},
        )
    elif found.problems:
        problems = found.problems
        logger.warning(
            "another server's UIDs are taken over in part",
            extra={"fields": {"folder": folder, "server": server, "why": "; ".join(problems[:5])}},
        )
    names: dict[int, bytes] = {}
    words: dict[bytes, tuple[bytes, ...]] = {}
    if server == "dovecot":
        data, _ = _read(place, DOVECOT_KEYWORDS)
        names = keywords.parse(data) if data is not None else {}
    else:
        words = courier.read_keywords(folder)
    return Found(server, found, names, words, problems)


def set_keywords(mailbox: Mailbox, words: dict[bytes, tuple[bytes, ...]]) -> None:
    """Give messages the keywords that Courier had for them, one keyword at a time for all that have it."""
    snapshot = mailbox.snapshot
    uids = dict(zip(snapshot.names, snapshot.uids, strict=True))
    tagged: dict[bytes, list[int]] = {}
    for base, names in words.items():
        if base in uids:
            for name in names:
                tagged.setdefault(name, []).append(uids[base])
    for name, chosen in tagged.items():
        bits, extra = mailbox.bits([name], create=True)
        mailbox.set_flags(sorted(chosen), add=bits, extra_add=extra)


def _read(directory: bytes, name: bytes) -> tuple[bytes | None, int]:
    try:
        return durable.read_dated(directory, name)
    except OSError:
        return None, 0
