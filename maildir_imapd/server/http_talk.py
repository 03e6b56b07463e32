"""HTTP/1.1 as far as somebody who only looks needs it: one request a connection, without a body, and its answer.

All is bounded: octets and time of a request, time for taking the answer, and what is passed over after it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

HEAD_OCTETS: Final = 8 * 1024
FIELDS: Final = 100
# Seconds for a request to come, for its answer to be made and taken, and for the other end to hang up after that.
REQUEST_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 20.0
TAKING_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 2.0
# Octets that are passed over after the request, so that the answer is not lost with the connection.
LINGER_OCTETS: Final = 256 * 1024
PIECE_OCTETS: Final = 64 * 1024

_END: Final = re.compile(rb"\r?\n\r?\n")
_REQUEST: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """*path* without its query; *fields* by their names in small letters, a repeated one joined by commas."""

    method: str
    path: str
    fields: Mapping[str, str]

    @property
    def host(self) -> str:
        """The name in the field Host, without a port."""
        name = self.fields.get("host", "")
        return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


class BadHttp(Exception):
    """A request that is none, or is not served; *fields* go into its answer."""

    def __init__(self, status: HTTPStatus, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(status.phrase)
        self.status = status
        self.fields = fields or {}


def parse(head: bytes) -> HttpRequest:
    """Read the request line and the fields, without the empty line at their end; raises BadHttp."""
    first, *rest = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    found = _REQUEST.fullmatch(first)
    if found is None:
        raise BadHttp(HTTPStatus.BAD_REQUEST)
    if found[3] != b"1":
        raise BadHttp(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if len(rest) > FIELDS:
        raise BadHttp(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    fields: dict[str, str] = {}
    for line in rest:
        written, colon, after = line.partition(b":")
        if not colon or not _NAME.fullmatch(written) or not _VALUE.fullmatch(after):
            raise BadHttp(HTTPStatus.BAD_REQUEST)
        name, value = written.decode("ascii").lower(), after.strip(b" \t").decode("latin-1")
        if name == "host" and name in fields:
            raise BadHttp(HTTPStatus.BAD_REQUEST)
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    if found[4] != b"0" and "host" not in fields:
        raise BadHttp(HTTPStatus.BAD_REQUEST)
    method = found[1].decode("ascii")
    if method not in ("GET", "HEAD"):
        raise BadHttp(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
    target = _ABSOLUTE.sub(b"", found[2], count=1) if found[2][:1] != b"/" else found[2]
    path = re.split(rb"[?#]", target or b"/", maxsplit=1)[0] or b"/"
    if path[:1] != b"/":
        raise BadHttp(HTTPStatus.BAD_REQUEST)
    return HttpRequest(method, path.decode("ascii"), fields)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; *kind* is its Content-Type."""

    status: HTTPStatus
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    fields: Mapping[str, str] = field(default_factory=dict)

    def render(self, *, head_only: bool = False) -> bytes:
        """Write it down."""
        fields = {
            "Date": formatdate(usegmt=True),
            "Content-Type": self.kind,
            "Content-Length": str(len(self.body)),
            "Connection": "close",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **self.fields,
        }
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{name}: {v}" for name, v in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else self.body)


def plain(status: HTTPStatus, text: str = "", fields: Mapping[str, str] | None = None) -> HttpAnswer:
    """Make an answer of one line."""
    return HttpAnswer(status, (text or status.phrase).encode() + b"\n", fields=fields or {})


class HttpConnection:
    """One connection, which nobody waits for.  Who owns it polls ``number`` for what it ``reads`` or ``writes``."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = bytearray()
        self._waiting = memoryview(b"")
        self._passed_over = 0
        self._answered = False
        self._shut = False
        self.request: HttpRequest | None = None
        # When it began, and until when what it is at may last; monotonic.
        self.since = now
        self.deadline = now + REQUEST_SECONDS
        self.over = False

    @property
    def number(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    @property
    def reads(self) -> bool:
        """Whether it is to hear: a request, or the end after the answer."""
        return not self.writes and (self.request is None or self._shut)

    @property
    def writes(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting)

    @property
    def asked(self) -> bool:
        """Whether its request is here and its answer is not."""
        return self.request is not None and not self._answered

    def receive(self, now: float) -> HttpRequest | None:
        """Hear what has come; returns the request once it is whole.  Raises BadHttp: the caller answers that, too."""
        try:
            data = self._sock.recv(PIECE_OCTETS)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            data = b""
        if self._answered:
            self._passed_over += len(data)
            self.over = self.over or (self._shut and (not data or self._passed_over > LINGER_OCTETS))
            return None
        if not data:
            self.over = True
            return None
        self._received += data
        # Empty lines before the request are passed over.
        self._received = self._received.lstrip(b"\r\n")
        end = _END.search(self._received, 0, HEAD_OCTETS)
        if end is None:
            if len(self._received) >= HEAD_OCTETS:
                raise BadHttp(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        self.request = parse(bytes(self._received[: end.start()]))
        # What else it has sent nobody reads: there is one request.
        self._received.clear()
        self.deadline = now + ANSWER_SECONDS
        return self.request

    def answer(self, answer: HttpAnswer, now: float) -> None:
        """Send what is answered, and hang up after that."""
        head_only = self.request is not None and self.request.method == "HEAD"
        self._received.clear()
        self._waiting = memoryview(answer.render(head_only=head_only))
        self._answered = True
        self.deadline = now + TAKING_SECONDS
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send what can be sent now; at the end the other end is told so, and may hang up first."""
        try:
            while self._waiting:
                self._waiting = self._waiting[self._sock.send(self._waiting[:PIECE_OCTETS]) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.over = True
            return
        if self._answered and not self._shut:
            self._shut = True
            self.deadline = now + LINGER_SECONDS
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.over = True

    def close(self) -> None:
        """Close the socket; harmless twice."""
        self._sock.close()
