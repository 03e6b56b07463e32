"""Questions by HTTP to a server that an administrator has named, each with one limit of time for all of it.

No redirection is followed: what is asked for may be a secret, and who answers decides who may come in.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from maildir_imapd import values
from maildir_imapd.auth.waiting import Pool, Until

# Of an answer.
_MOST_OCTETS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class WebPlace:
    """A URL, taken apart."""

    host: str
    port: int | None
    path: str
    tls: bool


def place(url: str) -> WebPlace:
    """Take a URL apart; raises ValueError for one that anybody between could answer in the place of its server."""
    parts = urlsplit(values.web_url(url))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebPlace(parts.hostname or "", parts.port, path, parts.scheme == "https")


class _Timed(io.RawIOBase):
    """Reads a socket until a moment, however slowly it comes."""

    def __init__(self, sock: socket.socket, until: Until) -> None:
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        """As of any file."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read what is there; raises TimeoutError at the moment."""
        if self._until.over:
            raise TimeoutError("no answer in time")
        self._sock.settimeout(self._until.left)
        return self._sock.recv_into(cast(bytearray, buffer))


class _TimedSocket:
    """As much of a socket as ``http.client.HTTPResponse`` asks for."""

    def __init__(self, sock: socket.socket, until: Until) -> None:
        self._sock = sock
        self._until = until

    def makefile(self, mode: str) -> io.BufferedReader:
        """As of a socket."""
        return io.BufferedReader(_Timed(self._sock, self._until))


class WebLine:
    """The right to ask the server of a place; each question is a connection of its own, for they are rare."""

    def __init__(self, where: WebPlace, tls: ssl.SSLContext | None) -> None:
        self._where = where
        self._tls = tls

    def fetch(self, until: Until, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        """GET, or POST with a body; returns the body of an answer that is 200.  Raises OSError."""
        connection = self._connection(until)
        method = "GET" if body is None else "POST"
        try:
            connection.request(method, self._where.path, body, dict(headers))
            response = http.client.HTTPResponse(
                cast(socket.socket, _TimedSocket(connection.sock, until)), method=method
            )
            response.begin()
            data = response.read(_MOST_OCTETS + 1)
        except http.client.HTTPException as error:
            raise OSError(f"no answer of HTTP ({type(error).__name__})") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise OSError(f"the answer is {response.status}")
        if response.length:
            raise OSError("the answer is cut off")
        if len(data) > _MOST_OCTETS:
            raise OSError("the answer is too long")
        return data

    def _connection(self, until: Until) -> http.client.HTTPConnection:
        where = self._where
        if where.tls:
            return http.client.HTTPSConnection(where.host, where.port, timeout=until.left, context=self._tls)
        return http.client.HTTPConnection(where.host, where.port, timeout=until.left)

    def close(self) -> None:
        """As ``BackEndLine.close``: nothing is open."""


class Web:
    """One URL to ask; safe from any thread.  *tls*: whose certificates are believed, None for those of the system's."""

    def __init__(self, url: str, *, most: int, seconds: float, tls: ssl.SSLContext | None = None) -> None:
        where = place(url)
        context = tls if tls is not None or not where.tls else ssl.create_default_context()
        self._pool = Pool(url, lambda until: WebLine(where, context), most=most, seconds=seconds)

    def fetch(self, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """GET, or POST with a body; returns the body of an answer that is 200.  Raises Unavailable."""
        said = {"Accept": "application/json", "Connection": "close", **(headers or {})}
        return self._pool.ask(lambda line, until: line.fetch(until, body, said))
