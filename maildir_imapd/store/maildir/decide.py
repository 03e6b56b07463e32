"""How folders are laid out in a spool that nobody has said it of: looked at once, and kept in a file from then on.

A directory of a user's mail does not say what made it: Dovecot and Courier have flat folders that begin with a dot,
mbsync, offlineimap and mutt nested ones with INBOX among them or above them. The decision is kept, for a folder that
comes later must not turn all names round; and in a directory that holds something else nothing is ever made.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from maildir_imapd.errors import NoSpool
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir.instead import instead
from maildir_imapd.store.maildir.layout import MAILDIR, Places, absent, is_maildir, look_into

log = Log(__name__)

AUTO: Final = "auto"
FLAT: Final = "maildir++"
NESTED: Final = "fs"
FILE: Final = b"maildir-imapd.layout"
_HEADER: Final = b"maildir-imapd layout 1"
# How deep a folder is looked for, and in how many directories: a root may be somebody's home.
_DEPTH: Final = 4
_LOOKS: Final = 5_000
# An index of ours beside INBOX, and no file of the layout: it was served as what is usual.
_OF_OURS: Final = (b"maildir-imapd.index", b"maildir-imapd.journal")
# Files and directories that mail servers keep in the root of a spool: with these alone it is empty.
_OF_SERVERS: Final = (b"dovecot", b"courier", b"maildir-imapd.", b"subscriptions", b"maildirsize", b"maildirfolder")


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an account's files lie, its kind decided, and why, in words for people."""

    places: Places
    why: str
    said: bool = False
    """Whether it was kept from an earlier time, or needs no keeping."""


def decide(places: Places) -> Decision:
    """Decide what *places* leaves open; writes nothing.  Raises StoreError, NoSpool for what is no place for mail."""
    if places.kind != AUTO:
        return Decision(places, "mail_location says so", said=True)
    with durable.as_store_error(places.root):
        kept = _kept(places)
        return kept if kept is not None else _look(places)


def keep(decision: Decision, directory: int) -> None:
    """Write a decision down where another look could come to another one, with a line in the log; raises OSError.

    *directory* is the root, opened; the account's lock is held.  To be called when an index is about to be made: who
    only looks at a spool changes nothing.
    """
    if decision.said:
        return
    found = decision.places
    log.info("layout decided", path=found.root, kind=found.kind, inbox=found.inbox or found.root, why=decision.why)
    inbox = b"" if found.inbox in (None, found.root) else os.path.basename(found.inbox or b"")
    names = b"utf-8" if found.utf8 else b"utf-7"
    durable.put(FILE, b"%b\n%b\n%b\n%b\n" % (_HEADER, found.kind.encode(), names, inbox), directory, durable=True)
    durable.sync(directory)


def _look(places: Places) -> Decision:
    """Decide by what lies in the root, and how it is called."""
    root = places.root
    try:
        names, entries = _names(root), look_into(root).directories
    except FileNotFoundError:
        return Decision(replace(places, kind=FLAT), "there is nothing yet", said=True)
    except NotADirectoryError as error:
        raise NoSpool(detail=instead(root)) from error
    whole = is_maildir(root)
    if whole and any(name.startswith(_OF_OURS) for name in names):
        return Decision(replace(places, kind=FLAT), "it has been served so before", said=True)
    flat = any(entry[:1] == b"." and entry[:2] != b".." and is_maildir(os.path.join(root, entry)) for entry in entries)
    if whole and flat:
        return Decision(replace(places, kind=FLAT), "it is a Maildir, and its folders begin with a dot")
    plain = [entry for entry in entries if not entry.startswith(b".") and entry not in MAILDIR]
    nested = list(_nested(root, plain))
    if whole and nested:
        return Decision(_named(places, NESTED, nested), "it is a Maildir, and its folders begin with no dot")
    if whole:
        return Decision(replace(places, kind=FLAT), "it is a Maildir without folders", said=True)
    if not flat and not nested:
        # A Maildir that is not whole is one all the same, and is completed.
        if not all(name in MAILDIR or name.startswith(_OF_SERVERS) for name in names):
            raise NoSpool(detail=instead(root))
        return Decision(replace(places, kind=FLAT), "it is empty", said=True)
    inbox = next((path for path in nested if path.lower() == b"inbox"), None)
    apart = replace(places, inbox=places.inbox or os.path.join(root, inbox or b"INBOX"))
    if flat:
        return Decision(replace(apart, kind=FLAT), "its folders begin with a dot, and INBOX is beside them")
    why = "its folders begin with no dot, " + ("INBOX among them" if inbox else "and there is no INBOX yet")
    return Decision(_named(apart, NESTED, nested), why)


def _names(path: bytes) -> list[bytes]:
    """Everything that is in a directory; raises OSError."""
    directory = descriptors.open_directory(path)
    try:
        return [os.fsencode(name) for name in descriptors.again(os.listdir, directory)]
    finally:
        os.close(directory)


def _named(places: Places, kind: str, nested: list[bytes]) -> Places:
    """*places* of that kind, with names in UTF-8 where the folders that need it have them so."""
    odd = [entry for path in nested for entry in path.split(b"/") if not entry.isascii() or b"&" in entry]
    utf8 = places.utf8 or (bool(odd) and not any(b"&" in entry and b"-" in entry for entry in odd))
    return replace(places, kind=kind, utf8=utf8)


def _nested(root: bytes, entries: list[bytes]) -> Iterator[bytes]:
    """The Maildirs below *entries* of the root, as paths from there, as far as they are looked for."""
    queue = deque((entry, 1) for entry in sorted(entries))
    for _ in range(_LOOKS):
        if not queue:
            return
        path, depth = queue.popleft()
        whole = os.path.join(root, path)
        if is_maildir(whole):
            yield path
        if depth < _DEPTH:
            inside = [entry for entry in _inside(whole) if not entry.startswith(b".") and entry not in MAILDIR]
            queue.extend((os.path.join(path, entry), depth + 1) for entry in sorted(inside))


def _inside(path: bytes) -> list[bytes]:
    """The directories in a directory; none in one that is gone, or may not be read."""
    try:
        return look_into(path).directories
    except OSError as error:
        if not absent(error):
            raise
        return []


# --- the file -------------------------------------------------------------------------------------


def _kept(places: Places) -> Decision | None:
    """Read what an earlier look decided; None where there was none, or its file says nothing."""
    try:
        directory = descriptors.open_directory(places.root)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        text = durable.read_file(FILE, directory)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)
    header, _, rest = text.partition(b"\n")
    kind, _, rest = rest.partition(b"\n")
    names, _, rest = rest.partition(b"\n")
    inbox = rest.removesuffix(b"\n")
    known = header == _HEADER and kind in (FLAT.encode(), NESTED.encode()) and names in (b"utf-8", b"utf-7")
    if not known or b"/" in inbox or inbox in (b".", b".."):
        log.warning("file of the layout not understood", path=os.path.join(places.root, FILE))
        return None
    apart = places.inbox or (os.path.join(places.root, inbox) if inbox else None)
    found = replace(places, kind=kind.decode(), inbox=apart, utf8=places.utf8 or names == b"utf-8")
    return Decision(found, "an earlier look decided so", said=True)
