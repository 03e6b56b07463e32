"""From a user to the mail and its owner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.auth.base import Identity, QuotaLimits
from maildir_imapd.config import load
from maildir_imapd.errors import Unavailable
from maildir_imapd.server import settings
from maildir_imapd.server.accounts import Accounts


def make(tmp_path: Path, **given: Any) -> Accounts:
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    given = {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "fsync": "never", **given}
    return Accounts(settings.mail(load(None, given)), None)


def test_mail_locations(tmp_path: Path) -> None:
    accounts = make(tmp_path)
    account = accounts.account(Identity("ann@example.org", mail=f"maildir:{tmp_path}/elsewhere/%d/%n"))
    assert account.root == os.fsencode(tmp_path / "elsewhere" / "example.org" / "ann")
    account = accounts.account(Identity("ben", mail=f"maildir:{tmp_path}/%n:LAYOUT=fs:INBOX={tmp_path}/in/%n"))
    assert account.delimiter == "/"
    assert (tmp_path / "in" / "ben" / "cur").is_dir()
    for location in ("mbox:~/mail", "maildir:relative", "maildir:/x:LAYOUT=index", "maildir:~/Maildir", "maildir:/%x"):
        with pytest.raises(Unavailable):
            accounts.account(Identity("ann", mail=location))


def test_quotas(tmp_path: Path) -> None:
    """The user's own goes before the settings'; another one is taken at the next login, by the same account."""
    accounts = make(tmp_path, quota_storage="1M")

    def limit(identity: Identity) -> tuple[int, int]:
        usage = accounts.account(identity).quota.usage()
        assert usage is not None
        return usage.limit

    account = accounts.account(Identity("ann"))
    assert limit(Identity("ann")) == (1 << 20, 0)
    assert limit(Identity("ann", quota=QuotaLimits(5, 7))) == (5, 7)
    assert accounts.account(Identity("ann")) is account
    assert limit(Identity("ann")) == (1 << 20, 0)
    assert limit(Identity("ben", quota=QuotaLimits(1 << 30, 1000))) == (1 << 30, 1000)


def test_users_that_this_process_cannot_keep_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = make(tmp_path)
    with pytest.raises(Unavailable):
        accounts.owner(Identity("root", uid=0, gid=0))
    with pytest.raises(Unavailable):
        accounts.owner(Identity("ann", gid=12))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000, 8])
    assert accounts.owner(Identity("ann", uid=1000, gid=1000)) is None
    assert accounts.owner(Identity("ann", uid=1000, gid=8)) is None
    assert accounts.owner(Identity("ann", uid=1000)) is None
    for uid, gid in ((1001, 1000), (1000, 9)):
        with pytest.raises(Unavailable):
            accounts.owner(Identity("ann", uid=uid, gid=gid))


def test_root_serves_nobody_about_whom_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory may be his, and then he turns elsewhere what root does in it."""
    accounts = make(tmp_path, mail_user=None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Unavailable):
        accounts.owner(Identity("ann"))
