"""The subscriptions file, in Dovecot's formats (maildir-formats 5).

Version 2 begins with ``V\\t2`` and an empty line, and has a name a line with its levels joined by TAB, each
escaped; version 1 is a name a line.  A file is written back in the version it had; a new one is version 2.
Names are in the spelling of the disk (modified UTF-7, or UTF-8 where folders are), without any namespace prefix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from maildir_imapd import mutf7, normal
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.neighbours.dotlock import DotLock
from maildir_imapd.store.neighbours.servers import SERVERS

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout
    from maildir_imapd.store.neighbours.neighbour import Kind
    from maildir_imapd.store.neighbours.servers import Server

NAME: Final = b"subscriptions"
LOCK: Final = b"subscriptions.lock"
# Seconds after which Dovecot takes away a lock that nobody has touched.
STALE_SECONDS: Final = 30.0
HEADER = b"V\t2\n\n"

_ESCAPES = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}
_UNESCAPES = {value: b"\1" + key for key, value in _ESCAPES.items()}


def parse(
    data: bytes, delimiter: str, separator: bytes = b".", decode: Callable[[bytes], str | None] = mutf7.decode_either
) -> tuple[list[str], int]:
    """Read a subscriptions file: the names in their order, and the file's version.

    *separator* joins the levels in a version 1 file.  Lines that are no name are passed over.
    """
    version = 2 if data.startswith(b"V\t2\n") else 1
    lines = data.split(b"\n")[2 if version == 2 else 0 :]
    names: dict[str, None] = {}
    for line in lines:
        if not line:
            continue
        if version == 2:
            levels = [re.sub(rb"\x01(.)", lambda m: _ESCAPES.get(m[1], m[1]), level) for level in line.split(b"\t")]
        else:
            levels = line.split(separator)
        text = [level for level in map(decode, levels) if level is not None]
        if len(text) < len(levels):
            continue
        if text[0].isascii() and text[0].upper() == "INBOX":
            text[0] = "INBOX"
        names[delimiter.join(text)] = None
    return list(names), version


def render(
    names: list[str],
    delimiter: str,
    version: int,
    separator: bytes = b".",
    encode: Callable[[str], bytes] = mutf7.encode,
) -> bytes:
    """Write what ``parse`` reads."""
    if version == 1:
        return b"".join(separator.join(map(encode, name.split(delimiter))) + b"\n" for name in names)
    lines = []
    for name in names:
        levels = [
            re.sub(rb"[\0\1\t\r\n]", lambda m: _UNESCAPES[m[0]], encode(level)) for level in name.split(delimiter)
        ]
        lines.append(b"\t".join(levels) + b"\n")
    return HEADER + b"".join(lines)


def _shown(name: str) -> str:
    return name if name.isascii() else normal.composed(name)


class Subscriptions:
    """One account's, in our file and, where a neighbour has one of its own, in that as well.

    Changes run under the account's lock, and under the neighbour's where our file is its own.  Of several files the
    one that was written last counts, whoever wrote it.  Raises OSError.

    *beside*: what names of other namespaces begin with: before these stands no prefix.
    """

    def __init__(self, layout: Layout, neighbour: Server | None) -> None:
        self._layout = layout
        self._neighbour = neighbour

    def read(self, beside: tuple[str, ...] = ()) -> list[str]:
        """The subscribed names as clients see them, in the file's order, existing or not."""
        return list(dict.fromkeys(_shown(name) for name in self._read(beside)[0]))

    def write(self, kind: Kind) -> int:
        """Write a server's file; returns how many names there are."""
        server = SERVERS[kind]
        with self._locked(server):
            names, version = self._read()
            if server.shares_subscriptions:
                self._put(names, version)
            else:
                self._put_theirs(server, names)
        return len(names)

    def change(self, name: str, *, wanted: bool, beside: tuple[str, ...] = ()) -> None:
        """Add a name, or take one out; what is so already stays as it is."""
        with self._locked(self._neighbour):
            names, version = self._read(beside)
            # Another server's may be in decomposed letters, as its folders are.
            same = [other for other in names if other == name or _shown(other) == _shown(name)]
            if wanted == bool(same):
                return
            if wanted:
                names.append(name)
            else:
                names = [other for other in names if other not in same]
            self._put(names, version)
            if self._neighbour is not None:
                self._put_theirs(self._neighbour, names)

    @contextmanager
    def _locked(self, server: Server | None) -> Iterator[None]:
        os.makedirs(self._layout.control_root, mode=0o700, exist_ok=True)
        directory = _open(self._layout.control_root)
        try:
            shared = server is not None and server.shares_subscriptions
            with DotLock(LOCK, directory, timeout=2 * STALE_SECONDS, stale=STALE_SECONDS) if shared else nullcontext():
                yield
        finally:
            os.close(directory)

    def _read(self, beside: tuple[str, ...] = ()) -> tuple[list[str], int]:
        layout = self._layout
        ours, ours_at = durable.read_dated(layout.control_root, NAME)
        if ours is None and layout.control_root != layout.root:
            ours, ours_at = durable.read_dated(layout.root, NAME)  # from before there was a CONTROL directory
        names, version = parse(ours or HEADER, layout.delimiter, layout.separator, layout.decode)
        for server in SERVERS.values():
            theirs, theirs_at = server.subscriptions(layout)
            if theirs is not None and theirs_at > ours_at:
                names, ours_at = theirs, theirs_at
        whole = [name if name == "INBOX" or name.startswith(beside) else layout.prefix + name for name in names]
        return whole, version

    def _put(self, names: list[str], version: int) -> None:
        layout = self._layout
        text = render(self._plain(names), layout.delimiter, version, layout.separator, layout.encode)
        _write(layout.control_root, NAME, text)

    def _put_theirs(self, server: Server, names: list[str]) -> None:
        found = server.render_subscriptions(self._layout, self._plain(names))
        if found is not None:
            _write(*found)

    def _plain(self, names: list[str]) -> list[str]:
        return [name.removeprefix(self._layout.prefix) for name in names]


def _write(place: bytes, name: bytes, text: bytes) -> None:
    durable.demand_small(name, text)
    directory = _open(place)
    try:
        durable.put(name, text, directory, durable=True)
        durable.sync(directory)
    finally:
        os.close(directory)


def _open(directory: bytes) -> int:
    return descriptors.open_directory(directory)
