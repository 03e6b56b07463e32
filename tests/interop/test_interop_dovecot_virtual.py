"""The real Dovecot's virtual plugin over the same files and the same spool: it finds what we find."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dovecot import Dovecot, is_24
from memory import MemoryClient

from maildir_imapd.server.virtuals import OfFiles
from maildir_imapd.store.account import Account
from maildir_imapd.store.branch import Branch
from maildir_imapd.store.folder.keeping import Keeping
from maildir_imapd.store.namespaces import Namespaces, OneAccount, SpaceKind
from maildir_imapd.store.virtual_account import VirtualAccount
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import VirtualSources

pytestmark = [pytest.mark.interop, pytest.mark.skipif(is_24(), reason="the configuration is one of Dovecot 2.3's")]

CONFIG = """
mail_plugins = virtual
namespace virtual {{
  prefix = Virtual.
  separator = .
  location = virtual:{home}/virtual:INDEX={home}/virtual-index
}}
"""

FILES = {
    "Unread": "*\n  unseen\n",
    "Left": "*\n-Trash\n-Work.*\n  ALL\n",
    "Exact": "-*\nWork\n*\n  ALL\n",
    "Levels": "%\n  ALL\n",
    "Several": "INBOX\n  flagged\nWork\nWork.Deep\n  or seen subject wanted\n",
    "First": "Work\n  seen\n*\n  unseen\n",
    "Bare": "INBOX\n",
    "Odd": "# a comment\n+INBOX\n\n\nTrash\n\tUNSEEN\n  NOT DELETED\n",
    "Case": "inbox\n  all\n",
    "Keyword": "*\n  KEYWORD mine\n",
    "Size": "*\n  LARGER 100\n",
    "Saved": "!Work\n*\n  UNSEEN\n",
}
MAILBOXES = ("INBOX", "Work", "Work.Deep", "Trash", "Other")


def subjects(lines: list[bytes]) -> list[str]:
    return sorted(line[9:].decode() for line in lines if line.startswith(b"Subject: "))


@pytest.fixture
def dovecot(tmp_path: Path) -> Dovecot:
    (tmp_path / "Maildir").mkdir()
    for name, text in FILES.items():
        (tmp_path / "virtual" / name).mkdir(parents=True)
        (tmp_path / "virtual" / name / "dovecot-virtual").write_text(text)
    dovecot = Dovecot(tmp_path, CONFIG.format(home=tmp_path))
    commands = [f"CREATE {name}" for name in MAILBOXES[1:]]
    for name in MAILBOXES:
        for n, flags in enumerate(["", "\\Seen", "\\Flagged", "\\Seen mine", "\\Deleted"]):
            words = " wanted" if n == 2 else ""
            body = f"Subject: {name} {n}{words}\r\n\r\n" + "x" * (200 * (n % 2)) + "\r\n"
            commands.append(f"APPEND {name} ({flags}) {{{len(body)}+}}\r\n{body}")
    dovecot.talk(*commands)
    return dovecot


def ours(dovecot: Dovecot) -> MemoryClient:
    own = Account(os.fsencode(dovecot.home / "Maildir"), fsync="never", mirror="dovecot", coexist=True)
    space = VirtualSpace(VirtualSources(Namespaces(own), "ann", frozenset(), lists=True))
    files = OfFiles(f"virtual:{dovecot.home}/virtual", "ann", None, ".")
    account = VirtualAccount(own, files, space, Keeping(fsync="never"))
    branch = Branch(account, prefix="Virtual.", delimiter=".", owner="ann", most=frozenset("lrswipte"), inbox="none")
    virtual = OneAccount(SpaceKind.PERSONAL, "Virtual.", lambda: branch, virtual=True)
    client = MemoryClient(Namespaces(own, [virtual], user="ann"))
    client.read_line()
    assert client.command(b"L LOGIN ann secret")[-1].startswith(b"L OK")
    return client


def test_it_finds_what_we_find(dovecot: Dovecot) -> None:
    fetch = "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
    theirs = {}
    for name in FILES:
        lines = dovecot.talk(f"EXAMINE Virtual.{name}", fetch)
        assert any("READ-ONLY" in line for line in lines), (name, lines, dovecot.log())
        theirs[name] = subjects([line.encode() for line in lines])
    client = ours(dovecot)
    found = {}
    for name in FILES:
        assert client.command(b"a EXAMINE Virtual." + name.encode())[-1].startswith(b"a OK"), name
        found[name] = subjects(client.command(b"b " + fetch.encode()))
    assert found == theirs
    assert all(found[name] for name in FILES)


def test_what_one_does_in_it_the_other_sees(dovecot: Dovecot) -> None:
    client = ours(dovecot)
    assert client.command(b"a SELECT Virtual.Several")[-1].startswith(b"a OK")
    assert client.command(b"b STORE 1:* +FLAGS (\\Answered)")[-1].startswith(b"b OK")
    lines = dovecot.talk("SELECT Virtual.Several", "SEARCH RETURN (COUNT) UNANSWERED", "STORE 1 +FLAGS (\\Draft)")
    assert any("COUNT 0" in line for line in lines), lines
    told = client.command(b"c NOOP")
    assert sum(b"\\Draft" in line for line in told) == 1
    body = "Subject: put\r\n\r\nput\r\n"
    dovecot.talk(f"APPEND Virtual.Saved {{{len(body)}+}}\r\n{body}")
    client.command(b"d SELECT Virtual.Saved")
    assert "put" in subjects(client.command(b"e FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
    line = client.command(b"f APPEND Virtual.Saved {%d+}\r\n%b" % (len(body), body.encode()))[-1]
    assert line.startswith(b"f OK [APPENDUID"), line
    lines = dovecot.talk("SELECT Work", "SEARCH RETURN (COUNT) SUBJECT put")
    assert any("COUNT 2" in line for line in lines), lines
