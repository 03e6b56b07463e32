"""fsync = always: what failed to reach the disk is owed, and nobody hears OK for it until it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import broken_disk
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable


class Disk:
    """Fails to sync as long as it is broken; counts what it synced."""

    def __init__(self) -> None:
        self.broken = False
        self.synced = 0

    def __call__(self, number: int) -> None:
        if self.broken:
            raise broken_disk()
        self.synced += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    found = Disk()
    monkeypatch.setattr(durable, "sync", found)
    monkeypatch.setattr(durable, "sync_data", found)
    return found


def client_of(root: Path, fsync: str = "always") -> MemoryClient:
    client = MemoryWires(Account(bytes(root), fsync=fsync)).connect(login=True)
    assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
    return client


@pytest.mark.parametrize(
    "line", [b"STORE 1 +FLAGS (\\Flagged)", b"UID STORE 1 FLAGS.SILENT (\\Flagged)", b"STORE 1:2 +FLAGS.SILENT (word)"]
)
def test_a_store_is_no_until_it_is_on_the_disk(spool: Spool, disk: Disk, line: bytes) -> None:
    spool.simple("INBOX", 3)
    client, other = client_of(spool.root), client_of(spool.root)
    disk.broken = True
    for _ in range(3):
        assert client.command(b"a " + line)[-1].startswith(b"a NO")
        # Another process finds the flags set: they are not on the disk for it either.
        assert other.command(b"a " + line)[-1].startswith(b"a NO")
    disk.broken, disk.synced = False, 0
    assert client.command(b"b " + line)[-1].startswith(b"b OK")
    assert disk.synced >= 2


def test_an_expunge_is_no_until_it_is_on_the_disk(spool: Spool, disk: Disk) -> None:
    spool.simple("INBOX", 3)
    client = client_of(spool.root)
    assert client.command(b"a STORE 1 +FLAGS (\\Deleted)")[-1].startswith(b"a OK")
    disk.broken = True
    assert client.command(b"b EXPUNGE")[-1].startswith(b"b NO")
    # It has gone, and may come back.
    assert client.command(b"c EXPUNGE")[-1].startswith(b"c NO")
    disk.broken, disk.synced = False, 0
    assert client.command(b"d EXPUNGE")[-1].startswith(b"d OK")
    assert disk.synced >= 2
    disk.synced = 0
    assert client.command(b"e EXPUNGE")[-1].startswith(b"e OK")
    assert disk.synced == 0


def test_another_change_pays_what_is_owed(spool: Spool, disk: Disk) -> None:
    spool.simple("INBOX", 3)
    client = client_of(spool.root)
    disk.broken = True
    assert client.command(b"a STORE 1 +FLAGS (\\Flagged)")[-1].startswith(b"a NO")
    assert client.command(b"b STORE 2 +FLAGS (\\Seen)")[-1].startswith(b"b NO")
    disk.broken = False
    assert client.command(b"c STORE 3 +FLAGS (\\Seen)")[-1].startswith(b"c OK")


def test_whoever_only_looks_is_served(spool: Spool, disk: Disk) -> None:
    """New mail gets its UID from a reserve that is on the disk; all else can wait."""
    spool.simple("INBOX", 3)
    client = client_of(spool.root)
    disk.broken = True
    assert client.command(b"a STORE 1 +FLAGS (\\Flagged)")[-1].startswith(b"a NO")
    spool.put("INBOX", b"Subject: new\n\nnews\n", None)
    lines = client.command(b"b NOOP")
    assert b"* 4 EXISTS" in lines
    assert lines[-1].startswith(b"b OK")
    assert client.command(b"c SELECT INBOX")[-1].startswith(b"c OK")
    assert client.command(b"d FETCH 1 (FLAGS)")[-1].startswith(b"d OK")


@pytest.mark.parametrize("fsync", ["delivery", "never"])
def test_other_settings_owe_nothing(spool: Spool, disk: Disk, fsync: str) -> None:
    spool.simple("INBOX", 3)
    client = client_of(spool.root, fsync)
    disk.broken = True
    assert client.command(b"a STORE 1 +FLAGS (\\Flagged)")[-1].startswith(b"a OK")
