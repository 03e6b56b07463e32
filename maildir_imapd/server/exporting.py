"""The supervisor's side of the process that serves figures by HTTP (``exporter.py``): its sockets, its start, its end.

A process of its own, for whoever asks by HTTP is to reach neither the supervisor, which may be root, nor its loop.  It
asks the supervisor by the control socket's protocol, as somebody who may look and change nothing.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd import log as logs
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server import confine, identity
from maildir_imapd.server.announcing import place
from maildir_imapd.server.children import pair
from maildir_imapd.server.exports import Exports
from maildir_imapd.server.listening import Named, listen, listen_at

if TYPE_CHECKING:
    from maildir_imapd.server.control import Control

log = Log(__name__)

# Seconds from one start to the next.
YOUNG_SECONDS: Final = 5.0
_NOBODY: Final = "nobody"


class Exporting:
    """See the module.  Raises ConfigError where a socket cannot be made."""

    def __init__(self, exports: Exports | None = None) -> None:
        self._exports = exports = Exports() if exports is None else exports
        self._socks: list[socket.socket] = []
        self._named: list[Named] = []
        for where in exports.places:
            if isinstance(where, str):
                assert exports.rights is not None
                self._socks.append(listen_at(where, exports.rights))
                self._named.append(Named.of(where))
            else:
                self._socks += listen(where)
        self._channel: socket.socket | None = None
        self.process = 0
        self._started = float("-inf")

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people."""
        return [f"metrics {place(sock)}" for sock in self._socks]

    def renew(self, control: Control | None, let_go: Callable[[], None]) -> None:
        """Start the process, also again where it has ended, but not one that ends at once again and again.

        *let_go* closes what is the supervisor's alone.  To be called before the supervisor has any thread.
        """
        if self.process or not self._socks or control is None or time.monotonic() < self._started + YOUNG_SECONDS:
            return
        self._started = time.monotonic()
        try:
            self._start(control, let_go)
        except OSError as error:
            log.error("cannot start the process that serves figures", why=error.strerror)

    def _start(self, control: Control, let_go: Callable[[], None]) -> None:
        with contextlib.ExitStack() as ours_alone, contextlib.ExitStack() as after:
            figures, asks_figures = pair(socket.SOCK_STREAM, ours_alone, after)
            state, asks_state = pair(socket.SOCK_STREAM, ours_alone, after)
            channel, far = pair(socket.SOCK_SEQPACKET, ours_alone, after)
            process = os.fork()
            if process == 0:
                ours_alone.close()
                self._live(asks_figures, asks_state, far, let_go)
            ours_alone.pop_all()
        if self._channel is not None:
            self._channel.close()
        self.process, self._channel = process, channel
        control.attach(figures)
        control.attach(state)

    def _live(
        self, figures: socket.socket, state: socket.socket, channel: socket.socket, let_go: Callable[[], None]
    ) -> None:
        """Be the process; never returns."""
        try:
            socks, self._socks = self._socks, []
            let_go()
            # While it may still read where the interpreter's files are.
            from maildir_imapd.server import exporter

            self._confine()
            exporter.Exporter(socks, figures, state, channel, status_page=self._exports.status_page).run()
        except BaseException:
            log.exception("the process that serves figures has failed")
        finally:
            os._exit(0)

    def _confine(self) -> None:
        """Give up all rights: it needs the sockets that it has, and no file."""
        if os.geteuid() == 0:
            try:
                entry = pwd.getpwnam(_NOBODY)
            except KeyError:
                raise ConfigError(f"there is no user {_NOBODY}, who is to serve figures") from None
            identity.become(entry)
            logs.keep_what_is_open()
        limits = self._exports.limits
        assert limits is not None
        if limits.drop_capabilities:
            confine.drop_capabilities()
        confine.set_limits(limits)
        if limits.no_new_privs:
            confine.no_new_privileges()

    def change(self, exports: Exports) -> None:
        """Go by new settings; the sockets stay where they are."""
        if exports.places != self._exports.places:
            log.warning("a new metrics_listen needs a restart")
        if exports.status_page != self._exports.status_page:
            self._end()
            self._started = float("-inf")
        self._exports = exports

    def share_log(self) -> None:
        """Give it the log file that was opened anew."""
        if self._channel is not None:
            logs.hand_over(self._channel)

    def ended(self, process: int, status: int) -> None:
        """Note that a child of the supervisor has ended, if it was this."""
        if process == self.process:
            self.process = 0
            log.error("the process that serves figures has ended", status=os.waitstatus_to_exitcode(status))

    def let_go(self) -> None:
        """Close all descriptors, in a process that has its own business."""
        for sock in self._socks:
            sock.close()
        if self._channel is not None:
            self._channel.close()

    def close(self) -> None:
        """End the process, and remove the sockets."""
        self._end()
        for named in self._named:
            named.remove()
        self.let_go()

    def _end(self) -> None:
        # It holds nothing that could be lost, and is waited for so that its port is free.
        if self.process:
            process, self.process = self.process, 0
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
