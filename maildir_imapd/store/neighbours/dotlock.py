"""Dovecot's lock file for ``dovecot-uidlist`` and others (maildir-formats 3): for the sake of its files, never of ours.

Made with O_EXCL; holds ``pid:host`` without a line end.  A waiter removes it when the host is its own and the
process is dead, or when nothing has touched it for two minutes.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import time
from types import TracebackType
from typing import Final, Self

from maildir_imapd.store.disk import durable

STALE_AFTER_SECONDS: Final = 120.0
# A lock of a dead process on this host is taken over once it is this old, as Dovecot does.
DEAD_AFTER_SECONDS: Final = 2.0
# One without a holder's name is of a process that died before it wrote it, once it is this old.
NAMELESS_AFTER_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 30.0
# Of the file, to see who holds it: where Dovecot writes the next version of a file into its lock it is as long as that.
_HOLDER_OCTETS: Final = 1024


class DotLock:
    """A context manager; raises OSError (ETIMEDOUT) when it cannot be had in time."""

    def __init__(
        self, name: bytes, directory: int, timeout: float = TIMEOUT_SECONDS, stale: float = STALE_AFTER_SECONDS
    ) -> None:
        self._name = name
        self._directory = directory
        self._timeout = timeout
        self._stale = stale
        self._content = f"{os.getpid()}:{socket.gethostname()}".encode()

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                fd = durable.create(self._name, self._directory)
            except FileExistsError:
                if self._take_away_stale():
                    continue
            else:
                try:
                    durable.write(fd, self._content)
                finally:
                    os.close(fd)
                return self
            if time.monotonic() >= deadline:
                raise OSError(errno.ETIMEDOUT, "another program holds " + os.fsdecode(self._name))
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # to keep waiters apart, no secret

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if durable.read_start(self._name, self._directory, _HOLDER_OCTETS) == self._content:
                durable.unlink(self._name, self._directory)
        except FileNotFoundError:
            # Somebody held us for dead; what we wrote in the meantime is whole all the same.
            pass

    def is_stale(self) -> bool:
        """Whether it is there, and its holder is gone."""
        try:
            state = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            holder = durable.read_start(self._name, self._directory, _HOLDER_OCTETS)
        except FileNotFoundError:
            return False
        age = time.time() - state.st_mtime
        pid, _, host = holder.partition(b":")
        dead = not holder and age > NAMELESS_AFTER_SECONDS
        if host.decode("utf-8", "replace") == socket.gethostname() and pid.isdigit() and age > DEAD_AFTER_SECONDS:
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                dead = True
            except (PermissionError, OverflowError):
                pass  # it lives, as somebody else
        return dead or age > self._stale

    def _take_away_stale(self) -> bool:
        """Remove a lock whose holder is gone; says whether it is worth trying at once."""
        try:
            os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return self.take_away()

    def take_away(self) -> bool:
        """Remove it if its holder is gone; says whether it was."""
        if not self.is_stale():
            return False
        try:
            # Race: between the look and this a new holder may have come; Dovecot bears the same one.
            durable.unlink(self._name, self._directory)
        except FileNotFoundError:
            pass
        return True
