"""Which devices a user has come from: a file beside INBOX, a line for each, ``seconds TAB network TAB program``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from maildir_imapd.store.disk import durable

FILE: Final = b"maildir-imapd.seen"
KEPT: Final = 200
_FIELD_CHARACTERS: Final = 100
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Newness(Enum):
    """Whether a device has been here before."""

    KNOWN = "known"
    FIRST = "first"
    """Of a user of whom no device is known yet."""
    NEW = "new"
    TOO_MANY = "too many"
    """New, and so are so many others of that day that nobody wants to hear of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A device, as far as it can be told from others; *seconds* since the epoch, when it came first."""

    seconds: int
    network: str
    program: str

    def is_like(self, other: Seen) -> bool:
        """Whether both are taken for one device."""
        return (self.network, self.program) == (other.network, other.program)


def parse(data: bytes) -> list[Seen]:
    """Read the file, the first line first; what is no whole line is passed over."""
    found = []
    for line in data.split(b"\n")[:-1]:
        seconds, *rest = line.decode("utf-8", "replace").split("\t")
        if len(rest) == 2 and seconds.isascii() and seconds.isdigit() and len(seconds) < 12:
            found.append(Seen(int(seconds), *rest))
    return found


def render(seen: list[Seen]) -> bytes:
    """Write what ``parse`` reads."""
    return "".join(f"{each.seconds}\t{each.network}\t{each.program}\n" for each in seen).encode("utf-8")


def field(text: str) -> str:
    """Make a field of what a client has said."""
    return _CONTROLS.sub(" ", text)[:_FIELD_CHARACTERS].strip()


class SeenDevices:
    """The file of one account; *changing* is the account's lock."""

    def __init__(self, root: bytes, changing: Callable[[], AbstractContextManager[int]]) -> None:
        self._root = root
        self._changing = changing

    def note(self, device: Seen, *, most: int, within_seconds: int) -> Newness:
        """Note a device, and say whether it is new; of more than *most* in a while the others are TOO_MANY.

        Raises StoreError, LockTimeout.
        """
        found = self._read()
        if found is not None and any(each.is_like(device) for each in found):
            return Newness.KNOWN
        with self._changing() as root:
            # Somebody else may have noted it meanwhile.
            found = self._read()
            if found is not None and any(each.is_like(device) for each in found):
                return Newness.KNOWN
            data = render([*(found or []), device][-KEPT:])
            durable.put(FILE, data, root, durable=False)
        if not found:
            return Newness.FIRST
        lately = [each for each in found if device.seconds - each.seconds < within_seconds]
        return Newness.TOO_MANY if len(lately) >= most else Newness.NEW

    def _read(self) -> list[Seen] | None:
        with durable.as_store_error(os.path.join(self._root, FILE)):
            data, _ = durable.read_dated(self._root, FILE)
        return None if data is None else parse(data)
