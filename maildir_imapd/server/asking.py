"""A dialogue with a program of this machine that asks: requests are cut from the octets, and each is answered.

What such a program sends is bounded: one request, how long it may take to come, and how many connections there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from maildir_imapd.events import Log

if TYPE_CHECKING:
    from maildir_imapd.errors import Goodbye
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport

log = Log(__name__)

# Seconds of silence; those who ask connect again.
IDLE_SECONDS: Final = 3600.0
# Seconds for a first request, or for one that has begun.
REQUEST_SECONDS: Final = 60.0
# Connections of those who ask, of one worker.
CONNECTIONS: Final = 1000


class BadRequest(ValueError):
    """The connection is no longer in step; the text is for the log, and holds nothing of what was sent."""


class Asking(ABC):
    """As ``service.Service``.  Subclasses cut and answer requests, and say which service it is."""

    service = ""
    greeting = b""

    def __init__(self, visit: Visit, transport: Transport) -> None:
        self._transport = transport
        self._visit = visit
        self._received = bytearray()
        self._asked = False
        self.over = False
        self.sent = 0
        self.quiet = 0.0
        self.upgrade: bytes | None = None

    @abstractmethod
    def cut(self, received: bytearray) -> bytes | None:
        """Take a whole request off *received*; None: there is none yet.  Raises BadRequest."""

    @abstractmethod
    def answer(self, request: bytes) -> None:
        """Answer one; raises BadRequest."""

    def say(self, data: bytes) -> None:
        """Send *data*."""
        self._transport.send(data)
        self.sent += len(data)

    @property
    def logged_in(self) -> bool:
        """As ``Service.logged_in``: between requests silence is counted from what was last heard."""
        return self._asked and not self._received

    @property
    def patience(self) -> float:
        """As ``Service.patience``."""
        return IDLE_SECONDS if self.logged_in else REQUEST_SECONDS

    @property
    def who(self) -> dict[str, object]:
        """As ``Service.who``."""
        return {"service": self.service, "peer": self._visit.peer}

    def greet(self) -> None:
        """As ``Service.greet``."""
        if self.greeting:
            self.say(self.greeting)

    def feed(self, data: bytes) -> None:
        """As ``Service.feed``."""
        self._received += data
        try:
            while not self.over and (request := self.cut(self._received)) is not None:
                self._asked = True
                self.answer(request)
                if self._visit.goodbye is not None:
                    return  # before it asks on
        except BadRequest as error:
            log.warning("bad request", **self.who, why=error)
            self.over = True

    def announce(self) -> None:  # noqa: B027  (there is nothing to do, in no subclass)
        """As ``Service.announce``: nothing ever happens elsewhere."""

    def keep_alive(self) -> None:  # noqa: B027  (nor here)
        """As ``Service.keep_alive``."""

    def upgraded(self, kind: bytes) -> None:  # noqa: B027  (nor here)
        """As ``Service.upgraded``."""

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """As ``Service.say_goodbye``: there are no words for it, and whoever has more to ask connects again."""
        if self._received:
            log.warning("request not finished", **self.who)
        self.over = True

    def close(self) -> None:
        """As ``Service.close``."""
        self.over = True
        self._received.clear()

    def note(self, event: str, **fields: object) -> None:
        """As ``Service.note``; a program that asks comes and goes."""
        log.debug(event, **self.who, **fields)


def cut_line(received: bytearray, most: int) -> bytes | None:
    """Take a line off, without its LF or CRLF; raises BadRequest for one of more than *most* octets or with a NUL."""
    end = received.find(b"\n", 0, most + 1)
    if end < 0:
        if len(received) > most:
            raise BadRequest("a line that is too long")
        if b"\0" in received:
            raise BadRequest("a NUL in a line")
        return None
    line = bytes(received[:end]).removesuffix(b"\r")
    del received[: end + 1]
    if b"\0" in line:
        raise BadRequest("a NUL in a line")
    return line
