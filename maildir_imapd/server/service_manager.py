"""Words with the service manager (systemd): that we are ready and alive, and the sockets that it has bound for us.

Its protocol is of datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)), and of descriptors from the third on
(sd_listen_fds(3)).  The variables are taken out of the environment: no program that we start is to believe that they
are for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log

log = Log(__name__)

_FIRST: Final = 3
# It has to hear of us twice within its limit.
_SHARE: Final = 2.0


class ServiceManager:
    """Whoever has started us, or nobody; of one thread, and never an error.  *environ* loses the variables."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        name = environ.pop("NOTIFY_SOCKET", "")
        # A name that begins with @ is an abstract one.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(os.getpid()))
        watched = microseconds.isdigit() and pid == str(os.getpid()) and bool(name)
        # Seconds between two signs of life; None: nobody waits for them.
        self._every = int(microseconds) / 1e6 / _SHARE if watched else None
        self._last = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """Say that connections are taken, for the first time or after ``reloading``."""
        self._status = status
        self._tell(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Say that the configuration is read again; ``ready`` ends it, whatever comes of it."""
        moment = int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={moment}")

    def reloaded(self) -> None:
        """End ``reloading``, with the same status as before."""
        self.ready(self._status)

    def status(self, text: str) -> None:
        """Say in a line what goes on, if it is another one."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def stopping(self) -> None:
        """Say that it ends."""
        self._tell("STOPPING=1")

    def alive(self, now: float) -> None:
        """Give a sign of life if it is time for one; *now* in seconds, monotonic."""
        if self._every is not None and now - self._last >= self._every:
            self._last = now
            self._tell("WATCHDOG=1")

    @property
    def patience(self) -> float:
        """Seconds after which ``alive`` is to be called at the latest."""
        return 60.0 if self._every is None else self._every

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # It reads as fast as we write, or something is wrong with it: then nobody here waits.
                sock.setblocking(False)
                sock.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.warning("the service manager does not hear", why=error.strerror)
            self._address = ""


def inherited(environ: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """Take over the sockets that were bound for us, with their names; raises ConfigError for what listens nowhere.

    *environ* loses the variables.  Nothing where they are for another process.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    environ.pop("LISTEN_PIDFDID", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    called = names.split(":") if names else []
    found = []
    for number in range(_FIRST, _FIRST + int(count)):
        name = called[number - _FIRST] if number - _FIRST < len(called) else ""
        os.set_inheritable(number, False)
        try:
            sock = socket.socket(fileno=number)
            listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError as error:
            raise ConfigError(f"descriptor {number} ({name}) is no socket: {error.strerror}") from error
        if not listens:
            raise ConfigError(f"descriptor {number} ({name}) is no socket that listens")
        sock.setblocking(False)
        found.append((name, sock))
    return found
