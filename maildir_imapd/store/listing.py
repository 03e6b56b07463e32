"""The rows of LIST: every name, with what its row says, remembered for as long as the disk bears it out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.maildir.layout import GRAIN_SECONDS

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout, Tree


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of LIST.  *marked* is whether new mail waits in it."""

    name: str
    path: bytes | None
    selectable: bool
    children: bool
    marked: bool | None = None


class Listing:
    """One account's; safe from any thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # Whether new/ had anything in it at these stamps; an entry is replaced whole, so no lock is needed.
        self._marks: dict[bytes, tuple[tuple[int, int], bool]] = {}
        # What was made of the tree last, and the tree: good for as long as they are the same object.
        self._rows: tuple[Tree, tuple[Listed, ...]] | None = None

    def rows(self, tree: Tree) -> tuple[Listed, ...]:
        """INBOX first, then every name of *tree* in order, with the parents that exist as names only.

        The same object as long as nothing changed.
        """
        before = self._rows
        if before is not None and before[0] is tree:
            rows = before[1]
            marks = [self._marked(row.path) for row in rows]
            if any(row.marked is not marked for row, marked in zip(rows, marks, strict=True)):
                rows = tuple([replace(row, marked=marked) for row, marked in zip(rows, marks, strict=True)])
        else:
            self._marks = {}
            rows = self._made(tree)
        self._rows = (tree, rows)
        return rows

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
