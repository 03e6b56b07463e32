"""The real Courier and we on one mailbox at the same time: no message is lost, none has two UIDs."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from courier import Courier
from memory import MemoryClient
from migration import look
from spool import Spool
from talker import Talker, meddle, ours

from maildir_imapd.store.account import Account

pytestmark = [pytest.mark.interop, pytest.mark.slow]

STEPS = 200


def client_of(courier: Courier, *, coexist: bool) -> MemoryClient:
    account = Account(os.fsencode(courier.home / "Maildir"), fsync="never", coexist=coexist)
    client = MemoryClient(account)
    client.read_line()
    client.command(b"l LOGIN ann secret")
    return client


def ask(client: MemoryClient, *commands: str) -> list[str]:
    return [line.decode() for command in commands for line in client.command(f"a {command}".encode())]


def state(client: MemoryClient) -> tuple[str, list[str]]:
    validity, _, messages = look(lambda *commands: ask(client, *commands), ("INBOX",))["INBOX"]
    return validity, messages


def made(tmp_path: Path, count: int) -> Courier:
    courier = Courier(tmp_path)
    Spool(tmp_path / "Maildir").simple("INBOX", count)
    courier.talk("SELECT INBOX", "STORE 1 +FLAGS (mark)")
    return courier


def test_the_quick_way_back(tmp_path: Path) -> None:
    """Nobody runs release: we stop, and Courier starts."""
    courier = made(tmp_path, 4)
    client = client_of(courier, coexist=False)
    ask(client, "SELECT INBOX", "STORE 2 +FLAGS (later \\Seen)", "STORE 1 FLAGS (urgent)", "STORE 3 +FLAGS (\\Deleted)")
    ask(client, "EXPUNGE", "APPEND INBOX (new) {9+}\r\nA: b\r\n\r\nc")
    ours = state(client)
    ask(client, "LOGOUT")
    assert "later" in str(ours)
    validity, _, messages = look(courier.talk, ("INBOX",))["INBOX"]
    assert (validity, messages) == ours
    # And what Courier does next is there when we come again.
    courier.talk("SELECT INBOX", "STORE 1 -FLAGS (urgent)", "STORE 2 +FLAGS (\\Flagged)", "STORE 3 +FLAGS (theirs)")
    validity, _, messages = look(courier.talk, ("INBOX",))["INBOX"]
    assert state(client_of(courier, coexist=False)) == (validity, messages)
    assert "theirs" in str(messages)
    assert "later" in str(messages)


def test_each_sees_what_the_other_does(tmp_path: Path) -> None:
    courier = made(tmp_path, 3)
    client = client_of(courier, coexist=True)
    assert ask(client, "SELECT INBOX")[-1].startswith("a OK")
    theirs = Talker(courier.start(), "Courier")
    theirs.command("SELECT INBOX")
    ask(client, "STORE 2 +FLAGS (ours)")
    assert any(b"2 FETCH" in line and b"ours" in line for line in theirs.command("NOOP"))
    theirs.command("STORE 3 +FLAGS (theirs)")
    assert any("3 FETCH" in line and "theirs" in line for line in ask(client, "NOOP"))
    theirs.command("STORE 2 -FLAGS (ours)")
    assert any("2 FETCH" in line and "ours" not in line for line in ask(client, "NOOP"))
    theirs.command("LOGOUT")
    theirs.end()


@pytest.mark.parametrize(("seed", "seconds"), [(0, 0), (1, 20)])
def test_both_at_once(seed: int, seconds: int, tmp_path: Path) -> None:
    courier = made(tmp_path, 6)
    theirs = Talker(courier.start(), "Courier")
    try:
        with ours("courier", tmp_path, seed=seed, steps=STEPS, seconds=seconds) as we:
            append = "APPEND INBOX () {15}\r\nSubject: theirs"
            added = 6 + meddle(theirs, we, random.Random(seed + 100), STEPS, append) + we.added()
        theirs.command("LOGOUT")
    finally:
        theirs.end()
    validity, _, messages = look(courier.talk, ("INBOX",))["INBOX"]
    client = client_of(courier, coexist=True)
    assert state(client) == (validity, messages)
    uids = [int(message.split()[0]) for message in messages]
    assert len(uids) == len(set(uids)) == sum(len(os.listdir(tmp_path / "Maildir" / sub)) for sub in ("cur", "new"))
    # Every message got one UID and no more.
    uidnext = next(line for line in ask(client, "STATUS INBOX (UIDNEXT)") if "UIDNEXT" in line)
    assert int(uidnext.rstrip(")").split()[-1]) - 1 == added
