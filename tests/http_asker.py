"""Somebody who asks a server under test by HTTP: whole requests, or octets of his own."""

from __future__ import annotations

import socket
from dataclasses import dataclass

LONG = 30.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True)
class Heard:
    """An answer."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def opened(place: int | str) -> socket.socket:
    """Connect to a port of this machine, or a socket at a path."""
    if isinstance(place, int):
        return socket.create_connection(("127.0.0.1", place), timeout=LONG)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(LONG)
    sock.connect(place)
    return sock


def get(place: int | str, path: str, *, method: str = "GET", host: str = "127.0.0.1", accept: str = "") -> Heard:
    """Ask for *path*."""
    with opened(place) as sock:
        fields = f"Host: {host}\r\n" + (f"Accept: {accept}\r\n" if accept else "")
        sock.sendall(f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode())
        return hear(sock)


def raw(place: int | str, octets: bytes) -> Heard:
    """Send octets, and nothing more, and return the answer."""
    with opened(place) as sock:
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        return hear(sock)


def hear(sock: socket.socket) -> Heard:
    """Read an answer, to the end of the connection; status 0 where there is none."""
    data = bytearray()
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    if not data:
        return Heard(0, {}, b"")
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Heard(int(first.split()[1]), fields, body)
