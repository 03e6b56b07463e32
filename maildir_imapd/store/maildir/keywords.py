"""Keywords by number, and dovecot-keywords, the file that gives the first 26 of them a letter.

The index knows a keyword by number; numbers 0 to 25 are the letters ``a`` to ``z`` in file names, and
``dovecot-keywords`` tells other programs (and us, should the index be lost) what they mean. It is read at
first contact and whenever it has changed, and rewritten when a keyword gets a letter. Names are never
removed from it: a file name somewhere may still carry the letter.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import Final

from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.filename import LETTERED

NAME: Final = b"dovecot-keywords"
LIMIT: Final = 500  # keywords in one folder, so that a client cannot make every FLAGS line a page long

_LINE = re.compile(rb"([0-9]{1,2}) ([^\n]+)").fullmatch
# RFC 3501 section 9: flag-keyword = atom. What is none cannot be told to a client.
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+").fullmatch


def speakable(name: bytes) -> bool:
    """Say whether a client can be told of the keyword: others' files may hold any octets."""
    return _ATOM(name) is not None


def parse(data: bytes) -> dict[int, bytes]:
    """Read ``<0-25> <name>`` lines; what is no such line is left out."""
    found: dict[int, bytes] = {}
    taken: set[bytes] = set()
    for line in data.split(b"\n"):
        match = _LINE(line)
        if match and int(match[1]) < LETTERED and match[2].lower() not in taken and int(match[1]) not in found:
            found[int(match[1])] = match[2]
            taken.add(match[2].lower())
    return found


def render(names: dict[int, bytes]) -> bytes:
    """Write the names that have a letter."""
    return b"".join([b"%d %b\n" % (number, name) for number, name in sorted(names.items()) if number < LETTERED])


def read(directory: int) -> tuple[dict[int, bytes], int]:
    """Return the file's names and its mtime; nothing and 0 if it cannot be read."""
    try:
        mtime = os.stat(NAME, dir_fd=directory).st_mtime_ns
        return parse(durable.read_file(NAME, directory)), mtime
    except OSError:
        return {}, 0


def mtime(directory: int) -> int:
    """Return the file's mtime, 0 if there is none."""
    try:
        return os.stat(NAME, dir_fd=directory).st_mtime_ns
    except OSError:
        return 0


def write(directory: int, names: dict[int, bytes], mode: int) -> int:
    """Add names to the file and return its mtime, which grows by a second at least: Dovecot compares seconds."""
    known, before = read(directory)
    durable.put(NAME, render({**names, **known}), directory, durable=False, mode=mode)
    after = max(time.time_ns(), before + 1_000_000_000)
    os.utime(NAME, ns=(after, after), dir_fd=directory)
    return os.stat(NAME, dir_fd=directory).st_mtime_ns


def unused(names: Sequence[bytes], file: dict[int, bytes], letters: int, wanted: int) -> list[int]:
    """Choose *wanted* numbers: a letter that no message carries first, then numbers without a letter.

    *letters*: all flag bits of the folder's messages. A letter that is in use and has no name means
    something to somebody, and so does one that only the file has a name for.
    """
    free = [
        n
        for n in range(LETTERED)
        if not (n < len(names) and names[n]) and n not in file and not letters & (1 << (26 + n))
    ]
    number = LETTERED
    while len(free) < wanted:
        if not (number < len(names) and names[number]):
            free.append(number)
        number += 1
    return free[:wanted]


def merge(ours: Sequence[bytes], theirs: dict[int, bytes]) -> dict[int, bytes]:
    """Return what the file knows and the index does not; where they disagree the index stays."""
    known = {name.lower() for name in ours if name}
    return {
        number: name
        for number, name in theirs.items()
        if not (number < len(ours) and ours[number]) and name.lower() not in known and _ATOM(name)
    }


def numbers(names: Sequence[bytes], wanted: Iterable[bytes]) -> dict[bytes, int]:
    """Return the number of each of *wanted* that is known; case does not count."""
    known = {name.lower(): number for number, name in enumerate(names) if name}
    return {name: known[name.lower()] for name in wanted if name.lower() in known}
