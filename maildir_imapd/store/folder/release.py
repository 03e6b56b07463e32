"""Giving a folder back: the other server's files written in full, so that it goes on where we stop.

Its list of UIDs never loses a UIDVALIDITY, a UIDNEXT, a GUID or a field that is not ours.  Our own files stay:
they are in nobody's way, and true again should the folder come back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.index.journal import render_ranges, to_ranges
from maildir_imapd.store.maildir.filename import LETTERED, keyword_bit
from maildir_imapd.store.neighbours import courier

if TYPE_CHECKING:
    from maildir_imapd.store.folder.folder import Folder
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.neighbours.mirror import Kind


@dataclass(frozen=True, slots=True)
class Released:
    """What the other server will find; *unlettered* are keywords that its files have no place for, with the UIDs."""

    messages: int
    uidvalidity: int
    uidnext: int
    modseq: int
    unlettered: tuple[tuple[bytes, bytes], ...] = ()


def describe(rows: Snapshot, kind: Kind) -> Released:
    """Say what ``write`` would leave behind."""
    # Dovecot keeps the 27th keyword and later ones in its own index alone.
    unlettered = tuple(_unlettered(rows)) if kind == "dovecot" else ()
    return Released(len(rows), rows.uidvalidity, rows.uidnext, rows.modseq, unlettered)


def _unlettered(rows: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    for number in range(LETTERED, len(rows.keywords)):
        bit = keyword_bit(number)
        if bit:
            uids = [uid for uid, bits in zip(rows.uids, rows.flags, strict=True) if bits & bit]
        else:
            uids = sorted(uid for uid, numbers in rows.extra.items() if number in numbers)
        if uids and rows.keywords[number]:
            yield rows.keywords[number], render_ranges(to_ranges(uids))


def write(folder: Folder, kind: Kind) -> Released:
    """Write the files; runs under the folder's lock."""
    rows = folder.rows
    mirror = folder.mirror_of(kind)
    with nullcontext() if folder.foreign_locked else mirror.lock():
        mirror.write(rows)
        if kind == "courier":
            _write_keywords(folder, rows)
    durable.sync(folder.fd)
    durable.sync(folder.control_fd)
    return describe(rows, kind)


def _write_keywords(folder: Folder, rows: Snapshot) -> None:
    """Courier's ``:list``; the letters in the file names mean nothing to it, and it drops them."""
    words = {}
    for uid, base, bits in zip(rows.uids, rows.names, rows.flags, strict=True):
        names = tuple(name for name in rows.flag_names(bits, uid) if not name.startswith(b"\\"))
        if names:
            words[base] = names
    fd = courier.open_keywords(folder.fd)
    try:
        # What Courier had not merged is in what we took.
        changes = [name for name in map(os.fsencode, descriptors.again(os.listdir, fd)) if name != courier.LIST]
        courier.write_keyword_files(fd, words, changes, mode=folder.mode, synced=True)
    finally:
        os.close(fd)
    folder.met_courier()
