"""Die everywhere while annotations, special uses and rights are changed: all of a change is there, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import die_at, run

from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.records.acl import OWNER, Kind, Who

pytestmark = pytest.mark.slow

VALUES = [(b"/private/a", b"new"), (b"/private/b", b"new"), (b"/private/old", None)]
BOB = Who(Kind.USER, "bob")
ROUNDS = 200


def opened(root: Path) -> Account:
    return Account(os.fsencode(root), fsync="never")


def made(root: Path) -> None:
    account = opened(root)
    account.create("Up.Work")
    for name in ("Up.Work", "Up", ""):
        account.metadata.change(name, [(b"/private/old", b"1"), (b"/private/a", b"old")])
    account.set_special_use("Up.Work", (b"\\Sent",))
    account.acls.change("Up.Work", lambda acl: acl.put(BOB, frozenset("lr"), negative=False))


def state(root: Path) -> tuple[object, ...]:
    account = opened(root)
    acl = account.acls.read("Up.Work") if account.exists("Up.Work") else None
    values = [dict(account.metadata.entries(name).values()) for name in NAMES]
    return (*values, account.special_use(), acl)


NAMES = ("Up.Work", "Up", "", "To.Work", "To")


def metadata(account: Account) -> None:
    account.metadata.change("Up.Work", VALUES)


def of_a_parent(account: Account) -> None:
    account.metadata.change("Up", VALUES)


def of_the_server(account: Account) -> None:
    account.metadata.change("", VALUES)


def rights(account: Account) -> None:
    account.acls.change("Up.Work", lambda acl: acl.put(OWNER, frozenset("lra"), negative=False))


def uses(account: Account) -> None:
    account.set_special_use("Up.Work", (b"\\Junk",))


@pytest.mark.parametrize("work", [metadata, of_a_parent, of_the_server, rights, uses], ids=lambda work: work.__name__)
def test_all_or_nothing(work: Callable[[Account], None], tmp_path: Path) -> None:
    made(tmp_path / "whole")
    before = state(tmp_path / "whole")
    work(opened(tmp_path / "whole"))
    after = state(tmp_path / "whole")
    assert before != after
    for number in range(1, ROUNDS):
        root = tmp_path / str(number)
        made(root)

        def dying(root: Path = root, number: int = number) -> object:
            account = opened(root)
            die_at(number, torn=False)
            work(account)
            durable.step = None
            return None

        lived, _ = run(dying)
        assert state(root) in (before, after)
        # Whoever comes next can do it, at once or when a lock of the dead has grown old.
        for lock in root.rglob("*.lock"):
            os.utime(lock, (1, 1))
        work(opened(root))
        assert state(root) == after
        if lived:
            assert number > 2
            return
    raise AssertionError("it never came to its end")
