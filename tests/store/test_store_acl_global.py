"""Rights that an administrator says of mailboxes by their names: what is read, how they combine, when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import MailboxMissing, NoPermission, StoreError
from maildir_imapd.store.account import Account
from maildir_imapd.store.records import acl_global
from maildir_imapd.store.records.acl import AclRules, Kind, Who, in_order
from maildir_imapd.store.records.acl_global import GlobalAcls, read

BOB = Who(Kind.USER, "bob")


@pytest.fixture(autouse=True)
def _looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_global, "LOOK_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "global"


def account(tmp_path: Path, rules: AclRules) -> Account:
    made = Account(bytes(tmp_path / "Maildir"), fsync="never")
    made.acls.rules = rules
    return made


def rights(of: Account, mailbox: str, user: str = "ann", groups: tuple[str, ...] = (), *, owner: bool = True) -> str:
    acl = of.acls.read(mailbox)
    assert acl is not None
    return in_order(acl.rights(user, groups, owner=owner))


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("INBOX", ["INBOX"], ["inbox", "INBOX.a", "xINBOX"]),
        ("*", ["INBOX", "a", "a/b"], []),
        ("a/*", ["a/b", "a/b/c", "a/"], ["a", "ab"]),
        ("*x**y", ["xy", "1x2y"], ["xyz"]),
        ("a?c", ["abc", "a.c"], ["ac", "abbc", "aäc"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[a]", ["[a]"], ["a"]),
        ('"a b"', ["a b"], ["a", '"a b"']),
        ('"a\\"\\\\*"', ['a"\\', 'a"\\x'], ["a"]),
    ],
)
def test_patterns(path: Path, pattern: str, matches: list[str], others: list[str]) -> None:
    path.write_text(f"# a comment\n\n{pattern} owner lr\n")
    general = GlobalAcls(bytes(path))
    assert [name for name in matches if not general.of(name)] == []
    assert [name for name in others if general.of(name)] == []


@pytest.mark.parametrize(
    "line", ["INBOX", "INBOX ", " owner lr", "x nobody lr", "x owner lrZ", '"x owner lr', "x \xff"]
)
def test_a_line_that_is_none(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        read(b"* owner lr\n" + line.encode("latin-1") + b"\n")


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    try:
        found = read(data)
    except ValueError as error:
        found, why = (), str(error)
    else:
        why = "line"
    assert why.startswith("line")
    assert all(each.entry.rights <= frozenset("lrwstipekxa") for each in found)


@pytest.mark.parametrize(
    ("own", "general", "owner", "bob"),
    [
        ("", "* anyone lr", "lr", "lr"),
        ("", "* owner lr", "lr", ""),
        ("", "* user=bob lr", "lrwstipekxa", "lr"),
        ("owner lrw\n", "* anyone l", "l", "l"),
        ("user=bob lrwi\n", "* anyone l", "l", "l"),
        ("user=bob lrwi\n", "* group=ga r", "lrwstipekxa", "r"),
        ("user=bob lrwi\n", "* group=gz r", "lrwstipekxa", "lrwi"),
        ("-user=bob lr\n", "* anyone lrs", "lrs", "lrs"),
        ("-user=bob lr\n", "* user=joe lrs", "lrwstipekxa", ""),
        ("user=bob lrw\n-user=bob r\n", "* -anyone w", "lrstipekxa", "lr"),
        ("anyone lr\n", "* anyone lrs\n* -user=bob r", "lrs", "ls"),
        ("", "* anyone lr\nB* anyone s\nx anyone w", "lrs", "lrs"),
        ("", "* group=ga l\n* group=gb r\n* group-override=gb i", "lrwstipekxa", "i"),
    ],
)
def test_what_is_general_counts_last(tmp_path: Path, path: Path, own: str, general: str, owner: str, bob: str) -> None:
    path.write_text(general + "\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path))))
    of.create("Box")
    (tmp_path / "Maildir" / ".Box" / "dovecot-acl").write_text(own)
    assert rights(of, "Box") == owner
    assert rights(of, "Box", "bob", ("ga", "gb"), owner=False) == bob


def test_a_mailbox_that_no_pattern_means_is_free(tmp_path: Path, path: Path) -> None:
    path.write_text("Archive* owner lr\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path))))
    of.create("Archive")
    of.create("Work")
    assert of.acls.among(of.paths()) == {bytes(tmp_path / "Maildir" / ".Archive")}
    assert of.listing.limited(of.folders()) == {bytes(tmp_path / "Maildir" / ".Archive")}
    assert rights(of, "INBOX") == rights(of, "Work") == "lrwstipekxa"


def test_a_name_follows_a_rename(tmp_path: Path, path: Path) -> None:
    path.write_text("Archive* owner lr\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path))))
    of.create("Work")
    assert rights(of, "Work") == "lrwstipekxa"
    of.rename("Work", "Archive.Work")
    assert rights(of, "Archive.Work") == "lr"


def test_a_change_of_the_file_counts(tmp_path: Path, path: Path) -> None:
    path.write_text("INBOX owner lr\n")
    general = GlobalAcls(bytes(path))
    of = account(tmp_path, AclRules(general))
    assert rights(of, "INBOX") == "lr"
    assert of.listing.limited(of.folders())
    turn = general.turn()
    path.write_text("Other owner lr\n")
    os.utime(path, (1, 1))
    assert general.turn() != turn
    assert rights(of, "INBOX") == "lrwstipekxa"
    assert not of.listing.limited(of.folders())


def test_a_file_that_has_become_bad_is_as_it_was(tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("INBOX owner lr\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path))))
    assert rights(of, "INBOX") == "lr"
    path.write_text("INBOX owner lr\nINBOX nonsense\n")
    assert rights(of, "INBOX") == rights(of, "INBOX") == "lr"
    path.unlink()
    assert rights(of, "INBOX") == "lr"
    assert [record.getMessage() for record in caplog.records].count("acl_global not read") == 2


@pytest.mark.parametrize("kind", ["missing", "bad", "pipe", "long"])
def test_one_that_never_was_read_lets_nobody_in(tmp_path: Path, path: Path, kind: str) -> None:
    if kind == "bad":
        path.write_text("INBOX nonsense\n")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "long":
        path.write_bytes(b"#" * (2 << 20))
    general = GlobalAcls(bytes(path))
    with pytest.raises((OSError, ValueError, StoreError)):
        general.demand()
    of = account(tmp_path, AclRules(general))
    with pytest.raises(StoreError):
        of.acls.read("INBOX")
    assert of.acls.among(of.paths()) == set(of.paths())
    assert of.known().rights == {"INBOX": None}


def test_a_directory_of_files(tmp_path: Path, path: Path) -> None:
    path.mkdir()
    (path / "INBOX").write_text("owner lr\n")
    (path / "Dir").mkdir()
    (path / "Dir" / ".DEFAULT").write_text("owner l\n")
    (path / "Dir.Sub").write_text("nonsense\n")
    (path / ".DEFAULT").write_text("user=bob lrs\n")
    (tmp_path / "outside").write_text("user=bob lrwstipekxa\n")
    general = GlobalAcls(bytes(path))
    of = account(tmp_path, AclRules(general))
    for name in ("Dir", "Dir.Sub", "Work"):
        of.create(name)
    assert rights(of, "INBOX") == "lr"
    assert rights(of, "Dir") == "l"
    assert rights(of, "Work") == "lrwstipekxa"
    with pytest.raises(StoreError):
        of.acls.read("Dir.Sub")
    assert rights(of, "Work", "bob", owner=False) == "lrs"
    assert rights(of, "Work", "joe", owner=False) == ""
    (tmp_path / "Maildir" / ".Work" / "dovecot-acl").write_text("user=bob l\n")
    assert rights(of, "Work", "bob", owner=False) == "l"
    assert general.of("../outside") == general.of("a/../../outside") == general.of("x\0") == ()


def test_who_is_not_meant_has_the_rights_of_inbox(tmp_path: Path) -> None:
    of = account(tmp_path, AclRules(from_inbox=True))
    of.create("Work")
    of.create("Home")
    (tmp_path / "Maildir" / "dovecot-acl").write_text("owner lr\nuser=bob lrs\n")
    (tmp_path / "Maildir" / ".Home" / "dovecot-acl").write_text("user=joe l\n-user=eve r\n")
    assert rights(of, "Work") == "lrwstipekxa"
    assert rights(of, "Work", "bob", owner=False) == "lrs"
    assert rights(of, "Home", "bob", owner=False) == "lrs"
    assert rights(of, "Home", "joe", owner=False) == "l"
    assert rights(of, "Home", "eve", owner=False) == ""
    (tmp_path / "Maildir" / "dovecot-acl").write_text("user=bob lrs\nnonsense\n")
    assert rights(of, "Home", "bob", owner=False) == ""


def test_files_that_do_not_count(tmp_path: Path, path: Path) -> None:
    path.write_text("INBOX user=bob lr\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path)), files=False))
    (tmp_path / "Maildir" / "dovecot-acl").write_text("owner l\nuser=bob lrwstipekxa\n")
    assert rights(of, "INBOX") == "lrwstipekxa"
    assert rights(of, "INBOX", "bob", owner=False) == "lr"
    with pytest.raises(NoPermission):
        of.acls.change("INBOX", lambda acl: acl)


def test_only_the_mailboxs_own_lines_are_written_and_inherited(tmp_path: Path, path: Path) -> None:
    path.write_text("* user=joe lr\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path))))
    of.create("Work")
    of.acls.change("Work", lambda acl: acl.put(BOB, frozenset("lr"), negative=False))
    of.create("Work.Sub")
    for folder in (".Work", ".Work.Sub"):
        assert (tmp_path / "Maildir" / folder / "dovecot-acl").read_text() == "user=bob lr\n"
    with pytest.raises(MailboxMissing):
        of.acls.change("None", lambda acl: acl)


def test_whom_something_is_shown_to(tmp_path: Path, path: Path) -> None:
    path.write_text("Work* user=joe lr\n* owner lr\n* group=staff r\n")
    of = account(tmp_path, AclRules(GlobalAcls(bytes(path))))
    told: list[tuple[frozenset[Who], bool]] = []
    of.acls.shared = lambda to, whole: told.append((to, whole))
    of.create("Work")
    assert told[-1] == ({Who(Kind.USER, "joe")}, True)
    of.acls.change("INBOX", lambda acl: acl.put(BOB, frozenset("lr"), negative=False))
    assert told[-1] == ({Who(Kind.USER, "joe"), BOB}, True)
    of.rename("Work", "Home")
    assert told[-1] == ({BOB}, True)
