"""Courier as a neighbour: ``courierimapuiddb`` is written anew, for Courier knows no append; keywords are apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Container

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir.layout import Layout
from maildir_imapd.store.neighbours import courier_files, courier_keywords, uidlist
from maildir_imapd.store.neighbours.courier_keywords import CourierKeywords
from maildir_imapd.store.neighbours.neighbour import Neighbour, Place


class Courier(Neighbour):
    """Its files lie in the folder. It drops letters for keywords from file names; courier_keywords.py says more."""

    kind = "courier"
    uids_name = courier_files.UIDDB
    lock_name = b"tmp/courier.lock"
    below_inbox = True
    counts_deleted = False
    pads_quota = True
    letters_tell = False
    letters_only = False
    shares_subscriptions = False

    def __init__(self, place: Place) -> None:
        super().__init__(place, place.folder)
        self._keywords = CourierKeywords(place.folder, place.index, place.path, place.mode)

    def _bring_up(self, rows: Snapshot) -> None:
        try:
            old = uidlist.parse(durable.read_file(self.uids_name, self._directory, durable.LARGE_OCTETS))
        except FileNotFoundError:
            old = None
        pairs = zip(rows.uids, rows.names, strict=True)
        new = uidlist.updated(old, uidvalidity=rows.uidvalidity, uidnext=rows.uidnext, rows=pairs, version=1)
        durable.put(self.uids_name, uidlist.render(new), self._directory, durable=False, mode=self.place.mode)
        self._stamp = None if uidlist.unseen(new, rows.uidnext) else self._look()

    def write(self, rows: Snapshot) -> None:
        """Write the list of UIDs and the keywords, under Courier's lock; raises OSError."""
        self._bring_up(rows)
        words = {}
        for uid, base, bits in zip(rows.uids, rows.names, rows.flags, strict=True):
            names = tuple(name for name in rows.flag_names(bits, uid) if not name.startswith(b"\\"))
            if names:
                words[base] = names
        fd = courier_files.open_keywords(self._directory)
        try:
            # What Courier had not merged is in what we took.
            listed = map(os.fsencode, descriptors.again(os.listdir, fd))
            changes = [name for name in listed if name != courier_files.LIST]
            courier_files.write_keyword_files(fd, words, changes, mode=self.place.mode, synced=True)
        finally:
            os.close(fd)
        courier_keywords.meet(self.place.index.number, self.place.mode)

    @classmethod
    def part(cls, place: Place) -> None:
        """Forget that our keywords and Courier's have met. Never an error."""
        courier_keywords.part(place.index.number)

    def watched(self) -> tuple[bytes, ...]:
        """The directory of keywords."""
        return (courier_files.KEYWORDS,)

    def expect(self, batch: Batch, modseq: int) -> None:
        """Hear of a change before it is committed; *modseq* is the mod-sequence before it."""
        self._keywords.expect(batch, modseq)

    def keywords_changed(self) -> bool:
        """Say whether Courier's files are others than we know; safe without a lock."""
        return self._keywords.changed()

    def take_keywords(self, rows: Snapshot) -> dict[int, tuple[bytes, ...]]:
        """Return the UIDs to which Courier has given other keywords than *rows* say, with these. Never an error."""
        return self._keywords.take(rows)

    def update_keywords(self, rows: Snapshot, there: Callable[[], Container[bytes]]) -> None:
        """Write the list if *rows* have other keywords than it. Never an error."""
        self._keywords.update(rows, there)

    @classmethod
    def subscriptions(cls, layout: Layout) -> tuple[list[str] | None, int]:
        """The names in ``courierimapsubscribed``, and when it was written (ns); raises OSError."""
        data, written = durable.read_dated(layout.root, courier_files.SUBSCRIBED)
        return None if data is None else courier_files.parse_subscriptions(data, layout.delimiter), written

    @classmethod
    def render_subscriptions(cls, layout: Layout, names: list[str]) -> tuple[bytes, bytes, bytes] | None:
        """Where ``courierimapsubscribed`` is, and its octets."""
        text = courier_files.render_subscriptions(names, layout.delimiter, utf8=layout.spells_utf8())
        return layout.root, courier_files.SUBSCRIBED, text
