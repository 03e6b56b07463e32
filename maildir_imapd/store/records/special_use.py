"""Which mailbox serves which purpose (RFC 6154): by the names that clients and servers have given them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

from maildir_imapd import mutf7
from maildir_imapd.store.disk import durable
from maildir_imapd.store.records.use_names import GMAIL, NAMES

# What users have chosen, beside INBOX.
FILE = b"maildir-imapd.special-use"

# RFC 6154 4: the entry of metadata that says and sets them.
ENTRY = b"/private/specialuse"

# What CREATE may ask for.  \\All, \\Flagged and \\Important would be virtual mailboxes, which we have not.
ATTRIBUTES = tuple(attribute for attribute, _ in NAMES)
# As clients may spell them, in small letters.
SPELLED = {attribute.lower(): attribute for attribute in ATTRIBUTES}
# By name in small letters: the use, and which of its names goes before others.
_MEANT: Final = {name.lower(): (use, rank) for use, names in NAMES for rank, name in enumerate(names)}


def parse(data: bytes) -> dict[str, tuple[bytes, ...]]:
    """Read the file of what users chose: a line a mailbox, attributes, TAB, name in modified UTF-7."""
    chosen = {}
    for line in data.splitlines():
        attributes, tab, name = line.partition(b"\t")
        if tab:
            try:
                chosen[mutf7.decode(name)] = tuple(a for a in attributes.split() if a in ATTRIBUTES)
            except ValueError:
                continue
    return chosen


def render(chosen: dict[str, tuple[bytes, ...]]) -> bytes:
    """Write what ``parse`` reads."""
    return b"".join(b"%b\t%b\n" % (b" ".join(attributes), mutf7.encode(name)) for name, attributes in chosen.items())


def meant(name: str) -> bytes | None:
    """The use of a mailbox of this name, at the top, where nothing else is said."""
    found = _MEANT.get(name.lower())
    return None if found is None else found[0]


def by_name(
    names: Iterable[str],
    delimiter: str,
    chosen: dict[str, tuple[bytes, ...]] | None = None,
    settled: Mapping[str, bytes] | None = None,
) -> dict[str, tuple[bytes, ...]]:
    """The attributes of each mailbox of *names* that has some: those *chosen*, then those *settled*, others by name.

    By name a mailbox has a use at the top, below INBOX, and where Gmail has its own; of several the one whose name
    comes first in ``use_names``, Gmail's last.
    """
    there = list(names)
    uses: dict[str, tuple[bytes, ...]] = {}
    if chosen or settled:
        known = set(there)
        uses = {name: a for name, a in (chosen or {}).items() if name in known}
        for name, use in (settled or {}).items():
            # One that was given its uses has these and no other, also when they are none.
            if name in known and name not in (chosen or {}) and not any(use in each for each in uses.values()):
                uses[name] = (use,)
    taken = {attribute for attributes in uses.values() for attribute in attributes}
    best: dict[bytes, tuple[tuple[bool, int], str]] = {}
    below = f"inbox{delimiter}"
    gmail = tuple(each + delimiter for each in GMAIL)
    for name in there:
        plain = name.lower().removeprefix(below)
        of_gmail = plain.startswith(gmail)
        found = _MEANT.get(plain.partition(delimiter)[2] if of_gmail else plain)
        if found is None or found[0] in taken or name in uses:
            continue
        order = (of_gmail, found[1])
        if found[0] not in best or order < best[found[0]][0]:
            best[found[0]] = order, name
    for use in ATTRIBUTES:
        if use in best:
            uses[best[use][1]] = (use,)
    return {name: attributes for name, attributes in uses.items() if attributes}


Chosen = dict[str, tuple[bytes, ...]]


class ChosenUses:
    """The file of one account; whoever changes it holds the account's lock. Raises OSError, StoreError."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    def read(self) -> Chosen:
        """By mailbox what was chosen for it, which may be nothing."""
        with durable.as_store_error(os.path.join(self._root, FILE)):
            data, _ = durable.read_dated(self._root, FILE)
        return parse(data) if data is not None else {}

    def put(self, chosen: Chosen, root: int) -> None:
        """Write it anew, if that is another; *root* is open at the account's root."""
        if chosen != self.read():
            data = render(chosen)
            durable.demand_small(FILE, data)
            durable.put(FILE, data, root, durable=True)
            durable.sync(root)

    def forget(self, name: str, root: int) -> None:
        """Let a mailbox that is no more have none."""
        self.put({other: uses for other, uses in self.read().items() if other != name}, root)

    def renamed(self, root: int, old: str, new: str, delimiter: str) -> None:
        """Let the uses go along with their mailboxes."""
        moved = {
            new + name[len(old) :] if name == old or name.startswith(old + delimiter) else name: uses
            for name, uses in self.read().items()
        }
        self.put(moved, root)
