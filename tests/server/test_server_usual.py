"""What is written of mailboxes, in the settings and by back ends, and what users of a server see of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from client import Client
from running import Running, give_to, open_to_all, start_server, stop_server

from maildir_imapd.auth.base import Identity
from maildir_imapd.auth.fields import identity, words
from maildir_imapd.auth.joined import merged
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError, MailboxMissing
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.store.records.usual import UsualMailbox

TRASH = UsualMailbox(("Trash",), b"\\Trash", "subscribe", 30 * 86400, 1000)
NEW = {"Drafts", "Junk", "Sent", "Trash"}


def mail(tmp_path: Path, *mailboxes: str, **given: Any) -> Accounts:
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    given |= {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "fsync": "never", "mailboxes": list(mailboxes)}
    return Accounts(settings.mail(load(None, given)), None)


def names(accounts: Accounts, who: Identity) -> set[str]:
    return {row.name for row in accounts.account(who).folders()} - {"INBOX"}


def test_a_value_of_each() -> None:
    written = ["Trash: use=\\trash, auto=subscribe, autoexpunge=30d, autoexpunge_count=1000", "inbox:autoexpunge=52w"]
    config = load(None, {"mailboxes": written})
    assert settings.mail(config).usual == (TRASH, UsualMailbox(("INBOX",), None, "no", 52 * 7 * 86400))
    assert settings.mail(load(None, {})).usual is None


def test_none_is_something_else_than_nothing_said(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("mailboxes = []\n")
    assert settings.mail(load(tmp_path / "conf", {})).usual == ()


@pytest.mark.parametrize(
    ("mailboxes", "why"),
    [
        (["A: use=Sent", "B: use=sent"], "mailboxes has two of the special use Sent: A and B"),
        (["A: use=Sent", "A: auto=create"], "mailboxes has two items for A"),
        (["A\u0308: use=Sent", "\u00c4: auto=create"], "mailboxes has two items for \u00c4"),
    ],
)
def test_what_does_not_go_together(mailboxes: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings.mail(load(None, {"mailboxes": mailboxes}))


def test_who_is_new(tmp_path: Path) -> None:
    accounts = Accounts(settings.mail(load(None, {"mail_location": f"maildir:{tmp_path}/%n", "fsync": "never"})), None)
    with pytest.raises(MailboxMissing):
        accounts.account(Identity("ann"), make=False)
    assert names(accounts, Identity("ann")) == NEW
    for sub in ("cur", "new", "tmp"):
        (tmp_path / "ben" / sub).mkdir(parents=True)
    assert names(accounts, Identity("ben")) == set()


def test_a_look_makes_nothing(tmp_path: Path) -> None:
    for sub in ("cur", "new", "tmp"):
        (tmp_path / "ann" / "Maildir" / sub).mkdir(parents=True)
    accounts = mail(tmp_path, "Trash: auto=create")
    account = accounts.account(Identity("ann"), make=False)
    assert [row.name for row in account.folders()] == ["INBOX"]
    # And who comes afterwards to the same account has it.
    assert names(accounts, Identity("ann")) == {"Trash"}
    assert accounts.account(Identity("ann")) is account


def test_what_a_back_end_says_goes_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    accounts = mail(tmp_path, "Trash: auto=create")
    ann = identity("ann", words("userdb_mailboxes=Old%20Mail:use=Archive,auto=subscribe;Junk:auto=create"))
    assert names(accounts, ann) == {"Old Mail", "Junk"}
    assert accounts.account(ann).special_use()["Old Mail"] == (b"\\Archive",)
    assert names(accounts, identity("ben", words("mailboxes=no"))) == set()
    assert merged(Identity("ben"), ann).mailboxes == ann.mailboxes
    assert merged(Identity("ben", mailboxes="no"), ann).mailboxes == "no"
    for wrong in ("x", "A:use=Sent;B:use=Sent"):
        caplog.clear()
        assert names(accounts, Identity("cat", mailboxes=wrong)) == {"Trash"}
        assert "mailboxes passed over" in caplog.text


# --- a server -----------------------------------------------------------------------------------------


def listed(server: Running, user: str) -> tuple[set[str], set[str]]:
    """What clients see, of both workers: names, and those that are subscribed; the same for all."""
    seen = []
    for _ in range(4):
        with Client.to(server.port, user=user) as client:
            rows = [line.decode() for line in client.ok('LIST "" "*" RETURN (SUBSCRIBED)') if b" LIST (" in line]
            seen.append(
                (
                    {row.rsplit(" ", 1)[1] for row in rows} - {"INBOX"},
                    {row.rsplit(" ", 1)[1] for row in rows if "\\Subscribed" in row},
                )
            )
    assert all(each == seen[0] for each in seen), seen
    return seen[0]


@pytest.mark.slow
def test_users_of_a_server(tmp_path: Path) -> None:
    """Those who have mail get nothing, new ones get what new users get, by two workers; and system users own it."""
    system_users = os.geteuid() == 0 and owners.supported()
    open_to_all(tmp_path)
    server = start_server(tmp_path, system_users=system_users)
    try:
        uid = 64211 if system_users else os.geteuid()
        with (tmp_path / "passwd").open("a") as file:
            for name in ("ann", "ben", "cat"):
                more = "userdb_mailboxes=Bin:use=Trash,auto=create" if name == "cat" else ""
                file.write(f"{name}:{{PLAIN}}secret:{uid}:{uid}::{tmp_path}/{name}::{more}\n")
                (tmp_path / name).mkdir()
        for sub in ("cur", "new", "tmp"):
            (tmp_path / "ben" / "Maildir" / sub).mkdir(parents=True)
        for name in ("ann", "ben", "cat"):
            give_to(tmp_path / name, uid)
        assert listed(server, "ann") == (NEW, NEW)
        assert listed(server, "ben") == (set(), set())
        assert listed(server, "cat") == ({"Bin"}, set())
        for path in (tmp_path / "ann" / "Maildir").rglob("*"):
            assert path.stat().st_uid == uid, path
    finally:
        Client.close_all()
        stop_server(server)
