"""dovecot-acl: what is read, who may do what, and that nothing of the file is lost when a line is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import MailboxMissing, StoreError
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.records import acl
from maildir_imapd.store.records.acl import ALL, NONE, OWNER, Acl, Entry, Kind, Who, in_order, parse, render

BOB = Who(Kind.USER, "bob")


def rights(text: str, user: str = "ann", groups: tuple[str, ...] = (), *, owner: bool = True) -> str:
    return in_order(parse(text.encode()).rights(user, groups, owner=owner))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lrwstipekxa"),
        ("owner lr\n", "lr"),
        ("user=ann lr\n", "lr"),
        ("anyone lr\n", "lrwstipekxa"),
        ("authenticated lr\n-anyone r\n", "lrwstipekxa"),
        ("group=ga lr\n", "lrwstipekxa"),
        ("owner lrwstipekxa\nuser=ann lr\n", "lr"),
        ("user=ann l\nowner lrwi\n", "l"),
        ("-owner w\n", "lrstipekxa"),
        ("owner lrw\n-user=ann w\n", "lr"),
        ("owner lr\n-owner w\nowner ws\n", "lrs"),
        ("owner lr :custom1 delete\n", "lrx"),
        ("owner lr:delete\n", "lrx"),
        ("owner :delete lookup\n", "lx"),
        ("owner lr :delete,expunge\n", "lrex"),
        ("# comment\n\nowner  lr\n", "lr"),
        ("owner\n", ""),
        ('"owner" l\n', "l"),
        ('"-owner" l\n', "rwstipekxa"),
        ("user=Ann l\n", "lrwstipekxa"),
        ("group-override=ga lr\nowner lrs\n", "lr"),
        ("group-override=ga lr\ngroup-override=gb lw\n", "lrw"),
        ("-group-override=ga l\n-group-override=gb r\n", "wstipekxa"),
    ],
)
def test_the_owner_as_dovecot_has_it(text: str, expected: str) -> None:
    assert rights(text, groups=("ga", "gb")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("owner lrwstipekxa\n", ""),
        ("anyone lr\n", "lr"),
        ("anonymous lr\n", "lr"),
        ("anyone lr\nauthenticated l\n", "l"),
        ("anyone lr\nuser=bob\n", ""),
        ("anyone lr\n-user=bob r\n", "l"),
        ("user=bob lrs\nuser=ann a\n", "lrs"),
        ("group=ga lr\ngroup=gc lrwi\n", "lr"),
        ("group=ga lr\nuser=bob lrs\n-group-override=gb s\n", "lr"),
        # What is not understood may be what keeps him out.
        ("anyone lr\n-usr=bob lr\n", ""),
        ("anyone lr\nuser=bob lrZ\n", ""),
    ],
)
def test_others(text: str, expected: str) -> None:
    assert rights(text, "bob", ("ga", "gb"), owner=False) == expected


NAMES = st.text(st.characters(blacklist_characters="\n", blacklist_categories=("Cs",)), max_size=12)
WHO = st.one_of(
    st.sampled_from([OWNER, Who(Kind.ANYONE), Who(Kind.AUTHENTICATED)]),
    st.builds(Who, st.sampled_from([Kind.USER, Kind.GROUP, Kind.GROUP_OVERRIDE]), NAMES),
)
ENTRIES = st.builds(
    Entry, WHO, st.booleans(), st.frozensets(st.sampled_from(sorted(ALL))), st.sampled_from([(), (b"x", b"y")])
)


@given(st.lists(ENTRIES))
def test_what_is_written_is_read(entries: list[Entry]) -> None:
    assert parse(render(Acl(tuple(entries)))) == Acl(tuple(entries))


@given(st.binary(max_size=100))
def test_reading_never_fails_and_loses_no_line(data: bytes) -> None:
    found = parse(data)
    assert parse(render(found)) == found
    assert len(found.lines) == len(data.removesuffix(b"\n").split(b"\n")) or not data
    in_order(found.rights("bob", owner=False))


def test_changing_one_line_keeps_the_others() -> None:
    text = b"# ours\nowner lrw :own-word\n\nbogus line\n-user=bob w\nuser=bob lr\nuser=bob s\n"
    found = parse(text).put(BOB, frozenset("lra"), negative=False).put(OWNER, frozenset("l"), negative=False)
    assert render(found) == b"# ours\nowner l :own-word\n\nbogus line\n-user=bob w\nuser=bob lra\n"
    assert render(found.put(BOB, None, negative=True)) == b"# ours\nowner l :own-word\n\nbogus line\nuser=bob lra\n"
    new = found.put(Who(Kind.USER, "a b"), NONE, negative=True)
    assert render(new).endswith(b'\n"-user=a b" \n')
    assert parse(render(new)) == new


@pytest.fixture
def account(tmp_path: Path) -> Account:
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    account.create("Work")
    return account


def file_of(account: Account, entry: str = ".Work") -> Path:
    return Path(os.fsdecode(account.root)) / entry / "dovecot-acl"


def test_another_program_may_change_it(account: Account) -> None:
    assert account.acls.read("Work") == Acl()
    file = file_of(account)
    file.write_text("owner lr\n")
    os.utime(file, (1, 1))
    assert account.acls.read("Work") is account.acls.read("Work")
    file.write_text("owner l\n")
    found = account.acls.read("Work")
    assert found is not None
    assert found.of(OWNER, negative=False) == {"l"}
    file.unlink()
    assert account.acls.read("Work") == Acl()
    assert account.acls.read("Nobody") is None


def test_a_file_that_cannot_be_read_gives_no_rights(account: Account) -> None:
    file_of(account).symlink_to("/etc/passwd")
    with pytest.raises(StoreError):
        account.acls.read("Work")


def test_writing(account: Account) -> None:
    root = Path(os.fsdecode(account.root))
    (root / "dovecot-acl-list").write_text("1 Work\n")
    os.chmod(root / ".Work", 0o2750)
    account.acls.change("Work", lambda before: before.put(BOB, frozenset("lr"), negative=False))
    assert file_of(account).read_bytes() == b"user=bob lr\n"
    assert file_of(account).stat().st_mode & 0o777 == 0o640
    # Dovecot makes it anew, and finds what others may see now.
    assert not (root / "dovecot-acl-list").exists()
    account.acls.change("Work", lambda before: before.put(BOB, None, negative=False))
    assert not file_of(account).exists()
    assert [entry.name for entry in (root / ".Work").iterdir() if entry.name.startswith("dovecot-acl")] == []
    with pytest.raises(MailboxMissing):
        account.acls.change("Nobody", lambda before: before)


def test_what_is_refused_changes_nothing(account: Account) -> None:
    def refuse(before: Acl) -> Acl:
        raise KeyError

    file_of(account).write_text("owner lr\n")
    with pytest.raises(KeyError):
        account.acls.change("Work", refuse)
    assert file_of(account).read_text() == "owner lr\n"
    assert not Path(f"{file_of(account)}.lock").exists()


def test_new_mailboxes_have_the_list_of_their_parent(account: Account) -> None:
    file_of(account).write_text("# note\nowner lrk\nuser=bob lr\n")
    account.create("Work.a.b")
    for entry in (".Work.a", ".Work.a.b"):
        assert file_of(account, entry).read_text() == "# note\nowner lrk\nuser=bob lr\n"
    file_of(account, ".").write_text("owner l\n")
    account.create("Top")
    assert not file_of(account, ".Top").exists()


def test_a_directory_with_a_list_keeps_it(tmp_path: Path) -> None:
    account = Account(Places(os.fsencode(tmp_path / "mail"), kind="fs"), fsync="never")
    account.create("a/b/c")
    parent = Path(os.fsdecode(account.root)) / "a"
    (parent / "dovecot-acl").write_text("owner lrk\n")
    account.delete("a/b")
    (parent / "b" / "dovecot-acl").write_text("owner l\n")
    account.create("a/b")
    assert (parent / "b" / "dovecot-acl").read_text() == "owner l\n"


def test_the_cache_doubts_a_young_file(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(account)
    file.write_text("owner lr\n")
    os.utime(file, ns=(1, 10**18))
    monkeypatch.setattr(acl.time, "time", lambda: 10**9 + 1.0)
    account.acls.read("Work")
    # Written in place within the clock's grain: same inode, time and size.
    with file.open("r+") as out:
        out.write("owner lx")
    os.utime(file, ns=(1, 10**18))
    found = account.acls.read("Work")
    assert found is not None
    assert found.of(OWNER, negative=False) == {"l", "x"}


def test_whom_a_list_shows_a_mailbox() -> None:
    lists = [
        parse(b"owner lr\nuser=bob lr\ngroup=staff r\n-user=joe l\n"),
        parse(b"group-override=boss l\nauthenticated r\nnonsense\n"),
        parse(b"anyone l\n"),
    ]
    assert acl.shown_to(lists) == {BOB, Who(Kind.GROUP_OVERRIDE, "boss"), Who(Kind.ANYONE)}


def test_who_wants_to_hear_learns_whom_something_is_shown_to(tmp_path: Path) -> None:
    account = Account(bytes(tmp_path / "Maildir"), fsync="never")
    told: list[tuple[frozenset[Who], bool]] = []
    account.acls.shared = lambda to, whole: told.append((to, whole))
    account.create("Work")
    account.delete("Work")
    account.create("Work")
    assert told == []
    account.acls.change("Work", lambda acl: acl.put(BOB, frozenset("lr"), negative=False))
    assert told == [({BOB}, True)]
    account.acls.change("Work", lambda acl: acl)
    assert len(told) == 1
    account.acls.change("INBOX", lambda acl: acl.put(Who(Kind.GROUP, "staff"), frozenset("l"), negative=False))
    assert told[1:] == [({BOB, Who(Kind.GROUP, "staff")}, True)]
    account.delete("Work")
    assert told[2:] == [({Who(Kind.GROUP, "staff")}, True)]


def test_where_a_list_cannot_be_read_it_may_be_shown_to_more(tmp_path: Path) -> None:
    account = Account(bytes(tmp_path / "Maildir"), fsync="never")
    told: list[tuple[frozenset[Who], bool]] = []
    account.acls.shared = lambda to, whole: told.append((to, whole))
    account.create("Work")
    (tmp_path / "Maildir" / ".Work" / "dovecot-acl").mkdir()
    account.acls.change("INBOX", lambda acl: acl.put(BOB, frozenset("lr"), negative=False))
    assert told == [({BOB}, False)]
