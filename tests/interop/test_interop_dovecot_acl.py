"""ACL beside the real Dovecot: it reads what we write, we read what it writes, and both mean the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dovecot import Dovecot, acl, is_24
from memory import MemoryClient

from maildir_imapd.imap.mailboxes.rights import ANY
from maildir_imapd.store.account import Account
from maildir_imapd.store.records.acl import AclRules
from maildir_imapd.store.records.acl_global import GlobalAcls

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
    # The same name as Dovecot's user.
    client = MemoryClient(Account(bytes(root), fsync="never"), user="witness")
    client.read_line()
    client.command(b"L LOGIN witness secret")
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


# What an administrator says of all users' mailboxes, what stands in the mailbox's own file, and who asks.
GENERAL = (
    "f0 anyone lr",
    "f1 owner lr",
    "f2 user=witness lr",
    "f3 user=bob lrs",
    "f4 anyone l",
    "f5 group=ga r",
    "f6 group=gz r",
    "f7 anyone lrs",
    "f8 user=joe lrs",
    "f9 -anyone w",
    "f10 anyone lrs",
    "f* -user=bob r",
    "f11 group=ga l",
    "f11 group=gb r",
    "f11 group-override=gb i",
    "?12 owner lrx",
    '"f1?" anyone lrw',
    "*4 authenticated lk",
)
OWN = {
    4: "owner lrw\nuser=bob lrwi\n",
    5: "user=bob lrwi\n",
    6: "user=bob lrwi\n",
    7: "-user=bob lr\n-owner l\n",
    8: "-user=bob lr\n",
    9: "owner lrw\nuser=bob lrw\n-user=bob s\n",
    10: "anyone lr\n",
    12: "anyone lrwstipekxa\n",
}


@pytest.mark.skipif(is_24(), reason="the file is one of Dovecot 2.3's")
@pytest.mark.parametrize("user", ["witness", "bob"])
@pytest.mark.parametrize("more", ["", "acl_defaults_from_inbox = yes\n", "acl_globals_only = yes\n"])
def test_what_is_said_of_all_mailboxes_means_the_same(tmp_path: Path, user: str, more: str) -> None:
    said = tmp_path / "global"
    said.write_text("\n".join(GENERAL) + "\n")
    plugin = f"plugin {{\n  acl = vfile:{said}:cache_secs=0\n  acl_groups = ga,gb\n  {more}}}\n"
    (tmp_path / "Maildir").mkdir()
    count = 15
    Dovecot(tmp_path, acl()).talk(*[f"CREATE f{n}" for n in range(count)])
    for n, text in OWN.items():
        (tmp_path / "Maildir" / f".f{n}" / "dovecot-acl").write_text(text)
    (tmp_path / "Maildir" / "dovecot-acl").write_text("owner lrwstipekxa\nuser=bob lrit\n")
    who = "" if user == "witness" else f"plugin {{\n  acl_user = {user}\n}}\n"
    names = ["INBOX", *[f"f{n}" for n in range(count)]]
    lines = Dovecot(tmp_path, acl() + plugin + who).talk(*[f"MYRIGHTS {name}" for name in names])
    theirs = {words[2].strip('"'): words[3] for line in lines if (words := line.split())[1:2] == ["MYRIGHTS"]}
    assert len(theirs) > 5
    account = Account(bytes(tmp_path / "Maildir"), fsync="never")
    account.acls.rules = AclRules(GlobalAcls(bytes(said)), "globals_only" not in more, "from_inbox" in more)
    for name in names:
        found = account.acls.read(name)
        assert found is not None
        ours = found.rights(user, ("ga", "gb"), owner=user == "witness")
        # Who may do nothing that MYRIGHTS is for hears nothing.
        assert ours == frozenset(theirs.get(name, "")) - {"c", "d"} or (name not in theirs and not ours & ANY), name
