"""Die everywhere while the usual mailboxes are made: who comes next finishes it, subscriptions included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash import die_at, run

from maildir_imapd.store.account import Account
from maildir_imapd.store.arranging import arrange
from maildir_imapd.store.disk import durable
from maildir_imapd.store.records.usual import INTENT, UsualMailbox

pytestmark = pytest.mark.slow

ROUNDS = 300
WORK = UsualMailbox(("Lists", "Work"), None, "subscribe")


def come(root: Path, number: int | None = None, *, torn: bool = False) -> Account:
    if number is not None:
        die_at(number, torn=torn)
    account = Account(os.fsencode(root), fsync="never", welcome=True)
    account.usual = (WORK,)
    arrange(account)
    durable.step = None
    return account


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("new", [True, False])
def test_who_comes_next_finishes(new: bool, torn: bool, tmp_path: Path) -> None:
    expected = {"Lists.Work", *(("Drafts", "Junk", "Sent", "Trash") if new else ())}
    for number in range(1, ROUNDS):
        root = tmp_path / str(number)
        if not new:
            Account(os.fsencode(root), fsync="never")
        lived, _ = run(lambda root=root, number=number: come(root, number, torn=torn) and None)  # type: ignore[misc]
        for lock in root.rglob("*.lock"):
            os.utime(lock, (1, 1))
        account = come(root)
        assert {row.name for row in account.folders()} == {"INBOX", "Lists", *expected}
        assert set(account.subscriptions()) == expected
        assert not (root / os.fsdecode(INTENT)).exists()
        if lived:
            assert number > 2 or torn
            return
    raise AssertionError("it never came to its end")
