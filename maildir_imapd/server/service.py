"""The contract of a protocol that a worker can serve: the loop and the process know this and no protocol.

A second protocol is a file that has a ``Service`` and a ``Port``, and a line in ``Worker.ports``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from maildir_imapd.errors import Goodbye
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport


class Service(Protocol):
    """One client's dialogue, without a socket.  Only the thread that owns the connection calls it.

    What it answers goes out by the ``send`` of the transport it was opened with, and is sent when a call returns; so
    every call but the properties may raise ConnectionError and TimeoutError of the transport.
    """

    @property
    def over(self) -> bool:
        """Whether the connection is to be closed now."""
        ...

    @property
    def logged_in(self) -> bool:
        """Whether the client has shown who it is; before that, what it sends prolongs nothing."""
        ...

    @property
    def patience(self) -> float:
        """Seconds of silence (before login: seconds in all) after which the client is sent away."""
        ...

    @property
    def quiet(self) -> float:
        """Seconds in which nothing was said, after which ``keep_alive`` is called; 0 for never."""
        ...

    @property
    def upgrade(self) -> bytes | None:
        """The kind of transport to become before it reads on: b"TLS", b"DEFLATE", b"PLAIN"; None for what it is."""
        ...

    @property
    def who(self) -> Mapping[str, object]:
        """The fields for the log that say who the client is."""
        ...

    @property
    def sent(self) -> int:
        """Octets that have been answered with, before the transport packs them."""
        ...

    def greet(self) -> None:
        """Say what is said first."""
        ...

    def feed(self, data: bytes) -> None:
        """Take octets from the client and answer all that is now whole."""
        ...

    def announce(self) -> None:
        """Say what has happened elsewhere, for somebody has rung; nothing where the client waits for nothing."""
        ...

    def keep_alive(self) -> None:
        """Do what could wait for a client to be silent; or say something, for the sake of what stands between."""
        ...

    def upgraded(self, kind: bytes) -> None:
        """Note that the transport has become *kind*."""
        ...

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Say why it ends, and be over."""
        ...

    def close(self) -> None:
        """Let go of all that is held; safe to call twice, says nothing."""
        ...

    def note(self, event: str, **fields: object) -> None:
        """Write a line about this client to the log."""
        ...


class Port(Protocol):
    """How a worker serves one protocol; one for all its connections, safe from any thread."""

    def refusal(self, text: str) -> bytes:
        """Render what a connection hears that gets no service; *text* is ASCII."""
        ...

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> Service:
        """Begin to serve a connection that the door has let in; *secure*: its first octets are those of TLS."""
        ...
