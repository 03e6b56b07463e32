"""What readers of others' mail have seen under Dovecot, with a private index each, they have seen under ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from client import Client
from dovecot import DovecotUser, is_24
from running import start_server, stop_server

pytestmark = [pytest.mark.interop, pytest.mark.skipif(is_24(), reason="the configuration is one of Dovecot 2.3's")]

CONFIG = """
namespace shared {{
  type = shared
  prefix = shared/%%u/
  separator = /
  location = maildir:{base}/%%u/Maildir:LAYOUT=LAYOUT:INDEXPVT={base}/seen/%u/%%u
  list = children
  subscriptions = no
}}
namespace public {{
  type = public
  prefix = Public/
  separator = /
  location = maildir:{base}/public:LAYOUT=LAYOUT:INDEXPVT={base}/seen/%u
  list = children
  subscriptions = no
}}
plugin {{
  acl_shared_dict = file:{base}/shares
}}
"""
BODY = "Subject: x\r\n\r\nx"
READER = ("shared/u0", "shared/u0/Work/2024", "Public/News")


def appends(name: str, count: int) -> list[str]:
    return [f"APPEND {name} {{{len(BODY)}+}}\r\n{BODY}"] * count


def seen(lines: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in lines if " FETCH " in line and "\\Seen" in line]


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
def test_it_is_read_on(tmp_path: Path, layout: str) -> None:
    news = tmp_path / "public" / (".News" if layout == "maildir++" else "News")
    for name in ("cur", "new", "tmp"):
        (news / name).mkdir(parents=True)
    (news / "dovecot-acl").write_text("anyone lrsi\n")
    more = CONFIG.replace("=LAYOUT", f"={layout}")
    owner, reader = (DovecotUser(tmp_path, user, more, options=f":LAYOUT={layout}") for user in ("u0", "u1"))
    count = 8
    owner.talk(
        "CREATE Work/2024",
        *appends("Work/2024", count),
        *appends("INBOX", count),
        *appends("Public/News", count),
        "SETACL Work/2024 u1 lrs",
        "SETACL INBOX u1 lrs",
    )
    for name in READER:
        reader.talk(
            f'SELECT "{name}"',
            "STORE 1:6 +FLAGS (\\Seen)",
            "STORE 2 -FLAGS (\\Seen)",
            "STORE 4 -FLAGS (\\Seen)",
        )
    assert any((tmp_path / "seen").rglob("dovecot.index.pvt.log"))
    before = {name: seen(reader.talk(f'SELECT "{name}"', "FETCH 1:* FLAGS")) for name in READER}
    assert before == {name: [1, 3, 5, 6] for name in READER}
    running = start_server(
        tmp_path,
        f"--namespaces=Public/: type=public, location=maildir:{tmp_path}/public:LAYOUT={layout}, private_seen=yes, "
        f"private_index={tmp_path}/seen/%u",
        f"--namespaces=shared/%u/: type=others, private_seen=yes, private_index={tmp_path}/seen/%u/%%u",
        f"--mail-location=maildir:{tmp_path}/%n/Maildir:LAYOUT={layout}",
        f"--acl-shared-list={tmp_path}/shares",
        "--delimiter=/",
        *(["--mail-user=nobody"] if os.geteuid() == 0 else []),
        users=3,
        system_users=os.geteuid() == 0,
    )
    try:
        client = Client.to(running.port, user="u1")
        for name in READER:
            assert client.said(f"SELECT {name}").startswith("OK")
            lines = [line.decode() for line in client.command("FETCH 1:* FLAGS")]
            assert seen(lines) == before[name], name
            client.command("STORE 1 -FLAGS (\\Seen)")
        # From then on it is ours to say.
        again = Client.to(running.port, user="u1")
        again.command("SELECT shared/u0")
        assert seen([line.decode() for line in again.command("FETCH 1:* FLAGS")]) == [3, 5, 6]
        own = Client.to(running.port, user="u0")
        own.command("SELECT INBOX")
        assert seen([line.decode() for line in own.command("FETCH 1:* FLAGS")]) == []
    finally:
        stop_server(running)
