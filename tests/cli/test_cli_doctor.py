"""maildir-imapd doctor: what is wrong with a spool, said and mended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from spool import Spool
from tools import rows, run, said, tree

from maildir_imapd.cli.group import FAILED, USAGE
from maildir_imapd.server.doctoring import KINDS


@pytest.fixture
def ill(spool: Spool) -> Spool:
    """A spool with one of everything that can be made ill without another user."""
    spool.simple("INBOX", 2)
    spool.put("INBOX", b"Subject: x\n\n", "", base="9.M1P1.h,S=3")
    spool.folder("old")
    spool.simple("old", 1)
    (spool.root / ".Gr\u00fcn").mkdir()
    for sub in ("cur", "new", "tmp"):
        (spool.root / ".Gr\u00fcn" / sub).mkdir()
    lock = spool.root / "dovecot-uidlist.lock"
    lock.write_text("")
    os.utime(lock, (time.time() - 3600,) * 2)
    (spool.root / "maildirsize").write_text("1000000S\n5 7\n")
    return spool


def kinds(found: list[dict[str, object]]) -> set[object]:
    return {row["kind"] for row in found}


def test_nothing_is_wrong(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    assert run(spool, "doctor") == []
    run(spool, "message", "search")
    assert rows(spool, "doctor") == []
    assert run(spool, "doctor", "--fix") == []


def test_it_is_said_and_nothing_is_changed(ill: Spool) -> None:
    before = tree(ill.root)
    found = rows(ill, "doctor", status=FAILED)
    assert kinds(found) == {"wrong-size", "encoding", "stale-lock", "quota"}
    assert kinds(found) <= KINDS.keys()
    assert kinds(rows(ill, "doctor", "--fix", "--dry-run", status=FAILED)) == kinds(found)
    assert "give --yes" in said(ill, "doctor", "--fix", status=USAGE)
    assert tree(ill.root) == before


def test_it_is_mended(ill: Spool) -> None:
    run(ill, "message", "search")
    uids = [(row["mailbox"], row["uid"], row["subject"]) for row in rows(ill, "message", "search")]
    contents = sorted(path.read_bytes() for path in ill.root.rglob("cur/*"))
    done = rows(ill, "doctor", "--fix", "--yes", status=FAILED)
    assert kinds(done["found"]) == {"wrong-size", "encoding", "stale-lock", "quota"}
    assert kinds(done["left"]) == {"encoding"}, "which a person has to decide"
    assert [(row["mailbox"], row["uid"], row["subject"]) for row in rows(ill, "message", "search")] == uids
    assert sorted(path.read_bytes() for path in ill.root.rglob("cur/*")) == contents, "no message goes"
    assert not (ill.root / "dovecot-uidlist.lock").exists()
    assert any(name.startswith("9.M1P1.h,S=12,W=14:") for name in ill.files("INBOX"))
    run(ill, "mailbox", "rename", "Gr\u00fcn", "other")
    run(ill, "mailbox", "rename", "other", "Gr\u00fcn")
    assert rows(ill, "doctor") == []


def test_a_broken_index(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    run(spool, "message", "search")
    (spool.root / "maildir-imapd.index").write_bytes(b"nonsense")
    found = rows(spool, "doctor", status=FAILED)
    assert [(row["kind"], row["plan"]) for row in found] == [("index", "make it anew")]
    assert rows(spool, "doctor", "--fix", "--yes")["left"] == []
    assert len(rows(spool, "message", "search")) == 3


def test_one_file_that_is_two_messages(spool: Spool) -> None:
    base = spool.simple("INBOX", 1)[0]
    os.link(spool.find("INBOX", base), spool.root / "cur" / "8.M1P1.h:2,")
    (found,) = rows(spool, "doctor", status=FAILED)
    assert (found["kind"], found["plan"]) == ("linked-twice", None)


def test_what_is_no_message(spool: Spool) -> None:
    (spool.root / "cur" / "directory").mkdir()
    (found,) = rows(spool, "doctor", status=FAILED)
    assert found["kind"] == "no-message"


def test_a_lock_that_is_held_is_left_alone(spool: Spool) -> None:
    (spool.root / "dovecot-uidlist.lock").write_text("")
    assert rows(spool, "doctor") == []


def test_modes(spool: Spool) -> None:
    base = spool.simple("INBOX", 1)[0]
    spool.find("INBOX", base).chmod(0)
    (spool.root / "tmp").chmod(0o500)
    found = rows(spool, "doctor", status=FAILED)
    assert {row["where"].rpartition("/")[2].partition(",")[0] for row in found if row["kind"] == "permissions"} == {
        "tmp",
        base.partition(",")[0],
    }
    assert rows(spool, "doctor", "--fix", "--yes")["left"] == []
    assert spool.find("INBOX", base).stat().st_mode & 0o777 == 0o400
    assert (spool.root / "tmp").stat().st_mode & 0o777 == 0o700


def test_a_name_that_cannot_be_served(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for sub in ("cur", "new", "tmp"):
        (tmp_path / "elsewhere" / sub).mkdir()
    (spool.root / ".link").symlink_to(tmp_path / "elsewhere")
    found = rows(spool, "doctor", "--follow-links=no", status=FAILED)
    assert [(row["kind"], row["where"]) for row in found] == [("link", ".link")]
