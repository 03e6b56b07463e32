"""The PROXY protocol: what is read from a proxy, and what comes of it at the door."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.config import load
from maildir_imapd.server import proxy
from maildir_imapd.server.heartbeat import Beats
from maildir_imapd.server.proxy import SIGNATURE, BadProxyHeader, ProxyHeader, parse, receive
from maildir_imapd.server.worker import Acceptor, Worker

LONG = 20.0
PORTS = st.integers(0, 65535)


def second(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, tuple[str, int] | None]:
    """A header as a proxy writes it, and what it says."""
    version = draw(st.sampled_from((4, 6)))
    source, destination = draw(st.ip_addresses(v=version)), draw(st.ip_addresses(v=version))
    ports = draw(PORTS), draw(PORTS)
    match draw(st.sampled_from(("first", "second", "unknown", "local", "unspecified", "unix"))):
        case "first":
            line = f"PROXY TCP{version} {source} {destination} {ports[0]} {ports[1]}\r\n"
            return line.encode(), (str(source), ports[0])
        case "second":
            body = source.packed + destination.packed + struct.pack("!HH", *ports) + draw(st.binary(max_size=300))
            return second(0x11 if version == 4 else 0x21, body), (str(source), ports[0])
        case "unknown":
            return b"PROXY UNKNOWN" + draw(st.sampled_from((b"", b" ffff:f...f:ffff x 1 2"))) + b"\r\n", None
        case "local":
            return second(draw(st.integers(0, 255)), draw(st.binary(max_size=300)), 0x20), None
        case "unspecified":
            return second(0x00, draw(st.binary(max_size=300))), None
        case _:
            return second(0x31, draw(st.binary(min_size=216, max_size=216))), None


@pytest.mark.long
@given(headers(), st.binary(max_size=40))
def test_a_header_is_read_to_its_end_and_no_further(written: tuple[bytes, tuple[str, int] | None], tail: bytes) -> None:
    octets, said = written
    stream, taken = octets + tail, 0
    while not isinstance(found := parse(stream[:taken]), ProxyHeader):
        assert 0 < found <= len(octets) - taken
        taken += found
    assert taken == len(octets)
    if said is None:
        assert found.source is None
    else:
        assert found.source is not None
        assert ipaddress.ip_address(found.source[0]) == ipaddress.ip_address(said[0])
        assert found.source[1] == said[1]


@given(
    st.binary(max_size=200) | headers().flatmap(lambda each: st.integers(0, len(each[0])).map(lambda n: each[0][:n]))
)
def test_anything_is_a_header_or_none_and_bounded(data: bytes) -> None:
    for end in range(len(data) + 1):
        try:
            found = parse(data[:end])
        except BadProxyHeader as error:
            assert str(error).isascii()  # noqa: PT017  # there may be none
            return
        if isinstance(found, ProxyHeader):
            return
        assert 0 < found <= proxy.V2_OCTETS


@pytest.mark.parametrize(
    "written",
    [
        b"* OK hello there\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWNS 192.0.2.1\r\n",
        b"PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        second(0x11, b"\0" * 11),
        second(0x21, b"\0" * 35),
        second(0x12, b"\0" * 12),
        second(0x11, b"\0" * 12, 0x11),
        second(0x11, b"\0" * 12, 0x22),
        second(0x11, b"\0" * proxy.V2_OCTETS),
    ],
)
def test_what_is_no_header(written: bytes) -> None:
    taken = 0
    with pytest.raises(BadProxyHeader):
        while taken <= len(written):
            found = parse(written[:taken])
            assert isinstance(found, int)
            taken += found


def test_a_header_that_does_not_come() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"PROXY TCP4 192.0.2.1")
        with pytest.raises(BadProxyHeader, match="in time"):
            receive(ours, 0.05)
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"PROXY TCP4 192.0.2.1")
        theirs.close()
        with pytest.raises(BadProxyHeader, match="ends in the middle"):
            receive(ours)
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert receive(ours) is None


# --- at the door ----------------------------------------------------------------------------------


def refused(client: Client, command: str) -> None:
    assert b" NO " in client.command(command)[-1]


class Door:
    """A worker with one listening socket for a proxy."""

    def __init__(self, base: Path, **given: object) -> None:
        (base / "passwd").write_text("ann:{PLAIN}secret::::::allow_nets=198.51.100.0/24\n")
        if os.geteuid() == 0:
            given = {"mail_user": "root", **given}
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        config = load(
            None,
            {
                "watch": "poll",
                "passwd_file": str(base / "passwd"),
                "mail_location": f"maildir:{base}/%n/Maildir",
                "auth_failure_delay": 0,
                **given,
            },
        )
        self.worker = Worker(config, None, [Acceptor(self.sock, implicit_tls=False, proxy=True)], Beats())
        self.worker.look_after()

    def connect(self, header: bytes) -> Client:
        client = Client(socket.create_connection(self.sock.getsockname(), timeout=LONG))
        client.send(header)
        return client

    def close(self) -> None:
        self.worker.stop_accepting()
        self.worker.watcher.close(timeout=1)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    found = Door(tmp_path, proxy_networks=["127.0.0.0/8"], login_trusted_networks=["198.51.100.0/28"])
    yield found
    found.close()


def test_the_clients_address_is_what_counts(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with door.connect(b"PROXY TCP4 198.51.100.1 192.0.2.2 4711 143\r\na NOOP\r\n") as client:
        assert client.line().startswith(b"* OK")
        assert client.line() == b"a OK NOOP completed"
        (visit,) = door.worker.sessions.here()
        assert (visit.host, visit.peer) == ("198.51.100.1", "198.51.100.1:4711")
        # allow_nets are of the client.
        client.ok("LOGIN ann secret")
    body = ipaddress.ip_address("2001:db8::7").packed * 2 + struct.pack("!HH", 4712, 143)
    with door.connect(second(0x21, body)) as client:
        assert b"LOGINDISABLED" in client.line()
        (visit,) = [each for each in door.worker.sessions.here() if each.user is None]
        assert (visit.host, visit.peer) == ("2001:db8::7", "[2001:db8::7]:4712")


def test_a_proxy_that_speaks_for_itself(door: Door) -> None:
    with door.connect(b"PROXY UNKNOWN\r\n") as client:
        assert client.line().startswith(b"* OK")
        (visit,) = door.worker.sessions.here()
        assert visit.peer == "{}:{}".format(*client.sock.getsockname())


def test_no_header(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with door.connect(b"a LOGIN ann secret\r\n") as client:
        assert client.line() == b""
    assert "bad PROXY header peer=127.0.0.1:" in caplog.text
    assert "secret" not in caplog.text
    caplog.clear()
    # A health check opens a connection and closes it.
    client = door.connect(b"")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.line() == b""
    assert not caplog.text


def test_one_who_is_no_proxy_is_not_listened_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = Door(tmp_path, proxy_networks=["192.0.2.0/24"])
    try:
        with door.connect(b"PROXY TCP4 198.51.100.1 192.0.2.2 4711 143\r\n") as client:
            assert client.line() == b""
        assert "connection refused peer=127.0.0.1:" in caplog.text
        assert "198.51.100.1" not in caplog.text
    finally:
        door.close()


def test_slow_proxies_hinder_nobody(door: Door) -> None:
    slow = [door.connect(b"PROXY ") for _ in range(20)]
    done = threading.Event()

    def other() -> None:
        with door.connect(b"PROXY TCP4 198.51.100.1 192.0.2.2 4711 143\r\n") as client:
            if client.line().startswith(b"* OK"):
                done.set()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(LONG)
    assert done.is_set()
    for client in slow:
        client.close()


# --- webmail --------------------------------------------------------------------------------------


def test_webmail_says_for_whom_it_comes(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with door.connect(b"PROXY TCP4 198.51.100.2 192.0.2.2 4711 143\r\n") as client:
        # It is trusted with passwords on a plain line.
        assert b"LOGINDISABLED" not in client.line()
        client.ok('ID ("name" "webmail" "X-Originating-IP" "203.0.113.9" "x-originating-port" "99" "x-session-id" "s")')
        (visit,) = door.worker.sessions.here()
        assert (visit.host, visit.peer, visit.shared) == ("203.0.113.9", "203.0.113.9:99", False)
        assert door.worker.door._by_network == {"203.0.113.9": 1}
        # And allow_nets are of him for whom it comes.
        refused(client, "LOGIN ann secret")
        client.ok('ID ("x-originating-ip" "198.51.100.77")')
        client.ok("LOGIN ann secret")
        client.ok('ID ("x-originating-ip" "192.0.2.99")')
        assert visit.host == "198.51.100.77"
    assert "forwarded peer=203.0.113.9:99 via=198.51.100.2:4711" in caplog.text
    assert "login failed user=ann peer=203.0.113.9:99" in caplog.text


def test_others_speak_for_nobody(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with door.connect(b"PROXY TCP4 198.51.100.200 192.0.2.2 4711 143\r\n") as client:
        assert b"LOGINDISABLED" in client.line()
        client.ok('ID ("x-originating-ip" "203.0.113.9")')
        (visit,) = door.worker.sessions.here()
        assert visit.host == "198.51.100.200"


@pytest.mark.parametrize("written", ['"nobody"', '"::1%lo"', '"192.0.2.1 "', '""', "NIL", '"192.0.2.0/24"'])
def test_an_address_that_is_none(door: Door, written: str) -> None:
    with door.connect(b"PROXY TCP4 198.51.100.2 192.0.2.2 4711 143\r\n") as client:
        client.line()
        client.ok(f'ID ("x-originating-ip" {written} "x-originating-port" "-")')
        (visit,) = door.worker.sessions.here()
        assert (visit.host, visit.shared) == ("198.51.100.2", True)


def test_a_webmails_own_address_is_not_slowed(door: Door) -> None:
    counted: list[tuple[str, str]] = []

    class Count:
        def add(self, user: str, host: str) -> None:
            counted.append((user, host))

        def doublings(self, user: str, host: str) -> int:
            return 0

    door.worker.door.chain.failures = Count()
    with door.connect(b"PROXY TCP4 198.51.100.2 192.0.2.2 4711 143\r\n") as client:
        client.line()
        refused(client, "LOGIN ben wrong")
        client.ok('ID ("x-originating-ip" "203.0.113.9")')
        refused(client, "LOGIN ben wrong")
    assert counted == [("ben", ""), ("ben", "203.0.113.9")]


def test_a_proxy_that_takes_tls_off(tmp_path: Path) -> None:
    """nginx's mail proxy hands on passwords as they are, where it is trusted with that, and speaks for one client."""
    for trusted, bare in ((["127.0.0.1"], True), (["192.0.2.7"], False)):
        door = Door(tmp_path, proxy_networks=["127.0.0.0/8"], login_trusted_networks=trusted)
        try:
            with door.connect(b"PROXY TCP4 198.51.100.20 192.0.2.2 4711 143\r\n") as client:
                assert (b"LOGINDISABLED" not in client.line()) is bare
                (visit,) = door.worker.sessions.here()
                assert (visit.host, visit.shared) == ("198.51.100.20", False)
                if bare:
                    # It says by the protocol who its client is, and a client of it may not say so again.
                    client.ok('ID ("x-originating-ip" "203.0.113.9")')
                    assert visit.host == "198.51.100.20"
                    client.ok("LOGIN ann secret")
        finally:
            door.close()
