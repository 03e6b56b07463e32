"""ACL beside the real Dovecot: it reads what we write, we read what it writes, and both mean the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dovecot import Dovecot, acl
from memory import MemoryWires

pytestmark = pytest.mark.interop

# Files for the user "witness", who owns the mailbox.
FILES = (
    "owner lr\n",
    "user=witness lr\n",
    "anyone lr\n",
    "authenticated lr\n-anyone r\n",
    "owner lrwstipekxa\nuser=witness lr\n",
    "user=witness l\nowner lrwi\n",
    "-owner w\n",
    "owner lrw\n-user=witness w\n",
    "owner lr\n-owner w\nowner ws\n",
    "owner lr :custom1 delete\n",
    "owner :delete lookup\n",
    "# comment\n\nowner  lr\n",
    '"owner" l\n',
    '"-owner" l\n',
    "user=Witness l\n",
    "owner lrsa\ngroup-override=x l\n",
)

COMMANDS = (
    "CREATE Work",
    "GETACL Work",
    "MYRIGHTS Work",
    "SETACL Work bob lrs",
    "SETACL Work bob +cda",
    "SETACL Work -bob w",
    "SETACL Work carl lrwstipekxa",
    "SETACL Work carl -dr",
    'SETACL Work "a b" lr',
    'SETACL Work "-a b" l',
    "SETACL Work $team lc",
    "SETACL Work anyone l",
    "SETACL Work authenticated lr",
    "SETACL Work bob lrQ",
    "SETACL Work bob lq",
    "GETACL Work",
    "DELETEACL Work bob",
    "DELETEACL Work nobody",
    "DELETEACL Work anyone",
    "GETACL Work",
    "SETACL Work witness lr",
    "GETACL Work",
    "MYRIGHTS Work",
    "SETACL Work witness +k",
)

# For another process: Dovecot keeps in mind for a while what it has read.
LATER = (
    "CREATE Work.New",
    "GETACL Work.New",
    "SELECT Work",
    "UNSELECT",
    "APPEND Work {14+}\r\nSubject: x\r\n\r\n",
    "DELETE Work",
    "GETACL Nobody",
)


def meaning(lines: list[str]) -> list[object]:
    """Rights as sets, identifiers in any order; of tagged lines the status."""
    found: list[object] = []
    for line in lines:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|[^ ]+', line)]
        if line.startswith("* ACL"):
            found.append({who: frozenset(rights) for who, rights in zip(words[3::2], words[4::2], strict=True)})
        elif line.startswith("* MYRIGHTS"):
            found.append(frozenset(words[3]))
        elif match := re.match(r"t\d+ (OK|NO|BAD)", line):
            found.append(match[0])
    return found


def ours(root: Path, *commands: str) -> list[str]:
    wires = MemoryWires(root)
    client = wires.connect(login=False)
    client.command(b"L LOGIN ann secret")
    # The same name as Dovecot's user.
    client.session.user = "witness"
    lines = []
    for number, command in enumerate(commands):
        lines += [line.decode() for line in client.command(f"t{number} {command}".encode())]
    return lines


def test_the_same_commands_mean_the_same(tmp_path: Path) -> None:
    (tmp_path / "Maildir").mkdir()
    dovecot = Dovecot(tmp_path, acl())
    for commands in (COMMANDS, LATER):
        theirs = meaning(dovecot.talk(*commands))
        assert meaning(ours(tmp_path / "ours", *commands)) == theirs


def test_files_mean_the_same(tmp_path: Path) -> None:
    commands = [f"MYRIGHTS f{n}" for n in range(len(FILES))]
    dovecot = Dovecot(tmp_path, acl())
    (tmp_path / "Maildir").mkdir()
    dovecot.talk(*[f"CREATE f{n}" for n in range(len(FILES))])
    for n, text in enumerate(FILES):
        (tmp_path / "Maildir" / f".f{n}" / "dovecot-acl").write_text(text)
    theirs = meaning(dovecot.talk(*commands))
    assert len(theirs) == 2 * len(FILES)
    assert meaning(ours(tmp_path / "Maildir", *commands)) == theirs


def test_each_reads_what_the_other_writes(tmp_path: Path) -> None:
    dovecot = Dovecot(tmp_path, acl())
    (tmp_path / "Maildir").mkdir()
    names = (
        "bob",
        "-bob",
        '"a b"',
        '"-a b"',
        '"q\\"x\\\\y z"',
        "$team",
        "-$team",
        '"$big team"',
        "anyone",
        "authenticated",
    )
    theirs = [f"SETACL Theirs {name} lrs" for name in names]
    mine = [f"SETACL Ours {name} lrs" for name in names]
    dovecot.talk("CREATE Theirs", "CREATE Ours", *theirs)
    assert all(" OK" in line for line in ours(tmp_path / "Maildir", *mine))
    dovecot.own()
    ask = ("GETACL Theirs", "GETACL Ours")
    said = meaning(dovecot.talk(*ask))
    assert said == meaning(ours(tmp_path / "Maildir", *ask))
    assert said[0] == said[2]
