"""Each right, each command, each namespace: made of the table of RFC 4314 4, and of what later RFCs add to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from memory import MemoryClient
from shared_mail import SharedMail

# RFC 4314 4, without the columns of single rights' names: "+" is required, "?" and "*" as there.
TABLE = """
   LIST               | + |   |   |   |   |   |   |   |   |   |   |   |
   SUBSCRIBE          | * |   |   |   |   |   |   |   |   |   |   | * |
   UNSUBSCRIBE        |   |   |   |   |   |   |   |   |   |   |   | + |
   LSUB               | * |   |   |   |   |   |   |   |   |   |   | * |
   CREATE             |   |   |   |   |   | + |   |   |   |   |   |   |
   DELETE             |   | ? |   |   |   |   | + | ? | ? |   |   |   |
   RENAME             |   |   |   |   |   | + | + |   |   |   |   |   |
   SELECT             |   | + |   |   |   |   |   |   |   |   |   |   |
   EXAMINE            |   | + |   |   |   |   |   |   |   |   |   |   |
   STATUS             |   | + |   |   |   |   |   |   |   |   |   |   |
   SETACL             |   |   |   |   |   |   |   |   |   | + |   |   |
   DELETEACL          |   |   |   |   |   |   |   |   |   | + |   |   |
   GETACL             |   |   |   |   |   |   |   |   |   | + |   |   |
   LISTRIGHTS         |   |   |   |   |   |   |   |   |   | + |   |   |
   MYRIGHTS           |   |   |   |   |   |   |   |   |   |   | + |   |
   APPEND             |   |   | ? | ? | + |   |   | ? |   |   |   |   |
   COPY               |   |   | ? | ? | + |   |   | ? |   |   |   |   |
   EXPUNGE            |   |   |   |   |   |   |   |   | + |   |   |   |
   CLOSE              |   |   |   |   |   |   |   |   | ? |   |   |   |
   FETCH              |   |   | ? |   |   |   |   |   |   |   |   |   |
   STORE              |   |   | ? | ? |   |   |   | ? |   |   |   |   |
"""
LETTERS = "lrswikxtea"
ANY = frozenset("lrikxa")
ALL = frozenset("lrwstipekxa")
# Each right alone, all but one, all and none; "p" is for others' programs and lets nobody do anything here.
SETS = sorted({frozenset(), ALL, *(frozenset(each) for each in ALL), *(ALL - {each} for each in ALL)}, key=sorted)


def required() -> Iterator[tuple[str, frozenset[str]]]:
    """Each command with the rights that it must have."""
    for line in TABLE.strip().splitlines():
        command, *marks = (each.strip() for each in line.strip().strip("|").split("|"))
        yield command, frozenset(letter for letter, mark in zip(LETTERS, marks, strict=False) if mark == "+")


REQUIRED = dict(required())
# RFC 5464 3.3, RFC 7377 2.1 with 3.2 there, RFC 9208 6, RFC 6851 4.2.
REQUIRED |= {"GETQUOTAROOT": frozenset("r"), "ESEARCH": frozenset("r"), "MOVE": frozenset("rte")}


@dataclass
class Case:
    """A user with some rights to one mailbox, and all rights to its parent and to a mailbox beside it."""

    client: MemoryClient
    owner: MemoryClient
    top: bytes
    folder: Path
    rights: frozenset[str]

    def ok(self, line: bytes) -> bool:
        last = self.client.command(b"t " + line)[-1]
        assert last.startswith((b"t OK", b"t NO ")), last
        return last.startswith(b"t OK")

    def told(self, line: bytes) -> bytes:
        return self.client.command(b"t " + line)[-1]

    @property
    def name(self) -> bytes:
        return self.top + b"/Box"


def acl(folder: Path, who: str, rights: frozenset[str]) -> None:
    (folder / "dovecot-acl").write_text(f"{who} {''.join(sorted(rights))}\n")


def case(root: Path, kind: str, rights: frozenset[str]) -> Case:
    mail = SharedMail(root)
    owner = "public" if kind == "public" else "ann" if kind == "own" else "bob"
    account = mail.accounts[owner]
    for name in ("Top", "Top/Box", "Top/Beside"):
        account.create(name)
    who = "owner" if kind == "own" else "user=ann"
    for name in ("Top", "Top/Beside"):
        acl(Path(os.fsdecode(account.folder_of(name))), who, ALL)
    folder = Path(os.fsdecode(account.folder_of("Top/Box")))
    acl(folder, who, rights)
    (folder / "cur" / "1500000000.M1P1.h:2,").write_bytes(b"Subject: one\n\none\n")
    (folder / "cur" / "1500000001.M2P1.h:2,T").write_bytes(b"Subject: two\n\ntwo\n")
    if kind == "other":
        mail.share("bob", "ann")
    top = {"own": b"Top", "other": b"shared/bob/Top", "public": b"Public/Top"}[kind]
    return Case(mail.client("ann"), mail.client("bob"), top, folder, rights)


def has(lines: list[bytes], name: bytes) -> bool:
    return any(line.endswith(b" " + name) for line in lines)


def flags(folder: Path) -> list[str]:
    """What stands behind the names of the messages, in the order of their names."""
    return [each.name.partition(":2,")[2] for each in sorted((folder / "cur").iterdir())]


@pytest.mark.long
@pytest.mark.parametrize("rights", SETS, ids=lambda rights: "".join(sorted(rights)) or "none")
@pytest.mark.parametrize("kind", ["own", "other", "public"])
def test_names_and_lists(tmp_path: Path, kind: str, rights: frozenset[str]) -> None:
    it = case(tmp_path, kind, rights)
    name = it.name
    assert has(it.client.command(b'l LIST "" *'), name) == (rights >= REQUIRED["LIST"])
    assert it.ok(b"SUBSCRIBE " + name) == ("l" in rights)
    it.client.command(b"s UNSUBSCRIBE " + name)
    for command in (b"EXAMINE", b"SELECT"):
        assert it.ok(b"%b %b" % (command, name)) == (rights >= REQUIRED[command.decode()]), command
    assert it.ok(b"STATUS %b (MESSAGES)" % name) == (rights >= REQUIRED["STATUS"])
    assert it.ok(b"GETACL " + name) == (rights >= REQUIRED["GETACL"])
    assert it.ok(b"LISTRIGHTS %b carol" % name) == (rights >= REQUIRED["LISTRIGHTS"])
    assert it.ok(b"MYRIGHTS " + name) == bool(rights & ANY)
    assert it.ok(b"GETQUOTAROOT " + name) == (rights >= REQUIRED["GETQUOTAROOT"])
    assert it.ok(b"GETMETADATA %b (/shared/comment)" % name) == ("l" in rights and bool(rights & set("rswip")))
    assert it.ok(b'SETMETADATA %b (/shared/comment "x")' % name) == ("l" in rights and bool(rights & set("rswip")))
    found = it.client.command(b"e ESEARCH IN (mailboxes %b) RETURN (COUNT) ALL" % name)
    assert any(b"ESEARCH" in line for line in found[:-1]) == (rights >= REQUIRED["ESEARCH"])
    if not rights >= REQUIRED["STATUS"]:
        code = b"NO [NOPERM]" if "l" in rights else b"NO [NONEXISTENT]"
        assert it.told(b"STATUS %b (MESSAGES)" % name).startswith(b"t " + code)
    assert it.ok(b"CREATE %b/New" % name) == (rights >= REQUIRED["CREATE"])
    assert it.ok(b"RENAME %b/Beside %b/In" % (it.top, name)) == ("k" in rights)
    assert it.ok(b"SETACL %b carol lr" % name) == (rights >= REQUIRED["SETACL"])
    assert it.ok(b"DELETEACL %b carol" % name) == (rights >= REQUIRED["DELETEACL"])
    assert it.ok(b"RENAME %b %b/Other" % (name, it.top)) == ("x" in rights)
    there = name if "x" not in rights else it.top + b"/Other"
    assert it.ok(b"DELETE " + there) == (rights >= REQUIRED["DELETE"])


@pytest.mark.long
@pytest.mark.parametrize("rights", SETS, ids=lambda rights: "".join(sorted(rights)) or "none")
@pytest.mark.parametrize("kind", ["own", "other", "public"])
def test_messages(tmp_path: Path, kind: str, rights: frozenset[str]) -> None:
    it = case(tmp_path, kind, rights)
    name, client = it.name, it.client
    body = b"Subject: x\r\n\r\nx\r\n"
    assert it.ok(b"APPEND %b (\\Seen \\Deleted \\Flagged) {%d+}\r\n%b" % (name, len(body), body)) == ("i" in rights)
    may = {"s": "S", "t": "T", "w": "F"}
    if "i" in rights:
        kept = "".join(sorted(letter for right, letter in may.items() if right in rights))
        assert flags(it.folder)[-1] == kept
    client.command(b"a APPEND %b/Beside (\\Seen \\Deleted \\Flagged) {%d+}\r\n%b" % (it.top, len(body), body))
    client.command(b"b SELECT %b/Beside" % it.top)
    assert it.ok(b"COPY 1 " + name) == (rights >= REQUIRED["COPY"])
    if "i" in rights:
        assert flags(it.folder)[-1] == "".join(sorted(letter for right, letter in may.items() if right in rights))
    if not it.ok(b"SELECT " + name):
        return
    client.command(b"c FETCH 1 BODY[]")
    assert ("S" in flags(it.folder)[0]) == ("s" in rights)
    for flag, right in ((b"\\Flagged", "w"), (b"\\Seen", "s"), (b"\\Deleted", "t"), (b"Word", "w")):
        assert it.ok(b"STORE 1 +FLAGS (%b)" % flag) == (right in rights), flag
        assert it.ok(b"STORE 1 -FLAGS (%b)" % flag) == (right in rights), flag
    moved = it.ok(b"MOVE 1 %b/Beside" % it.top)
    assert moved == (rights >= REQUIRED["MOVE"])
    before = len(flags(it.folder))
    assert it.ok(b"EXPUNGE") == (rights >= REQUIRED["EXPUNGE"])
    assert (len(flags(it.folder)) < before) == ("e" in rights)
    assert it.ok(b"CLOSE")
