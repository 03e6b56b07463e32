"""One connection's octets, over a pair of sockets."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.cli import certificate
from maildir_imapd.server import transport
from maildir_imapd.server.transport import ConnectionEnded, PipeTransport, Transport
from maildir_imapd.store.threads.bell import Bell


class Hesitant:
    """A socket whose client takes a little now and then."""

    def __init__(self, conn: Transport, monkeypatch: pytest.MonkeyPatch, *, octets: int, every: float) -> None:
        self.now, self.sent, self.room = 0.0, 0, False
        self._octets, self._every = octets, every
        self._real, conn._sock = conn._sock, self
        monkeypatch.setattr(conn, "_wait_for", self._wait)
        monkeypatch.setattr(transport, "time", self)

    def monotonic(self) -> float:
        return self.now

    def send(self, data: memoryview) -> int:
        if not self.room:
            raise BlockingIOError
        self.room = False
        taken = min(self._octets, len(data))
        self.sent += taken
        return taken

    def _wait(self, event: int, deadline: float) -> None:
        self.now += self._every
        if self.now > deadline:
            raise TimeoutError("late")
        self.room = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize(("octets", "every", "good"), [(1, 60, False), (600, 10, False), (3000, 10, True)])
def test_a_client_that_takes_hardly_anything_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, octets: int, every: float, good: bool
) -> None:
    """Each octet was progress, and an octet a minute kept a thread for ever, and all that was to be sent."""
    ours, theirs = socket.socketpair()
    conn = Transport(ours, stall_timeout=300)
    client = Hesitant(conn, monkeypatch, octets=octets, every=every)
    answer = b"x" * 300_000
    if good:
        for piece in (answer[:100_000], answer[100_000:]):
            conn.send(piece)
        assert client.sent == len(answer)
    else:
        with pytest.raises(TimeoutError):
            for k in range(0, len(answer), 1000):
                conn.send(answer[k : k + 1000])
        assert client.now < 600
    conn._sock = client._real
    conn.close()
    theirs.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    base: Path = tmp_path_factory.mktemp("tls")
    cert, key = certificate.ensure(base)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert))


def read_all(conn: Transport | PipeTransport, count: int) -> bytes:
    data = b""
    while len(data) < count:
        _, more = conn.wait(20)
        assert more
        data += more
    return data


def test_octets_both_ways_and_the_bell(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    conn = Transport(ours)
    theirs.sendall(b"abc")
    assert read_all(conn, 3) == b"abc"
    conn.bell.ring()
    conn.bell.ring()
    assert conn.wait(20) == (True, b"")
    assert conn.wait(0) == (False, b"")
    conn.send(b"def")
    assert theirs.recv(10) == b"def"
    theirs.close()
    assert conn.wait(20) == (False, None)
    conn.close()
    conn.close()
    conn.bell.ring()


def test_a_bell_that_is_closed_while_it_is_rung_writes_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened next must not have the bell's number while somebody still rings it."""
    bell = Bell()
    inside, go_on = threading.Event(), threading.Event()
    write = os.eventfd_write

    def slow(number: int, value: int) -> None:
        inside.set()
        assert go_on.wait(20)
        write(number, value)

    monkeypatch.setattr(os, "eventfd_write", slow)
    ringer = threading.Thread(target=bell.ring)
    ringer.start()
    assert inside.wait(20)
    bell.close()
    with open(tmp_path / "mail", "wb", buffering=0) as mail:
        mail.write(b"From: me\n")
        go_on.set()
        ringer.join(20)
    assert (tmp_path / "mail").read_bytes() == b"From: me\n"


def test_whoever_comes_after_the_end_touches_no_number(pair: tuple[socket.socket, socket.socket]) -> None:
    """Numbers that were given back are others' by now: a ring and a wait find nothing of them."""
    conn = Transport(pair[0])
    conn.close()
    others = [os.eventfd(1) for _ in range(4)]
    conn.bell.ring()
    conn.bell.close()
    assert conn.wait(0.01) == (False, b"")
    assert [os.eventfd_read(number) for number in others] == [1] * 4
    for number in others:
        os.close(number)


def test_a_client_that_does_not_read_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    conn = Transport(pair[0], stall_timeout=0.05)
    with pytest.raises(TimeoutError):
        conn.send(b"x" * 10_000_000)
    conn.close()


def test_a_client_that_reads_slowly_is_not(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    conn = Transport(ours, stall_timeout=20)
    got = bytearray()

    def read() -> None:
        while len(got) < 3_000_000:
            got.extend(theirs.recv(10_000))

    reader = threading.Thread(target=read)
    reader.start()
    conn.send(b"y" * 3_000_000)
    reader.join(20)
    assert bytes(got) == b"y" * 3_000_000
    conn.close()


PIECES = [b"* 1 FETCH (", b"a" * 300_000, b"", b")\r\n", b"b" * 40_000, b"c", b"d" * 1_000_000, b"\r\n"]


@pytest.mark.parametrize("kind", ["plain", "TLS", "deflated"])
def test_pieces_arrive_whole_and_in_order(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext], kind: str
) -> None:
    """Also at a client that reads slowly, so that each call takes only a part, in the middle of a piece."""
    conn, theirs = Transport(pair[0], tls=contexts[0], stall_timeout=20), pair[1]
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    if kind == "TLS":
        theirs = handshake(conn, theirs, contexts[1])
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    if kind == "deflated":
        conn.start_deflate()
    expected = b"".join(PIECES)
    got = bytearray()

    def read() -> None:
        while len(got) < len(expected):
            data = theirs.recv(7_001)
            got.extend(unpack.decompress(data) if kind == "deflated" else data)

    reader = threading.Thread(target=read)
    reader.start()
    conn.send_all(PIECES)
    reader.join(20)
    assert bytes(got) == expected
    conn.close()
    theirs.close()


def test_more_pieces_than_one_call_takes(pair: tuple[socket.socket, socket.socket]) -> None:
    conn = Transport(pair[0])
    conn.send_all([b"%4d" % number for number in range(3000)])
    conn.close()
    got = b""
    while more := pair[1].recv(10_000):
        got += more
    assert got == b"".join(b"%4d" % number for number in range(3000))


def test_pieces_for_a_client_that_does_not_read_or_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    conn = Transport(pair[0], stall_timeout=0.05)
    with pytest.raises(TimeoutError):
        conn.send_all([b"x" * 5_000_000] * 2)
    pair[1].close()
    with pytest.raises(ConnectionEnded):
        conn.send_all([b"x", b"y"])
    conn.close()


def test_a_client_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    conn = Transport(pair[0])
    pair[1].close()
    with pytest.raises(ConnectionEnded):
        conn.send(b"x")
        conn.send(b"x")
    conn.close()


def handshake(conn: Transport, theirs: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    made: list[ssl.SSLSocket] = []
    client = threading.Thread(target=lambda: made.append(context.wrap_socket(theirs, server_hostname="localhost")))
    client.start()
    conn.start_tls(20)
    client.join(20)
    return made[0]


def test_tls(pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    conn = Transport(pair[0], tls=contexts[0])
    assert conn.cipher == ""
    client = handshake(conn, pair[1], contexts[1])
    assert conn.cipher.startswith("TLSv1.")
    client.sendall(b"z" * 200_000)
    assert read_all(conn, 200_000) == b"z" * 200_000
    sender = threading.Thread(target=conn.send, args=(b"q" * 500_000,))
    sender.start()
    got = b""
    while len(got) < 500_000:
        got += client.recv(65536)
    sender.join(20)
    assert got == b"q" * 500_000
    conn.bell.ring()
    assert conn.wait(20) == (True, b"")
    conn.close()
    assert client.recv(10) == b""
    client.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n", b"", b"\x16\x03\x01\xff\xff" + b"x" * 100])
def test_no_handshake(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext], said: bytes
) -> None:
    conn = Transport(pair[0], tls=contexts[0])
    pair[1].sendall(said)
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionEnded):
        conn.start_tls(20)
    conn.close()


def test_a_silent_handshake_times_out(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    conn = Transport(pair[0], tls=contexts[0])
    pair[1].sendall(b"\x16")
    with pytest.raises(TimeoutError):
        conn.start_tls(0.02)
    conn.close()


def test_a_peer_that_left_before_the_handshake(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()  # a reset
        conn = Transport(ours, tls=contexts[0])
        with pytest.raises(ConnectionEnded):
            conn.start_tls(20)
        conn.close()


def test_bye_arrives_though_the_client_still_sends() -> None:
    """A socket closed with octets unread sends a reset, which would overtake what was said last."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        ours, _ = listener.accept()
        conn = Transport(ours)
        client.sendall(b"x" * 100_000)
        conn.send(b"* BYE\r\n")
        closer = threading.Thread(target=conn.close)
        closer.start()
        got = b""
        while more := client.recv(1000):
            got += more
        assert got == b"* BYE\r\n"
        client.close()
        closer.join(20)


def test_deflate_comes_out_in_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    """A bomb: a few octets that would be ten million."""
    conn = Transport(pair[0])
    conn.start_deflate()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    pair[1].sendall(packer.compress(b"a" * 10_000_000) + packer.flush(zlib.Z_SYNC_FLUSH))
    total = 0
    while total < 10_000_000:
        _, data = conn.wait(20)
        assert data
        assert len(data) <= transport.READ_OCTETS
        total += len(data)
    conn.close()


@pytest.mark.parametrize("end", ["with the command", "later", "never", "in one piece with what follows"])
def test_deflate_ends(pair: tuple[socket.socket, socket.socket], end: str) -> None:
    """RFC 8437 4.1; a client may end its stream, or just go on without it."""
    conn = Transport(pair[0])
    conn.start_deflate()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    pair[1].sendall(packer.compress(b"a NOOP\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
    assert read_all(conn, 8) == b"a NOOP\r\n"
    conn.send(b"a OK\r\n")
    last = packer.compress(b"b UNAUTHENTICATE\r\n")
    if end == "with the command":
        pair[1].sendall(last + packer.flush(zlib.Z_FINISH))
    elif end == "in one piece with what follows":
        pair[1].sendall(last + packer.flush(zlib.Z_FINISH) + b"c NOOP\r\n")
    else:
        pair[1].sendall(last + packer.flush(zlib.Z_SYNC_FLUSH))
    assert read_all(conn, 18) == b"b UNAUTHENTICATE\r\n"
    conn.send(b"b OK\r\n")
    conn.end_deflate()
    conn.send(b"plain\r\n")
    if end == "later":
        pair[1].sendall(packer.flush(zlib.Z_FINISH))
        assert conn.wait(0) == (False, b"")  # sent is received, with a pair of sockets
    if end != "in one piece with what follows":
        pair[1].sendall(b"c NOOP\r\n")
    assert read_all(conn, 8) == b"c NOOP\r\n"
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    received = reader.decompress(pair[1].recv(1000))
    assert reader.eof
    assert received + reader.unused_data == b"a OK\r\nb OK\r\nplain\r\n"
    # And once more.
    conn.start_deflate()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    pair[1].sendall(packer.compress(b"x") + packer.flush(zlib.Z_FINISH) + b"y")
    assert read_all(conn, 1) == b"x"
    assert conn.wait(20) == (False, None)
    conn.close()


def test_pipes() -> None:
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    conn = PipeTransport(ours_in, ours_out)
    os.write(theirs_out, b"abc")
    assert conn.wait(20) == (False, b"abc")
    conn.bell.ring()
    assert conn.wait(20) == (True, b"")
    assert conn.wait(0) == (False, b"")
    conn.send(b"answer")
    assert os.read(theirs_in, 100) == b"answer"
    conn.send_all([b"* 1", b" EXISTS\r\n"])
    assert os.read(theirs_in, 100) == b"* 1 EXISTS\r\n"
    with pytest.raises(ConnectionEnded):
        conn.start_tls(1)
    with pytest.raises(ConnectionEnded):
        conn.start_deflate()
    os.close(theirs_out)
    assert conn.wait(20) == (False, None)
    os.close(theirs_in)
    with pytest.raises(ConnectionEnded):
        conn.send(b"x")
    conn.close()
    for fd in (ours_in, ours_out):
        with contextlib.suppress(OSError):
            os.close(fd)


# --- whether the client is there ------------------------------------------------------------------


@pytest.fixture
def tcp() -> Iterator[tuple[Transport, socket.socket]]:
    """A connection over TCP, where a client that has closed looks like one that has only ended what it sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname(), timeout=20)
        ours, _ = server.accept()
    conn = Transport(ours)
    yield conn, theirs
    conn.close()
    theirs.close()


def until(what: int, sock: socket.socket) -> None:
    """Wait until the kernel has heard of it."""
    poll = select.poll()
    poll.register(sock.fileno(), what)
    assert poll.poll(20_000)


def test_a_client_that_waits_is_there(tcp: tuple[Transport, socket.socket]) -> None:
    conn, theirs = tcp
    assert conn.look() is False
    theirs.sendall(b"a NOOP\r\n")
    assert conn.look() is False


def test_a_client_that_has_ended_what_it_sends_may_read(tcp: tuple[Transport, socket.socket]) -> None:
    conn, theirs = tcp
    theirs.shutdown(socket.SHUT_WR)
    until(select.POLLRDHUP, conn._sock)
    assert conn.look() is True
    conn.send(b"* OK\r\n")
    assert theirs.recv(10) == b"* OK\r\n"
    assert conn.look() is True


def test_a_client_that_has_closed_is_known_by_a_word(tcp: tuple[Transport, socket.socket]) -> None:
    conn, theirs = tcp
    theirs.close()
    until(select.POLLRDHUP, conn._sock)
    assert conn.look() is True
    conn.send(b"* OK\r\n")
    until(select.POLLHUP, conn._sock)
    with pytest.raises(ConnectionEnded):
        conn.look()


def test_a_reader_of_a_pipe_that_has_closed_is_gone() -> None:
    back, end = os.pipe()
    conn = PipeTransport(back, end)
    assert conn.look() is False
    reader, writer = os.pipe()
    gone = PipeTransport(back, writer)
    os.close(reader)
    with pytest.raises(ConnectionEnded):
        gone.look()
    for fd in (back, end, writer):
        os.close(fd)
    conn.close()
    gone.close()


def test_silent_clients_are_asked_after_in_minutes() -> None:
    """The two hours that systems wait by themselves are longer than routers remember a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as far:
        assert far
        near, _ = listening.accept()
        conn = Transport(near)
        try:
            assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
                if hasattr(socket, name):
                    assert near.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) <= 240
        finally:
            conn.close()
