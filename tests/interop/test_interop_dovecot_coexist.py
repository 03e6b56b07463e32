"""The real Dovecot and we on one mailbox at the same time: no message is lost, none has two UIDs."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from dovecot import Dovecot
from memory import MemoryClient
from migration import look
from talker import Talker, meddle, ours

from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places

pytestmark = [pytest.mark.interop, pytest.mark.slow]

STEPS = 400


@pytest.mark.parametrize(
    ("seed", "seconds", "nested"),
    [
        pytest.param(0, 0, False, id="maildir++"),
        pytest.param(1, 0, False, id="maildir++ again"),
        pytest.param(2, 0, True, id="fs with a control directory"),
        pytest.param(3, 60, False, id="a minute"),
    ],
)
def test_both_at_once(seed: int, seconds: int, nested: bool, tmp_path: Path) -> None:
    options = ":LAYOUT=fs:CONTROL={home}/control:INDEX={home}/index" if nested else ""
    dovecot = Dovecot(tmp_path, options=options, separator="/" if nested else ".")
    control = str(tmp_path / "control") if nested else ""
    for apart in ("control", "index") if nested else ():
        (tmp_path / apart).mkdir()
    text = "Subject: first\r\n\r\nbody\r\n"
    dovecot.talk(*[f"APPEND INBOX () {{{len(text)}+}}\r\n{text}"] * 6)
    dovecot.own()
    owner = [str(dovecot.uid), str(dovecot.gid)] if os.geteuid() == 0 else []
    theirs = Talker(dovecot.start(), "Dovecot")
    try:
        with ours("dovecot", tmp_path, *owner, seed=seed, steps=STEPS, seconds=seconds, control=control) as we:
            append = "APPEND INBOX () {17+}\r\nSubject: theirs\r\n"
            added = 6 + meddle(theirs, we, random.Random(seed + 100), STEPS, append) + we.added()
        theirs.command("LOGOUT")
    finally:
        theirs.end()

    places = Places(
        os.fsencode(tmp_path / "Maildir"), kind="fs" if nested else "maildir++", control=os.fsencode(control) or None
    )
    account = Account(places, fsync="never", mirror="dovecot", coexist=True)
    client = MemoryClient(account)
    client.read_line()
    client.command(b"l LOGIN ann secret")

    def talk(*commands: str) -> list[str]:
        return [line.decode() for command in commands for line in client.command(f"a {command}".encode())]

    mine, their = look(talk, ("INBOX",))["INBOX"], look(dovecot.talk, ("INBOX",))["INBOX"]
    assert set(mine[2]) ^ set(their[2]) == set(), dovecot.log()
    assert mine == their
    assert (tmp_path / "Maildir" / "dovecot-uidlist").exists() is not nested, "the control directory is where it lies"
    _, uidnext, messages = mine
    uids = [int(message.split()[0]) for message in messages]
    assert len(uids) == len(set(uids)) == sum(len(os.listdir(tmp_path / "Maildir" / sub)) for sub in ("cur", "new"))
    # Every message got one UID and no more: none was taken for gone and numbered again.
    assert int(uidnext) - 1 == added
