"""The abstract syntax of what SEARCH looks for: one frozen value per search key, keys in keys.

Made by parse_search.py, for SEARCH, SORT, THREAD and stored filters (RFC 5466) alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from maildir_imapd.wire.numbers import NumberSet


@dataclass(frozen=True, slots=True)
class KeyAll:
    """Every message."""


@dataclass(frozen=True, slots=True)
class KeyFlag:
    """ANSWERED, UNSEEN, KEYWORD x, ...: *flag* as b"\\Seen", b"\\Recent" or the keyword; *present* or not."""

    flag: bytes
    present: bool = True


@dataclass(frozen=True, slots=True)
class KeyNumbers:
    """A sequence set, or UID and a set."""

    numbers: NumberSet
    uid: bool = False


@dataclass(frozen=True, slots=True)
class KeyDate:
    """*kind* is "received", "sent" or "saved"; *relation* "before", "on" or "since"."""

    kind: str
    relation: str
    date: dt.date


@dataclass(frozen=True, slots=True)
class KeySize:
    """LARGER, SMALLER."""

    larger: bool
    size: int


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """HEADER, FROM, TO, CC, BCC, SUBJECT: the field's name in capitals, the text as str ("" matches any)."""

    field: bytes
    text: str


@dataclass(frozen=True, slots=True)
class KeyText:
    """TEXT, or BODY when *body_only*."""

    text: str
    body_only: bool = False


@dataclass(frozen=True, slots=True)
class KeyModSeq:
    """RFC 7162 3.1.5: *entry* and *entry_type* (b"priv", b"shared", b"all") only if given."""

    modseq: int
    entry: bytes | None = None
    entry_type: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeyWithin:
    """RFC 5032: OLDER, YOUNGER; seconds."""

    older: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class KeySaveDateSupported:
    """RFC 8514: SAVEDATESUPPORTED."""


@dataclass(frozen=True, slots=True)
class KeyObjectId:
    """RFC 8474: EMAILID, THREADID: *name* in capitals."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class KeyFuzzy:
    """RFC 6203."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class KeyNot:
    """NOT."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class KeyOr:
    """OR, with chains of OR made flat; two or more keys."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class KeyAnd:
    """A list of keys, nested lists made flat; one or more keys."""

    keys: tuple[SearchKey, ...]


SearchKey = (
    KeyAll
    | KeyFlag
    | KeyNumbers
    | KeyDate
    | KeySize
    | KeyHeader
    | KeyText
    | KeyModSeq
    | KeyWithin
    | KeySaveDateSupported
    | KeyObjectId
    | KeyFuzzy
    | KeyNot
    | KeyOr
    | KeyAnd
)


def parts(key: SearchKey) -> Iterator[SearchKey]:
    """A search key and all keys in it."""
    yield key
    match key:
        case KeyNot() | KeyFuzzy():
            yield from parts(key.key)
        case KeyAnd() | KeyOr():
            for part in key.keys:
                yield from parts(part)
