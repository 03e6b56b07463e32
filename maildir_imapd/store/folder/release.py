"""Giving a folder back: the other server's files written in full, so that it goes on where we stop.

Its list of UIDs never loses a UIDVALIDITY, a UIDNEXT, a GUID or a field that is not ours.  Our own files stay:
they are in nobody's way, and true again should the folder come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maildir_imapd.store.disk import durable
from maildir_imapd.store.index.journal import render_ranges, to_ranges
from maildir_imapd.store.maildir.filename import LETTERED, keyword_bit
from maildir_imapd.store.neighbours.servers import SERVERS

if TYPE_CHECKING:
    from maildir_imapd.store.folder.folder import Folder
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.neighbours.neighbour import Kind


@dataclass(frozen=True, slots=True)
class Released:
    """The state that the other server will find; *unlettered*: keywords that its files have no place for, with UIDs."""

    messages: int
    uidvalidity: int
    uidnext: int
    modseq: int
    unlettered: tuple[tuple[bytes, bytes], ...] = ()


def describe(rows: Snapshot, kind: Kind) -> Released:
    """Say what ``write`` would leave behind."""
    unlettered = tuple(_unlettered(rows)) if SERVERS[kind].letters_only else ()
    return Released(len(rows), rows.uidvalidity, rows.uidnext, rows.modseq, unlettered)


def _unlettered(rows: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    for number in range(LETTERED, len(rows.keywords)):
        bit = keyword_bit(number)
        if bit:
            uids = list(rows.uids_with(bit))
        else:
            uids = sorted(uid for uid, numbers in rows.extra.items() if number in numbers)
        if uids and rows.keywords[number]:
            yield rows.keywords[number], render_ranges(to_ranges(uids))


def write(folder: Folder, kind: Kind) -> Released:
    """Write the files; runs under the folder's lock."""
    rows = folder.rows
    neighbour = SERVERS[kind](folder.ground)
    with nullcontext() if folder.turns.held else neighbour.lock():
        neighbour.write(rows)
    durable.sync(folder.fd)
    durable.sync(folder.control_fd)
    return describe(rows, kind)
