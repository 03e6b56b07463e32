"""Sessions in IDLE: what each of them keeps open, and that all of them hear everything all the same."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, give_to, open_to_all, start_server, stop_server

from maildir_imapd.server import owners

SESSIONS = 40
# The socket, what wakes the thread, and the folder's lock file.
EACH = 3

pytestmark = pytest.mark.slow


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = start_server(tmp_path, users=SESSIONS + 1)
    yield running
    stop_server(running)


def open_files(running: Running) -> int:
    """How many descriptors the workers have."""
    found = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True, text=True, check=True)
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in found.stdout.split())


def settled(running: Running, before: int, most: int) -> None:
    """Wait until the sessions have no more open than they may: each lets go when it has said that it waits."""
    end = time.monotonic() + 30
    while (found := open_files(running) - before) > most:
        assert time.monotonic() < end, (found, most)
        time.sleep(0.05)


def delivered(running: Running, user: str, name: str) -> None:
    """Put a message in as another program does."""
    new = running.base / user / "Maildir" / "new"
    (new.parent / "tmp" / name).write_bytes(b"Subject: by another program\n\nx\n")
    owner = new.stat()
    os.chown(new.parent / "tmp" / name, owner.st_uid, owner.st_gid)
    (new.parent / "tmp" / name).rename(new / name)


def test_hundreds_of_them_cost_three_descriptors_each(running: Running) -> None:
    warm = Client.to(running.port, user=f"u{SESSIONS}")
    warm.append("INBOX")
    warm.command("SELECT INBOX")
    warm.close()
    before = open_files(running)
    clients = [Client.to(running.port, user=f"u{n}") for n in range(SESSIONS)]
    for client in clients:
        client.append("INBOX")
        client.command("SELECT INBOX")
        client.command("FETCH 1 (FLAGS ENVELOPE)")
    tags = [client.idle() for client in clients]
    # What a worker has for all of them: its watches, and connections to its own services.
    settled(running, before, EACH * SESSIONS + 12)
    for n, client in enumerate(clients):
        delivered(running, f"u{n}", f"1700000000.{n}.other")
        client.until(r"\* 2 EXISTS$")
    for n, (client, tag) in enumerate(zip(clients, tags, strict=True)):
        beside = Client.to(running.port, user=f"u{n}")
        beside.append("INBOX")
        client.until(r"\* 3 EXISTS$")
        beside.command("SELECT INBOX")
        beside.command("STORE 1 +FLAGS (\\Flagged)")
        client.until(r"\* 1 FETCH \(FLAGS \(.*\\Flagged.*\)\)$")
        beside.command("STORE 2 +FLAGS (\\Deleted)")
        beside.command("EXPUNGE")
        client.until(r"\* 2 EXPUNGE$")
        beside.close()
        client.done(tag)
        assert client.said("FETCH 1:2 BODY[]").startswith("OK")


@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_folders_of_system_users_are_opened_again_as_theirs(tmp_path: Path) -> None:
    """By the thread that watches and by the client's, while nobody else may even enter their homes."""
    running = start_server(tmp_path, users=0, system_users=True)
    try:
        open_to_all(tmp_path)
        uids = {"u0": 54400, "u1": 54401}
        (tmp_path / "passwd").write_text(
            "".join(f"{user}:{{PLAIN}}secret:{uid}:54499::::\n" for user, uid in uids.items())
        )
        for user, uid in uids.items():
            (tmp_path / user / "Maildir").mkdir(parents=True)
            give_to(tmp_path / user, uid)
            (tmp_path / user).chmod(0o700)
        before = open_files(running)
        clients = {user: Client.to(running.port, user=user) for user in uids}
        for client in clients.values():
            client.append("INBOX")
            client.command("SELECT INBOX")
        tags = {user: client.idle() for user, client in clients.items()}
        settled(running, before, EACH * len(clients) + 2)
        for user, client in clients.items():
            delivered(running, user, "1700000000.1.other")
            client.until(r"\* 2 EXISTS$")
            client.done(tags[user])
            assert client.said("FETCH 1:2 BODY[]").startswith("OK")
            assert client.said("STORE 1 +FLAGS (\\Flagged)").startswith("OK")
            mine = {path.stat().st_uid for path in (tmp_path / user / "Maildir").rglob("*")}
            assert mine == {uids[user]}
        assert "refused" not in (tmp_path / "log").read_text()
    finally:
        Client.close_all()
        stop_server(running)


def test_whose_folder_goes_hears_of_it(running: Running) -> None:
    client, beside = Client.to(running.port, user="u1"), Client.to(running.port, user="u1")
    client.command("CREATE Box")
    client.command("SELECT Box")
    client.idle()
    assert beside.said("DELETE Box").startswith("OK")
    client.until(r"\* BYE ")
