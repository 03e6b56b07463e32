"""Which mailbox serves which purpose (RFC 6154): by the names that clients and servers have given them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from maildir_imapd import mutf7
from maildir_imapd.store.disk import durable

# What users have chosen, beside INBOX.
FILE = b"maildir-imapd.special-use"

# The first name of a row that exists has the attribute.  Compared without case, at the top or below INBOX.
WELL_KNOWN: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"\\Drafts", ("Drafts", "Draft")),
    (b"\\Sent", ("Sent", "Sent Messages", "Sent Items", "Sent Mail")),
    (b"\\Trash", ("Trash", "Deleted Messages", "Deleted Items", "Deleted")),
    (b"\\Junk", ("Junk", "Spam", "Junk E-mail", "Junk Email", "Bulk Mail")),
    (b"\\Archive", ("Archive", "Archives")),
)


# RFC 6154 4: the entry of metadata that says and sets them.
ENTRY = b"/private/specialuse"

# What CREATE may ask for.  \\All, \\Flagged and \\Important would be virtual mailboxes, which we have not.
ATTRIBUTES = tuple(attribute for attribute, _ in WELL_KNOWN)
# As clients may spell them, in small letters.
SPELLED = {attribute.lower(): attribute for attribute in ATTRIBUTES}


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


def by_name(
    names: Iterable[str], delimiter: str, chosen: dict[str, tuple[bytes, ...]] | None = None
) -> dict[str, tuple[bytes, ...]]:
    """The attributes of each mailbox of *names* that has some: those *chosen*, the others by name."""
    found: dict[str, str] = {}
    prefix = f"inbox{delimiter}"
    for name in names:
        plain = name.lower().removeprefix(prefix)
        found.setdefault(plain, name)
    uses: dict[str, tuple[bytes, ...]] = {name: a for name, a in (chosen or {}).items() if name in found.values()}
    taken = {attribute for attributes in uses.values() for attribute in attributes}
    decided = set(uses)
    for attribute, candidates in WELL_KNOWN:
        if attribute in taken:
            continue
        for candidate in candidates:
            holder = found.get(candidate.lower())
            # One that was given its uses has these and no other, also when they are none.
            if holder is not None and holder not in decided:
                uses[holder] = (*uses.get(holder, ()), attribute)
                break
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
