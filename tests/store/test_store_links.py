"""Links in a spool: those to what is the user's own are followed, all others are named (follow_links)."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires

from maildir_imapd import errors
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import descriptors, resolve
from maildir_imapd.store.maildir.layout import LINKED_FOLDERS, Places

KINDS = pytest.mark.parametrize("kind", ["maildir++", "fs"])
ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
SOMEBODY = 54321


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty Maildir, with room beside it."""
    with tempfile.TemporaryDirectory() as directory:
        yield made(Path(directory) / "Maildir")


@pytest.fixture(params=["openat2", "stepwise"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of opening beneath a directory."""
    if request.param == "stepwise":
        monkeypatch.setattr(resolve, "_there", False)


def made(path: Path) -> Path:
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True)
    return path


def folder(root: Path, kind: str, name: str) -> Path:
    return root / (f".{name}" if kind == "maildir++" else name)


def account(root: Path, kind: str = "maildir++", **other: str) -> Account:
    return Account(Places(os.fsencode(root), kind), fsync="never", **other)  # type: ignore[arg-type]


def names(found: Account) -> list[str]:
    return [row.name for row in found.folders()]


def put(path: Path, base: str, subject: str = "x", info: str = ":2,") -> Path:
    file = path / f"{base}{info}"
    file.write_text(f"Subject: {subject}\n\nbody of {subject}\n")
    return file


def client(found: Account) -> MemoryClient:
    return MemoryWires(found).connect(login=True)


# --- folders --------------------------------------------------------------------------------------


@KINDS
@pytest.mark.usefixtures("way")
def test_a_link_to_a_folder_is_a_folder(root: Path, kind: str) -> None:
    other = made(root.parent / "Other")
    put(other / "cur", "1.M1P1.host", "shared")
    folder(root, kind, "Shared").symlink_to(other)
    found = account(root, kind)
    assert names(found) == ["INBOX", "Shared"]
    assert found.passed_over() == ()
    wire = client(found)
    assert b"* 1 EXISTS" in wire.command(b"a SELECT Shared")
    assert b"body of shared" in b"".join(wire.command(b"b FETCH 1 BODY[]"))
    assert wire.command(b"c STORE 1 +FLAGS (\\Seen)")[-1].startswith(b"c OK")
    assert os.listdir(other / "cur") == ["1.M1P1.host:2,S"]
    message = b"Subject: y\r\n\r\nz\r\n"
    wire.send(b"d APPEND Shared {%d}\r\n" % len(message))
    assert wire.command(message)[-1].startswith(b"d OK")
    assert len(os.listdir(other / "cur")) == 2


@KINDS
def test_deleting_a_link_leaves_what_it_leads_to(root: Path, kind: str) -> None:
    other = made(root.parent / "Other")
    put(other / "cur", "1.M1P1.host")
    link = folder(root, kind, "Shared")
    link.symlink_to("../Other")
    found = account(root, kind)
    found.mailbox("Shared").sync()
    found.rename("Shared", "Ours")
    assert names(found) == ["INBOX", "Ours"]
    assert found.mailbox("Ours").sync().names == [b"1.M1P1.host"]
    found.delete("Ours")
    assert names(found) == ["INBOX"]
    assert os.listdir(other / "cur") == ["1.M1P1.host:2,"]
    left = [path for path in root.rglob("*") if path.is_symlink()]
    assert left == []


@KINDS
@ROOT_ALONE
@pytest.mark.usefixtures("way")
def test_a_link_to_somebody_elses_folder_is_not_followed(
    root: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = made(root.parent / "Other")
    put(other / "cur", "1.M1P1.host")
    os.chown(other, SOMEBODY, SOMEBODY)
    link = folder(root, kind, "Theirs")
    link.symlink_to(other)
    found = account(root, kind)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert names(found) == ["INBOX"]
    assert [path for path, _ in found.passed_over()] == [os.fsencode(link)]
    assert "not the user's own" in found.passed_over()[0][1]
    assert caplog.text.count("folder passed over") == 1
    with pytest.raises((errors.MailboxMissing, errors.NotSelectable)):
        found.mailbox("Theirs")


@KINDS
@ROOT_ALONE
def test_a_link_that_leads_elsewhere_by_the_time_it_is_opened(root: Path, kind: str) -> None:
    """What was opened is asked whose it is, and not what was looked at before."""
    mine, theirs = made(root.parent / "Mine"), made(root.parent / "Theirs")
    os.chown(theirs, SOMEBODY, SOMEBODY)
    link = folder(root, kind, "Link")
    link.symlink_to(mine)
    found = account(root, kind)
    opening = found._mailboxes._opening
    link.unlink()
    link.symlink_to(theirs)
    with pytest.raises((errors.MailboxMissing, errors.StoreError)):
        opening.mailbox(os.fsencode(link))
    assert sorted(os.listdir(theirs)) == ["cur", "new", "tmp"]


@KINDS
def test_a_link_that_leads_nowhere_or_to_a_file_is_no_folder(root: Path, kind: str) -> None:
    folder(root, kind, "Nowhere").symlink_to(root.parent / "nothing")
    (root.parent / "file").write_text("x")
    folder(root, kind, "File").symlink_to(root.parent / "file")
    folder(root, kind, "Self").symlink_to(folder(root, kind, "Self"))
    assert names(account(root, kind)) == ["INBOX"]


def test_children_behind_a_link_are_served_and_links_there_are_not(root: Path) -> None:
    other = made(root.parent / "Other")
    made(other / "Child")
    made(root.parent / "Third")
    (other / "Way").symlink_to(root.parent / "Third")
    (root / "Shared").symlink_to(other)
    found = account(root, "fs")
    assert names(found) == ["INBOX", "Shared", "Shared/Child"]
    assert found.passed_over() == ((os.fsencode(root / "Shared" / "Way"), "it is a link, which is not followed"),)
    found.create("Shared/New")
    assert (other / "New" / "cur").is_dir()
    assert names(found) == ["INBOX", "Shared", "Shared/Child", "Shared/New"]
    with pytest.raises(errors.CannotDo):
        found.delete("Shared")
    assert (root / "Shared").is_symlink()


def test_a_link_to_a_folder_above_it_makes_no_endless_tree(root: Path) -> None:
    made(root / "A" / "B")
    (root / "A" / "B" / "up").symlink_to("../../A")
    (root / "A" / "root").symlink_to(root)
    found = account(root, "fs")
    assert names(found) == ["INBOX", "A", "A/B"]
    assert {why for _, why in found.passed_over()} == {"it is a link to a folder above it"}


def test_links_to_whole_trees_have_an_end(root: Path) -> None:
    tree = root.parent / "Tree"
    for number in range(30):
        made(tree / f"f{number}")
    for number in range(LINKED_FOLDERS // 30 + 5):
        (root / f"to{number}").symlink_to(tree)
    found = account(root, "fs")
    assert len([name for name in names(found) if "/" in name]) <= LINKED_FOLDERS
    assert any("too many" in why for _, why in found.passed_over())


@KINDS
def test_a_nested_link_stays_where_it_is(root: Path, kind: str) -> None:
    other = made(root.parent / "Other")
    made(folder(root, kind, "Top"))
    folder(root, kind, "Shared").symlink_to("../Other")
    found = account(root, kind)
    if kind == "fs":
        with pytest.raises(errors.CannotDo):
            found.rename("Shared", "Top/Shared")
        assert names(found) == ["INBOX", "Shared", "Top"]
    else:
        found.rename("Shared", "Top.Shared")
        assert names(found) == ["INBOX", "Top", "Top.Shared"]
        assert found.mailbox("Top.Shared").path
    assert other.is_dir()


@KINDS
def test_what_comes_and_goes_behind_a_link_is_seen(root: Path, kind: str) -> None:
    other = made(root.parent / "Other")
    folder(root, kind, "Shared").symlink_to(other)
    found = account(root, kind)
    assert found.mailbox("Shared").sync().names == []
    put(other / "cur", "1.M1P1.host")
    assert found.mailbox("Shared").sync().names == [b"1.M1P1.host"]
    folder(root, kind, "Shared").unlink()
    folder(root, kind, "Shared").symlink_to(made(root.parent / "Another"))
    assert found.mailbox("Shared").sync().names == []


# --- cur/ and new/ --------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("sub", ["cur", "new"])
@pytest.mark.usefixtures("way")
def test_a_link_to_cur_or_new_is_followed(root: Path, kind: str, sub: str) -> None:
    path = made(folder(root, kind, "Work"))
    (path / sub).rmdir()
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    put(elsewhere, "1.M1P1.host", "far", ":2," if sub == "cur" else "")
    (path / sub).symlink_to(elsewhere)
    wire = client(account(root, kind))
    assert b"* 1 EXISTS" in wire.command(b"a SELECT Work")
    assert b"body of far" in b"".join(wire.command(b"b FETCH 1 BODY[]"))
    assert wire.command(b"c STORE 1 +FLAGS (\\Flagged)")[-1].startswith(b"c OK")
    assert [name.partition(":")[2] for name in os.listdir(path / "cur")] == ["2,FS"]


@KINDS
@ROOT_ALONE
@pytest.mark.usefixtures("way")
def test_a_link_to_somebody_elses_cur_is_not_followed(root: Path, kind: str) -> None:
    path = made(folder(root, kind, "Work"))
    (path / "cur").rmdir()
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    put(elsewhere, "1.M1P1.host")
    os.chown(elsewhere, SOMEBODY, SOMEBODY)
    (path / "cur").symlink_to(elsewhere)
    assert b"a OK" not in client(account(root, kind)).command(b"a SELECT Work")[-1]


# --- messages -------------------------------------------------------------------------------------


def linked(root: Path, target: Path | str, name: str = "2.M2P2.host:2,") -> Path:
    link = root / "cur" / name
    link.symlink_to(target)
    return link


@pytest.mark.usefixtures("way")
def test_a_link_to_a_message_is_a_message(root: Path) -> None:
    """As mairix, mu and notmuch make folders of links."""
    original = put(made(root / ".Work") / "cur", "1.M1P1.host", "work")
    os.utime(original, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_001))
    link = linked(root, original)
    found = account(root)
    for _ in range(2):
        wire = client(found)
        assert b"* 1 EXISTS" in wire.command(b"a SELECT INBOX")
        answer = b"".join(wire.command(b"b FETCH 1 (UID RFC822.SIZE INTERNALDATE BODY.PEEK[TEXT])"))
        assert b"UID 1 RFC822.SIZE 31 " in answer
        assert b"13-Sep-2020" in answer
        assert b"body of work" in answer
        found = account(root)  # known from its index
    assert wire.command(b"c STORE 1 +FLAGS (\\Flagged \\Deleted)")[-1].startswith(b"c OK")
    assert not link.is_symlink()
    (name,) = [name for name in os.listdir(root / "cur") if name.endswith(":2,FT")]
    assert (root / "cur" / name).is_symlink()
    assert wire.command(b"d EXPUNGE")[-1].startswith(b"d OK")
    assert os.listdir(root / "cur") == []
    assert original.exists()


@pytest.mark.parametrize("command", [b"COPY", b"MOVE"])
def test_a_copy_of_a_link_is_a_file(root: Path, command: bytes) -> None:
    """A relative link would lead elsewhere from another directory, and nobody's copy hangs on the original."""
    put(made(root / "far"), "1.M1P1.host", "far")
    made(root / "Deep" / "Down")
    link = linked(root, "../far/1.M1P1.host:2,")
    wire = client(account(root, "fs"))
    assert b"* 1 EXISTS" in wire.command(b"a SELECT INBOX")
    assert wire.command(b"b %b 1 Deep/Down" % command)[-1].startswith(b"b OK")
    (copy,) = (root / "Deep" / "Down" / "cur").iterdir()
    assert not copy.is_symlink()
    assert "body of far" in copy.read_text()
    assert link.is_symlink() == (command == b"COPY")
    assert (root / "far" / "1.M1P1.host:2,").exists()


@ROOT_ALONE
@pytest.mark.usefixtures("way")
def test_a_link_to_somebody_elses_file_is_not_served_and_named_once(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = put(root.parent, "secret")
    os.chown(theirs, SOMEBODY, SOMEBODY)
    linked(root, theirs)
    put(root / "cur", "1.M1P1.host")
    box = account(root).mailbox("INBOX")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert box.sync(look=True).names == [b"1.M1P1.host"]
    (line,) = [line for line in caplog.text.splitlines() if "message passed over" in line]
    assert "2.M2P2.host" in line


@ROOT_ALONE
@pytest.mark.usefixtures("way")
def test_a_message_that_becomes_a_link_to_somebody_elses_file_is_not_read(root: Path) -> None:
    theirs, mine = put(root.parent, "theirs"), put(root.parent, "mine")
    os.chown(theirs, SOMEBODY, SOMEBODY)
    link = linked(root, mine)
    box = account(root).mailbox("INBOX")
    assert list(box.sync().uids) == [1]
    link.unlink()
    linked(root, theirs)
    with pytest.raises(errors.StoreError):
        box.read(1)
    with pytest.raises(errors.StoreError):
        box.copy_from(box, [1])
    assert os.listdir(root / "cur") == ["2.M2P2.host:2,"]


@pytest.mark.usefixtures("way")
def test_a_link_to_what_is_no_file_is_no_message(root: Path) -> None:
    os.mkfifo(root.parent / "fifo")
    linked(root, root.parent / "fifo", "1.fifo:2,")
    linked(root, root.parent, "2.directory:2,")
    linked(root, root.parent / "nothing", "3.nothing:2,")
    linked(root, "4.loop:2,", "4.loop:2,")
    assert account(root).mailbox("INBOX").sync().names == []


@pytest.mark.usefixtures("way")
def test_a_link_of_the_proc_file_system_is_followed_by_nobody(root: Path) -> None:
    """It asks for no right on the way (docs/security.md)."""
    opened = os.open(put(root.parent, "open"), os.O_RDONLY)
    try:
        linked(root, f"/proc/self/fd/{opened}")
        assert account(root).mailbox("INBOX").sync().names == []
        with pytest.raises(OSError):
            descriptors.open(
                b"cur/2.M2P2.host:2,",
                os.O_RDONLY,
                dir_fd=os.open(root, os.O_RDONLY | os.O_DIRECTORY),
                owner=os.getuid(),
            )
    finally:
        os.close(opened)


def test_no_link_is_followed_where_the_settings_say_no(root: Path) -> None:
    linked(root, put(root.parent, "mine"))
    assert account(root, follow_links="no").mailbox("INBOX").sync().names == []
