"""Passwords per device: a user's mail program has one of its own, which may be for reading alone, and is revoked alone.

They stand in a file as a passwd-file has them, a line for each, the name of the device in the place of the real name:

    user:{SSHA512}hash:::phone:::made=1796032440 scope=read

They are made by ``maildir-imapd user device add`` and are long and random, so a hash of them need not be slow.  They
may stand in a database, too (``sql.py``).
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol

from maildir_imapd.auth import fields, schemes
from maildir_imapd.auth.names import valid_user
from maildir_imapd.errors import ConfigError, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

READ: Final = "read"
# Of one user; each of them is tried.
MOST: Final = 50
# Of which a password is made: nothing that looks like something else.
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS: Final = 5
_GROUP: Final = 4
# Microseconds of a hash for which one waits for one's turn.
_SLOW: Final = 100.0
_NAME: Final = re.compile(r"[\w.()'+@-][\w .()'+@-]{0,62}[\w.()'+@-]|[\w]").fullmatch


@dataclass(frozen=True, slots=True)
class Device:
    """One line; *made*: seconds since the epoch, 0 where the line does not say."""

    user: str
    name: str
    stored: str = field(repr=False)
    made: int = 0
    read_only: bool = False


def valid_name(name: str) -> bool:
    """Whether *name* may be a device's: letters, digits, blanks between them and a few marks."""
    return _NAME(name) is not None


def new_password() -> str:
    """Make a password of 100 bits, in groups that can be typed."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def line(device: Device) -> str:
    """Write a device as its line."""
    scope = f" scope={READ}" if device.read_only else ""
    return f"{device.user}:{device.stored}:::{device.name}:::made={device.made}{scope}\n"


def parse(written: str) -> Device:
    """Read a line; raises ValueError, without anything of it.  A scope that is not known is no more than to read."""
    parts = written.rstrip("\r\n").split(":", 7)
    if len(parts) != 8 or not valid_user(parts[0]) or not valid_name(parts[4]):
        raise ValueError("not of the form user:{SCHEME}hash:::device:::made=SECONDS")
    schemes.split(parts[1])
    words = fields.words(parts[7])
    made = words.get("made", "0")
    if not (made.isascii() and made.isdigit() and len(made) < 12):
        raise ValueError("made is no number of seconds")
    return Device(parts[0], parts[4], parts[1], int(made), "scope" in words)


class DeviceSource(Protocol):
    """Whoever has passwords of devices.  Safe from any thread."""

    def of(self, user: str) -> Sequence[Device]:
        """Return the devices of *user*; raises Unavailable."""
        ...


def find_device(sources: Iterable[DeviceSource], user: str, password: bytes) -> Device | None:
    """Find the device of *user* whose password this is; of several one that may read only.  Raises Unavailable."""
    found: Device | None = None
    if not password:
        return None
    for device in [each for source in sources for each in source.of(user)[:MOST]]:
        try:
            with schemes.turn() if schemes.cost(device.stored) > _SLOW else nullcontext():
                if schemes.verify(device.stored, password) and (found is None or device.read_only):
                    found = device
        except ValueError as error:
            log.warning("stored password cannot be used", user=user, device=device.name, why=error)
    return found


class Devices:
    """The file of all devices, read again when it has changed; safe from any thread.  Raises ConfigError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()  # guards everything below
        self._stamp: tuple[int, int, int] | None = None
        self._by_user: dict[str, tuple[Device, ...]] = {}
        try:
            self._current()
        except OSError as error:
            raise ConfigError(f"auth_device_file {path}: {error.strerror}") from error

    def of(self, user: str) -> tuple[Device, ...]:
        """As ``DeviceSource.of``."""
        try:
            return self._current().get(user, ())
        except OSError as error:
            log.error("device file cannot be read", path=self.path, why=error.strerror)
            raise Unavailable(detail=f"{self.path}: {error.strerror}") from error

    def _current(self) -> dict[str, tuple[Device, ...]]:
        state = os.stat(self.path)
        stamp = state.st_mtime_ns, state.st_size, state.st_ino
        with self._lock:
            if stamp == self._stamp:
                return self._by_user
        with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            written = file.read()
        by_user: dict[str, tuple[Device, ...]] = {}
        for number, text in enumerate(written.split("\n"), 1):
            if not text.strip() or text.startswith("#"):
                continue
            try:
                device = parse(text)
            except ValueError as error:
                log.warning("device line passed over", line=f"{self.path}:{number}", why=error)
                continue
            by_user[device.user] = (*by_user.get(device.user, ()), device)
        with self._lock:
            self._stamp, self._by_user = stamp, by_user
        return by_user
