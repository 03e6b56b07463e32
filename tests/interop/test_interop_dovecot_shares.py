"""The list of shares beside the real Dovecot: it reads what we write, and we read and change what it writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dovecot import Dovecot, acl, is_24
from running import program

from maildir_imapd.store.account import Account
from maildir_imapd.store.records.acl import Kind, Who
from maildir_imapd.store.records.shares import ShareList

pytestmark = pytest.mark.interop

PREFIX = "shared/shared-boxes/"
MAP_24 = """
acl_sharing_map {{
  dict file {{
    path = {path}
  }}
}}
"""


class Dictionary:
    """A file dictionary of Dovecot's."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "shared-mailboxes"
        self._dovecot = Dovecot(tmp_path, acl() + MAP_24.format(path=self.path) if is_24() else "")
        # 2.4 has it by the name of the block that says where it is.
        self._name = "acl_sharing_map" if is_24() else f"file:{self.path}"

    def do(self, verb: str, *words: str) -> str:
        command = [program("doveadm"), "-c", str(self._dovecot.config), "dict", verb]
        # Options come before the name there.
        options = [word for word in words if word == "-R"]
        command += [*options, self._name, *[word for word in words if word != "-R"]]
        done = subprocess.run(command, capture_output=True, text=True, env=self._dovecot.environment, check=True)
        return done.stdout

    def keys(self) -> set[str]:
        lines = self.do("iter", "-R", PREFIX).splitlines()
        return {line.rstrip("1").rstrip() for line in lines if line.startswith(PREFIX)}


@pytest.fixture
def dictionary(tmp_path: Path) -> Dictionary:
    return Dictionary(tmp_path)


def test_it_reads_what_we_write(dictionary: Dictionary) -> None:
    shares = ShareList(bytes(dictionary.path))
    shares.put("ann@example.org", [Who(Kind.USER, "bob"), Who(Kind.GROUP, "a b\\c"), Who(Kind.AUTHENTICATED)])
    shares.put("änn", [Who(Kind.GROUP, "/staff")])
    assert dictionary.keys() == {
        PREFIX + "user/bob/ann@example.org",
        PREFIX + "group/a b\\c/ann@example.org",
        PREFIX + "anyone/ann@example.org",
        PREFIX + "group//staff/änn",
    }


def test_we_read_and_keep_what_it_writes(dictionary: Dictionary) -> None:
    shares = ShareList(bytes(dictionary.path))
    dictionary.do("set", PREFIX + "user/bob/ann", "1")
    assert shares.owners("bob", []) == ("ann",)
    dictionary.do("set", PREFIX + "group/a\tb/dan", "1")
    dictionary.do("set", PREFIX + "anyone/eve", "1")
    dictionary.do("set", "shared/other", "\tx\n")
    assert shares.owners("bob", ["a\tb"]) == ("ann", "dan", "eve")
    shares.put("dan", [Who(Kind.ANYONE)])
    assert "\tx\n" in dictionary.do("get", "shared/other")
    assert dictionary.keys() == {PREFIX + "user/bob/ann", PREFIX + "anyone/dan", PREFIX + "anyone/eve"}
    dictionary.do("unset", PREFIX + "anyone/dan")
    assert shares.everybody() == ("ann", "eve")


@pytest.mark.skipif(is_24(), reason="the setting is one of Dovecot 2.3's")
def test_its_own_setacl_and_ours_write_the_same(tmp_path: Path) -> None:
    """What SETACL of Dovecot puts into its list is what ours does, and each goes on with the other's."""
    path = tmp_path / "shared-mailboxes"
    (tmp_path / "Maildir").mkdir()
    plugin = f"plugin {{\n  acl_shared_dict = file:{path}\n}}\n"
    dovecot = Dovecot(tmp_path, acl() + plugin)
    given = [("bob", "lr"), ("$team", "l"), ("joe", "r"), ("witness", "lr"), ("-eve", "l"), ("authenticated", "l")]
    dovecot.talk("CREATE Work", *[f"SETACL Work {who} {rights}" for who, rights in given])
    theirs = path.read_bytes().split(b"\n")
    path.unlink()
    account = Account(bytes(tmp_path / "Maildir"), fsync="never")
    listed = ShareList(bytes(path))
    listed.put("witness", account.acls.shown()[0])
    assert sorted(theirs) == sorted(path.read_bytes().split(b"\n"))
    assert b"shared/shared-boxes/user/bob/witness" in theirs
    dovecot.own()
    dovecot.talk("DELETEACL Work bob", "DELETEACL Work authenticated")
    assert listed.of("witness") == {Who(Kind.GROUP, "team")}
