"""Three hosts on one GlusterFS volume (tests/gluster.py): what one does the others see, and none is missed for long."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import gluster
import pytest
from client import Client
from gluster import Cluster, Host
from running import Running, start_server, stop_server
from stress import octets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(gluster.why_not()), reason=f"no hosts: {gluster.why_not()}"),
]
# Seconds until a server that the network lost is given up (network.ping-timeout), and some.
GIVEN_UP = 12.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("hosts"))
    try:
        made.make_volume()
        yield made
    finally:
        made.close()


@pytest.fixture
def mail(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A directory on the volume, of this test, mounted on all hosts."""
    at = tmp_path / "mail"
    for host in cluster.hosts:
        host.mount(at)
    yield at
    for host in cluster.hosts:
        host.unmount(at)


def serve(host: Host, base: Path, mail: Path, *options: str) -> Running:
    """Start a server on a host."""
    where = base / host.name
    where.mkdir(exist_ok=True)
    location = f"--mail-location=maildir:{mail}/{base.name}-%n/Maildir"
    return start_server(
        where, location, "--poll-interval=0.3", *options, users=4, before=host.before, log=f"log-{time.monotonic_ns()}"
    )


@pytest.fixture
def servers(cluster: Cluster, tmp_path: Path, mail: Path) -> Iterator[list[Running]]:
    started = [serve(host, tmp_path, mail) for host in cluster.hosts]
    yield started
    Client.close_all()
    for server in started:
        if server.process.poll() is None:
            stop_server(server)
    for log in tmp_path.glob("host*/log-*"):
        assert "Traceback" not in log.read_text()
        assert "damaged" not in log.read_text()


def append(client: Client, n: int, mailbox: str = "INBOX") -> int:
    data = octets(f"Pu0x{n}x300")
    tag = client.start(f"APPEND {mailbox} {{{len(data)}+}}\r\n{data.decode()}")
    match = re.search(rb"\[APPENDUID \d+ (\d+)\]", client.until(tag + " ")[-1])
    assert match
    return int(match[1])


def uids(client: Client) -> list[int]:
    return [int(n) for n in re.findall(rb"\d+", b" ".join(client.ok("UID SEARCH ALL")).partition(b"SEARCH")[2])[:-1]]


def known(client: Client) -> dict[int, bytes]:
    """Each message by its UID: its name, which is in its subject."""
    text = b"\r\n".join(client.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
    return {int(uid): name for uid, name in re.findall(rb"UID (\d+) .*\r\nSubject: (\w+)", text, re.IGNORECASE)}


def patiently(client: Client, command: str, seconds: float = 60.0) -> list[bytes]:
    """Give a command until it is OK; what else may come meanwhile is [UNAVAILABLE], and the session goes on."""
    end = time.monotonic() + seconds
    while True:
        lines = client.command(command)
        assert not client.closed
        if b" OK" in lines[-1][:12]:
            return lines
        assert b"[UNAVAILABLE]" in lines[-1], lines
        assert time.monotonic() < end, lines
        time.sleep(0.2)


def check(here: Host, there: Host, mail: Path, status: int) -> dict[str, list[str]]:
    """Let check-spool try from two hosts; the keys of what it found, by result."""
    words = [sys.executable, "-m", "maildir_imapd"]
    through = " ".join([*there.before, *words])
    asked = [*here.before, *words, "check-spool", str(mail), "--through", through, "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=200)
    assert done.returncode == status, done
    found = json.loads(done.stdout)
    assert bool(found["change"]) is bool(status)
    keys: dict[str, list[str]] = {}
    for row in found["found"]:
        keys.setdefault(row["result"], []).append(row["what"])
    return keys


def test_a_mount_that_is_coherent_passes(cluster: Cluster, mail: Path) -> None:
    found = check(cluster.hosts[0], cluster.hosts[1], mail, 0)
    assert {"flock", "append", "size", "read", "listing", "place", "gone", "exclusive", "rename"} <= set(found["ok"])
    assert "inotify" in found["note"]


def test_one_that_is_not_fails_and_is_not_served(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at = tmp_path / "careless"
    hosts = cluster.hosts[:2]
    for host in hosts:
        host.mount(at, gluster.CARELESS_MOUNT)
    careless = [(name, "on") for name, value in gluster.COHERENT_VOLUME if value == "off"]
    cluster.set_options(careless)
    try:
        found = check(hosts[0], hosts[1], at, 1)
        assert {"mount", "append", "place"} <= set(found["fails"])
        with pytest.raises(AssertionError, match="did not start"):
            serve(hosts[0], tmp_path, at)
        assert "cannot be trusted with mail that several hosts serve" in capfd.readouterr().err
        told = serve(hosts[0], tmp_path, at, "--check-spool=no")
        stop_server(told)
    finally:
        cluster.set_options(gluster.COHERENT_VOLUME)
        for host in hosts:
            host.unmount(at)


def test_two_hosts_with_one_name_do_not_serve(
    cluster: Cluster, tmp_path: Path, mail: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = cluster.hosts[:2]
    stop_server(serve(first, tmp_path, mail))
    second.run("hostname", first.name)
    try:
        with pytest.raises(AssertionError, match="did not start"):
            serve(second, tmp_path, mail)
        assert f"another machine that is called {first.name} serves this spool" in capfd.readouterr().err
    finally:
        second.run("hostname", second.name)


def test_everyday_life_over_all_hosts(servers: list[Running]) -> None:
    clients = [Client.to(server.port, user="u0") for server in servers]
    given = [append(clients[n % 3], n) for n in range(9)]
    assert given == sorted(set(given)) == list(range(given[0], given[0] + 9))
    for client in clients:
        client.ok("SELECT INBOX")
        assert list(known(client)) == given
    for one in clients:
        others = [client for client in clients if client is not one]
        tags = [other.idle() for other in others]
        uid = append(one, len(given))
        given.append(uid)
        for other in others:
            other.until(rf"\* {len(given)} EXISTS")
        one.ok(f"UID STORE {uid} +FLAGS (\\Flagged)")
        for other, tag in zip(others, tags, strict=True):
            other.until(r"\* \d+ FETCH .*Flagged")
            other.done(tag)
    clients[0].ok(f"UID STORE {given[0]} +FLAGS (\\Deleted)")
    tag = clients[1].idle()
    clients[0].ok("EXPUNGE")
    clients[1].until(r"\* 1 EXPUNGE")
    clients[1].done(tag)
    clients[2].ok("CREATE Work")
    clients[1].ok(f"UID MOVE {given[1]} Work")
    assert b"MESSAGES 1" in b" ".join(clients[0].ok("STATUS Work (MESSAGES)"))
    assert all(b"Work" in b" ".join(client.ok('LIST "" *')) for client in clients)


def test_a_mount_that_goes_and_comes_back(cluster: Cluster, servers: list[Running], mail: Path) -> None:
    here, there = (Client.to(server.port, user="u1") for server in servers[:2])
    given = {append(there, n) for n in range(5)}
    here.ok("SELECT INBOX")
    before = known(here)
    assert set(before) == given
    host = cluster.hosts[0]
    host.lose_mount(mail)
    # Its program is gone, and what is open is of nobody; then nothing is mounted at all.
    for command in ("UID FETCH 1:* (BODY.PEEK[])", "STATUS INBOX (MESSAGES)"):
        said = here.command(command)
        assert b"[UNAVAILABLE]" in said[-1], said
        assert not here.closed
        assert b"EXPUNGE" not in b" ".join(said)
    host.run("umount", "-l", str(mail))
    said = here.command("UID FETCH 1:* (BODY.PEEK[])")
    assert b"EXPUNGE" not in b" ".join(said)
    assert b"[UNAVAILABLE]" in here.command("STATUS INBOX (MESSAGES)")[-1]
    new = append(there, 5)
    host.mount(mail)
    lines = patiently(here, "UID FETCH 1:* (BODY.PEEK[])")
    assert b"EXPUNGE" not in b" ".join(lines)
    here.ok("NOOP")
    after = known(here)
    assert {uid: after[uid] for uid in before} == before
    assert set(after) == given | {new}
    here.ok(f"UID STORE {new} +FLAGS (\\Seen)")
    tag = here.idle()
    append(there, 6)
    here.until(r"\* 7 EXISTS")
    here.done(tag)


def test_a_host_that_is_killed_is_missed_by_nobody(
    cluster: Cluster, servers: list[Running], tmp_path: Path, mail: Path
) -> None:
    clients = [Client.to(server.port, user="u2") for server in servers]
    given = {append(client, n): n for n, client in enumerate(clients)}
    clients[0].ok("SELECT INBOX")
    before = known(clients[0])
    assert set(before) == set(given)
    host = cluster.hosts[2]
    host.kill()
    servers[2].process.wait(20)
    patiently(clients[0], "NOOP")
    given[append(clients[0], 10)] = 10
    given[append(clients[1], 11)] = 11
    cluster.boot(host)
    host.mount(mail)
    cluster.whole()
    assert servers[2].process.stdout is not None
    servers[2].process.stdout.close()
    servers[2] = serve(host, tmp_path, mail)
    again = Client.to(servers[2].port, user="u2")
    given[append(again, 12)] = 12
    assert len(given) == 6
    for client in (clients[0], clients[1], again):
        client.ok("SELECT INBOX")
        found = known(client)
        assert set(found) == set(given)
        assert {uid: found[uid] for uid in before} == before


def test_a_network_that_is_cut_and_heals(cluster: Cluster, servers: list[Running]) -> None:
    clients = [Client.to(server.port, user="u3", timeout=100) for server in servers]
    given = {append(client, n) for n, client in enumerate(clients)}
    cut = clients[1]
    cut.ok("SELECT INBOX")
    before = known(cut)
    cluster.cut(cluster.hosts[1])
    tag = cut.start("UID FETCH 1:* (BODY.PEEK[])")
    time.sleep(GIVEN_UP)  # as long as the network is gone; what it is like meanwhile is not asked
    given.add(append(clients[0], 10))
    cluster.join(cluster.hosts[1])
    said = cut.until(tag + " ")
    assert b"EXPUNGE" not in b" ".join(said)
    cluster.whole()
    lines = patiently(cut, "NOOP")
    lines += patiently(cut, "UID FETCH 1:* (BODY.PEEK[])")
    assert b"EXPUNGE" not in b" ".join(lines)
    given.add(append(cut, 11))
    found = known(cut)
    assert set(found) == given
    assert {uid: found[uid] for uid in before} == before


def test_everybody_on_three_hosts(cluster: Cluster, mail: Path) -> None:
    """scripts/hosts has it go on for an hour."""
    words = ["--seconds=15", "--users=2", "--clients=12", "--folders=2", "--outsiders=1", "--clocks=90"]
    done = _run(gluster.stress(cluster.hosts, mail, [*words, "--options=--poll-interval=0.3"]))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    return subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=400, check=False
    )
