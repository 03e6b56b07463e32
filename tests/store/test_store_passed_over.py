"""No folder vanishes in silence: what cannot be shown is named, what cannot be read is listed and refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryWires
from nobody import as_nobody

from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places

KINDS = pytest.mark.parametrize("kind", ["maildir++", "fs"])


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty Maildir below a directory that others may pass."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield made(Path(directory) / "Maildir")


def made(path: Path) -> Path:
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True)
    return path


def account(root: Path, kind: str, **other: str) -> Account:
    return Account(Places(os.fsencode(root), kind), fsync="never", **other)  # type: ignore[arg-type]


def folder(root: Path, kind: str, name: str) -> Path:
    return root / (f".{name}" if kind == "maildir++" else name)


def given_away(root: Path) -> None:
    """Make all of it nobody's, where root runs the test."""
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)


@pytest.mark.long
@KINDS
@pytest.mark.parametrize("acl", [True, False])
def test_a_folder_that_may_not_be_read_is_listed_and_refused(root: Path, kind: str, acl: bool) -> None:
    made(folder(root, kind, "Open"))
    closed = made(folder(root, kind, "Closed"))
    given_away(root)
    closed.chmod(0)

    def work() -> None:
        client = MemoryWires(account(root, kind), replace(POLICY, acl=acl)).connect(login=True)
        names = [line.split()[-1] for line in client.command(b'a LIST "" *')[:-1]]
        assert names == [b"INBOX", b"Closed", b"Open"]
        assert client.command(b"b SELECT Closed")[-1].startswith(b"b NO [NOPERM]")
        assert client.command(b"c STATUS Closed (MESSAGES)")[-1].startswith(b"c NO [NOPERM]")
        assert client.command(b"d CREATE Closed")[-1].startswith(b"d NO [ALREADYEXISTS]")
        assert client.command(b"e SELECT Open")[-1].startswith(b"e OK")
        # Who is let in again sees it without another login.
        closed.chmod(0o700)
        assert client.command(b"f SELECT Closed")[-1].startswith(b"f OK")

    as_nobody(work)


@pytest.mark.long
@KINDS
def test_a_folder_whose_messages_may_not_be_read_is_refused(root: Path, kind: str) -> None:
    closed = made(folder(root, kind, "Closed"))
    given_away(root)
    (closed / "cur").chmod(0)

    def work() -> None:
        client = MemoryWires(account(root, kind)).connect(login=True)
        assert client.command(b"a SELECT Closed")[-1].startswith(b"a NO [NOPERM]")

    as_nobody(work)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (b".\xff\xfe", "spelled in no known way"),
        (b".Foo..Bar", "a level of it is empty"),
        (b".Foo.", "a level of it is empty"),
        (b".a\x07b", "control characters"),
        (b".inbox", "another folder has its name"),
        (b".INBOX", "another folder has its name"),
    ],
)
def test_a_name_that_cannot_be_shown_is_named_in_the_log(
    root: Path, entry: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(Path(os.fsdecode(os.path.join(os.fsencode(root), entry))))
    (root / ".empty").mkdir()
    found = account(root, "maildir++")
    assert [row.name for row in found.folders()] == ["INBOX"]
    ((where, said),) = found.passed_over()
    assert where == os.fsencode(path)
    assert why in said
    found.folders()
    assert caplog.text.count("folder passed over") == 1
    assert why in caplog.text


def test_of_two_spellings_one_is_the_mailbox_and_the_other_is_named(root: Path) -> None:
    made(root / ".&AOk-")
    made(root / ".é")
    found = account(root, "maildir++")
    assert [row.name for row in found.folders()] == ["INBOX", "é"]
    assert found.passed_over() == ((os.fsencode(root / ".é"), "another folder has its name"),)


def test_nested_names_that_cannot_be_shown(root: Path) -> None:
    bad = Path(os.fsdecode(os.fsencode(root / "A") + b"/\xff"))
    made(bad)
    made(root / "inbox" / "child")
    found = account(root, "fs")
    assert [row.name for row in found.folders()] == ["INBOX", "A", "INBOX/child"]
    assert [path for path, _ in found.passed_over()] == [os.fsencode(bad)]


@KINDS
def test_a_link_is_not_followed_and_named(root: Path, kind: str) -> None:
    other = made(root.parent / "Other")
    folder(root, kind, "Link").symlink_to(other)
    (root / "file").symlink_to(root.parent / "nothing")
    found = account(root, kind, follow_links="no")
    assert [row.name for row in found.folders()] == ["INBOX"]
    assert found.passed_over() == ((os.fsencode(folder(root, kind, "Link")), "it is a link, which is not followed"),)


@KINDS
def test_inbox_in_small_letters_above_others_is_inbox(root: Path, kind: str) -> None:
    """RFC 3501 5.1: INBOX in any capitals is one name; what lies below it must be found by it."""
    between = "." if kind == "maildir++" else "/"
    made(folder(root, kind, f"Inbox{between}Sub"))
    client = MemoryWires(account(root, kind)).connect(login=True)
    name = f"INBOX{between}Sub".encode()
    assert client.command(b'a LIST "" *Sub')[0].split()[-1] == name
    assert client.command(b"b SELECT inbox%bSub" % between.encode())[-1].startswith(b"b OK")
