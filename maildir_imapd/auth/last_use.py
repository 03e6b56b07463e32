"""When each device was used last, or each user logged in, from where and by which program: a file of all workers.

A line for each use, ``seconds TAB user TAB device TAB address TAB program``; the last one of a device counts.  Where it
is of users the device is empty.  A file
that has grown is written anew in its place, under its lock; an end in the middle of that loses no more than this.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from maildir_imapd.errors import LockTimeout
from maildir_imapd.events import Log
from maildir_imapd.store.threads import locks

log = Log(__name__)

EVERY_SECONDS: Final = 60.0
_GROWN_OCTETS: Final = 4 << 20
# Devices whose use is kept then: the file is smaller with them, or grows by as many again.
_KEPT: Final = 10_000
_MOST_OCTETS: Final = 16 << 20
_PROGRAM_CHARACTERS: Final = 100
_LOCK_SECONDS: Final = 1.0
_REMEMBERED: Final = 10_000
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Use:
    """The last use of a device; *seconds* since the epoch, *program* "" where the client did not say."""

    seconds: int
    address: str
    program: str


def read(data: bytes) -> dict[tuple[str, str], Use]:
    """Read the file: by user and device.  What is no whole line is passed over."""
    found = {}
    for line in data.split(b"\n")[:-1]:
        parts = line.decode("utf-8", "replace").split("\t")
        if len(parts) == 5 and parts[0].isascii() and parts[0].isdigit() and len(parts[0]) < 12:
            found[parts[1], parts[2]] = Use(int(parts[0]), parts[3], parts[4])
    return found


class LastUse:
    """The file, opened for as long as the process lives; safe from any thread.

    Where it cannot be written logins go on, with a line in the log.  *room*: how many times as many are remembered as
    of devices.
    """

    def __init__(self, path: str, *, room: int = 1) -> None:
        self._path, self._room = path, room
        self._lock = threading.Lock()  # guards _noted
        self._noted: OrderedDict[tuple[str, str, bool], float] = OrderedDict()
        self._writing = locks.make(locks.Rank.COUNTER)  # held while the file is written
        self._number: int | None = None
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            self._number = os.open(path, flags, 0o600)
        except OSError as error:
            log.error("last use is not kept", path=path, why=error.strerror)

    def note(self, user: str, device: str, address: str, program: str = "") -> None:
        """Note a use; of each device one a minute, and another once the program is known."""
        key, now = (user, device, bool(program)), time.monotonic()
        with self._lock:
            if self._number is None or now - self._noted.get(key, -EVERY_SECONDS) < EVERY_SECONDS:
                return
            self._noted[key] = now
            self._noted.move_to_end(key)
            while len(self._noted) > _REMEMBERED:
                self._noted.popitem(last=False)
        parts = (str(int(time.time())), user, device, address, program[:_PROGRAM_CHARACTERS])
        written = "\t".join(_CONTROLS.sub(" ", part) for part in parts) + "\n"
        try:
            self._write(self._number, written.encode("utf-8", "replace"))
        except (OSError, LockTimeout) as error:
            log.error("last use is not kept", path=self._path, why=getattr(error, "strerror", None))

    def _write(self, number: int, line: bytes) -> None:
        # Between threads first: they share the open file, and so the other lock.
        with self._writing:
            locks.flock(number, os.fsencode(self._path), _LOCK_SECONDS, rank=None)
            try:
                self._append(number, line)
            finally:
                locks.unlock(number, rank=None)

    def _append(self, number: int, line: bytes) -> None:
        if os.fstat(number).st_size > _GROWN_OCTETS * self._room:
            uses = read(os.pread(number, _MOST_OCTETS * self._room, 0))
            newest = sorted(uses.items(), key=lambda each: each[1].seconds)[-_KEPT * self._room :]
            kept = "".join(
                f"{use.seconds}\t{user}\t{device}\t{use.address}\t{use.program}\n" for (user, device), use in newest
            )
            os.ftruncate(number, 0)
            line = kept.encode("utf-8", "replace") + line
        os.write(number, line)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            number, self._number = self._number, None
        if number is not None:
            os.close(number)
