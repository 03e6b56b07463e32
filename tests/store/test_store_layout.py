"""Both layouts: names to folders and back, and everything an account does with nested directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash import Died
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import BadMailboxName, HasChildren, MailboxExists, MailboxMissing, NotSelectable
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir import layout
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.maildir.flat import MaildirPlusPlus
from maildir_imapd.store.maildir.layout import Places, split
from maildir_imapd.store.maildir.layouts import KINDS
from maildir_imapd.store.maildir.nested import Nested


def maildir(path: Path) -> Path:
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return maildir(tmp_path / "Mail")


def nested(root: Path, **places: object) -> Account:
    return Account(Places(os.fsencode(root), "fs", **places), fsync="never")  # type: ignore[arg-type]


def names(account: Account) -> list[str]:
    return [folder.name for folder in account.folders()]


def put(path: Path, base: str = "1.M1P1.test", info: str = ":2,") -> None:
    (path / "cur" / (base + info)).write_text("A: b\n\nc\n")


def test_a_tree_of_dovecots(root: Path) -> None:
    maildir(root / "A" / "B" / "C")
    maildir(root / "x.y")
    maildir(root / ".hidden")
    maildir(root / "&AOk-t&AOk-" / "été")
    maildir(root / "INBOX" / "child")
    maildir(root / "dovecot-lists")
    (root / "courierimapkeywords").mkdir()
    (root / "file").touch()
    account = nested(root)
    rows = {folder.name: (folder.selectable, folder.children) for folder in account.folders()}
    assert rows == {
        "INBOX": (True, True),
        ".hidden": (True, False),
        "A": (False, True),
        "A/B": (False, True),
        "A/B/C": (True, False),
        "INBOX/child": (True, False),
        "dovecot-lists": (True, False),
        "x.y": (True, False),
        "été": (False, True),
        "été/été": (True, False),
    }
    assert account.delimiter == "/"
    assert account.mailbox("été/été").path == os.fsencode(root / "&AOk-t&AOk-" / "été")
    with pytest.raises(NotSelectable):
        account.mailbox("A/B")


def test_links_lead_nowhere_where_none_is_followed(root: Path, tmp_path: Path) -> None:
    outside = maildir(tmp_path / "outside")
    maildir(outside / "deep")
    os.symlink(outside, root / "link")
    maildir(root / "real")
    os.symlink(outside, root / "real" / "way")
    (root / "half").mkdir()
    os.symlink(outside / "cur", root / "half" / "cur")
    account = Account(Places(os.fsencode(root), "fs"), fsync="never", follow_links="no")
    assert names(account) == ["INBOX", "half", "real"]
    for name in ("link", "link/deep", "real/way", "real/way/deep", "half"):
        with pytest.raises((MailboxMissing, NotSelectable)):
            account.mailbox(name)
    for name in ("link", "link/fresh", "real/way/fresh"):
        with pytest.raises(BadMailboxName):
            account.create(name)
    assert sorted(os.listdir(outside)) == ["cur", "deep", "new", "tmp"]


REFUSED = [
    *["", "/a", "a/", "a//b", "..", "a/../b", ".", "~a", "a/~b", "cur", "a/new", "tmp/x", "a\0b", "x" * 256],
    *["dovecot-uidlist", "a/dovecot.index", "maildir-imapd.lock", "subscriptions", "a/courierimapuiddb"],
    "/".join("a" * 17),
]


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_refused(root: Path, name: str) -> None:
    with pytest.raises(BadMailboxName):
        nested(root).create(name)
    assert sorted(os.listdir(root)) == ["cur", "new", "tmp"]


def test_create_delete_and_what_stays(root: Path) -> None:
    account = nested(root)
    account.create("a/b")
    account.create("a/c")
    assert names(account) == ["INBOX", "a", "a/b", "a/c"]
    with pytest.raises(MailboxExists):
        account.create("a")
    put(root / "a")
    box = account.mailbox("a")
    assert len(box.sync()) == 1
    before = box.uidvalidity
    account.delete("a")
    assert box.gone
    assert sorted(os.listdir(root / "a")) == ["b", "c"]
    rows = {folder.name: folder.selectable for folder in account.folders()}
    assert rows == {"INBOX": True, "a": False, "a/b": True, "a/c": True}
    with pytest.raises(HasChildren):
        account.delete("a")
    # It may come back, as another one.
    account.create("a")
    assert account.mailbox("a").sync().uidvalidity > before
    for name in ("a", "a/b", "a/c"):
        account.delete(name)
    assert names(account) == ["INBOX", "a"]
    account.delete("a")
    assert names(account) == ["INBOX"]
    with pytest.raises(MailboxMissing):
        account.delete("a")
    assert os.listdir(root / "tmp") == []


def test_rename_takes_the_children_along(root: Path) -> None:
    for name in ("a", "a/b", "a/b/c", "ab"):
        maildir(root / name)
    put(root / "a" / "b")
    account = nested(root)
    before = account.mailbox("a/b").sync()
    account.rename("a", "x/y")
    assert names(account) == ["INBOX", "ab", "x", "x/y", "x/y/b", "x/y/b/c"]
    after = account.mailbox("x/y/b").sync()
    assert (after.uidvalidity, list(after.uids)) == (before.uidvalidity, list(before.uids))
    with pytest.raises(MailboxExists):
        account.rename("ab", "x")
    with pytest.raises(BadMailboxName):
        account.rename("x", "/".join("q" * 15))
    with pytest.raises(MailboxMissing):
        account.rename("nothing", "q")
    # A name that is no mailbox gives way if nothing is in it.
    (root / "empty").mkdir()
    account.rename("ab", "empty")
    assert account.mailbox("empty").path == os.fsencode(root / "empty")


def test_what_others_do_is_seen_at_any_depth(root: Path) -> None:
    maildir(root / "a" / "b")
    account = nested(root)
    assert names(account) == ["INBOX", "a", "a/b"]
    for path in (root, root / "a", root / "a" / "b"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert names(account) == ["INBOX", "a", "a/b"]
    maildir(root / "a" / "b" / "c")
    assert names(account) == ["INBOX", "a", "a/b", "a/b/c"]
    (root / "a" / "b" / "c" / "cur").rmdir()
    assert {folder.name for folder in account.folders() if not folder.selectable} == {"a", "a/b/c"}


@pytest.mark.parametrize("kind", ["fs", "maildir++"])
def test_an_unchanged_tree_is_the_same_object(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = maildir(tmp_path / "Mail")
    maildir(root / ("a" if kind == "fs" else ".a"))
    found = KINDS[kind](Places(os.fsencode(root), kind))
    monkeypatch.setattr(layout, "GRAIN_SECONDS", -10.0)
    first = found.scan()
    assert list(first.folders) == ["a"]
    monkeypatch.setattr(os, "scandir", None)
    assert found.scan() is first


def test_a_folder_that_is_made_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent's stamp does not change when its cur/ comes: it is looked at, and watched, itself."""
    monkeypatch.setattr(layout, "GRAIN_SECONDS", -1e9)
    for name in ("cur", ".New"):
        (tmp_path / name).mkdir()
    tree = MaildirPlusPlus(Places(bytes(tmp_path)))
    found, directories = tree.scan_from()
    assert not found.folders
    assert bytes(tmp_path / ".New") in directories
    (tmp_path / ".New" / "cur").mkdir()
    assert list(tree.scan().folders) == ["New"]


@pytest.mark.parametrize("kind", ["fs", "maildir++"])
def test_a_look_at_a_young_directory_is_good_for_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes within the grain of the clock leaves the stamp as it was, however late the next look is."""
    root = maildir(tmp_path / "Mail")
    maildir(root / ("a" if kind == "fs" else ".a"))
    stamp = 1_700_000_000
    now = [stamp + 0.5]
    monkeypatch.setattr(layout, "stamp_of", lambda _path: (stamp * 10**9, stamp * 10**9))
    monkeypatch.setattr(layout.time, "time", lambda: now[0])
    tree = KINDS[kind](Places(os.fsencode(root), kind))
    assert list(tree.scan().folders) == ["a"]
    maildir(root / ("b" if kind == "fs" else ".b"))
    now[0] += 100
    assert list(tree.scan().folders) == ["a", "b"]


def test_inbox_apart(tmp_path: Path) -> None:
    for kind, entry in (("fs", "Drafts"), ("maildir++", ".Drafts")):
        root, inbox = tmp_path / kind, tmp_path / f"inbox-{kind}"
        maildir(root / entry)
        account = Account(Places(os.fsencode(root), kind, inbox=os.fsencode(inbox)), fsync="never", quota_messages=9)
        assert os.listdir(root) == [entry]
        put(inbox)
        put(root / entry)
        assert names(account) == ["INBOX", "Drafts"]
        assert account.mailbox("INBOX").path == os.fsencode(inbox)
        usage = account.quota.usage()
        assert usage is not None
        assert usage.used.messages == 2
        account.rename("INBOX", "old")
        assert len(account.mailbox("old").sync()) == 1
        assert len(account.mailbox("INBOX").sync()) == 0


def test_inbox_among_the_folders(tmp_path: Path) -> None:
    for kind, entry in (("fs", "INBOX"), ("maildir++", ".INBOX")):
        root = tmp_path / kind
        inbox = maildir(root / entry)
        put(inbox)
        account = Account(Places(os.fsencode(root), kind, inbox=os.fsencode(inbox)), fsync="never")
        assert names(account) == ["INBOX"]
        account.create(f"INBOX{account.delimiter}child")
        assert names(account) == ["INBOX", f"INBOX{account.delimiter}child"]
        assert len(account.mailbox("INBOX").sync()) == 1
    # Where INBOX is the root, a folder of its name is not another INBOX.
    maildir(tmp_path / "plain")
    maildir(tmp_path / "plain" / ".INBOX")
    account = Account(os.fsencode(tmp_path / "plain"), fsync="never")
    assert account.mailbox("INBOX").path == os.fsencode(tmp_path / "plain")
    assert names(account) == ["INBOX"]
    assert account.folders()[0].path == os.fsencode(tmp_path / "plain")


def test_quota_counts_what_cannot_be_shown(root: Path) -> None:
    put(maildir(root / "a" / "b"))
    put(maildir(root / "a" / "~c" / "d"))
    account = nested(root)
    account.limit(0, 10)
    usage = account.quota.usage()
    assert usage is not None
    assert usage.used.messages == 2
    assert names(account) == ["INBOX", "a", "a/b"]


def test_folders_in_utf8(tmp_path: Path) -> None:
    for kind, entry in (("fs", "été"), ("maildir++", ".été")):
        root = maildir(tmp_path / kind)
        account = Account(Places(os.fsencode(root), kind, utf8=True), fsync="never")
        account.create("été")
        assert (root / entry / "cur").is_dir()
        account.subscribe("été")
        assert "été" in (root / "subscriptions").read_text()
        assert account.subscriptions() == ["été"]
        # With the setting there is no other spelling: & is a character.
        account.create("&AOk-")
        assert names(account) == ["INBOX", "&AOk-", "été"]


def test_new_folders_are_spelled_as_the_old_ones(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Mail")
    account = Account(os.fsencode(root), fsync="never")
    account.create("avant-é")
    assert (root / ".avant-&AOk-").is_dir()
    maildir(root / ".été")
    account.create("été.deux")
    account.create("avant-é.deux")
    assert (root / ".été.deux").is_dir()
    assert {"avant-é", "avant-é.deux", "été", "été.deux"} < set(names(account))
    account.rename("été", "hiver-é")
    assert (root / ".hiver-é.deux").is_dir()


def test_what_reads_as_another_name_on_disk_is_not_that(tmp_path: Path) -> None:
    # "&AOk-" is how the disk spells "é"; a mailbox of that name is spelled "&-AOk-".
    for kind, entry in (("fs", "&AOk-"), ("maildir++", ".&AOk-")):
        root = maildir(tmp_path / kind)
        put(maildir(root / entry))
        account = Account(Places(os.fsencode(root), kind), fsync="never")
        assert names(account) == ["INBOX", "é"]
        assert not account.exists("&AOk-")
        with pytest.raises(MailboxMissing):
            account.delete("&AOk-")
        account.create("&AOk-")
        account.rename("&AOk-", "&AOk-x")
        assert names(account) == ["INBOX", "&AOk-x", "é"]
        assert len(account.mailbox("é").sync()) == 1
    # nor where new folders are spelled in UTF-8
    maildir(tmp_path / "maildir++" / ".été")
    account.create("&AOk-y")
    assert "&AOk-y" in names(account)


def test_a_folder_is_found_where_it_is_now(tmp_path: Path) -> None:
    """The usual spelling counts, the other one where that is not there, and a link is no folder, each time anew."""
    root = maildir(tmp_path / "Maildir")
    usual, other = root / ".&AOk-t&AOk-", root / ".été"
    found = MaildirPlusPlus(Places(os.fsencode(root)))
    assert found.find("été") is None
    maildir(other)
    assert found.find("été") == os.fsencode(other)
    maildir(usual)
    assert found.find("été") == os.fsencode(usual)
    usual.rename(root / "elsewhere")
    assert found.find("été") == os.fsencode(other)
    usual.symlink_to(root / "elsewhere")
    assert found.find("été") != os.fsencode(usual)
    usual.unlink()
    (root / "elsewhere").rename(usual)
    assert found.find("été") == os.fsencode(usual)


def test_control_and_cache_go_along(root: Path, tmp_path: Path) -> None:
    control, cache = tmp_path / "control", tmp_path / "cache"
    put(maildir(root / "a" / "b"))
    (control / "a" / "b").mkdir(parents=True)
    (control / "a" / "b" / "dovecot-uidlist").write_text("3 V77 N9 Gaa\n5 :1.M1P1.test\n")
    (control / "a" / "b" / "dovecot-keywords").write_text("0 kw\n")
    (control / "subscriptions").write_text("V\t2\n\na\tb\n")
    account = Account(
        Places(os.fsencode(root), "fs", control=os.fsencode(control), cache=os.fsencode(cache)),
        fsync="never",
        mirror="dovecot",
    )
    box = account.mailbox("a/b")
    assert (box.sync().uidvalidity, list(box.sync().uids), box.sync().keywords) == (77, [5], (b"kw",))
    box.flags([b"other"], create=True)
    assert (control / "a" / "b" / "dovecot-keywords").read_text() == "0 kw\n1 other\n"
    box.cache.put_many(b"x", [(5, b"y")])
    assert (cache / "a" / "b" / "maildir-imapd.cache").exists()
    assert account.subscriptions() == ["a/b"]
    account.subscribe("INBOX")
    assert (control / "subscriptions").read_text() == "V\t2\n\na\tb\nINBOX\n"
    put(root / "a" / "b", "2.M1P1.test")
    box.sync()
    assert "10 :2.M1P1.test" in (control / "a" / "b" / "dovecot-uidlist").read_text().replace("9 :", "10 :")
    # What a folder left there long ago is nothing to the one that takes the name.
    (control / "x").mkdir()
    (control / "x" / "dovecot-uidlist").write_text("3 V1 N2 Gbb\n")
    account.rename("a", "x")
    assert not (control / "a").exists()
    assert not (cache / "a").exists()
    assert (control / "x" / "b" / "dovecot-uidlist").read_text().startswith("3 V77 ")
    assert account.mailbox("x/b").sync().uidvalidity == 77
    assert not list((root / "x").rglob("dovecot-*"))
    account.delete("x/b")
    assert not (control / "x" / "b").exists()
    assert not (cache / "x" / "b").exists()
    (control / "x" / "b").mkdir(parents=True)
    (control / "x" / "b" / "dovecot-uidlist").write_text("3 V77 N11 Gaa\n")
    account.create("x/b")
    assert account.mailbox("x/b").sync().uidvalidity != 77


def test_what_lies_in_the_folder_counts_where_control_has_none(root: Path, tmp_path: Path) -> None:
    (root / "dovecot-uidlist").write_text("3 V77 N9 Gaa\n")
    (root / "subscriptions").write_text("V\t2\n\na\tb\n")
    places = Places(os.fsencode(root), "fs", control=os.fsencode(tmp_path / "control"))
    account = Account(places, fsync="never")
    assert account.mailbox("INBOX").uidvalidity == 77
    assert account.subscriptions() == ["a/b"]
    account.unsubscribe("a/b")
    assert account.subscriptions() == []


@pytest.mark.parametrize("kind", ["fs", "maildir++"])
def test_rename_with_control_is_finished_after_a_crash(tmp_path: Path, kind: str, dying: list[int]) -> None:
    """Die at every step: afterwards folder and control directory both have the old name, or both the new one."""
    for moment in range(1, 40):
        base = tmp_path / str(moment)
        root, control = maildir(base / "Mail"), base / "control"
        places = Places(os.fsencode(root), kind, control=os.fsencode(control))
        account = Account(places, fsync="never", mirror="dovecot")
        account.create("a")
        put(root / ("a" if kind == "fs" else ".a"))
        uidvalidity = account.mailbox("a").sync().uidvalidity
        dying[0] = moment
        try:
            account.rename("a", "z")
        except Died:
            died = True
        else:
            died = False
        dying[0] = 0
        account = Account(places, fsync="never", mirror="dovecot")
        (name,) = set(names(account)) - {"INBOX"}
        assert account.mailbox(name).sync().uidvalidity == uidvalidity
        entry = name if kind == "fs" else f".{name}"
        assert sorted(os.listdir(control)) == sorted([entry, "subscriptions"][:1]), moment
        assert f"V{uidvalidity} " in (control / entry / "dovecot-uidlist").read_text()
        if not died:
            break
    else:
        pytest.fail("it never came to an end")


def test_delete_that_dies_leaves_no_half_mailbox(tmp_path: Path, dying: list[int]) -> None:
    for moment in range(1, 60):
        root = maildir(tmp_path / str(moment))
        account = nested(root)
        account.create("a/b")
        put(root / "a")
        rows = account.mailbox("a").sync()
        dying[0] = moment
        try:
            account.delete("a")
        except Died:
            died = True
        else:
            died = False
        dying[0] = 0
        account = nested(root)
        if "a" in {folder.name for folder in account.folders() if folder.selectable}:
            assert list(account.mailbox("a").sync().uids) == [1]
        else:
            account.create("a")
            again = account.mailbox("a").sync()
            # RFC 3501 6.3.4: with the UIDVALIDITY of the one before, it may not give its UIDs again.
            assert len(again) == 0
            assert again.uidvalidity != rows.uidvalidity or again.uidnext > 1
        assert "a/b" in names(account)
        if not died:
            break
    else:
        pytest.fail("it never came to an end")


LEVEL = st.text(min_size=1, max_size=12).filter(lambda s: not set(s) & set("\ud800") and s.isprintable())


@given(st.lists(LEVEL, min_size=1, max_size=4), st.booleans(), st.sampled_from(["fs", "maildir++"]))
def test_names_come_back(levels: list[str], utf8: bool, kind: str) -> None:
    """Every name that has a path is the name of that path, and no path leaves the root."""
    found = KINDS[kind](Places(b"/nowhere/mail", kind, utf8=utf8))
    name = found.delimiter.join(levels)
    try:
        path = found.path(name)
    except BadMailboxName:
        return
    if name == "INBOX":
        return
    name = found.delimiter.join(split(name, found.delimiter))
    assert path.startswith(b"/nowhere/mail/")
    entries = path[len(b"/nowhere/mail/") :].split(b"/")
    assert not {b"", b".", b"..", b"cur", b"new", b"tmp"} & set(entries)
    if isinstance(found, MaildirPlusPlus):
        (entry,) = entries
        assert found.name(entry) == name
    else:
        assert isinstance(found, Nested)
        assert "/".join(filter(None, map(found.decode, entries))) == name


def test_modes_go_down(tmp_path: Path) -> None:
    """As Dovecot: a folder is as open as its parent, its files as itself, whatever the umask."""
    for kind, entries in (("fs", ("a", "a/b")), ("maildir++", (".a", ".a.b"))):
        root = maildir(tmp_path / kind)
        account = Account(Places(os.fsencode(root), kind), fsync="never", mirror="dovecot")
        (root / "dovecot-shared").touch()
        os.chmod(root, 0o2770)
        account.create(account.delimiter.join("ab"))
        for entry in entries:
            for sub in ("", "cur", "new", "tmp"):
                assert (root / entry / sub).stat().st_mode & 0o7777 == 0o2770
            assert (root / entry / "dovecot-shared").stat().st_mode & 0o777 == 0o660
        box = account.mailbox("a")
        delivery = box.deliver()
        delivery.write(b"A: b\r\n\r\nc\r\n")
        box.commit([(delivery, Flags(), 1_700_000_000)])
        box.flags([b"kw"], create=True)
        account.subscribe("a")
        files = [path for path in (root / entries[0]).rglob("*") if path.is_file()]
        assert len(files) > 5
        assert {path.name: path.stat().st_mode & 0o777 for path in files} == {path.name: 0o660 for path in files}
        account.set_special_use("a", (b"\\Junk",))
        own = [path for path in root.iterdir() if path.is_file() and path.name != "dovecot-shared"]
        assert {path.name: path.stat().st_mode & 0o777 for path in own} == {path.name: 0o660 for path in own}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a directory to another group")
def test_the_group_of_a_shared_folder(root: Path) -> None:
    account = nested(root)
    for mode, gid in ((0o770, 12345), (0o750, 12345), (0o755, os.getegid()), (0o700, os.getegid())):
        os.chown(root, -1, 12345)
        os.chmod(root, mode)
        account.create("a")
        put(root / "a")
        account.mailbox("a").sync()
        found = {path.stat().st_gid for path in [root / "a", *(root / "a").glob("maildir-imapd.*")]}
        assert found == {gid}, oct(mode)
        account.delete("a")


def test_a_mailbox_whose_directory_stays_for_its_children_is_gone(tmp_path: Path) -> None:
    """Another process deletes it: nothing of it may be looked for, or made, where it was."""
    ours, theirs = (Account(Places(bytes(tmp_path / "Maildir"), "fs"), fsync="never") for _ in range(2))
    ours.create("A/B")
    mailbox = ours.mailbox("A")
    mailbox.sync()
    theirs.delete("A")
    with pytest.raises(MailboxMissing):
        mailbox.sync()
    assert mailbox.gone
    assert os.listdir(tmp_path / "Maildir" / "A") == ["B"]


@pytest.mark.parametrize("kind", ["maildir++", "fs"])
@pytest.mark.parametrize("utf8", [True, False])
def test_folders_in_decomposed_letters(root: Path, kind: str, utf8: bool) -> None:
    """Each has its composed name; what is made below it lies below it; of two that differ in this each has its own."""
    places = Places(os.fsencode(root), kind, utf8=utf8)
    tree = KINDS[kind](places)
    dot = "." if kind == "maildir++" else ""

    def folder(*levels: str) -> Path:
        spelled = [os.fsdecode(tree.encode(level)) for level in levels]
        return maildir(root / (dot + (dot or "/").join(spelled)))

    first = folder("u\u0308")
    both = [folder("e\u0301"), folder("\u00e9")]
    account = Account(places, fsync="never")
    assert names(account) == ["INBOX", "e\u0301", "\u00e9", "\u00fc"]
    with pytest.raises(MailboxExists):
        account.create("\u00fc")
    child = f"\u00fc{tree.delimiter}a\u00f1"
    account.create(child)
    assert folder("u\u0308", "a\u00f1").is_dir()
    assert not folder("u\u0308").with_name(os.fsdecode(dot.encode() + tree.encode("\u00fc"))).exists()
    assert tree.find("\u00fc") == os.fsencode(first)
    assert [tree.find("e\u0301"), tree.find("\u00e9")] == [os.fsencode(path) for path in both]
    account.subscribe("\u00fc")
    assert account.subscriptions() == ["\u00fc"]
    account.unsubscribe("u\u0308")
    assert account.subscriptions() == []
