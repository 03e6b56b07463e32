"""Objects of JSON, a line each, over a socket that nobody waits for: what the control socket and its workers speak."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

READ_OCTETS: Final = 64 * 1024


class Broken(Exception):
    """The other end has gone, or is not to be listened to any longer; the text says why."""


class Garbage(ValueError):
    """A line that is no object of JSON; the text is for whoever sent it."""


def encode(value: object) -> bytes:
    """Make one line of an object."""
    return json.dumps(value, separators=(",", ":"), default=_plain).encode("ascii") + b"\n"


def _plain(value: object) -> object:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def decode(line: bytes) -> dict[str, Any]:
    """Read an object; raises Garbage."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Garbage("the line is no JSON") from None
    if not isinstance(found, dict):
        raise Garbage("the line is no JSON object")
    return found


class Lines:
    """One end.  *longest*: octets that a line may have.  Who owns it polls ``number``, and closes it."""

    def __init__(self, sock: socket.socket, longest: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._longest = longest
        self._received = bytearray()
        self._waiting = bytearray()
        self.ended = False

    @property
    def number(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    @property
    def waiting(self) -> int:
        """Octets that the other end has not taken yet."""
        return len(self._waiting)

    @property
    def unfinished(self) -> bool:
        """Whether a line has begun to come."""
        return bool(self._received)

    def receive(self) -> list[bytes]:
        """Return the lines that are whole by now; ``ended`` says whether any can follow.  Raises Broken."""
        while True:
            try:
                data = self._sock.recv(READ_OCTETS)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                raise Broken(error.strerror or "gone") from error
            if not data:
                self.ended = True
                break
            self._received += data
            if len(self._received) > self._longest:
                break  # the rest of what it has sent waits in the socket
        *lines, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        if len(rest) > self._longest or any(len(line) > self._longest for line in lines):
            raise Broken("a line is too long")
        return lines

    def put(self, value: object) -> None:
        """Have an object sent as soon as there is room."""
        self._waiting += encode(value)

    def flush(self) -> None:
        """Send what can be sent now; raises Broken."""
        try:
            while self._waiting:
                del self._waiting[: self._sock.send(self._waiting[: 1 << 18])]
        except (BlockingIOError, InterruptedError):
            pass  # the rest when there is room
        except OSError as error:
            raise Broken(error.strerror or "gone") from error

    def close(self) -> None:
        """Close the socket; harmless twice."""
        self._sock.close()
