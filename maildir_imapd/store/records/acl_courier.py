"""Courier's access rights, ``courierimapacl`` in a folder, made into a list of ours.

    owner aceilrstwx
    anyone lr
    user=bob lrs
    -group=interns r

There all lines that mean a user count together, those with ``-`` after the others, and the owner keeps "a".  Here a
later kind of identifier takes the place of the others (acl.py), so what lesser ones give is given again; what cannot be
known here, which groups a user is in, is decided so that nobody gets more than he had.  Courier gives
``administrators`` all rights everywhere, which is for acl_global, and so they are left out.
"""

from __future__ import annotations

import os
from typing import Final

from maildir_imapd.store.disk import durable
from maildir_imapd.store.records.acl import ALL, NONE, Acl, Entry, Kind, Who, identifier

FILE: Final = b"courierimapacl"

# Courier's letters that mean something else; "d" is that of RFC 2086.
_LETTERS: Final = {"c": "k", "d": "te"}
_ADMINISTRATORS: Final = Who(Kind.GROUP, "administrators")
_ANYONE: Final = Who(Kind.ANYONE)
_OWNER: Final = Who(Kind.OWNER)
# Of the owner: Courier has no "p", and whoever has all the others has all.
_OWNERS: Final = ALL - {"p"}

_Rights = dict[Who, frozenset[str]]


def read(path: bytes) -> bytes | None:
    """Read the file of the folder at *path*; None where there is none.  Raises StoreError."""
    with durable.as_store_error(os.path.join(path, FILE)):
        return durable.read_dated(path, FILE)[0]


def converted(data: bytes, owner: str) -> tuple[Acl, tuple[str, ...]]:
    """Make a list of Courier's for the mailbox of *owner*; and say of which lines nothing came, as they are."""
    given: _Rights = {}
    taken: _Rights = {}
    left = []
    for line in data.split(b"\n"):
        name, _, letters = line.decode("utf-8", "surrogateescape").rstrip("\r").partition(" ")
        if not name:
            continue
        found = _identifier(name)
        rights = frozenset("".join(_LETTERS.get(letter, letter) for letter in letters.strip(" ")))
        if found is None or not rights <= ALL:
            left.append(line.decode("utf-8", "backslashreplace"))
            if found is None:
                continue
        who, negative = found
        if who != _ADMINISTRATORS:
            (taken if negative else given)[who] = rights & ALL
    # An empty file says nothing: it was never written to its end.
    entries = _entries(given, taken, Who(Kind.USER, owner)) if given or taken else ()
    return Acl(tuple(entries)), tuple(left)


def _identifier(name: str) -> tuple[Who, bool] | None:
    if name.removeprefix("-") == "administrators":
        return _ADMINISTRATORS, name.startswith("-")
    found = identifier(name)
    # Those that Courier has not are the name of nobody there.
    return None if found is None or found[0].kind in (Kind.AUTHENTICATED, Kind.GROUP_OVERRIDE) else found


def _entries(given: _Rights, taken: _Rights, himself: Who) -> list[Entry]:
    entries = []
    for_all, from_all = given.get(_ANYONE, NONE), taken.get(_ANYONE, NONE)
    from_groups = frozenset().union(*(rights for who, rights in taken.items() if who.kind is Kind.GROUP))
    for who, rights in given.items():
        if who.kind is Kind.ANYONE:
            entries.append(Entry(who, False, rights))
        elif who.kind is not Kind.OWNER and who != himself:
            entries.append(Entry(who, False, rights | for_all))
    for who, rights in taken.items():
        if who.kind is Kind.ANYONE:
            entries.append(Entry(who, True, rights))
        elif who.kind is Kind.GROUP:
            entries.append(Entry(who, True, rights | from_all))
        elif who.kind is not Kind.OWNER and who != himself:
            # His groups may be among those that lose rights.
            entries.append(Entry(who, True, rights | from_all | from_groups))
    own = given.get(_OWNER, NONE) | given.get(himself, NONE) | for_all
    own = own - taken.get(_OWNER, NONE) - taken.get(himself, NONE) - from_all | {"a"}
    if not own >= _OWNERS:
        # Without "l" he could not undo it.
        entries.insert(0, Entry(_OWNER, False, own | {"l"}))
    return entries
