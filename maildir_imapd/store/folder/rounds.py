"""Looking whether other programs have written to messages' files, a few at a time.

Neither the name of a file that was written to changes nor the stamp of its directory, and a stat of every message at
each SELECT takes three times what a FETCH of all envelopes does. So a message's file is compared with what is known of
it whenever it is read; and where nothing need be read, in rounds: the newest messages, where a copy may still be going
on, and some of the others, on from where the last round ended.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.index.columns import NAMES
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import scan

PAUSE_SECONDS: Final = 1.0
NEWEST_MESSAGES: Final = 32
OTHER_MESSAGES: Final = 64
_LOOKED_AT: Final = (NAMES, "flags", "fingerprints")


class Rounds:
    """One folder's rounds. Several threads may ask: at worst two look at the same files."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._not_before = 0.0  # monotonic
        self._end = -1  # the next round looks at what stands before; -1: it begins at the newest

    def due(self, rows: Snapshot) -> bool:
        """Say whether ``look``, not demanded, would look at files now."""
        if self._not_before:
            return time.monotonic() >= self._not_before
        return all(map(rows.here, _LOOKED_AT))

    def look(self, rows: Snapshot, *, demanded: bool = False) -> list[tuple[int, int]]:
        """Return (UID, fingerprint) of messages that were written to, of those whose turn it is; mostly of none.

        The first round looks at the newest only: it is part of opening the folder.  Where it would be the first to ask
        for the columns, it waits until it is *demanded*: before anything that was made of the messages is shown.
        """
        now = time.monotonic()
        if now < self._not_before or (demanded and self._not_before):
            return []
        if not self._not_before and not all(map(rows.has if demanded else rows.here, _LOOKED_AT)):
            return []
        count = len(rows)
        newest = max(0, count - NEWEST_MESSAGES)
        others = range(0)
        if self._not_before:
            end = self._end if 0 < self._end <= newest else newest
            others = range(max(0, end - OTHER_MESSAGES), end)
            self._end = others.start
        self._not_before = now + PAUSE_SECONDS
        return [*self._compare(rows, others), *self._compare(rows, range(newest, count))]

    def _compare(self, rows: Snapshot, positions: range) -> list[tuple[int, int]]:
        """Look at the files of some messages; at none where the folder cannot be opened: whoever needs it hears why."""
        found: list[tuple[int, int]] = []
        files = self._folder.files
        with suppress(OSError), self._folder.directories.folder.use():
            for at, base in zip(positions, rows.some_names(positions.start, positions.stop), strict=True):
                try:
                    status = files.inspect(files.place(rows, at, base))
                except OSError:
                    continue  # whoever reads it hears why
                # One that is not where it should be is for a listing to find.
                if status is not None and scan.rewritten(rows.fingerprints[at], seen := scan.fingerprint(status)):
                    found.append((rows.uids[at], seen))
        return found


class NoRounds(Rounds):
    """Of a folder that has no files of its own (overlay.py)."""

    def due(self, rows: Snapshot) -> bool:
        """Never."""
        return False

    def look(self, rows: Snapshot, *, demanded: bool = False) -> list[tuple[int, int]]:
        """Nothing."""
        return []
