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

from maildir_imapd import mutf7
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.neighbours import courier
from maildir_imapd.store.neighbours.dotlock import DotLock

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout
    from maildir_imapd.store.neighbours.mirror import Kind

NAME: Final = b"subscriptions"
LOCK: Final = b"subscriptions.lock"
# Seconds after which Dovecot takes away a lock that nobody has touched.
STALE: Final = 30.0
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


class Subscriptions:
    """One account's, in Dovecot's file and, where Courier's files are mirrored, in Courier's as well.

    Changes run under the account's lock, and under Dovecot's where its files are mirrored.  Where both servers have
    been, the file that was written last counts.  Raises OSError.
    """

    def __init__(self, layout: Layout, mirror: Kind | None) -> None:
        self._layout = layout
        self._mirror = mirror

    def read(self) -> list[str]:
        """The subscribed names as clients see them, in the file's order, existing or not."""
        return self._read()[0]

    def write(self, kind: Kind) -> int:
        """Write a server's file; returns how many names there are."""
        with self._locked(dovecot=kind == "dovecot"):
            names, version = self._read()
            self._put(kind, names, version)
        return len(names)

    def change(self, name: str, *, wanted: bool) -> None:
        """Add a name, or take one out; what is so already stays as it is."""
        with self._locked(dovecot=self._mirror == "dovecot"):
            names, version = self._read()
            if wanted == (name in names):
                return
            if wanted:
                names.append(name)
            else:
                names.remove(name)
            self._put("dovecot", names, version)
            if self._mirror == "courier":
                self._put("courier", names, version)

    @contextmanager
    def _locked(self, *, dovecot: bool) -> Iterator[None]:
        os.makedirs(self._layout.control_root, mode=0o700, exist_ok=True)
        directory = _open(self._layout.control_root)
        try:
            with DotLock(LOCK, directory, timeout=2 * STALE, stale=STALE) if dovecot else nullcontext():
                yield
        finally:
            os.close(directory)

    def _read(self) -> tuple[list[str], int]:
        layout = self._layout
        theirs, theirs_at = durable.read_dated(layout.root, courier.SUBSCRIBED)
        ours, ours_at = durable.read_dated(layout.control_root, NAME)
        if ours is None and layout.control_root != layout.root:
            ours, ours_at = durable.read_dated(layout.root, NAME)  # from before there was a CONTROL directory
        names, version = parse(ours or HEADER, layout.delimiter, layout.separator, layout.decode)
        if theirs is not None and theirs_at > ours_at:
            names = courier.parse_subscriptions(theirs, layout.delimiter)
        return [name if name == "INBOX" else layout.prefix + name for name in names], version

    def _put(self, kind: Kind, names: list[str], version: int) -> None:
        layout = self._layout
        plain = [name.removeprefix(layout.prefix) for name in names]
        if kind == "courier":
            place, name = layout.root, courier.SUBSCRIBED
            text = courier.render_subscriptions(plain, layout.delimiter, utf8=layout.spells_utf8())
        else:
            place, name = layout.control_root, NAME
            text = render(plain, layout.delimiter, version, layout.separator, layout.encode)
        durable.demand_small(name, text)
        directory = _open(place)
        try:
            durable.put(name, text, directory, durable=True)
            durable.sync(directory)
        finally:
            os.close(directory)


def _open(directory: bytes) -> int:
    return descriptors.open_directory(directory)
