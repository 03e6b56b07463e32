"""The mailboxes of a user: what there is, and changing it, also when the process dies in between."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from crash import Died
from spool import Spool

from maildir_imapd.errors import (
    BadMailboxName,
    CannotDo,
    HasChildren,
    MailboxExists,
    MailboxMissing,
    NotSelectable,
)
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir import scan
from maildir_imapd.store.maildir.flat import MaildirPlusPlus
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.records import subscriptions


@pytest.fixture
def account(spool: Spool) -> Account:
    return Account(os.fsencode(spool.root), fsync="never")


def names(account: Account) -> list[str]:
    return [folder.name for folder in account.folders()]


def test_root_is_made_private(tmp_path: Path) -> None:
    root = tmp_path / "new" / "Maildir"
    Account(os.fsencode(root))
    assert sorted(entry.name for entry in root.iterdir()) == ["cur", "new", "tmp"]
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_mailbox_that_is_made_while_one_looks_is_missing_or_there(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never a name that nothing can be selected under."""
    true = MaildirPlusPlus.find

    def find(layout: MaildirPlusPlus, name: str) -> bytes | None:
        found = true(layout, name)
        if name == "X" and found is None:
            monkeypatch.undo()
            account.create("X")
        return found

    monkeypatch.setattr(MaildirPlusPlus, "find", find)
    with pytest.raises(MailboxMissing):
        account.mailbox("X")
    assert account.mailbox("X").uidvalidity


def test_folders_with_implied_parents(account: Account, spool: Spool) -> None:
    spool.folder("a.b.c")
    (spool.root / ".not-a-maildir").mkdir()
    (spool.root / "..hidden" / "cur").mkdir(parents=True)
    (spool.root / "file").touch()
    rows = {folder.name: (folder.selectable, folder.children) for folder in account.folders()}
    assert rows == {"INBOX": (True, False), "a": (False, True), "a.b": (False, True), "a.b.c": (True, False)}
    with pytest.raises(NotSelectable):
        account.mailbox("a.b")
    with pytest.raises(MailboxMissing):
        account.mailbox("x")


def test_names_in_utf8_from_courier_are_found(account: Account, spool: Spool) -> None:
    (spool.root / ".été" / "cur").mkdir(parents=True)
    for sub in ("new", "tmp"):
        (spool.root / ".été" / sub).mkdir()
    assert "été" in names(account)
    assert account.mailbox("été").path.endswith(".été".encode())


def test_links_are_not_followed_where_none_is_to_be(spool: Spool, tmp_path: Path) -> None:
    account = Account(os.fsencode(spool.root), fsync="never", follow_links="no")
    outside = Spool(tmp_path / "outside")
    outside.simple("INBOX", 1)
    os.symlink(outside.root, spool.root / ".link")
    spool.folder("half")
    os.rename(spool.root / ".half" / "cur", spool.root / ".half" / "was")
    os.symlink(outside.root / "cur", spool.root / ".half" / "cur")
    assert names(account) == ["INBOX"]
    for name in ("link", "half"):
        with pytest.raises(MailboxMissing):
            account.mailbox(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "a.",
        ".a",
        "a/b",
        "../a",
        "~a",
        "a.~b",
        "a\0b",
        "a\nb",
        "a\x7f",
        "x" * 256,
        ".".join("a" * 17),
    ],
)
def test_names_that_are_refused(account: Account, name: str) -> None:
    with pytest.raises(BadMailboxName):
        account.create(name)


def test_other_delimiters() -> None:
    layout = MaildirPlusPlus(Places(b"/spool"), "/")
    assert layout.path("a/b") == b"/spool/.a.b"
    assert layout.name(b".a.b") == "a/b"
    with pytest.raises(BadMailboxName):
        layout.path("a.b/c")


def test_create_makes_parents_and_a_whole_maildir(account: Account, spool: Spool) -> None:
    account.create("a.b")
    assert names(account) == ["INBOX", "a", "a.b"]
    made = sorted(entry.name for entry in (spool.root / ".a.b").iterdir())
    assert made == ["cur", "maildirfolder", "new", "tmp"]
    with pytest.raises(MailboxExists):
        account.create("a.b")
    with pytest.raises(MailboxExists):
        account.create("a")


def test_a_change_by_another_process_is_seen(account: Account, spool: Spool) -> None:
    assert names(account) == ["INBOX"]
    spool.folder("late")
    assert names(account) == ["INBOX", "late"]
    os.rename(spool.root / ".late", spool.root / ".moved")
    assert names(account) == ["INBOX", "moved"]


def test_uidvalidity_never_repeats(account: Account, spool: Spool) -> None:
    seen = set()
    for _ in range(5):
        account.create("box")
        seen.add(account.mailbox("box").sync().uidvalidity)
        account.delete("box")
    assert len(seen) == 5


def test_delete(account: Account, spool: Spool) -> None:
    spool.folder("a")
    spool.folder("a.b")
    box = account.mailbox("a")
    account.delete("a")
    assert box.gone
    assert names(account) == ["INBOX", "a", "a.b"]
    with pytest.raises(HasChildren):
        account.delete("a")
    account.delete("a.b")
    assert names(account) == ["INBOX"]
    assert not [entry for entry in os.listdir(spool.root) if entry.startswith("..")]


def test_rename_with_children(account: Account, spool: Spool) -> None:
    for name in ("a", "a.b", "a.b.c", "ab"):
        spool.folder(name)
    spool.simple("a.b", 2)
    before = account.mailbox("a.b").sync()
    account.rename("a", "x.y")
    assert names(account) == ["INBOX", "ab", "x", "x.y", "x.y.b", "x.y.b.c"]
    after = account.mailbox("x.y.b").sync()
    assert (after.uidvalidity, list(after.uids)) == (before.uidvalidity, list(before.uids))
    with pytest.raises(CannotDo):
        account.rename("x", "x.z")
    with pytest.raises(MailboxExists):
        account.rename("ab", "x")
    with pytest.raises(MailboxMissing):
        account.rename("nothing", "q")


def test_rename_of_inbox_moves_its_messages(account: Account, spool: Spool) -> None:
    spool.simple("INBOX", 3, "S")
    spool.folder("INBOX.child")
    account.rename("INBOX", "old")
    assert len(account.mailbox("INBOX").sync()) == 0
    assert len(account.mailbox("old").sync()) == 3
    assert "INBOX.child" in names(account)


def test_rename_is_finished_after_a_crash(spool: Spool, dying: list[int]) -> None:
    """Die at every step: afterwards all children have the old name, or after a restart all the new one."""
    for moment in range(1, 30):
        account = Account(os.fsencode(spool.root), fsync="never")
        for name in ("a", "a.b", "a.c", "a.c.d"):
            if name not in names(account):
                spool.folder(name)
        dying[0] = moment
        try:
            account.rename("a", "z")
        except Died:
            died = True
        else:
            died = False
        dying[0] = 0
        found = names(Account(os.fsencode(spool.root), fsync="never"))
        assert found in (
            ["INBOX", "a", "a.b", "a.c", "a.c.d"],
            ["INBOX", "z", "z.b", "z.c", "z.c.d"],
        ), moment
        if "z" in found:
            for name in ("z.c.d", "z.c", "z.b", "z"):
                Account(os.fsencode(spool.root), fsync="never").delete(name)
        if not died:
            break
    else:
        pytest.fail("it never came to an end")


def test_subscriptions_keep_their_version(account: Account, spool: Spool) -> None:
    spool.folder("a.é")
    spool.folder("b")
    account.subscribe("a.é")
    assert (spool.root / "subscriptions").read_bytes() == b"V\t2\n\na\t&AOk-\n"
    (spool.root / "subscriptions").write_bytes(b"inbox\na.&AOk-\ngone.for.good\n")
    assert account.subscriptions() == ["INBOX", "a.é", "gone.for.good"]
    account.subscribe("b")
    account.unsubscribe("gone.for.good")
    assert (spool.root / "subscriptions").read_bytes() == b"INBOX\na.&AOk-\nb\n"
    account.unsubscribe("gone.for.good")
    assert account.subscriptions() == ["INBOX", "a.é", "b"]
    with pytest.raises(MailboxMissing):
        account.subscribe("nothing")


def test_subscriptions_know_inbox_in_any_case() -> None:
    assert subscriptions.parse(b"V\t2\n\ninbox\tSub\nInbox\n", ".")[0] == ["INBOX.Sub", "INBOX"]


def test_subscription_escapes() -> None:
    listed, version = subscriptions.parse(b"V\t2\n\nA\x01tB\tC\n", ".")
    assert (listed, version) == (["A\tB.C"], 2)
    assert subscriptions.render(["A.B"], ".", 1) == b"A.B\n"


def test_special_use_by_name_and_by_choice(account: Account, spool: Spool) -> None:
    for name in ("Sent", "Trash", "Mine"):
        spool.folder(name)
    assert account.special_use() == {"Sent": (b"\\Sent",), "Trash": (b"\\Trash",)}
    account.set_special_use("Mine", (b"\\Sent",))
    assert account.special_use() == {"Mine": (b"\\Sent",), "Trash": (b"\\Trash",)}
    account.rename("Mine", "Out")
    assert account.special_use() == {"Out": (b"\\Sent",), "Trash": (b"\\Trash",)}


def test_prefix(spool: Spool) -> None:
    spool.folder("Sent")
    (spool.root / "subscriptions").write_bytes(b"V\t2\n\nINBOX\nSent\n")
    account = Account(os.fsencode(spool.root), fsync="never", prefix="INBOX.")
    assert names(account) == ["INBOX", "INBOX.Sent"]
    assert account.subscriptions() == ["INBOX", "INBOX.Sent"]
    assert account.special_use() == {"INBOX.Sent": (b"\\Sent",)}
    account.create("INBOX.a.b")
    assert (spool.root / ".a.b" / "cur").is_dir()
    account.subscribe("INBOX.a.b")
    assert (spool.root / "subscriptions").read_bytes() == b"V\t2\n\nINBOX\nSent\na\tb\n"
    account.rename("INBOX.a", "INBOX.c")
    assert names(account) == ["INBOX", "INBOX.Sent", "INBOX.c", "INBOX.c.b"]
    for name in ("outside", "INBOX.", "Sent"):
        with pytest.raises(BadMailboxName):
            account.create(name)


def test_prefix_where_courier_was(spool: Spool) -> None:
    spool.folder("Sub.Deep")
    (spool.root / "courierimapuiddb").write_text("1 5 1\n")
    (spool.root / "courierimapsubscribed").write_text("INBOX\nINBOX.Sub.Deep\n")
    account = Account(os.fsencode(spool.root), fsync="never")
    assert names(account) == ["INBOX", "INBOX.Sub", "INBOX.Sub.Deep"]
    assert account.subscriptions() == ["INBOX", "INBOX.Sub.Deep"]
    account.unsubscribe("INBOX")
    assert (spool.root / "courierimapsubscribed").read_text() == "INBOX.Sub.Deep\n"


def test_the_next_folder_is_another_one_though_it_has_the_inode(spool: Spool) -> None:
    """A RENAME is told by what identifies a folder (RFC 5465 5.4), and file systems give an inode again at once."""
    if scan.born(scan.AT_FDCWD, os.fsencode(spool.root)) is None:
        pytest.skip("this file system does not say when a file was made")
    account = Account(os.fsencode(spool.root), fsync="never")
    account.create("a")
    before = account.known().mailboxes["a"]
    for _ in range(5):
        account.delete("a")
        account.create("b")
        assert account.known().mailboxes["b"] != before
        account.rename("b", "a")
        before = account.known().mailboxes["a"]
    account.rename("a", "c")
    assert account.known().mailboxes["c"] == before


@pytest.mark.parametrize("before", [1, 2])
def test_a_rename_that_another_program_gets_in_the_way_of_is_taken_back(
    before: int, account: Account, spool: Spool
) -> None:
    spool.simple("a", 1)
    spool.simple("a.b", 1)
    left = [before]

    def step(action: str, what: object) -> None:
        left[0] -= action == "rename"
        if left[0] == 0:
            durable.step = None
            spool.folder("z" if what == os.fsencode(spool.path("z")) else "z.b")

    durable.step = step
    with pytest.raises(MailboxExists):
        account.rename("a", "z")
    made = "z" if before == 1 else "z.b"
    assert [name for name in names(account) if name != "z"] == sorted({"INBOX", "a", "a.b", made} - {"z"})
    assert [len(account.mailbox(name).sync()) for name in ("a", "a.b")] == [1, 1]
    # Nor does the next start do what the client was told has not been done.
    again = Account(os.fsencode(spool.root), fsync="never")
    assert {"a", "a.b"} <= set(names(again))
    assert not [entry.name for entry in spool.root.iterdir() if "rename" in entry.name]


def test_a_rename_of_what_another_program_removes_finds_it_missing(account: Account, spool: Spool) -> None:
    spool.simple("a", 1)

    def step(action: str, what: object) -> None:
        if action == "rename":
            durable.step = None
            shutil.rmtree(spool.path("a"))

    durable.step = step
    with pytest.raises(MailboxMissing):
        account.rename("a", "z")
    assert names(account) == ["INBOX"]


@pytest.mark.parametrize("text", [b"9" * 31, b"4294967295", b"99999999999", b"x", b"-5", b""])
def test_a_damaged_counter_of_uidvalidity_counts_for_nothing(text: bytes, account: Account, spool: Spool) -> None:
    (spool.root / "maildir-imapd.uidvalidity").write_bytes(text)
    seen = []
    for name in ("a", "b"):
        account.create(name)
        seen.append(account.mailbox(name).sync().uidvalidity)
    assert 0 < seen[0] < seen[1] < 2**32
