"""Keys that vouch for URLs: they last, go where their mailbox goes, and are for nobody else's eyes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash import die_at, run

from maildir_imapd.errors import LimitReached
from maildir_imapd.store.account import Account
from maildir_imapd.store.records import url_keys
from maildir_imapd.store.records.url_keys import FILE, HEADER, KEY_OCTETS, parse, render


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(os.fsencode(tmp_path / "Maildir"), delimiter="/")


def file(account: Account) -> Path:
    return Path(os.fsdecode(account.root)) / os.fsdecode(FILE)


def test_a_key_is_made_once_and_lasts(account: Account) -> None:
    assert account.url_keys.find("INBOX") is None
    assert not file(account).exists()
    key = account.url_keys.make("INBOX")
    assert len(key) == KEY_OCTETS
    assert account.url_keys.make("INBOX") == key
    assert account.url_keys.find("INBOX") == key
    assert Account(account.root, delimiter="/").url_keys.find("INBOX") == key
    assert account.url_keys.make("Wörk") != key


def test_nobody_else_may_read_it(account: Account) -> None:
    """Also where the directory is open to a group."""
    os.chmod(account.root, 0o2770)
    account.url_keys.make("INBOX")
    assert file(account).stat().st_mode & 0o777 == 0o600


def test_reset(account: Account) -> None:
    key, other = account.url_keys.make("INBOX"), account.url_keys.make("Other")
    account.url_keys.reset("INBOX")
    assert account.url_keys.find("INBOX") not in (None, key)
    assert account.url_keys.find("Other") == other
    account.url_keys.reset("New")
    assert account.url_keys.find("New") is not None
    account.url_keys.forget_all()
    assert not file(account).exists()
    assert account.url_keys.find("INBOX") is None
    account.url_keys.forget_all()


def test_rename_takes_them_along(account: Account) -> None:
    for name in ("A", "A/B", "AB"):
        account.create(name)
    a, b, ab = (account.url_keys.make(name) for name in ("A", "A/B", "AB"))
    # Of a mailbox that another program has removed.
    account.url_keys.make("C/B")
    account.rename("A", "C")
    found = {name: account.url_keys.find(name) for name in ("A", "A/B", "AB", "C", "C/B")}
    assert found == {"A": None, "A/B": None, "AB": ab, "C": a, "C/B": b}


def test_inbox_keeps_its_own(account: Account) -> None:
    key = account.url_keys.make("INBOX")
    account.rename("INBOX", "Old")
    assert account.url_keys.find("INBOX") == key
    assert account.url_keys.find("Old") is None


def test_delete_ends_it(account: Account) -> None:
    for name in ("A", "A/B"):
        account.create(name)
        account.url_keys.make(name)
    account.delete("A")
    assert account.url_keys.find("A") is None
    assert account.url_keys.find("A/B") is not None
    account.create("A")
    assert account.url_keys.find("A") is None


def test_what_does_not_read_is_no_key(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    key = account.url_keys.make("INBOX")
    good = file(account).read_bytes()
    for damaged in (b"", b"x", good[:-9], good.replace(b"\t", b" "), good.replace(b"INBOX\t", b"INBOX\t00")):
        file(account).write_bytes(damaged)
        assert account.url_keys.find("INBOX") is None
    file(account).write_bytes(good + b"B\tzz\n")
    assert account.url_keys.find("INBOX") == key
    account.url_keys.make("C")
    assert "keys of URLs damaged" in caplog.text
    assert parse(file(account).read_bytes()) == (
        {b"INBOX": key, b"C": account.url_keys.find("C")},
        True,
    )


def test_the_format_goes_both_ways() -> None:
    keys = {b"INBOX": bytes(range(32)), b"&AOQ- b": b"\xff" * 32}
    assert parse(render(keys)) == (keys, True)
    assert render({}) == b""
    assert parse(HEADER) == ({}, True)


def test_there_is_an_end(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_keys, "KEYS_LIMIT", 2)
    account.url_keys.make("A")
    account.url_keys.make("B")
    with pytest.raises(LimitReached):
        account.url_keys.make("C")
    account.url_keys.reset("B")
    assert account.url_keys.make("A")


@pytest.mark.parametrize("torn", [False, True], ids=["between", "torn"])
def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path, torn: bool) -> None:
    """Kill it at each single step; the next one finds the keys that were there before."""
    step = 0
    lived = False
    while not lived:
        step += 1
        root = os.fsencode(tmp_path / str(step) / "Maildir")
        key = Account(root, delimiter="/").url_keys.make("INBOX")

        def work(step: int = step, root: bytes = root) -> None:
            account = Account(root, delimiter="/")
            die_at(step, torn)
            account.url_keys.make("Other")

        lived, _ = run(work)
        account = Account(root, delimiter="/")
        assert account.url_keys.find("INBOX") == key
        assert account.url_keys.make("Other") == account.url_keys.find("Other")
    assert step > (1 if torn else 4)
