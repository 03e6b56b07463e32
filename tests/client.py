"""A plain client on a socket, for tests of whole servers: sends lines, reads lines, waits for one."""

from __future__ import annotations

import re
import socket
import ssl
from typing import ClassVar, Self


class Client:
    """One connection.  Every wait ends when the socket's time-out does, and that is a failure."""

    # What a test forgot to close is closed by ``close_all``; warnings are errors.
    opened: ClassVar[list[Client]] = []

    def __init__(self, sock: socket.socket | ssl.SSLSocket) -> None:
        self.opened.append(self)
        self.closed = False  # by the server
        self.sock = sock
        self._in = bytearray()
        self._tag = 0

    @classmethod
    def to(cls, port: int, *, user: str = "", password: str = "secret", timeout: float = 30) -> Self:
        """Connect on loopback, read the greeting, and log in when *user* is given."""
        client = cls(socket.create_connection(("127.0.0.1", port), timeout=timeout))
        client.greeting = client.line()
        if user:
            client.ok(f"LOGIN {user} {password}")
        return client

    greeting = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    @classmethod
    def close_all(cls) -> None:
        """Close every connection that was ever made."""
        while cls.opened:
            cls.opened.pop().close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> bytes:
        """The next line, without its CRLF; b"" when the server has closed."""
        while (end := self._in.find(b"\r\n")) < 0:
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
                return b""
            self._in += data
        line = bytes(self._in[:end])
        del self._in[: end + 2]
        return line

    def octets(self, count: int) -> bytes:
        """The next *count* octets."""
        while len(self._in) < count:
            data = self.sock.recv(65536)
            assert data, "closed"
            self._in += data
        data = bytes(self._in[:count])
        del self._in[:count]
        return data

    def until(self, pattern: str) -> list[bytes]:
        """Read lines up to one that matches; all of them."""
        lines = []
        while True:
            line = self.line()
            lines.append(line)
            if re.match(pattern, line.decode("utf-8", "replace")):
                return lines
            assert not self.closed, f"closed while waiting for {pattern}; before: {lines}"

    def start(self, command: str) -> str:
        """Send a command and return its tag."""
        self._tag += 1
        tag = f"t{self._tag}"
        self.send(f"{tag} {command}\r\n".encode())
        return tag

    def command(self, command: str) -> list[bytes]:
        """Send a command; every line up to its tagged one."""
        return self.until(re.escape(self.start(command)) + " ")

    def ok(self, command: str) -> list[bytes]:
        """As ``command``, and it must be OK."""
        lines = self.command(command)
        assert b" OK" in lines[-1][:12], lines
        return lines

    def said(self, command: str) -> str:
        """As ``command``: what its tagged line says behind the tag."""
        return self.command(command)[-1].partition(b" ")[2].decode()

    def append(self, mailbox: str, message: bytes = b"Subject: x\r\n\r\nx\r\n") -> str:
        """Put a message into a mailbox; as ``said``."""
        return self.said(f"APPEND {mailbox} {{{len(message)}+}}\r\n{message.decode()}")

    def idle(self) -> str:
        """Enter IDLE; what it says at once is read away."""
        tag = self.start("IDLE")
        self.until(r"\+ ")
        return tag

    def done(self, tag: str) -> list[bytes]:
        """Leave IDLE."""
        self.send(b"DONE\r\n")
        return self.until(tag + " OK")

    def start_tls(self, context: ssl.SSLContext, name: str = "localhost") -> None:
        """STARTTLS."""
        self.ok("STARTTLS")
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
