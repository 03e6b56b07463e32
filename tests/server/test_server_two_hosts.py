"""Two machines serve one spool, both at once (tests/hosts.py): nobody may take a word of the other's for his own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest
from client import Client
from running import Running, start_server, stop_server
from spool import Spool
from stress import Plan, World, octets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(hosts.why_not()), reason=f"no second machine: {hosts.why_not()}"),
]


@pytest.fixture(params=["auto", "poll"])
def both(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Running]]:
    options = (f"--watch={request.param}", "--poll-interval=0.2")
    servers = [start_server(tmp_path, *options, users=2)]
    servers.append(start_server(tmp_path, *options, users=2, before=hosts.another(tmp_path, 1), log="log-1"))
    yield servers
    Client.close_all()
    for server in servers:
        stop_server(server)
    for log in tmp_path.glob("log*"):
        assert "Traceback" not in log.read_text()
        assert "damaged" not in log.read_text()


@pytest.fixture
def clients(both: list[Running]) -> list[Client]:
    user, _ = both[0].user()
    return [Client.to(server.port, user=user) for server in both]


def append(client: Client, n: int) -> int:
    data = octets(f"Pu0x{n}x300")
    tag = client.start(f"APPEND INBOX {{{len(data)}+}}\r\n{data.decode()}")
    match = re.search(rb"\[APPENDUID \d+ (\d+)\]", client.until(tag + " ")[-1])
    assert match
    return int(match[1])


def figures(client: Client) -> tuple[int, int]:
    """MESSAGES and UIDNEXT of INBOX."""
    line = b" ".join(client.ok("STATUS INBOX (MESSAGES UIDNEXT)"))
    match = re.search(rb"MESSAGES (\d+) UIDNEXT (\d+)", line)
    assert match
    return int(match[1]), int(match[2])


def test_uids_rise_on_both(both: list[Running]) -> None:
    user, _ = both[0].user()
    given: list[int] = []
    highest = 0
    for n in range(12):
        # Each time with new connections, which any worker may get: one that has not seen the folder yet, or that has
        # not since the other machine was here.
        clients = [Client.to(server.port, user=user) for server in both]
        given.append(append(clients[n // 3 % 2], n))
        assert given == sorted(set(given)), given
        for client in clients:
            messages, uidnext = figures(client)
            assert messages == len(given)
            assert uidnext > given[-1]
            assert uidnext >= highest, "UIDNEXT goes back"
            highest = uidnext
        if n < 11:
            for client in clients:
                client.close()
    nexts = [figures(client)[1] for client in clients]
    assert nexts[0] == nexts[1]
    for client in clients:
        client.ok("SELECT INBOX")
        told = [int(n) for line in client.ok("FETCH 1:* (UID)") for n in re.findall(rb"UID (\d+)", line)]
        assert told == given


def test_idle_hears_across(clients: list[Client]) -> None:
    here, there = clients
    for client in clients:
        client.ok("SELECT INBOX")
    for n, (one, other) in enumerate([(here, there), (there, here), (here, there)]):
        tag = one.idle()
        append(other, n)
        one.until(rf"\* {n + 1} EXISTS")
        other.ok(f"STORE {n + 1} +FLAGS (\\Flagged)")
        one.until(rf"\* {n + 1} FETCH .*Flagged")
        one.done(tag)


def test_a_delivery_is_seen_on_both(both: list[Running]) -> None:
    user, spool = both[0].user()
    clients = [Client.to(server.port, user=user) for server in both]
    given: dict[int, bytes] = {}
    for n in range(4):
        deliver(spool, n)
        for client in clients if n % 2 else clients[::-1]:
            client.ok("SELECT INBOX")
            lines = client.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            text = b"\r\n".join(lines)
            told = {int(uid): name for uid, name in re.findall(rb"UID (\d+) .*\r\nSubject: (\w+)", text, re.IGNORECASE)}
            assert len(told) == n + 1
            for uid, name in told.items():
                assert given.setdefault(uid, name) == name


def deliver(spool: Spool, n: int) -> None:
    spool.put("INBOX", octets(f"Pu0x{n}x300").replace(b"\r\n", b"\n"), None, when=None)


@pytest.mark.parametrize("options", [(), ("--watch=poll", "--poll-interval=0.2")], ids=["auto", "poll"])
def test_everybody_on_two_machines(options: tuple[str, ...], tmp_path: Path) -> None:
    world = World(Plan(tmp_path, seconds=12, users=3, clients=24, hosts=2, clocks=90.0, options=options))
    assert not world.run(), world.summary()
