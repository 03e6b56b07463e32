"""LIST, LSUB, XLIST, STATUS (RFC 3501 6.3.8 to 6.3.10, 5258, 5819, 6154, 7162, 7889, 8438, 8440, 8474, 9208, 9590)."""

from __future__ import annotations

from typing import Final

from maildir_imapd.wire.commands import List, Lsub, Status, Xlist
from maildir_imapd.wire.cursor import Cursor
from maildir_imapd.wire.parse_rights import parse_entry

STATUS_ITEMS = frozenset(
    b"MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ "
    b"SIZE DELETED DELETED-STORAGE APPENDLIMIT MAILBOXID".split()
)
SELECT_OPTIONS = frozenset([b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"])
RETURN_OPTIONS = frozenset([b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"METADATA", b"MYRIGHTS", b"STATUS"])

# Lists of items as clients have written them, with what was read of it: a client asks for the same of each mailbox.
ITEMS_KEPT: Final = 64
ITEMS_OCTETS: Final = 256
_ITEMS: Final[dict[bytes, tuple[bytes, ...]]] = {}


def parse_list(at: Cursor, tag: bytes, _uid: bool) -> List:
    """list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]"""
    at.space()
    extended = False
    selects: set[bytes] = set()
    if at.at(b"("):
        extended = True
        start = at.pos
        at.open()
        if not at.take(b")"):
            selects.add(at.one_of(SELECT_OPTIONS, "a LIST selection option"))
            while at.more():
                selects.add(at.one_of(SELECT_OPTIONS, "a LIST selection option"))
        # RFC 5258 section 6: a list-select-mod-opt needs a list-select-base-opt.
        if b"RECURSIVEMATCH" in selects and b"SUBSCRIBED" not in selects:
            at.fail("SUBSCRIBED beside RECURSIVEMATCH", start)
        at.space()
    reference = at.mailbox()
    at.space()
    if at.at(b"("):
        extended = True
        at.open()
        patterns = [at.list_mailbox()]
        while at.more():
            patterns.append(at.list_mailbox())
    else:
        patterns = [at.list_mailbox()]
    returns: set[bytes] = set()
    status_items: tuple[bytes, ...] = ()
    entries: tuple[bytes, ...] = ()
    if not at.at_end():
        extended = True
        at.space()
        at.one_of(frozenset([b"RETURN"]), '"RETURN"')
        at.space()
        at.open()
        if not at.take(b")"):
            while True:
                option = at.one_of(RETURN_OPTIONS, "a LIST return option")
                returns.add(option)
                if option == b"STATUS":
                    at.space()
                    status_items = _status_items(at)
                elif option == b"METADATA":
                    at.space()
                    entries = _entries(at)
                if not at.more():
                    break
    at.end()
    options = frozenset(selects), frozenset(returns)
    return List(tag, reference, tuple(patterns), *options, status_items, extended, entries)


def _entries(at: Cursor) -> tuple[bytes, ...]:
    """ "(" entry *(SP entry) ")" (RFC 9590 5)"""
    at.open()
    entries = [parse_entry(at)]
    while at.more():
        entries.append(parse_entry(at))
    return tuple(entries)


def parse_lsub(at: Cursor, tag: bytes, _uid: bool) -> Lsub:
    """lsub = "LSUB" SP mailbox SP list-mailbox"""
    return Lsub(tag, *_reference_and_pattern(at))


def parse_xlist(at: Cursor, tag: bytes, _uid: bool) -> Xlist:
    """As LSUB; there is no grammar but Gmail's example."""
    return Xlist(tag, *_reference_and_pattern(at))


def _reference_and_pattern(at: Cursor) -> tuple[bytes, bytes]:
    at.space()
    reference = at.mailbox()
    at.space()
    pattern = at.list_mailbox()
    at.end()
    return reference, pattern


def parse_status(at: Cursor, tag: bytes, _uid: bool) -> Status:
    """status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")" """
    at.space()
    mailbox = at.mailbox()
    at.space()
    items = _status_items(at)
    at.end()
    return Status(tag, mailbox, items)


def _status_items(at: Cursor) -> tuple[bytes, ...]:
    at.open()
    start = at.pos
    end = at.text.find(b")", start, start + ITEMS_OCTETS)
    if end >= 0:
        known = _ITEMS.get(at.text[start:end])
        if known is not None:
            at.pos = end + 1
            return known
    items = {at.one_of(STATUS_ITEMS, "a STATUS item"): None}
    while at.more():
        items[at.one_of(STATUS_ITEMS, "a STATUS item")] = None
    found = tuple(items)
    if end >= 0 and len(_ITEMS) < ITEMS_KEPT:
        _ITEMS[at.text[start:end]] = found
    return found
