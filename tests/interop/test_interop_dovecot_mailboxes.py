"""Mailboxes that are there by themselves, beside the real Dovecot: each server finds what the other one has made."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from dovecot import Dovecot
from migration import subscribed
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.arranging import arrange
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.records.usual import UsualMailbox

pytestmark = pytest.mark.interop

NEW = {"Drafts", "Junk", "Sent", "Trash"}
AUTO = """
namespace inbox {
  mailbox Lists.Announce {
    auto = subscribe
  }
  mailbox Bin {
    auto = create
    special_use = \\Trash
  }
}
"""
OURS = (UsualMailbox(("Lists", "Announce"), None, "subscribe"), UsualMailbox(("Bin",), b"\\Trash", "create"))


def opened(home: Path, *usual: UsualMailbox) -> Account:
    account = Account(os.fsencode(home / "Maildir"), fsync="never", welcome=True)
    account.usual = usual
    arrange(account)
    return account


def listed(lines: list[str]) -> set[str]:
    return {match[1].strip('"') for line in lines if (match := re.match(r'\* LIST \(.*\) "." (.*)', line))}


@pytest.mark.parametrize("separator", [".", "/"])
def test_dovecot_shows_what_a_new_user_has(separator: str, tmp_path: Path) -> None:
    opened(tmp_path)
    options = "" if separator == "." else ":LAYOUT=fs"
    if options:
        tmp_path /= "nested"
        (tmp_path / "Maildir").mkdir(parents=True)
        account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never", welcome=True)
        arrange(account)
    dovecot = Dovecot(tmp_path)
    lines = dovecot.talk('LIST "" *', 'LSUB "" *', "EXAMINE Sent")
    assert listed(lines) == {"INBOX", *NEW}
    assert subscribed(lines) == NEW
    assert any(line.startswith("t2 OK") for line in lines)


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
def test_dovecot_sees_nothing_of_what_can_be_had_back(layout: str, tmp_path: Path) -> None:
    nested = layout == "fs"
    spool = Spool(tmp_path / "Maildir", nested=nested)
    spool.simple("INBOX", 2)
    spool.simple("Work", 1)
    account = Account(Places(os.fsencode(spool.root), kind=layout), fsync="never")
    account.deleted.seconds = 3600
    account.mailbox("INBOX").expunge([1])
    account.delete("Work")
    assert account.deleted.there()
    dovecot = Dovecot(tmp_path, options=":LAYOUT=fs" if nested else "", separator=account.delimiter)
    lines = dovecot.talk('LIST "" *', "STATUS INBOX (MESSAGES)")
    assert [line for line in lines if line.startswith("* LIST")] == [
        f'* LIST (\\HasNoChildren) "{account.delimiter}" INBOX'
    ]
    assert "* STATUS INBOX (MESSAGES 1)" in lines
    assert account.deleted.there()


def test_the_same_configuration_makes_the_same(tmp_path: Path) -> None:
    """Dovecot makes what is missing when it is asked for, and we when the mail is opened."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    (theirs / "Maildir").mkdir()
    dovecot = Dovecot(theirs, AUTO)
    dovecot.talk("SELECT Lists.Announce", "SELECT Bin")
    for sub in ("cur", "new", "tmp"):
        (ours / "Maildir" / sub).mkdir(parents=True)
    account = opened(ours, *OURS)
    lines = Dovecot(ours).talk('LIST "" *', 'LSUB "" *')
    again = dovecot.talk('LIST "" *', 'LSUB "" *')
    assert listed(lines) - {"Lists"} == listed(again) - {"Lists"} == {"INBOX", "Bin", "Lists.Announce"}
    assert subscribed(lines) == subscribed(again) == {"Lists.Announce"}
    # And what Dovecot has made is enough for us.
    os.chmod(theirs, 0o755)
    found = opened(theirs, *OURS)
    assert {row.name for row in found.folders()} - {"Lists"} == {"INBOX", "Bin", "Lists.Announce"}
    assert found.subscriptions() == account.subscriptions() == ["Lists.Announce"]
    assert found.special_use() == account.special_use() == {"Bin": (b"\\Trash",)}
