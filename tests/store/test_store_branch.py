"""Names within an account, and as clients see them behind a prefix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maildir_imapd.store.account import Account
from maildir_imapd.store.branch import Branch, SpaceKind


def branch(root: Path, *, prefix: str = "", delimiter: str = "/", own: str = "auto", inbox: bool = True) -> Branch:
    account = Account(os.fsencode(root), delimiter=own, prefix=prefix, fsync="never")
    return Branch(
        account,
        SpaceKind.OTHERS,
        "shared/bob/".replace("/", delimiter),
        delimiter,
        "bob",
        own=False,
        inbox="prefix" if inbox else "named",
    )


@pytest.mark.parametrize(
    ("inner", "outer"),
    [("INBOX", "shared/bob"), ("Work", "shared/bob/Work"), ("Work/2024", "shared/bob/Work/2024")],
)
def test_there_and_back(tmp_path: Path, inner: str, outer: str) -> None:
    bob = branch(tmp_path, own="/")
    assert (bob.outer(inner), bob.inner(outer)) == (outer, inner)


def test_inbox_under_its_own_name(tmp_path: Path) -> None:
    bob = branch(tmp_path, own="/", inbox=False)
    assert (bob.outer("INBOX"), bob.inner("shared/bob/INBOX")) == ("shared/bob/INBOX", "INBOX")
    assert bob.inner("shared/bob") is None


def test_one_mailbox_has_one_name(tmp_path: Path) -> None:
    assert branch(tmp_path, own="/").inner("shared/bob/INBOX") is None


def test_a_prefix_of_the_owner_is_not_seen(tmp_path: Path) -> None:
    bob = branch(tmp_path, own=".", prefix="INBOX.", delimiter=".")
    assert bob.outer("INBOX.Work") == "shared.bob.Work"
    assert bob.inner("shared.bob.Work") == "INBOX.Work"
    assert bob.inner("shared.bob") == "INBOX"


def test_another_delimiter(tmp_path: Path) -> None:
    bob = branch(tmp_path, own=".")
    assert (bob.outer("Work.2024"), bob.inner("shared/bob/Work/2024")) == ("shared/bob/Work/2024", "Work.2024")
    # With the other one's delimiter in it, it is no name there; with ours in it, none here.
    assert bob.inner("shared/bob/v1.2") is None
    assert bob.outer("a/b") is None


def test_without_a_prefix_names_are_what_they_are(tmp_path: Path) -> None:
    own = Branch(Account(os.fsencode(tmp_path), fsync="never"), delimiter=".")
    assert own.inner("A.b") == own.outer("A.b") == "A.b"
    assert own.free
