"""Fields: values that are worked out of a message once, and kept in its folder's cache under a key of octets.

A key says all that its value depends on. So another process, which is told the key and nothing else, makes the same:
what clients have asked for is worked out ahead by the process beside a worker (ahead.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.message import Content

Make = Callable[["Content"], bytes]


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a message, kept in the cache under *key*; *header_only*: *make* looks at nothing but the header."""

    key: bytes
    make: Make
    header_only: bool = True


# Makes a field of what stands in its key behind the family's name; raises ValueError where nothing can.
Family = Callable[[bytes], Field]

_FAMILY: Final = re.compile(rb"[0-9a-z]+[:=!]?")
_families: Final[dict[bytes, Family]] = {}


def family(name: bytes) -> Callable[[Family], Family]:
    """Say which function makes the fields whose keys begin with *name*: a word that ends in one of ":=!", or all."""
    found = _FAMILY.fullmatch(name)
    assert found is not None
    assert name not in _families

    def note(make: Family) -> Family:
        _families[name] = make
        return make

    return note


def alone(field: Field) -> Field:
    """Make a field known that has a family to itself."""
    family(field.key)(lambda _: field)
    return field


def field_of(key: bytes) -> Field | None:
    """Return the field that is kept under *key*, as some client may have asked for; None where there is none."""
    found = _FAMILY.match(key)
    make = None if found is None else _families.get(found[0])
    if found is None or make is None:
        return None
    try:
        field = make(key[found.end() :])
    except ValueError:
        return None
    # A family of one takes its name alone, and others may write a key in more ways than one.
    return field if field.key == key else None
