"""Keys that vouch for URLs (RFC 4467 2.2): one for each mailbox of which a user has ever authorized a URL.

``maildir-imapd.urlauth`` beside INBOX, for its owner alone, has a line for each:

    maildir-imapd urlauth 1
    <mailbox>TAB<key>

The mailbox in modified UTF-7, as the user's own clients name it, the key in hexadecimal.  It is written under the
account's lock.  A line that does not read is no key: the URLs that it vouched for are void.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from maildir_imapd import mutf7
from maildir_imapd.errors import LimitReached
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable

log = Log(__name__)

FILE: Final = b"maildir-imapd.urlauth"
HEADER: Final = b"maildir-imapd urlauth 1\n"
KEY_OCTETS: Final = 32
# Each line is read at every URL.
KEYS_LIMIT: Final = 2000

_LINE: Final = re.compile(rb"([^\t]+)\t([0-9a-f]{64})").fullmatch


def parse(data: bytes) -> tuple[dict[bytes, bytes], bool]:
    """Read the file: keys by the mailbox as it is written there; also says whether all of it was sound."""
    sound = data.startswith(HEADER) and data.endswith(b"\n")
    if not data.startswith(HEADER):
        return {}, sound
    found = {}
    for line in data[len(HEADER) :].split(b"\n"):
        row = _LINE(line)
        if row is not None:
            found[row[1]] = bytes.fromhex(row[2].decode("ascii"))
        elif line:
            sound = False
    return found, sound


def render(keys: Mapping[bytes, bytes]) -> bytes:
    """Write what ``parse`` reads; nothing where there is no key."""
    if not keys:
        return b""
    return HEADER + b"".join([b"%b\t%b\n" % (name, key.hex().encode()) for name, key in keys.items()])


class UrlKeys:
    """The keys of one account; *changing* is the account's lock, and yields a descriptor of *root*."""

    def __init__(self, root: bytes, changing: Callable[[], AbstractContextManager[int]]) -> None:
        self._root = root
        self._changing = changing

    def find(self, name: str) -> bytes | None:
        """Return the key of a mailbox; None where it has none.  Raises StoreError."""
        with durable.as_store_error(self._root):
            data, _ = durable.read_dated(self._root, FILE)
        return parse(data or b"")[0].get(mutf7.encode(name))

    def make(self, name: str) -> bytes:
        """Return the key of a mailbox, made if it has none; raises LimitReached, LockTimeout, StoreError."""
        found = self.find(name)
        return self._put(name, anew=False) if found is None else found

    def reset(self, name: str) -> None:
        """Give a mailbox another key, so that what the last one vouched for is void; raises as ``make``."""
        self._put(name, anew=True)

    def _put(self, name: str, *, anew: bool) -> bytes:
        with self._changing() as root, durable.as_store_error(self._root):
            keys = _read(root)
            key = mutf7.encode(name)
            if anew or key not in keys:
                if key not in keys and len(keys) >= KEYS_LIMIT:
                    raise LimitReached(why="URLs of too many mailboxes are authorized; RESETKEY takes all back")
                keys[key] = secrets.token_bytes(KEY_OCTETS)
                _write(root, keys)
            return keys[key]

    def forget_all(self) -> None:
        """Void every URL; raises LockTimeout, StoreError."""
        with self._changing() as root, durable.as_store_error(self._root):
            _write(root, {})


def deleted(root: int, name: str) -> None:
    """Forget the key of a mailbox that is no more; the caller holds the account's lock.  Raises OSError."""
    keys = _read(root)
    if keys.pop(mutf7.encode(name), None) is not None:
        _write(root, keys)


def renamed(root: int, old: str, new: str, delimiter: str) -> None:
    """Let keys go along with a RENAME; the caller holds the account's lock.  Raises OSError.

    A key that lies under the new name is of another mailbox that was there once, and goes.
    """
    keys = _read(root)
    name, below = mutf7.encode(old), mutf7.encode(old + delimiter)
    moved, kept = {}, {}
    for key, secret in keys.items():
        if key == name or key.startswith(below):
            try:
                moved[mutf7.encode(new + mutf7.decode(key)[len(old) :])] = secret
            except ValueError:
                continue
        else:
            kept[key] = secret
    if moved:
        _write(root, kept | moved)


def _read(root: int) -> dict[bytes, bytes]:
    """Read all keys under the lock, for which they are about to be written again."""
    try:
        data = durable.read_file(FILE, root)
    except FileNotFoundError:
        return {}
    keys, sound = parse(data)
    if not sound:
        log.error("keys of URLs damaged, those URLs are void", path=os.fsdecode(FILE), left=len(keys))
    return keys


def _write(root: int, keys: Mapping[bytes, bytes]) -> None:
    """Replace the file, or remove it where there is none left; it lasts when this returns."""
    data = render(keys)
    durable.demand_small(FILE, data)
    if data:
        durable.put(FILE, data, root, durable=True, mode=0o600)
    else:
        try:
            durable.unlink(FILE, root)
        except FileNotFoundError:
            return
    durable.sync(root)
