"""How folders are laid out in a spool that nobody has said it of: looked at once, and kept in a file from then on.

A directory of a user's mail does not say what made it: Dovecot and Courier have flat folders that begin with a dot,
mbsync, offlineimap and mutt nested ones with INBOX among them or above them. The decision is kept, for a folder that
comes later must not turn all names round; and in a directory that holds something else nothing is ever made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from maildir_imapd.errors import NoSpool, StoreError
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir.instead import instead
from maildir_imapd.store.maildir.layout import MAILDIR, Places, absent, is_maildir

log = Log(__name__)

AUTO: Final = "auto"
FLAT: Final = "maildir++"
NESTED: Final = "fs"
FILE: Final = b"maildir-imapd.layout"
_HEADER: Final = b"maildir-imapd layout 1"
# How deep a folder is looked for.
_DEPTH: Final = 4
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


def keep(decision: Decision) -> None:
    """Write a decision down where another look could come to another one, with a line in the log; never an error.

    To be called when an index is about to be made: who only looks at a spool changes nothing.
    """
    if decision.said:
        return
    found = decision.places
    log.info("layout decided", path=found.root, kind=found.kind, inbox=found.inbox or found.root, why=decision.why)
    _write(found)


def _look(places: Places) -> Decision:
    root = places.root
    try:
        entries = _directories(root)
        others = [entry for entry in os.listdir(root) if not entry.startswith(_OF_SERVERS)]
    except FileNotFoundError:
        return Decision(replace(places, kind=FLAT), "there is nothing yet", said=True)
    except NotADirectoryError as error:
        raise NoSpool(detail=instead(root)) from error
    plain = [entry for entry in entries if not entry.startswith(b".") and entry not in MAILDIR]
    flat = any(entry[:1] == b"." and entry[:2] != b".." and is_maildir(os.path.join(root, entry)) for entry in entries)
    nested = list(_nested(root, plain))
    if is_maildir(root):
        if any(entry.startswith(_OF_OURS) for entry in os.listdir(root)):
            return Decision(replace(places, kind=FLAT), "it has been served so before", said=True)
        if nested and not flat:
            return Decision(_named(places, NESTED, nested), "it is a Maildir, and its folders begin with no dot")
        why = "it is a Maildir, and its folders begin with a dot" if flat else "it is a Maildir without folders"
        return Decision(replace(places, kind=FLAT), why, said=not flat)
    if not flat and not nested:
        if others:
            raise NoSpool(detail=instead(root))
        return Decision(replace(places, kind=FLAT), "it is empty", said=True)
    inbox = next(
        (entry for entry in plain if entry.lower() == b"inbox" and is_maildir(os.path.join(root, entry))), None
    )
    apart = places.inbox or os.path.join(root, inbox or b"INBOX")
    if flat:
        return Decision(
            replace(places, kind=FLAT, inbox=apart), "its folders begin with a dot, and INBOX is beside them"
        )
    why = "its folders begin with no dot, " + ("INBOX among them" if inbox else "and there is no INBOX yet")
    return Decision(_named(replace(places, inbox=apart), NESTED, nested), why)


def _named(places: Places, kind: str, nested: list[bytes]) -> Places:
    """*places* of that kind, with names in UTF-8 where the folders that need it have them so."""
    odd = [entry for path in nested for entry in path.split(b"/") if not entry.isascii() or b"&" in entry]
    utf8 = places.utf8 or (bool(odd) and not any(b"&" in entry and b"-" in entry for entry in odd))
    return replace(places, kind=kind, utf8=utf8)


def _nested(root: bytes, entries: list[bytes]) -> Iterator[bytes]:
    """The Maildirs below *entries* of the root, as paths from there."""
    stack = [(entry, 1) for entry in entries]
    while stack:
        path, depth = stack.pop()
        whole = os.path.join(root, path)
        if is_maildir(whole):
            yield path
        if depth < _DEPTH:
            inside = [entry for entry in _directories(whole) if not entry.startswith(b".") and entry not in MAILDIR]
            stack += [(os.path.join(path, entry), depth + 1) for entry in inside]


def _directories(path: bytes) -> list[bytes]:
    """The directories in a directory, no links; none in one that may not be read, unless it is gone."""
    try:
        with descriptors.again(os.scandir, path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        raise
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


def _write(places: Places) -> None:
    """Write the decision; where the spool is not ours to write it is made at each look."""
    inbox = b"" if places.inbox in (None, places.root) else os.path.basename(places.inbox or b"")
    names = b"utf-8" if places.utf8 else b"utf-7"
    try:
        with durable.as_store_error(places.root):
            directory = descriptors.open_directory(places.root)
            try:
                text = b"%b\n%b\n%b\n%b\n" % (_HEADER, places.kind.encode(), names, inbox)
                # Two that look at the same moment decide the same.
                durable.put(FILE, text, directory, durable=True, temporary=FILE + b".%d" % os.getpid())
                durable.sync(directory)
            finally:
                os.close(directory)
    except StoreError as error:
        log.info("layout not kept", path=places.root, why=error.detail)
