"""A process of the supervisor's that looks at something again and again, and notes what it sees in shared memory.

A process, for a look may hang in the kernel, and then nothing else is to hang with it: the supervisor goes by how old
the last note is, and waits for the process never, not even for its end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd.events import Log
from maildir_imapd.server import confine, identity

if TYPE_CHECKING:
    import pwd

    from maildir_imapd.server.confine import Confinement

log = Log(__name__)

# Seconds from one start to the next.
YOUNG_SECONDS: Final = 5.0

# Waits so many seconds; False: the supervisor has gone, and it is to end.
Wait = Callable[[float], bool]


class Lookout:
    """See the module.  *look* is the life of the process; it becomes *user*, and is confined by *limits*."""

    def __init__(
        self, what: str, look: Callable[[Wait], None], limits: Confinement, user: pwd.struct_passwd | None = None
    ) -> None:
        self._what = what
        self._look = look
        self._limits = limits
        self._user = user
        self._pipe = -1
        self.process = 0
        self._started = float("-inf")

    def renew(self, let_go: Callable[[], None]) -> None:
        """Start the process, also again where it has ended.  *let_go* closes what is the supervisor's alone."""
        if self.process or time.monotonic() < self._started + YOUNG_SECONDS:
            return
        self._started = time.monotonic()
        try:
            theirs, ours = os.pipe()
            self.process = os.fork()
        except OSError as error:
            log.error("cannot start a lookout", what=self._what, why=error.strerror)
            return
        if self.process == 0:
            os.close(ours)
            self._live(theirs, let_go)
        os.close(theirs)
        self.let_go()
        self._pipe = ours

    def _live(self, pipe: int, let_go: Callable[[], None]) -> None:
        """Be the process; never returns."""
        try:
            let_go()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            identity.become(self._user)
            if self._limits.drop_capabilities:
                confine.drop_capabilities()
            confine.set_limits(self._limits)
            if self._limits.no_new_privs:
                confine.no_new_privileges()
            self._look(lambda seconds: not select.select([pipe], [], [], seconds)[0])
        except BaseException:
            log.exception("lookout failed", what=self._what)
        finally:
            os._exit(0)

    def ended(self, process: int, status: int) -> None:
        """Note that a child of the supervisor has ended, if it was this."""
        if process == self.process:
            self.process = 0
            log.error("lookout has ended", what=self._what, status=os.waitstatus_to_exitcode(status))

    def let_go(self) -> None:
        """Close the descriptor, in a process that has its own business; harmless twice."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def close(self) -> None:
        """Have the process end; one that hangs in the kernel ends when that lets it go."""
        if self.process:
            process, self.process = self.process, 0
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, os.WNOHANG)
        self.let_go()
