"""What a user has put in the way: links of the proc file system, other users' directories, files without an end."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import open_to_all
from spool import Spool

from maildir_imapd.errors import ImapdError, StoreError
from maildir_imapd.server import owners
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import descriptors, durable, resolve
from maildir_imapd.store.index import checkpoint, index
from maildir_imapd.store.maildir import keywords
from maildir_imapd.store.records import acl, metadata, subscriptions
from maildir_imapd.store.records.special_use import FILE as SPECIAL_USE

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

needs_root = pytest.mark.skipif(not owners.supported(), reason="only root can act as others")


@pytest.fixture(params=["openat2", "stepwise"])
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system call and without it."""
    if request.param == "stepwise":
        monkeypatch.setattr(resolve, "_there", False)
    elif not resolve._there:
        pytest.skip("this kernel has no openat2")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """A directory that some thread of the process has open."""
    (tmp_path / "other" / "cur").mkdir(parents=True)
    number = os.open(tmp_path / "other", DIRECTORY)
    yield number
    os.close(number)


@pytest.mark.usefixtures("_both")
def test_a_link_to_what_another_thread_has_open_is_no_path(tmp_path: Path, opened: int) -> None:
    (tmp_path / "Maildir").symlink_to(f"/proc/self/fd/{opened}")
    (tmp_path / "far").symlink_to(tmp_path / "Maildir")
    for way in ("Maildir", "Maildir/cur", "far"):
        with pytest.raises(OSError) as refused:
            descriptors.open_directory(os.fsencode(tmp_path / way))
        assert refused.value.errno == errno.ELOOP
    with pytest.raises(ImapdError):
        Account(os.fsencode(tmp_path / "Maildir"), fsync="never")


@pytest.mark.usefixtures("_both")
def test_a_folder_that_becomes_such_a_link_is_not_opened(tmp_path: Path, opened: int) -> None:
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    (tmp_path / "Maildir").rename(tmp_path / "old")
    (tmp_path / "Maildir").symlink_to(f"/proc/self/fd/{opened}")
    with pytest.raises(ImapdError):
        account.mailbox("INBOX")
    with pytest.raises(ImapdError):
        account.create("Work")
    with pytest.raises(ImapdError):
        account.folders()


@pytest.mark.usefixtures("_both")
def test_a_disk_elsewhere_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "up").symlink_to("../disk")
    (tmp_path / "home").symlink_to("disk/up")
    Spool(tmp_path / "disk" / "Maildir").simple("INBOX", 2)
    account = Account(os.fsencode(tmp_path / "home" / "Maildir"), fsync="never")
    assert len(account.mailbox("INBOX").sync()) == 2


@pytest.mark.usefixtures("_both")
def test_below_a_directory_nothing_leads_out(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "cur" / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (inside / "cur" / "file").write_text("y")
    (inside / "link").symlink_to(tmp_path)
    (inside / "near").symlink_to("cur")
    number = os.open(inside, DIRECTORY)
    try:
        for way in (b"../secret", b"link/secret", b"near/file", b"cur/../../secret"):
            with pytest.raises(OSError) as refused:
                descriptors.open(way, os.O_RDONLY, dir_fd=number)
            assert refused.value.errno in (errno.EXDEV, errno.ELOOP, errno.ENOTDIR), way
        for way in (b"cur/file", b"cur"):
            os.close(descriptors.open(way, os.O_RDONLY, dir_fd=number))
        made = descriptors.open(b"cur/deep/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=number)
        assert stat.S_IMODE(os.fstat(made).st_mode) == 0o600
        os.close(made)
    finally:
        os.close(number)


@pytest.mark.usefixtures("_both")
def test_errors_are_those_of_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "there").symlink_to("file")
    for way, number in (
        ("none", errno.ENOENT),
        ("file", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("file/x", errno.ENOTDIR),
    ):
        with pytest.raises(OSError) as refused:
            resolve.open(os.fsencode(tmp_path / way), DIRECTORY)
        assert refused.value.errno == number, way
    with pytest.raises(OSError) as refused:
        resolve.open(os.fsencode(tmp_path / "there"), os.O_RDONLY | os.O_NOFOLLOW)
    assert refused.value.errno == errno.ELOOP
    made = resolve.open(os.fsencode(tmp_path / "made"), os.O_WRONLY | os.O_CREAT, 0o640)
    assert not os.get_inheritable(made)
    os.close(made)
    os.close(resolve.open(os.fsencode(tmp_path / "there"), os.O_RDONLY))
    os.close(resolve.open(os.fsencode(tmp_path) + b"/", DIRECTORY))


@needs_root
@pytest.mark.usefixtures("_both")
def test_a_directory_is_of_whom_the_thread_acts_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another user's, which anybody may read, is none; one that the user's group may write to is shared."""
    ann, ben = 54321, 54322
    open_to_all(tmp_path)
    for name, uid, gid, mode in (
        ("own", ann, ann, 0o700),
        ("bens", ben, ben, 0o755),
        ("read", ben, ann, 0o750),
        ("shared", ben, ann, 0o770),
        ("root", 0, 0, 0o755),
    ):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, uid, gid)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "bens")

    def may(name: str) -> bool:
        try:
            os.close(descriptors.open_directory(os.fsencode(tmp_path / name)))
        except PermissionError:
            return False
        return True

    with owners.acting_as(owners.Owner(ann, ann, (ann,))):
        assert [may(name) for name in ("own", "shared", "root")] == [True] * 3
        assert [may(name) for name in ("bens", "read", "link")] == [False] * 3
    assert "directory of another user refused" in caplog.text
    assert may("bens")


# --- small files ----------------------------------------------------------------------------------


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        before = os.getcwd()
        os.chdir(path.parent)
        try:
            sock.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize("make", [sparse, fifo, device, listening])
@pytest.mark.parametrize(
    "name", [SPECIAL_USE, subscriptions.NAME, metadata.FILE, metadata.ACCOUNT, acl.FILE, keywords.NAME]
)
def test_a_list_without_an_end_costs_one_answer(tmp_path: Path, make: Callable[[Path], None], name: bytes) -> None:
    """It is read neither for ever nor into memory; what is asked of it is refused or left out."""
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    account.create("Drafts")
    make(tmp_path / "Maildir" / os.fsdecode(name))
    for ask in (
        account.special_use,
        account.subscriptions,
        lambda: account.metadata.entries("INBOX"),
        lambda: account.acls.at(account.folder_of("INBOX")),
        lambda: account.mailbox("INBOX").sync(),
    ):
        try:
            ask()
        except StoreError:
            continue


@pytest.mark.parametrize("make", [sparse, fifo, device, listening])
@pytest.mark.parametrize("name", [index.CHECKPOINT, index.JOURNAL, b"dovecot-uidlist", b"courierimapuiddb"])
def test_an_index_without_an_end_costs_one_answer(tmp_path: Path, make: Callable[[Path], None], name: bytes) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 1)
    make(tmp_path / "Maildir" / os.fsdecode(name))
    try:
        Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX").sync()
    except StoreError:
        pass


def test_a_file_is_read_up_to_its_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = os.open(tmp_path, DIRECTORY)
    try:
        (tmp_path / "full").write_bytes(b"x" * 100)
        assert durable.read_file(b"full", directory, 100) == b"x" * 100
        with pytest.raises(OSError, match="more than 99 octets"):
            durable.read_file(b"full", directory, 99)
        assert "name=full" in caplog.text
        (tmp_path / "dir").mkdir()
        with pytest.raises(OSError, match="regular"):
            durable.read_file(b"dir", directory)
    finally:
        os.close(directory)


def test_no_list_is_written_that_would_not_be_read(tmp_path: Path) -> None:
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    (tmp_path / "Maildir" / "subscriptions").write_bytes(b"V\t2\n\n" + (b"y" * 200 + b"\n") + b"x\n" * (1 << 19 - 10))
    before = account.subscriptions()
    assert checkpoint.parse(b"") is None
    account._subscriptions.change("INBOX", wanted=True)
    assert account.subscriptions() == [*before, "INBOX"]
    with pytest.raises(OSError, match="more than"):
        account._subscriptions._put([f"{n:0200d}" for n in range(6000)], 2)
    assert account.subscriptions() == [*before, "INBOX"]
