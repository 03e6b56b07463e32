"""Shared and public mail beside the real Dovecot: the same spool, the same lists, the same view of them.

What a mail program with a view of shared folders asks: NAMESPACE, then LIST, LSUB and MYRIGHTS of what is there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from client import Client
from dovecot import DovecotUser, is_24
from running import Running, open_to_all, start_server, stop_server

pytestmark = [pytest.mark.interop, pytest.mark.skipif(is_24(), reason="the configuration is one of Dovecot 2.3's")]

USERS = ("u0", "u1", "u2")
CONFIG = """
namespace shared {{
  type = shared
  prefix = shared/%%u/
  separator = /
  location = maildir:{base}/%%u/Maildir
  list = children
  subscriptions = no
}}
namespace public {{
  type = public
  prefix = Public/
  separator = /
  location = maildir:{base}/public
  list = children
  subscriptions = no
}}
plugin {{
  acl_shared_dict = file:{base}/shares
}}
"""


class Ours:
    """The same of a running server of ours."""

    def __init__(self, running: Running, user: str) -> None:
        self._client = Client.to(running.port, user=user)

    def ask(self, *commands: str) -> list[str]:
        return [line.decode() for command in commands for line in self._client.command(command)]


def listed(lines: list[str], kind: str = "LIST") -> dict[str, set[str]]:
    """Of LIST: by name the attributes that both servers tell."""
    found = {}
    for line in lines:
        match = re.fullmatch(rf'\* {kind} \(([^)]*)\) "/" "?([^"]*)"?', line)
        if match:
            words = {word.lower() for word in match[1].split()} & {"\\noselect", "\\haschildren", "\\hasnochildren"}
            found[match[2]] = words
    return found


VIEWS = ('LIST "" "*"', 'LIST "" "%"', 'LIST "" "shared/%"', 'LIST "" "shared/%/%"', 'LIST "shared/u0/" "*"')


def view(who: DovecotUser | Ours) -> dict[str, object]:
    """All that one user is shown."""
    found: dict[str, object] = {pattern: listed(who.ask(pattern)) for pattern in VIEWS}
    found["LSUB"] = sorted(listed(who.ask('LSUB "" "*"'), "LSUB"))
    names = [name for name, words in listed(who.ask(VIEWS[0])).items() if "\\noselect" not in words]
    rights = {}
    for name in names:
        said = [line for line in who.ask(f'MYRIGHTS "{name}"') if line.startswith("* MYRIGHTS")]
        rights[name] = set(said[0].split()[-1]) & set("lrwstipekxa") if said else set()
    found["MYRIGHTS"] = rights
    # Dovecot tells the figures to who has "l" alone, where RFC 4314 4 wants "r".
    readable = [name for name in names if "r" in rights[name]]
    status = who.ask(*[f'STATUS "{name}" (MESSAGES UIDNEXT UIDVALIDITY)' for name in readable])
    found["STATUS"] = sorted(line.replace('"', "") for line in status if line.startswith("* STATUS"))
    return found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for user in USERS:
        for name in ("cur", "new", "tmp"):
            (tmp_path / user / "Maildir" / name).mkdir(parents=True)
    for name in ("cur", "new", "tmp"):
        (tmp_path / "public" / ".News" / name).mkdir(parents=True)
    (tmp_path / "public" / ".News" / "dovecot-acl").write_text("anyone lrs\nuser=u2 lrsia\n")
    return tmp_path


def serve(base: Path) -> Running:
    return start_server(
        base,
        f"--namespaces=Public/: type=public, location=maildir:{base}/public",
        "--namespaces=shared/%u/: type=others",
        f"--acl-shared-list={base}/shares",
        "--delimiter=/",
        "--mirror=dovecot",
        # As whom Dovecot runs, where it has to be somebody.
        *(["--mail-user=nobody"] if os.geteuid() == 0 else []),
        users=3,
        system_users=os.geteuid() == 0,
    )


def test_before_and_after(base: Path) -> None:
    """Dovecot first, then ours on what it left, then Dovecot again on what ours did."""
    theirs = {user: DovecotUser(base, user, CONFIG) for user in USERS}
    body = "Subject: x\r\n\r\nx"
    theirs["u0"].ask(
        "CREATE Work",
        "CREATE Work/2024",
        "CREATE Private",
        f"APPEND Work {{{len(body)}+}}\r\n{body}",
        "SETACL Work u1 lrswt",
        "SETACL Work/2024 u1 lr",
        "SETACL Work u2 l",
        "SETACL Work/2024 u2 l",
        "SETACL INBOX u2 lr",
    )
    theirs["u1"].ask("SUBSCRIBE shared/u0/Work", "SUBSCRIBE Public/News", "SUBSCRIBE INBOX")
    before = {user: view(theirs[user]) for user in USERS}
    open_to_all(base)
    running = serve(base)
    try:
        ours = {user: Ours(running, user) for user in USERS}
        for user in USERS:
            assert view(ours[user]) == before[user], user
        ours["u1"].ask("SELECT shared/u0/Work", "STORE 1 +FLAGS (\\Seen)", "SUBSCRIBE shared/u0/Work/2024")
        ours["u0"].ask("SETACL Private u2 lr", "DELETEACL Work/2024 u2", "DELETEACL Work u2")
        after = {user: view(ours[user]) for user in USERS}
    finally:
        Client.close_all()
        stop_server(running)
    if os.geteuid() == 0:
        theirs["u0"].own()
    for user in USERS:
        assert view(theirs[user]) == after[user], user
    assert any("\\Seen" in line for line in theirs["u0"].ask("SELECT Work", "FETCH 1 FLAGS"))
