"""The processes beside a worker that have work done for which no client waits, at low priority; one for each kind.

Parsing and folding hold the interpreter's lock, so a thread of the worker would slow all its clients down; a process
gets what time they leave. It is forked before the worker has any thread, with the worker's rights and confinement, and
ends with its worker: the worker's end of the socket closes whatever has become of it. What it does is a queue of jobs
(job_queue.py).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from maildir_imapd import log as logs
from maildir_imapd.events import Log
from maildir_imapd.server import expiry_jobs, field_jobs, hook_jobs, index_jobs, quotas, settings, warning_jobs
from maildir_imapd.server.job_queue import MESSAGE_OCTETS, Queue, render
from maildir_imapd.server.programs import adopt_orphans

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.server.job_queue import JobKind
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.threads.ahead import Want
    from maildir_imapd.store.threads.moves import Moved

log = Log(__name__)

_NICE: Final = 10


class Beside:
    """A worker's end of one process; safe from any thread."""

    def __init__(self, ours: socket.socket, process: int, name: str) -> None:
        self._socket = ours
        self._process = process
        self._name = name
        self._gone = False
        self._closed = False

    def tell(self, user: str, what: bytes, *, urgent: bool = False) -> None:
        """Say what is to be done for a user, and whether he waits for it; never an error, and nothing waits."""
        message = render(user, what, urgent=urgent)
        if len(message) > MESSAGE_OCTETS:
            return
        try:
            self._socket.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it is busy, and the next client asks again; or it has gone, and ``look`` says so

    def share_log(self) -> None:
        """Have it go on in the log file that this process has open now."""
        logs.hand_over(self._socket)

    def look(self) -> None:
        """Note once if it has gone; this worker cannot start another, for it has threads."""
        if self._gone:
            return
        try:
            found, status = os.waitpid(self._process, os.WNOHANG)
        except ChildProcessError:
            found, status = self._process, 0
        if found:
            self._gone = True
            if self._closed:
                return
            log.error("no jobs any more until the next start or SIGHUP", kind=self._name, status=status)

    def close(self) -> None:
        """Have it end."""
        self._closed = True
        self._socket.close()


class Processes:
    """All that a worker, or a tunnel, has beside it; safe from any thread."""

    def __init__(
        self,
        texts: Beside | None = None,
        fields: Beside | None = None,
        hooks: Beside | None = None,
        expiry: Beside | None = None,
        warnings: Beside | None = None,
    ) -> None:
        self._texts = texts
        self._fields = fields
        self._hooks = hooks
        self._expiry = expiry
        self._warnings = warnings

    @property
    def has_texts(self) -> bool:
        """As of ``Background``."""
        return self._texts is not None

    @property
    def has_fields(self) -> bool:
        """As of ``Background``."""
        return self._fields is not None

    def fill_texts(self, user: str, path: bytes) -> None:
        """As of ``Background``."""
        if self._texts is not None:
            self._texts.tell(user, path)

    def work_ahead(self, user: str, want: Want, urgent: bool) -> None:
        """As of ``Background``."""
        if self._fields is not None:
            self._fields.tell(user, want.render(), urgent=urgent)

    @property
    def has_hooks(self) -> bool:
        """As of ``Background``."""
        return self._hooks is not None

    def run_hooks(self, user: str, moved: Moved) -> None:
        """As of ``Background``."""
        if self._hooks is not None:
            self._hooks.tell(user, moved.render())

    @property
    def has_expiry(self) -> bool:
        """As of ``Background``."""
        return self._expiry is not None

    def expire(self, user: str) -> None:
        """As of ``Background``."""
        if self._expiry is not None:
            self._expiry.tell(user, b"")

    @property
    def has_warnings(self) -> bool:
        """As of ``Background``."""
        return self._warnings is not None

    def warn(self, user: str) -> None:
        """As of ``Background``."""
        if self._warnings is not None:
            self._warnings.tell(user, b"")

    def retire(self) -> None:
        """Let nothing go by itself any more: others have newer settings. To be called as often as one likes."""
        if self._expiry is not None:
            self._expiry.close()

    def _all(self) -> list[Beside]:
        found = (self._texts, self._fields, self._hooks, self._expiry, self._warnings)
        return [each for each in found if each is not None]

    def share_log(self) -> None:
        """As ``Beside``."""
        for each in self._all():
            each.share_log()

    def look(self) -> None:
        """As ``Beside``."""
        for each in self._all():
            each.look()

    def close(self) -> None:
        """As ``Beside``."""
        for each in self._all():
            each.close()


def start(config: Config, theirs: Iterable[socket.socket] = (), opens: Opens | None = None) -> Processes:
    """Fork what the settings want; *theirs* are sockets that it is not to keep open.

    *opens*: what opens the mail of a user, if not as the settings say.

    To be called before the process has any thread. Where a process cannot be had that is in the log, and the mail goes
    on.
    """
    theirs = list(theirs)
    texts = fields = hooks = expiry = warnings = None
    if index_jobs.wanted(config) and index_jobs.possible():
        texts = _start(index_jobs.kind(config, opens), theirs)
        # The next ones are not to keep this one's end open, either: it ends when all have closed it.
        theirs += [] if texts is None else [texts._socket]
    if settings.works_ahead(config):
        fields = _start(field_jobs.kind(config, opens), theirs)
        theirs += [] if fields is None else [fields._socket]
    if settings.hooks(config):
        hooks = _start(hook_jobs.kind(config, opens), theirs)
        theirs += [] if hooks is None else [hooks._socket]
    if expiry_jobs.wanted(config):
        expiry = _start(expiry_jobs.kind(config, opens), theirs)
        theirs += [] if expiry is None else [expiry._socket]
    if quotas.warnings(config):
        warnings = _start(warning_jobs.kind(config, opens), theirs)
    return Processes(texts, fields, hooks, expiry, warnings)


def _start(kind: JobKind, theirs: Iterable[socket.socket]) -> Beside | None:
    try:
        ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = os.fork()
    except OSError as error:
        log.error("no process for what is done in the background", kind=kind.name, why=error)
        return None
    if process == 0:
        try:
            ours.close()
            for each in theirs:
                each.close()
            os.nice(_NICE)
            adopt_orphans()
            Queue(kind, far).run()
        except BaseException:
            log.exception("the process beside a worker has failed", kind=kind.name)
        finally:
            os._exit(1)
    far.close()
    return Beside(ours, process, kind.name)
