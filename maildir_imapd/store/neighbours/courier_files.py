"""Courier's keyword and subscription files (maildir-formats 6).

``courierimapkeywords/:list`` holds the names, an empty line, and ``base:n n ...`` per message;
``courierimapkeywords/<base>`` and ``.N.<base>`` are changes that Courier has not merged yet, newest wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from maildir_imapd import mutf7
from maildir_imapd.store.disk import descriptors, durable

UIDDB = b"courierimapuiddb"
KEYWORDS = b"courierimapkeywords"
LIST = b":list"
SUBSCRIBED = b"courierimapsubscribed"
PREFIX = "INBOX."

_AGED = re.compile(rb"\.([0-9]+)\.(.+)\Z", re.DOTALL).match


def parse_keywords(data: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """Read ``:list``: the keyword names of each base that has some."""
    head, _, body = data.partition(b"\n\n")
    names = head.split(b"\n") if head else []
    found = {}
    for line in body.split(b"\n"):
        base, colon, numbers = line.rpartition(b":")
        if not colon or not base:
            continue
        # Longer ones are damage, and Python refuses to read the longest.
        chosen = [int(n) for n in numbers.split() if n.isdigit() and len(n) < 10]
        found[base] = tuple(names[n] for n in chosen if n < len(names) and names[n])
    return found


def render_keywords(words: dict[bytes, tuple[bytes, ...]]) -> bytes:
    """Write ``:list``."""
    names: dict[bytes, int] = {}
    lines = []
    for base, chosen in words.items():
        if chosen:
            numbers = [names.setdefault(name, len(names)) for name in chosen]
            lines.append(b"%b:%b\n" % (base, b" ".join(b"%d" % number for number in numbers)))
    return b"".join(name + b"\n" for name in names) + b"\n" + b"".join(lines)


def read_keywords(folder: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """The keywords of a folder's messages, with the changes that are still on their way; {} without any.

    Raises OSError when they are there and cannot be read.
    """
    directory = os.path.join(folder, KEYWORDS)
    try:
        fd = descriptors.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    try:
        return read_keyword_files(fd)[0]
    finally:
        os.close(fd)


def read_keyword_files(fd: int) -> tuple[dict[bytes, tuple[bytes, ...]], tuple[bytes, ...]]:
    """The keywords that an open ``courierimapkeywords`` says, and the names of the changes among its files.

    Raises OSError.
    """
    try:
        found = parse_keywords(durable.read_file(LIST, fd))
    except FileNotFoundError:
        found = {}
    newest: dict[bytes, tuple[float, bytes]] = {}
    changes = []
    for name in map(os.fsencode, descriptors.again(os.listdir, fd)):
        aged = _AGED(name)
        if name == LIST or (name.startswith(b".") and aged is None):
            continue
        changes.append(name)
        base, age = (aged[2], float(aged[1])) if aged is not None else (name, float("inf"))
        if base not in newest or age > newest[base][0]:
            newest[base] = (age, name)
    for base, (_, name) in newest.items():
        try:
            found[base] = tuple(word for word in durable.read_file(name, fd).split(b"\n") if word)
        except FileNotFoundError:
            # Race: Courier merged it between the listing and now; then it is in the next :list.
            continue
    return found, tuple(changes)


def open_keywords(folder: int) -> int:
    """Open ``courierimapkeywords`` in an open folder, and make it if it is not there; raises OSError."""
    try:
        os.mkdir(KEYWORDS, 0o700, dir_fd=folder)
    except FileExistsError:
        pass
    return descriptors.open(KEYWORDS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)


def write_keyword_files(
    fd: int, words: dict[bytes, tuple[bytes, ...]], changes: Iterable[bytes], *, mode: int, synced: bool
) -> None:
    """Write ``:list`` in an open ``courierimapkeywords``, then remove *changes*, which would win over it.

    Raises OSError.
    """
    durable.put(LIST, render_keywords(words), fd, durable=synced, mode=mode)
    for name in changes:
        try:
            durable.unlink(name, fd)
        except FileNotFoundError:
            pass  # Race: Courier has merged it.


def parse_subscriptions(data: bytes, delimiter: str) -> list[str]:
    """Read ``courierimapsubscribed``: names with the prefix INBOX., in UTF-8 from version 5 on, else modified UTF-7.

    The prefix is Courier's namespace and no folder, so it goes; names of other namespaces (#shared.) are left out.
    """
    names = []
    for line in data.split(b"\n"):
        text = mutf7.decode_either(line)
        if text is None:
            continue
        if text.upper() == "INBOX":
            names.append("INBOX")
        elif text.upper().startswith(PREFIX):
            names.append(text[len(PREFIX) :].replace(".", delimiter))
    return names


def render_subscriptions(names: list[str], delimiter: str, *, utf8: bool) -> bytes:
    """Write what ``parse_subscriptions`` reads."""
    lines = []
    for name in names:
        text = "INBOX" if name == "INBOX" else PREFIX + name.replace(delimiter, ".")
        lines.append((text.encode("utf-8") if utf8 else mutf7.encode(text)) + b"\n")
    return b"".join(lines)
