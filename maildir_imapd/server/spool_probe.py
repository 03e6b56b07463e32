"""Whether the spool answers: a process looks at its directories every other second, and this says how that went.

A look changes nothing: the directory is opened, its first entry read, and the file system asked for its figures, which
no client of a network file system answers out of its own memory.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log
from maildir_imapd.server import shared
from maildir_imapd.server.lookout import Lookout
from maildir_imapd.store.maildir import ground

if TYPE_CHECKING:
    import pwd

    from maildir_imapd.server.confine import Confinement
    from maildir_imapd.server.lookout import Wait
    from maildir_imapd.server.probed import Probed

log = Log(__name__)

LOOK_SECONDS: Final = 2.0
# When the supervisor has not looked for so long, it was everything that stood still.
STOOD_STILL_SECONDS: Final = 5.0
# In place of an error's number: the file spool_marker is not there.
NO_MARKER: Final = 1 << 16
# It answers, and we may not.
_ANSWERS: Final = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR)


def look(probed: Probed) -> int:
    """Look at all directories; returns the number of the first error, 0 where there is none.  It may hang."""
    for path in probed.paths:
        try:
            _look_at(path, probed.marker)
        except OSError as error:
            number = error.errno or errno.EIO
            if number not in _ANSWERS and (probed.named or number not in _NOT_THERE):
                return number
        except StoreError:
            return NO_MARKER
    return 0


def _look_at(path: bytes, marker: bytes | None) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fstatvfs(number)
        with os.scandir(number) as entries:
            next(entries, None)
    finally:
        os.close(number)
    if marker is not None:
        ground.demand(path, None, marker)


class SpoolProbe:
    """See the module; of the supervisor's thread, but for the process."""

    def __init__(
        self,
        probed: Probed,
        limits: Confinement,
        user: pwd.struct_passwd | None = None,
        clock: Callable[[], float] = time.monotonic,
        looked_at: Callable[[Probed], int] = look,
    ) -> None:
        self.probed = probed
        self._clock = clock
        self._look = looked_at
        self._answered = shared.moments(1)
        self._found = shared.words(1)  # the number of the error of the last look
        self.lookout = Lookout("spool", self._watch, limits, user)
        self._since = self._looked = clock()
        self._silent_since: float | None = None

    def _watch(self, wait: Wait) -> None:
        """Be the process."""
        while True:
            found = self._look(self.probed)
            self._found[0] = found
            self._answered[0] = self._clock()
            if not wait(LOOK_SECONDS):
                return

    def trouble(self) -> str:
        """Say what is wrong; empty where it answers, or may still do so.  To be called every second or so."""
        if not self.probed.paths:
            return ""
        now = self._clock()
        if now - self._looked > STOOD_STILL_SECONDS:
            self._since = now
        self._looked = now
        answered, found = self._answered[0], self._found[0]
        why = ""
        if now - max(answered, self._since) > self.probed.timeout:
            why = f"no answer for {self.probed.timeout:g} seconds"
        elif answered and found:
            why = "the marker is not there" if found == NO_MARKER else os.strerror(found)
        self._tell(why, now)
        return why

    def _tell(self, why: str, now: float) -> None:
        """Write it into the log when it begins and ends."""
        if why and self._silent_since is None:
            self._silent_since = now
            log.error("spool does not answer", paths=[os.fsdecode(path) for path in self.probed.paths], why=why)
        elif not why and self._silent_since is not None:
            log.info("spool answers again", seconds=round(now - self._silent_since, 1))
            self._silent_since = None
