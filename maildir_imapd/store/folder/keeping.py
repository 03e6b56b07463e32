"""How folders are kept: what the settings say, and what an account adds, in one value that is handed down whole.

The server makes one from its settings; the account puts in who its neighbour is, a counter, a quota and an
index of its own (``replace``), and mailboxes and folders take it as it is. No default stands anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from maildir_imapd.store.disk.filesystems import SharedSpool
from maildir_imapd.store.index.index import clock_uidvalidity
from maildir_imapd.store.maildir.packed import Kind
from maildir_imapd.store.neighbours.servers import SERVERS, Server
from maildir_imapd.store.records.quota import Quota
from maildir_imapd.store.records.texts import Texts
from maildir_imapd.store.threads.ahead import Ahead

Links = Literal["no", "owner"]


@dataclass(frozen=True, slots=True)
class Keeping:
    """How folders are kept; most of the last fields are an account's."""

    fsync: str = "delivery"  # delivery | always | never
    lock_timeout: float = 30.0  # seconds
    cache_version: bytes = b"5"  # of the code whose bytes are cached; another version empties the cache
    # The server whose files are kept true beside ours: dovecot | courier | none | auto; of auto the account makes the
    # one that has been here.
    mirror: str = "auto"
    compress_mail: Kind = "none"  # how new messages lie on the disk
    follow_links: Links = "owner"  # whether links are, that lead to what is of whom the account's root is
    coexist: bool = False  # that server runs at the same time: its lock is taken for every scan and rename
    # Whether other hosts serve the spool at the same time: yes, no, or auto, which asks the folder's file system.
    shared_spool: SharedSpool = "auto"

    uidvalidity: Callable[[], int] = clock_uidvalidity  # gives a number that no mailbox of this user has had
    quota: Quota | None = None
    texts: Texts | None = None  # the account's index of what its messages say
    ahead: Ahead | None = None  # what the account's clients ask of messages
    # Told the inode of a folder's lock file when something was committed there, and other hosts have the spool as well.
    hint: Callable[[int], None] | None = None

    @property
    def neighbour(self) -> Server | None:
        """The server whose files are kept; None for none, and as long as ``mirror`` is auto."""
        return SERVERS.get(self.mirror)


class Differing(TypedDict, total=False):
    """Fields of a Keeping, for who spells out only what he would have otherwise."""

    fsync: str
    lock_timeout: float
    cache_version: bytes
    mirror: str
    compress_mail: Kind
    follow_links: Links
    coexist: bool
    shared_spool: SharedSpool
    uidvalidity: Callable[[], int]
    quota: Quota | None
    texts: Texts | None
    ahead: Ahead | None
    hint: Callable[[int], None] | None


AS_USUAL: Final = Keeping()
