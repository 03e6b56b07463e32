"""Quota, access rights, metadata, language (RFC 9208, 4314, 5464, 5255)."""

from __future__ import annotations

from maildir_imapd.wire import abnf
from maildir_imapd.wire.commands import (
    Comparator,
    DeleteAcl,
    GetMetadata,
    GetQuota,
    Language,
    ListRights,
    SetAcl,
    SetMetadata,
    SetQuota,
)
from maildir_imapd.wire.cursor import Cursor

# --- quota ----------------------------------------------------------------------------------------


def parse_getquota(at: Cursor, tag: bytes, _uid: bool) -> GetQuota:
    """getquota = "GETQUOTA" SP quota-root-name"""
    at.space()
    root = at.astring()
    at.end()
    return GetQuota(tag, root)


def parse_setquota(at: Cursor, tag: bytes, _uid: bool) -> SetQuota:
    """setquota = "SETQUOTA" SP quota-root-name SP "(" [resource-name SP number64 *(SP ...)] ")" """
    at.space()
    root = at.astring()
    at.space()
    at.open()
    limits = []
    if not at.take(b")"):
        while True:
            name = at.atom().upper()
            at.space()
            limits.append((name, at.number64()))
            if not at.more():
                break
    at.end()
    return SetQuota(tag, root, tuple(limits))


# --- access rights --------------------------------------------------------------------------------


def parse_setacl(at: Cursor, tag: bytes, _uid: bool) -> SetAcl:
    """setacl = "SETACL" SP mailbox SP identifier SP mod-rights"""
    mailbox, identifier = _mailbox_and_identifier(at)
    at.space()
    rights = at.astring()
    at.end()
    return SetAcl(tag, mailbox, identifier, rights)


def parse_deleteacl(at: Cursor, tag: bytes, _uid: bool) -> DeleteAcl:
    """deleteacl = "DELETEACL" SP mailbox SP identifier"""
    mailbox, identifier = _mailbox_and_identifier(at)
    at.end()
    return DeleteAcl(tag, mailbox, identifier)


def parse_listrights(at: Cursor, tag: bytes, _uid: bool) -> ListRights:
    """listrights = "LISTRIGHTS" SP mailbox SP identifier"""
    mailbox, identifier = _mailbox_and_identifier(at)
    at.end()
    return ListRights(tag, mailbox, identifier)


def _mailbox_and_identifier(at: Cursor) -> tuple[bytes, bytes]:
    at.space()
    mailbox = at.mailbox()
    at.space()
    return mailbox, at.astring()


# --- metadata -------------------------------------------------------------------------------------


def parse_getmetadata(at: Cursor, tag: bytes, _uid: bool) -> GetMetadata:
    """getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries

    RFC 5464's examples have the options after the mailbox; both places are taken.
    """
    at.space()
    max_size: int | None = None
    depth = 0
    before = at.at(b"(")
    if before:
        max_size, depth = _metadata_options(at)
        at.space()
    mailbox = at.mailbox()
    at.space()
    if not before and at.at(b"(") and not _entry_here(at):
        max_size, depth = _metadata_options(at)
        at.space()
    entries = _entries(at)
    at.end()
    return GetMetadata(tag, mailbox, entries, max_size, depth)


def _entry_here(at: Cursor) -> bool:
    """Tell a list of entries, which begin with a slash or are strings, from options."""
    return abnf.ENTRIES(at.text, at.pos) is not None


def _metadata_options(at: Cursor) -> tuple[int | None, int]:
    """getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")" """
    max_size: int | None = None
    depth: int | None = None
    at.open()
    while True:
        start = at.pos
        name = at.label("a GETMETADATA option")
        if name == b"MAXSIZE" and max_size is None:
            at.space()
            max_size = at.number()
        elif name == b"DEPTH" and depth is None:
            at.space()
            word = at.pos
            depth = _DEPTHS.get(at.atom().upper())
            if depth is None:
                at.fail('"0", "1" or "infinity"', word)
        else:
            at.fail("a GETMETADATA option", start)
        if not at.more():
            return max_size, depth or 0


_DEPTHS = {b"0": 0, b"1": 1, b"INFINITY": -1}


def _entries(at: Cursor) -> tuple[bytes, ...]:
    """entries = entry / "(" entry *(SP entry) ")"; RFC 5464's examples leave the parentheses out"""
    if not at.begins():
        entries = [parse_entry(at)]
        while not at.at_end():
            at.space()
            entries.append(parse_entry(at))
        return tuple(entries)
    entries = [parse_entry(at)]
    while at.more():
        entries.append(parse_entry(at))
    return tuple(entries)


def parse_entry(at: Cursor) -> bytes:
    """entry = astring; what RFC 5464 section 3.2 forbids in it is a syntax error (0x00 to 0x19, as it says)"""
    start = at.pos
    entry = at.astring()
    if not entry.startswith(b"/") or entry.endswith(b"/") or b"//" in entry or not entry.isascii():
        at.fail("an entry name", start)
    if any(octet <= 0x19 or octet in b"*%" for octet in entry):
        at.fail("an entry name", start)
    return entry


def parse_setmetadata(at: Cursor, tag: bytes, _uid: bool) -> SetMetadata:
    """setmetadata = "SETMETADATA" SP mailbox SP "(" entry SP value *(SP entry SP value) ")" """
    at.space()
    mailbox = at.mailbox()
    at.space()
    at.open()
    entries = []
    while True:
        entry = parse_entry(at)
        at.space()
        entries.append((entry, _value(at)))
        if not at.more():
            break
    at.end()
    return SetMetadata(tag, mailbox, tuple(entries))


def _value(at: Cursor) -> bytes | None:
    """value = nstring / literal8"""
    if at.at(b"~"):
        value: bytes = at.literal(literal8=True)
        return value
    return at.nstring()


# --- language -------------------------------------------------------------------------------------


def parse_language(at: Cursor, tag: bytes, _uid: bool) -> Language:
    """language-cmd = "LANGUAGE" *(SP lang-range-quoted)"""
    ranges = []
    while not at.at_end():
        at.space()
        start = at.pos
        wanted = at.astring()
        if not abnf.LANGUAGE_RANGE(wanted):
            at.fail("a language range", start)
        ranges.append(wanted)
    return Language(tag, tuple(ranges))


def parse_comparator(at: Cursor, tag: bytes, _uid: bool) -> Comparator:
    """comparator-cmd = "COMPARATOR" *(SP comp-order-quoted)"""
    return Comparator(tag, _astrings(at))


def _astrings(at: Cursor) -> tuple[bytes, ...]:
    words = []
    while not at.at_end():
        at.space()
        words.append(at.astring())
    return tuple(words)
