"""The rows of LIST: every name, with what its row says, remembered for as long as the disk bears it out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from maildir_imapd.store.disk import descriptors, inotify
from maildir_imapd.store.maildir.layout import GRAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Set

    from maildir_imapd.store.maildir.layout import Layout, Tree
    from maildir_imapd.store.records.acl import Acls
    from maildir_imapd.store.threads.still import Mark, Still


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of LIST.  *marked* is whether new mail waits in it."""

    name: str
    path: bytes | None
    selectable: bool
    children: bool
    marked: bool | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """Rows that were made of a tree, and the mark that says whether it is good without a look; of which turn it is."""

    tree: Tree
    rows: tuple[Listed, ...]
    mark: Mark | None = None
    turn: int = 0
    limited: Set[bytes] | None = None
    rules: int = 0  # the turn of what is said of rights elsewhere than in the folders, when that was found


class Listing:
    """One account's; safe from any thread.

    *acls* says which folders have an access control list.  *still*: where changes are watched; None where stamps are
    compared.
    """

    def __init__(self, layout: Layout, acls: Acls, still: Still | None) -> None:
        self._layout = layout
        self._acls = acls
        self._still = still
        # Whether new/ had anything in it at these stamps; an entry is replaced whole, so no lock is needed.
        self._marks: dict[bytes, tuple[tuple[int, int], bool]] = {}
        # Good for as long as the tree is the same object.
        self._seen: _Seen | None = None

    def rows(self, tree: Tree) -> tuple[Listed, ...]:
        """INBOX first, then every name of *tree* in order, with the parents that exist as names only.

        The same object as long as nothing changed.
        """
        seen = self._seen
        if seen is None or seen.tree is not tree:
            self._marks = {}
            rows = self._made(tree)
            self._seen = _Seen(tree, rows)
            return rows
        if self._holds(seen):
            return seen.rows
        # Asked for again: from the second time on it is worth to be told of changes.
        mark, turn = self._begin(seen)
        rows = seen.rows
        marks = [self._marked(row.path) for row in rows]
        if any(row.marked is not marked for row, marked in zip(rows, marks, strict=True)):
            rows = tuple([replace(row, marked=marked) for row, marked in zip(rows, marks, strict=True)])
        self._seen = _Seen(tree, rows, mark, turn)
        return rows

    def limited(self, rows: tuple[Listed, ...]) -> Set[bytes]:
        """The folders of *rows*, which ``rows`` has just given, that have an access control list."""
        seen = self._seen
        known = seen is not None and seen.rows is rows
        rules = self._acls.turn()
        if seen is not None and known and seen.limited is not None and seen.rules == rules and self._holds(seen):
            return seen.limited
        found = self._acls.among([row.path for row in rows if row.path is not None])
        if seen is not None and known:
            # Race: another thread may have seen more since; then this is of an older turn, and does not hold.
            self._seen = replace(seen, limited=found, rules=rules)
        return found

    def _holds(self, seen: _Seen) -> bool:
        return self._still is not None and seen.mark is not None and self._still.holds(seen.mark, seen.turn)

    def _begin(self, seen: _Seen) -> tuple[Mark | None, int]:
        """Before a look at all folders: what says whether it is good afterwards."""
        if self._still is None:
            return None, 0
        mark = seen.mark
        if mark is None or mark.lost:
            mark = self._still.mark(
                [
                    each
                    for row in seen.rows
                    if row.path is not None
                    for each in ((row.path, inotify.FOLDER), (row.path + b"/new", inotify.NEW))
                ]
            )
            if mark is None:
                return None, 0
        return mark, self._still.renew(mark)

    def _made(self, tree: Tree) -> tuple[Listed, ...]:
        names: dict[str, bytes | None] = {"INBOX": self._layout.inbox, **tree.folders, **dict.fromkeys(tree.bare)}
        parents: set[str] = set()
        for name in [*tree.folders, *tree.bare]:
            end = name.rfind(self._layout.delimiter)
            while end > 0:
                parent = name[:end]
                if parent in parents:
                    break
                parents.add(parent)
                names.setdefault(parent, None)
                end = name.rfind(self._layout.delimiter, 0, end)
        order = sorted(names, key=lambda name: (name != "INBOX", name))
        return tuple(
            [
                Listed(name, names[name], names[name] is not None, name in parents, self._marked(names[name]))
                for name in order
            ]
        )

    def _marked(self, path: bytes | None) -> bool | None:
        if path is None:
            return None
        new = path + b"/new"
        try:
            state = os.stat(new)
            stamp = (state.st_mtime_ns, state.st_ctime_ns)
            known = self._marks.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with descriptors.again(os.scandir, new) as entries:
                marked = any(not entry.name.startswith(b".") for entry in entries)
        except OSError:
            return None
        if time.time() - max(stamp) / 1e9 > GRAIN_SECONDS:
            self._marks[path] = (stamp, marked)
        return marked
