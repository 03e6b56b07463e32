"""maildir-imapd search-index: what it shows, fills and removes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from running import give_to, open_to_all
from spool import Spool
from texts_index import Indexed, search

from maildir_imapd.cli import main
from maildir_imapd.server import owners
from maildir_imapd.store.records.texts import FILE
from maildir_imapd.store.records.texts_filling import Filling


def run(spool: Spool, word: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["search-index", word, "--mail-location", f"maildir:{spool.root}", *more])


def cells(result: Result) -> list[str]:
    """The last row, without the user."""
    return result.output.rstrip("\n").splitlines()[-1].split("\t")[1:]


@pytest.fixture
def filled(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "Maildir")
    spool.put("INBOX", b"Subject: one\n\nneedle in one\n", "")
    spool.put("other", b"Subject: two\n\nneedle in two\n", "")
    spool.put("unseen", b"Subject: three\n\nneedle in three\n", "")
    indexed = Indexed(spool.root)
    for name in ("INBOX", "other"):
        indexed.account.mailbox(name)
    return spool


def test_it_is_filled_shown_and_removed(filled: Spool) -> None:
    assert cells(run(filled, "show"))[0] == ""
    done = run(filled, "fill")
    assert done.exit_code == 0, done.output
    assert cells(done)[0] == "2", "a folder that nobody has opened is not taken over for this"
    assert cells(run(filled, "show"))[:3] == ["2", "0", "0"]
    indexed = Indexed(filled.root)
    assert search(indexed.client("other"), b"BODY", "in two") == [1]
    assert indexed.wanted == []
    assert cells(run(filled, "fill"))[0] == "0"
    assert cells(run(filled, "rebuild"))[0] == "2"
    assert run(filled, "remove").exit_code == 0
    assert not list(filled.root.glob("*texts*"))
    assert cells(run(filled, "show"))[0] == ""


def test_mailboxes_that_were_deleted_are_forgotten(filled: Spool) -> None:
    run(filled, "fill")
    Indexed(filled.root).account.delete("other")
    run(filled, "fill")
    assert cells(run(filled, "show"))[:2] == ["1", "1"]
    (told,) = json.loads(run(filled, "show", "--json").output)
    assert (told["messages"], told["gone"]) == (1, 1)


def test_attachments(filled: Spool) -> None:
    filled.put(
        "INBOX",
        b"Subject: s\nContent-Type: multipart/mixed; boundary=x\n\n"
        b"--x\nContent-Type: application/x-words\n\nSTRESSED\n--x--\n",
        "",
    )
    done = run(filled, "rebuild", "--search-extract", "application/x-words:rev")
    assert done.exit_code == 0, done.output
    assert cells(run(filled, "show"))[:3] == ["3", "0", "1"]
    assert search(Indexed(filled.root).client(), b"BODY", "desserts") == [2]


def test_somebody_else_is_filling_it(filled: Spool) -> None:
    with Filling(os.fsencode(filled.root)):
        done = run(filled, "fill")
    assert done.exit_code == 1
    assert "lock" in done.output


def test_what_cannot_be_done_is_said(filled: Spool) -> None:
    (filled.root / os.fsdecode(FILE)).mkdir()
    assert run(filled, "fill").exit_code == 1
    assert run(filled, "remove").exit_code == 1
    assert run(filled, "fill", "--user", "nobody-there").exit_code == 78


@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_root_fills_it_as_its_owner(filled: Spool) -> None:
    open_to_all(filled.root)
    give_to(filled.root, 12345)
    done = run(filled, "fill")
    assert done.exit_code == 0, done.output
    assert cells(done)[0] == "2"
    for path in filled.root.glob("*texts*"):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (12345, 0o600)
