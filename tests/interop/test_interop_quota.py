"""Everybody says the same of a quota that leaves a mailbox out: we in all ways there are, the file, and Dovecot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asked import Asker
from client import Client
from dovecot import Dovecot, is_24
from lmtp_talker import Lmtp
from running import Running, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.store.records.quota import parse

pytestmark = pytest.mark.interop

K = 1024
STORAGE, MESSAGES = 40 * K, 50
PLUGIN_23 = """
mail_plugins = quota
protocol imap {{
  mail_plugins = quota imap_quota
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage={storage}B:messages={messages}
  quota_rule2 = Trash:ignore
}}
"""
PLUGIN_24 = """
mail_plugins {{
  quota = yes
}}
protocol imap {{
  mail_plugins {{
    imap_quota = yes
  }}
}}
quota "User quota" {{
  driver = maildir
  storage_size = {storage}B
  message_count = {messages}
}}
namespace inbox {{
  mailbox Trash {{
    quota_ignore = yes
  }}
}}
"""


@dataclass
class Site:
    """One spool, with a server of ours on it and the other one to ask."""

    running: Running
    theirs: Dovecot
    spool: Spool
    config: Path

    def told(self) -> dict[str, tuple[int, int]]:
        """What each says is used: octets, in KiB where that is all one hears, and messages."""
        said = subprocess.run(
            [
                sys.executable,
                "-m",
                "maildir_imapd",
                "quota",
                "show",
                "--user=witness",
                "--json",
                f"--config={self.config}",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        row = json.loads(said.stdout)
        row = row[0] if isinstance(row, list) else row
        with Client.to(self.running.port, user="witness") as client:
            client.send(b"q GETQUOTAROOT INBOX\r\n")
            ours = b"\n".join(client.until("q OK")).decode()
        theirs = "\n".join(self.theirs.talk("GETQUOTAROOT INBOX"))
        file = parse((self.spool.root / "maildirsize").read_bytes()).used
        return {
            "command": (row["storage"], row["messages"]),
            "file": (file.storage, file.messages),
            "ours": _resources(ours),
            "theirs": _resources(theirs),
        }

    def used(self) -> tuple[int, int]:
        """What lies on the disk, but for Trash."""
        files = [
            path
            for name in ("INBOX", "Sent")
            for sub in ("cur", "new")
            for path in (self.spool.path(name) / sub).iterdir()
        ]
        return sum(path.stat().st_size for path in files), len(files)


def _resources(said: str) -> tuple[int, int]:
    storage, messages = re.search(r"STORAGE (\d+) ", said), re.search(r"MESSAGE (\d+) ", said)
    assert storage is not None, said
    assert messages is not None, said
    return int(storage[1]), int(messages[1])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    plugin = (PLUGIN_24 if is_24() else PLUGIN_23).format(storage=STORAGE, messages=MESSAGES)
    open_to_all(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    theirs = Dovecot(home, plugin)
    spool = Spool(home / "Maildir")
    spool.simple("INBOX", 5)
    for name in ("Sent", "Trash"):
        spool.folder(name)
        spool.simple(name, 3)
    theirs.own()
    users = tmp_path / "users"
    root = os.geteuid() == 0
    owner = f"{theirs.uid}:{theirs.gid}" if root else ":"
    users.write_text(f"witness:{{PLAIN}}secret:{owner}::{home}::\n")
    given = {
        "passwd_file": str(users),
        "mail_location": "maildir:~/Maildir",
        "quota_storage": STORAGE,
        "quota_messages": MESSAGES,
        "mirror": "dovecot",
        "coexist": True,
    }
    config = tmp_path / "ours.toml"
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in given.items()]
    config.write_text("".join(lines) + 'quota_exceptions = ["Trash: ignore"]\n')
    options = [f"--{name.replace('_', '-')}={'yes' if value is True else value}" for name, value in given.items()]
    running = start_server(
        tmp_path,
        *options,
        "--quota-exceptions=Trash: ignore",
        "--lmtp-listen=127.0.0.1:0",
        "--policy-socket=127.0.0.1:0",
        users=1,
        system_users=root,
    )
    yield Site(running, theirs, spool, config)
    Client.close_all()
    stop_server(running)


def do(site: Site, *commands: str) -> None:
    with Client.to(site.running.port, user="witness") as client:
        for command in commands:
            client.ok(command)


TEXT = "Subject: x\r\n\r\n" + "y" * 3000 + "\r\n"


def append(mailbox: str) -> str:
    return f"APPEND {mailbox} {{{len(TEXT)}+}}\r\n{TEXT}"


def theirs(*commands: str) -> Callable[[Site], object]:
    return lambda site: site.theirs.talk(*commands)


def ours(*commands: str) -> Callable[[Site], object]:
    return lambda site: do(site, *commands)


STEPS: list[tuple[str, Callable[[Site], object]]] = [
    ("as it is", lambda site: None),
    ("we append", ours(append("INBOX"), append("Trash"))),
    ("we copy", ours("SELECT INBOX", "COPY 1 Trash", "COPY 2 Sent")),
    ("we move", ours("SELECT INBOX", "MOVE 1 Trash", "SELECT Trash", "MOVE 1 Sent")),
    ("they append", theirs(append("INBOX"), append("Trash"))),
    ("they copy", theirs("SELECT INBOX", "COPY 1 Trash")),
    ("they move", theirs("SELECT Trash", "MOVE 1 INBOX")),
    ("they count", lambda site: site.theirs.doveadm("quota", "recalc", "-u", "witness")),
    (
        "we remove",
        ours(
            "SELECT Trash",
            "STORE 1 +FLAGS (\\Deleted)",
            "EXPUNGE",
            "SELECT Sent",
            "STORE 1 +FLAGS (\\Deleted)",
            "EXPUNGE",
        ),
    ),
    ("they remove", theirs("SELECT INBOX", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE")),
    ("they count again", lambda site: site.theirs.doveadm("quota", "recalc", "-u", "witness")),
]


def test_everybody_says_the_same(site: Site) -> None:
    for what, step in STEPS:
        step(site)
        octets, messages = site.used()
        kib = {octets // K, -(-octets // K)}
        told = site.told()
        for who, (storage, count) in told.items():
            assert count == messages, (what, who, told, octets, messages)
            assert storage == octets if who in ("command", "file") else storage in kib, (what, who, told, octets)


def test_there_is_room_or_none_for_everybody(site: Site) -> None:
    """With the grace of deliveries, which is the other server's, too; and none for clients."""
    site.told()
    octets, _ = site.used()
    most = STORAGE + STORAGE // 10 - octets
    with (
        Lmtp(("127.0.0.1", site.running.ports["lmtp"])) as lmtp,
        Asker(("127.0.0.1", site.running.ports["policy"])) as policy,
    ):
        for to, size, room in (
            ("witness", most, True),
            ("witness", most + 1, False),
            ("witness", 1, True),
            ("witness+Sent", most + 1, False),
            ("witness+trash", 10 * STORAGE, True),
            ("witness+nowhere", most + 1, False),
        ):
            assert lmtp.command(f"MAIL FROM:<a@example.org> SIZE={size}".encode()).startswith("250 ")
            said = lmtp.command(f"RCPT TO:<{to}>".encode())
            assert said[:3] == ("250" if room else "552"), (to, size, said)
            assert lmtp.command(b"RSET").startswith("250 ")
            fields = {"request": "smtpd_access_policy", "recipient": to, "size": size}
            policy.send("".join(f"{name}={value}\n" for name, value in fields.items()).encode() + b"\n")
            assert policy.line().startswith(b"action=DUNNO" if room else b"action=552"), (to, size)
            assert policy.line() == b"\n"
    room = STORAGE - octets
    for size, answer in ((room + 100, "NO [OVERQUOTA]"), (room - 100, "OK")):
        # Line ends are shorter on the disk.
        text = "x: y\n\n" + "z" * (size - 6)
        with Client.to(site.running.port, user="witness") as client:
            client.send(f"a APPEND Sent {{{len(text)}+}}\r\n{text}\r\n".encode())
            assert client.until("a ")[-1].startswith(f"a {answer}".encode())
