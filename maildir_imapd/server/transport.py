"""The octets of one connection: plain, under TLS, deflated; and the bell that wakes its thread.

Only the thread that owns the connection calls anything here, and touches its socket; others ring the bell, or ``cut``.
Sockets are non-blocking and every wait is a poll with a deadline, so a client that stops reading or stops
sending costs a thread only until its time is up.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from maildir_imapd.server import bindings
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.bell import Bell

# One read takes at most this many octets; of a deflated stream one read unpacks at most as many.
READ_OCTETS = 64 * 1024
# One write call is offered at most this much: OpenSSL copies what it is given.
WRITE_OCTETS = 1024 * 1024
# And so many pieces: the system takes 1024 (IOV_MAX).
WRITE_PIECES = 512
# Octets a second that a client must take of an answer, on the whole, once it has stopped to read.
LEAST_OCTETS_PER_SECOND = 256.0
# Seconds of silence until the first probe and from one to the next, and how many are lost before it is given up: the
# two hours that systems wait by themselves are longer than any router remembers a connection.
KEEPALIVE = {"TCP_KEEPIDLE": 120, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}
# Seconds for which a client that is still sending is listened to after the BYE.
LINGER_SECONDS = 1.0


class ConnectionEnded(ConnectionError):
    """The client is gone."""


# The client has shut down its sending half: it may be gone, or wait for the rest of its answers.
_ENDED = getattr(select, "POLLRDHUP", 0)


def _look(fd: int, ended: int) -> bool:
    """Say whether one of the events *ended* is there; raises Closed when the connection is down both ways."""
    poll = select.poll()
    poll.register(fd, ended)
    events = sum(event for _, event in poll.poll(0))
    if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
        raise ConnectionEnded("the client has gone in the middle of a command")
    return bool(events & ended)


def _drop(pieces: list[bytes | memoryview], octets: int) -> None:
    """Take *octets* away that have been sent, from the front."""
    done = 0
    while done < len(pieces) and octets >= len(pieces[done]):
        octets -= len(pieces[done])
        done += 1
    del pieces[:done]
    if octets:
        pieces[0] = memoryview(pieces[0])[octets:]


class Transport:
    """A socket connection.  *stall_timeout*: seconds a client may leave an answer unread."""

    def __init__(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None, stall_timeout: float = 300.0) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._sock: socket.socket | ssl.SSLSocket = sock
        self._tls = tls
        self._stall_timeout = stall_timeout
        self._inflate: zlib._Decompress | None = None
        self._deflate: zlib._Compress | None = None
        self._deflate_ended = False  # by us
        self._inflate_ended = False  # by the client
        self._held = b""  # octets from the socket that nothing has taken yet
        self.bell = Bell()
        self._rung = self.bell.fd  # as poll says it
        # The version of TLS, once there is one.
        self.secured = ""
        self._closing = locks.make(locks.Rank.GUARD)  # guards _open: who cuts has a socket that is ours
        self._open = True
        self._given_up = False
        # Of this answer: seconds for which there was no room, and octets that found room after that.
        self._waited = 0.0
        self._taken = 0
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._poll.register(self._rung, select.POLLIN)

    def wait(self, timeout: float) -> tuple[bool, bytes | None]:
        """Wait for the bell, for octets, or for *timeout* seconds.

        Returns whether the bell rang, and the octets: b"" for none, None when the client has closed.
        """
        woken, data = self._listen(timeout)
        if data:
            self._waited, self._taken = 0.0, 0
        return woken, data

    def _listen(self, timeout: float) -> tuple[bool, bytes | None]:
        if self._held or self._inflate is not None or isinstance(self._sock, ssl.SSLSocket):
            # Octets that OpenSSL or zlib holds already wake no poll.  Without them a read would be in vain.
            data = self._read()
            if data != b"":
                return False, data
        data = b""
        deadline, left = time.monotonic() + timeout, timeout
        while True:
            # Past the deadline nothing is read: records that carry nothing must not keep a client alive.
            events = self._poll.poll(int(left * 1000) + 1) if left > 0 else None
            if not events:
                return False, b""
            woken = False
            for fd, _ in events:
                if fd == self._rung:
                    self.bell.clear()
                    woken = True
                else:
                    data = self._read()
            # A TLS record may arrive in halves, and a record may carry no octets for us.
            if woken or data != b"":
                return woken, data
            left = deadline - time.monotonic()

    def _read(self) -> bytes | None:
        """Read what can be had without waiting: b"" for nothing yet, None at the end."""
        if self._inflate is not None:
            return self._read_inflated(self._inflate)
        return self._receive()

    def _receive(self) -> bytes | None:
        if self._held:
            held, self._held = self._held, b""
            return held
        try:
            data = self._sock.recv(READ_OCTETS)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError:
            # Reset, timed out, no route any more, not TLS after all: it is gone.
            return None
        return data or None

    def _read_inflated(self, inflate: zlib._Decompress) -> bytes | None:
        if self._inflate_ended:
            return None  # it has ended its stream and gone on; only UNAUTHENTICATE would allow that
        packed = self._receive()
        if not packed:
            return packed
        if self._deflate_ended and packed[0] >= 0x20:
            # A client that just stops deflating, without an end; an end begins with an octet below.
            self._inflate = None
            return packed
        try:
            # max_length: a deflate bomb comes out in pieces no larger than any other read.
            data = inflate.decompress(packed, READ_OCTETS)
        except zlib.error:
            return None
        self._inflate_ended = inflate.eof
        self._held = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        if self._deflate_ended and inflate.eof:
            self._inflate = None
            return data or (self._receive() if self._held else b"")
        return data

    def send(self, data: bytes) -> None:
        """Send all of *data*; raises Closed, or TimeoutError when the client does not read, or hardly."""
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._push(data)

    def send_all(self, pieces: Sequence[bytes]) -> None:
        """Send *pieces* one after the other, without a copy of all of them; raises as ``send``."""
        if self._deflate is not None:
            packed = [self._deflate.compress(piece) for piece in pieces]
            packed.append(self._deflate.flush(zlib.Z_SYNC_FLUSH))
            self._push(b"".join(packed))
        elif isinstance(self._sock, ssl.SSLSocket):
            for piece in pieces:
                self._push(piece)
        else:
            left: list[bytes | memoryview] = list(pieces)
            while left:
                _drop(left, self._offer(self._sock.sendmsg, left[:WRITE_PIECES]))

    def _push(self, data: bytes) -> None:
        octets = len(data)
        sent = self._offer(self._sock.send, data) if octets <= WRITE_OCTETS else 0
        if sent < octets:
            view = memoryview(data)[sent:]
            while view:
                view = view[self._offer(self._sock.send, view[:WRITE_OCTETS]) :]

    def _offer(self, send: Callable[[Any], int], what: object) -> int:
        """Have *send* take what it can of *what*, and return how much that was; where it is nothing, wait for room."""
        if self._given_up:
            raise ConnectionEnded("cut off")
        try:
            sent = send(what)
        except (BlockingIOError, ssl.SSLWantWriteError):
            # A client may stall, and it may be slow; but not take an octet a minute for ever.
            began = time.monotonic()
            patience = self._stall_timeout + self._taken / LEAST_OCTETS_PER_SECOND - self._waited
            self._wait_for(select.POLLOUT, began + min(self._stall_timeout, patience))
            self._waited += time.monotonic() - began
            return 0
        except ssl.SSLWantReadError:
            self._wait_for(select.POLLIN, time.monotonic() + self._stall_timeout)
            return 0
        except OSError as error:
            raise ConnectionEnded(str(error)) from error
        if self._waited:
            self._taken += sent
        return sent

    def look(self) -> bool:
        """As ``imap.progress.Client``."""
        return _look(self._sock.fileno(), _ENDED)

    def _wait_for(self, event: int, deadline: float, *, until_rung: bool = False) -> None:
        poll = select.poll()
        poll.register(self._sock.fileno(), event)
        if until_rung:
            poll.register(self._rung, select.POLLIN)
        left = deadline - time.monotonic()
        events = poll.poll(left * 1000) if left > 0 else None
        if not events:
            raise TimeoutError("the client does not read what it asked for")
        if until_rung and any(fd == self._rung for fd, _ in events):
            raise ConnectionEnded("the place is wanted")

    def start_tls(self, timeout: float) -> None:
        """Shake hands as the server; raises Closed or TimeoutError.  Nothing read before stays."""
        assert self._tls is not None
        try:
            # A peer that has gone already: wrap_socket would find out after it has taken the descriptor away.
            self._sock.getpeername()
            sock = self._tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise ConnectionEnded(str(error)) from error
        self._sock = sock
        deadline = time.monotonic() + timeout
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                # Nobody has logged in: whoever rings wants this connection to end.
                self._wait_for(select.POLLIN, deadline, until_rung=True)
            except ssl.SSLWantWriteError:
                self._wait_for(select.POLLOUT, deadline, until_rung=True)
            except OSError as error:
                raise ConnectionEnded(f"TLS handshake failed: {getattr(error, 'reason', error)}") from error
            else:
                self.secured = sock.version() or ""
                return

    def cut(self) -> None:
        """End the connection without a word, whatever its thread waits for; for any thread, at any time."""
        with self._closing:
            self._given_up = True
            if self._open:
                try:
                    # Not the method of an SSLSocket, which would take TLS away under the thread that uses it.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
                except OSError:
                    pass  # gone already, or just becoming TLS: then the next octet that is sent ends it

    def start_deflate(self) -> None:
        """RFC 4978: raw deflate both ways from here on."""
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._deflate_ended = self._inflate_ended = False

    def end_deflate(self) -> None:
        """RFC 8437 4.1: plain both ways from here on; what the client deflated before is read to its end."""
        if self._inflate is None or self._deflate is None:
            return
        end, self._deflate = self._deflate.flush(zlib.Z_FINISH), None
        self._deflate_ended = True
        if self._inflate_ended:
            self._inflate = None
        self.send(end)

    @property
    def cipher(self) -> str:
        """The TLS version and cipher, or an empty string."""
        if isinstance(self._sock, ssl.SSLSocket):
            cipher = self._sock.cipher()
            return f"{self._sock.version()} {cipher[0]}" if cipher else ""
        return ""

    @property
    def bindings(self) -> dict[str, bytes]:
        """All that an exchange can be bound to here (``bindings.of``); nothing without TLS."""
        return bindings.of(self._sock) if isinstance(self._sock, ssl.SSLSocket) else {}

    @property
    def client_certificate(self) -> bytes | None:
        """The certificate that the client has shown, and which is good; DER."""
        return self._sock.getpeercert(binary_form=True) if isinstance(self._sock, ssl.SSLSocket) else None

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        try:
            if isinstance(self._sock, ssl.SSLSocket):
                # Send close_notify, wait for nobody.
                self._sock.unwrap()
        except (OSError, ValueError):
            pass  # gone already, or the handshake never ended
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._drain()
        except (OSError, ValueError):
            pass  # gone already
        # From here on the numbers are others': nothing may wait on them.
        self._poll = select.poll()
        with self._closing:
            self._open = False
        try:
            self._sock.close()
        finally:
            self.bell.close()

    def _drain(self) -> None:
        """Throw away what the client is still sending, for a moment.

        A socket that is closed with octets unread sends a reset, and a reset overtakes the BYE.
        """
        fd = self._sock.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + LINGER_SECONDS
        patience = 0
        while time.monotonic() < deadline and poll.poll(patience):
            # Below TLS: what comes now is nobody's.
            if not os.read(fd, READ_OCTETS):
                return
            patience = 100


class PipeTransport:
    """Standard input and output, for ``maildir-imapd tunnel``; same interface, never TLS."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self.bell = Bell()
        self.cipher = ""
        self._poll = select.poll()
        self._rung = self.bell.fd  # as poll says it
        self._poll.register(read_fd, select.POLLIN)
        self._poll.register(self._rung, select.POLLIN)

    def wait(self, timeout: float) -> tuple[bool, bytes | None]:
        """As ``Transport.wait``."""
        woken, data = False, b""
        for fd, _ in self._poll.poll(int(timeout * 1000) + 1):
            if fd == self._rung:
                self.bell.clear()
                woken = True
            else:
                try:
                    data = os.read(self._read_fd, READ_OCTETS)
                except BlockingIOError:
                    continue  # shared with a process that was faster
                except OSError:
                    data = b""
                if not data:
                    return woken, None
        return woken, data

    def send(self, data: bytes) -> None:
        """Write all of *data*; the other end of a pipe may take its time."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._write_fd, view) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._write_fd, select.POLLOUT)
                room.poll()
            except OSError as error:
                raise ConnectionEnded(str(error)) from error

    def send_all(self, pieces: Sequence[bytes]) -> None:
        """As ``Transport.send_all``."""
        for piece in pieces:
            self.send(piece)

    def look(self) -> bool:
        """As ``imap.progress.Client``; the other pipe may end as it likes."""
        return _look(self._write_fd, 0)

    def start_tls(self, timeout: float) -> None:
        """Not offered on a pipe."""
        raise ConnectionEnded("no TLS on a pipe")

    def start_deflate(self) -> None:
        """Not offered on a pipe: ssh compresses."""
        raise ConnectionEnded("no compression on a pipe")

    def end_deflate(self) -> None:
        """There is none."""

    def close(self) -> None:
        """Close the bell; the descriptors belong to the process."""
        self._poll = select.poll()
        self.bell.close()
