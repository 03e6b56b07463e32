"""Mail that is copied away and brought back: all of it, one folder, one message; by what keeps times (rsync -a)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.store import upkeep
from maildir_imapd.store.account import Account


def uids(root: Path, name: str = "INBOX") -> tuple[int, list[tuple[int, bytes]]]:
    """UIDVALIDITY, and the UID of each message with the base of its file, by a process that knows nothing yet."""
    account = Account(bytes(root), fsync="never")
    mailbox = account.mailbox(name)
    snapshot = mailbox.sync(look=True)
    return mailbox.uidvalidity, [(uid, snapshot.name(at)) for at, uid in enumerate(snapshot.uids)]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 3)
    spool.simple("Lists", 4)
    # Somebody has taken a message away: UIDs are not what a new list would give.
    account = Account(bytes(spool.root), fsync="never")
    account.mailbox("Lists").sync(look=True)
    account.mailbox("Lists").expunge([1], under=account.mailbox("Lists").uidvalidity)
    account.mailbox("INBOX").sync(look=True)
    return spool


def copied(spool: Spool, to: Path) -> Path:
    shutil.copytree(spool.root, to, symlinks=True)
    return to


def test_all_of_it_elsewhere(spool: Spool, tmp_path: Path) -> None:
    before = {name: uids(spool.root, name) for name in ("INBOX", "Lists")}
    backup = copied(spool, tmp_path / "Backup")
    assert {name: uids(backup, name) for name in ("INBOX", "Lists")} == before
    assert [uid for uid, _ in before["Lists"][1]] == [2, 3, 4]


def test_one_folder_in_its_place(spool: Spool, tmp_path: Path) -> None:
    before = uids(spool.root, "Lists")
    backup = copied(spool, tmp_path / "Backup")
    account = Account(bytes(spool.root), fsync="never")
    account.delete("Lists")
    shutil.copytree(backup / ".Lists", spool.root / ".Lists", symlinks=True)
    assert uids(spool.root, "Lists") == before


def test_one_message_is_a_new_one(spool: Spool, tmp_path: Path) -> None:
    backup = copied(spool, tmp_path / "Backup")
    validity, found = uids(spool.root)
    account = Account(bytes(spool.root), fsync="never")
    account.mailbox("INBOX").sync(look=True)
    account.mailbox("INBOX").expunge([found[1][0]], under=validity)
    (file,) = (backup / "cur").glob(f"{os.fsdecode(found[1][1])}*")
    shutil.copy2(file, spool.root / "cur")
    after = uids(spool.root)
    assert after[0] == validity
    assert [base for _, base in after[1]] == [found[0][1], found[2][1], found[1][1]]
    assert after[1][-1][0] > max(uid for uid, _ in found)


def test_a_backup_that_was_made_while_mail_came(spool: Spool, tmp_path: Path) -> None:
    """The index was copied first, the messages later, and one went meanwhile: nobody's UID changes."""
    before = uids(spool.root)
    backup = copied(spool, tmp_path / "Backup")
    spool.simple("INBOX", 1)
    (late,) = set(os.listdir(spool.root / "cur")) - set(os.listdir(backup / "cur"))
    shutil.copy2(spool.root / "cur" / late, backup / "cur")
    gone = next((backup / "cur").glob(f"{os.fsdecode(before[1][0][1])}*"))
    gone.unlink()
    after = uids(backup)
    assert after[0] == before[0]
    assert after[1][:2] == before[1][1:]
    assert after[1][2][0] > max(uid for uid, _ in before[1])


def test_an_older_state_in_the_place_of_a_newer_one(spool: Spool, tmp_path: Path) -> None:
    """What clients have seen since would have its UIDs given once more: so all get new ones, when that is asked for."""
    backup = copied(spool, tmp_path / "Backup")
    spool.simple("INBOX", 2)
    validity, _ = uids(spool.root)
    shutil.rmtree(spool.root)
    shutil.copytree(backup, spool.root, symlinks=True)
    mailbox = Account(bytes(spool.root), fsync="never").mailbox("INBOX")
    mailbox.sync(look=True)
    after = upkeep.renumber(mailbox)
    assert after.uidvalidity > validity
    assert list(after.uids) == [1, 2, 3]
    assert after is mailbox.snapshot
    spool.simple("INBOX", 1)
    again, found = uids(spool.root)
    assert (again, [uid for uid, _ in found]) == (after.uidvalidity, [1, 2, 3, 4])


def test_another_server_beside_us_gets_the_new_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    bases = spool.simple("INBOX", 2)
    rows = "".join(f"{number + 11} :{base}\n" for number, base in enumerate(bases))
    uidlist = spool.root / "dovecot-uidlist"
    uidlist.write_text(f"3 V1796041708 N13 G0123456789abcdef0123456789abcdef\n{rows}")
    mailbox = Account(bytes(spool.root), fsync="never", mirror="auto").mailbox("INBOX")
    assert list(mailbox.sync(look=True).uids) == [11, 12]
    after = upkeep.renumber(mailbox)
    head, *lines = uidlist.read_text().splitlines()
    assert head.startswith(f"3 V{after.uidvalidity} N3 ")
    assert [line.split()[0] for line in lines] == ["1", "2"]
