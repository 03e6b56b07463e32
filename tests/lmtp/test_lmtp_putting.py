"""One message into mailboxes, whatever becomes of these meanwhile."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.errors import SpoolGone
from maildir_imapd.lmtp.answers import STORED, Answer
from maildir_imapd.lmtp.putting import Manner, Putting, Stored, choose
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir import keywords
from maildir_imapd.store.maildir.delivery import Delivery

TEXT = b"Subject: x\r\n\r\nbody\r\n"


class To:
    """As ``Destination``: a spool."""

    def __init__(self, spool: Spool, folder: str = "", owner: object = None) -> None:
        self.user = spool.root.parent.name
        self.folder = folder
        self.owner = owner
        self.gone = False
        self._account: Account | None = None
        self._root = os.fsencode(spool.root)

    def acting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def account(self) -> Account:
        if self.gone:
            raise SpoolGone
        if self._account is None:
            self._account = Account(self._root, fsync="never")
        return self._account

    def left(self) -> None:
        self._account = None


def spools(base: Path, *users: str) -> list[Spool]:
    return [Spool(base / user / "Maildir") for user in users]


def files(spool: Spool, folder: str = "INBOX") -> list[Path]:
    return sorted(each for sub in ("cur", "new", "tmp") for each in (spool.path(folder) / sub).iterdir())


def put(*to: To, manner: Manner = Manner()) -> list[Answer]:  # noqa: B008  # a value
    putting = Putting(to, b"X: y\n", manner)
    putting.write(TEXT)
    return list(putting.finish())


def test_a_file_for_each_owner(tmp_path: Path) -> None:
    found = spools(tmp_path, "a", "b", "c", "d")
    answers = put(*(To(spool, owner=n % 2) for n, spool in enumerate(found)))
    assert answers == [STORED] * 4
    inodes = [files(spool)[0].stat().st_ino for spool in found]
    assert (inodes[0], inodes[1]) == (inodes[2], inodes[3])
    assert inodes[0] != inodes[1]
    assert {files(spool)[0].read_bytes() for spool in found} == {b"X: y\n" + TEXT.replace(b"\r\n", b"\n")}
    # Each has its own UID, sizes and date on record.
    rows = Account(os.fsencode(found[2].root), fsync="never").mailbox("INBOX").sync(files=True)
    assert rows.sizes[0] == len(TEXT) + 6


def test_files_that_are_more_open_are_no_second_names(tmp_path: Path) -> None:
    found = spools(tmp_path, "a", "b")
    found[0].root.chmod(0o700)
    found[1].root.chmod(0o750)
    assert put(*map(To, found)) == [STORED] * 2
    first, second = (files(spool)[0].stat() for spool in found)
    assert first.st_ino != second.st_ino
    assert (first.st_mode & 0o777, second.st_mode & 0o777) == (0o600, 0o640)


def test_where_there_can_be_no_second_name_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "another file system")

    found = spools(tmp_path, "a", "b")
    monkeypatch.setattr(os, "link", refuse)
    assert put(*map(To, found)) == [STORED] * 2
    assert [len(files(spool)) for spool in found] == [1, 1]
    assert files(found[0])[0].read_bytes() == files(found[1])[0].read_bytes()


def test_one_that_fails_fails_alone(tmp_path: Path) -> None:
    found = spools(tmp_path, "a", "b", "c")
    to = [To(spool) for spool in found]
    to[0].gone = True
    heard: list[Stored] = []
    putting = Putting(to, b"", Manner(), heard.append)
    putting.write(TEXT)
    assert [answer.code for answer in putting.finish()] == [451, 250, 250]
    assert [stored.destination for stored in heard] == to[1:]
    assert [len(files(spool)) for spool in found] == [0, 1, 1]


def test_a_folder_that_goes_meanwhile(tmp_path: Path) -> None:
    (spool, other) = spools(tmp_path, "a", "b")
    spool.folder("Lists")
    for again in (False, True):
        putting = Putting([To(spool, "Lists"), To(other)], b"", Manner())
        putting.write(TEXT)
        shutil.rmtree(spool.path("Lists"))
        if again:
            spool.folder("Lists")
        assert list(putting.finish()) == [STORED, STORED]
        assert len(files(spool)) == 1
        spool.folder("Lists")
    assert len(files(spool, "Lists")) == 1
    assert len(files(other)) == 2


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    found = spools(tmp_path, "a", "b")
    putting = Putting([To(spool, owner=n) for n, spool in enumerate(found)], b"", Manner())
    putting.write(TEXT)
    assert [len(files(spool)) for spool in found] == [1, 1]
    putting.close()
    putting.close()
    assert [len(files(spool)) for spool in found] == [0, 0]
    putting = Putting([To(spool) for spool in found], b"", Manner())
    answers = putting.finish()
    assert next(answers) == STORED
    answers.close()  # type: ignore[attr-defined]  # whoever was to hear the next one is gone
    assert [len(files(spool)) for spool in found] == [1, 0]


def test_keywords_that_have_no_room_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (spool,) = spools(tmp_path, "a")
    monkeypatch.setattr(keywords, "LIMIT", 1)
    for word in (b"one", b"two"):
        assert put(To(spool), manner=Manner(flags=(b"\\Seen", word))) == [STORED]
    assert sorted(each.name.rpartition(":2,")[2] for each in files(spool)) == ["S", "Sa"]


def test_keywords_of_what_is_in_the_message(tmp_path: Path) -> None:
    """It is looked at once for all recipients, when it is whole; and what is on top of it belongs to it."""
    found = spools(tmp_path, "a", "b")
    looked: list[bytes] = []

    def keywords_of(delivery: Delivery) -> tuple[bytes, ...]:
        with delivery.contents() as (read, octets):
            looked.append(read(0, octets))
        return (b"word",)

    manner = Manner(flags=(b"\\Seen",), keywords=keywords_of)
    assert put(*map(To, found), manner=manner) == [STORED, STORED]
    assert looked == [b"X: y\n" + TEXT.replace(b"\r\n", b"\n")]
    assert [
        each.name.rpartition(":2,")[2] for spool in found for each in files(spool) if each.parent.name == "cur"
    ] == [
        "Sa",
        "Sa",
    ]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        *(("", "INBOX"), ("inbox", "INBOX"), ("Lists", "Lists"), ("lists", "Lists"), ("LISTS", "Lists")),
        *(("work", "INBOX"), ("Work", "Work"), ("nothing", "INBOX"), ("a/../b", "INBOX"), ("\udcff", "INBOX")),
    ],
)
def test_folders(tmp_path: Path, wanted: str, name: str) -> None:
    (spool,) = spools(tmp_path, "a")
    for folder in ("Lists", "Work", "WORK"):
        spool.folder(folder)
    assert choose(Account(os.fsencode(spool.root), fsync="never"), wanted) == name


def test_folders_behind_a_prefix(tmp_path: Path) -> None:
    (spool,) = spools(tmp_path, "a")
    spool.folder("Lists")
    account = Account(os.fsencode(spool.root), fsync="never", prefix="INBOX.")
    assert choose(account, "lists") == choose(account, "INBOX.Lists") == "INBOX.Lists"
    assert choose(account, "New", made=True) == "INBOX.New"
    assert "INBOX.New" in account.subscriptions()
