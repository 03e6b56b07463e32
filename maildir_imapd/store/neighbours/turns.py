"""The other server's lock: taken after ours, for only we take both, and left free for its turn."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.neighbours.dotlock import TIMEOUT_SECONDS
from maildir_imapd.store.neighbours.neighbour import Neighbour

log = Log(__name__)

# Seconds; a delivery agent holds its lock for milliseconds, and a client waits.
PATIENCE_SECONDS: Final = 10.0
# Seconds that the other server gets at most, after it has waited for us as long.
TURN_SECONDS: Final = 0.1


class Turns:
    """One folder's; runs under the folder's lock.

    With *coexist* the lock must be had. Without, it is wanted where UIDs are given out: that server may be off and
    its delivery agent, which gives UIDs too, not. Not to have it costs the list at worst, never the mail.
    """

    def __init__(self, neighbour: Neighbour | None, path: bytes, *, coexist: bool) -> None:
        self.held = False  # the other server's lock is ours
        self.busy = False  # it was wanted, and somebody held it for too long
        self._neighbour = neighbour
        self._path = path
        self._coexist = coexist
        self._until = 0.0  # monotonic: until then it is the other server's

    @contextmanager
    def lock(self, adds: bool, patience: float | None) -> Iterator[None]:
        """Hold the lock where it must, or should, be had; *adds* and *patience* as of ``Folder.exclusive``.

        Raises LockTimeout, StoreError.
        """
        if self._neighbour is None or not (self._coexist or adds):
            yield
            return
        if self._coexist:
            # Dovecot looks whether its lock is free, every three seconds in the end: so it must be, half the time.
            rest = min(max(self._until - time.monotonic(), 0.0), TURN_SECONDS)
            if rest and patience == 0:
                raise errors.LockTimeout(detail=os.fsdecode(self._path))
            time.sleep(rest)
        usual = TIMEOUT_SECONDS if self._coexist else PATIENCE_SECONDS
        lock = self._neighbour.lock(usual if patience is None else patience)
        try:
            lock.__enter__()
        except OSError as error:
            if error.errno == errno.ETIMEDOUT and patience == 0:
                raise errors.LockTimeout(detail=os.fsdecode(self._path)) from error
            if self._coexist:
                raise durable.store_error(error, self._path) from error
            if not durable.cannot_write(error):
                log.warning("no lock of the other server", path=self._path, why=error)
                self.busy = True  # nor would it be had to write the list
            try:
                yield
            finally:
                self.busy = False
            return
        self.held = True
        began = time.monotonic()
        try:
            yield
        finally:
            self.held = False
            with durable.as_store_error(self._path):
                lock.__exit__(None, None, None)
            now = time.monotonic()
            self._until = now + (now - began)
