"""From a user to the mail and its owner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.auth.base import Identity, QuotaLimits
from maildir_imapd.config import load
from maildir_imapd.errors import SpoolGone, Unavailable
from maildir_imapd.server import accounts as accounts_module
from maildir_imapd.server import settings
from maildir_imapd.server.accounts import Accounts


def make(tmp_path: Path, **given: Any) -> Accounts:
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    given = {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "fsync": "never", **given}
    return Accounts(settings.mail(load(None, given)), None)


def test_mail_locations(tmp_path: Path) -> None:
    for name in ("elsewhere", "in"):
        (tmp_path / name).mkdir()
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
    assert limit(Identity("ben", quota=QuotaLimits(None, 7))) == (1 << 20, 7)


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


def test_an_empty_mount_point_is_not_a_new_user(tmp_path: Path) -> None:
    """A Maildir is made where the part of its path that all users share is there, and nowhere else."""
    accounts = make(tmp_path, mail_location=f"maildir:{tmp_path}/srv/mail/%d/%n/Maildir")
    ann = Identity("ann@example.org")
    with pytest.raises(SpoolGone) as refusal:
        accounts.account(ann)
    assert refusal.value.code == b"UNAVAILABLE"
    assert f"{tmp_path}/srv/mail is not there" in refusal.value.detail
    assert not (tmp_path / "srv").exists()
    (tmp_path / "srv" / "mail").mkdir(parents=True)
    accounts.account(ann)
    assert (tmp_path / "srv" / "mail" / "example.org" / "ann" / "Maildir" / "cur").is_dir()


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    accounts = make(tmp_path, mail_location="maildir:~/Maildir")
    home = tmp_path / "home" / "ann"
    with pytest.raises(SpoolGone):
        accounts.account(Identity("ann", home=str(home)))
    assert not home.parent.exists()
    home.mkdir(parents=True)
    accounts.account(Identity("ann", home=str(home)))
    assert (home / "Maildir" / "cur").is_dir()
    # The home is the Maildir: then the directory that it lies in is what must be there.
    with pytest.raises(SpoolGone):
        accounts.account(Identity("ben", home=str(tmp_path / "elsewhere" / "ben"), mail="maildir:~"))
    accounts.account(Identity("ben", home=str(tmp_path / "home" / "ben"), mail="maildir:~"))
    with pytest.raises(SpoolGone):
        accounts.account(Identity("cyd", mail=f"maildir:{tmp_path}/nowhere/Maildir"))


def test_nothing_is_served_on_a_file_system_without_its_marker(tmp_path: Path) -> None:
    """With the marker parents are made as ever; without it not even what lies there is served."""
    accounts = make(tmp_path, mail_location=f"maildir:{tmp_path}/mail/%d/%n", spool_marker=".spool")
    ann = Identity("ann@example.org")
    (tmp_path / "mail" / "example.org" / "ann" / "cur").mkdir(parents=True)
    with pytest.raises(SpoolGone, match="not there just now") as refusal:
        accounts.account(ann)
    assert ".spool" in refusal.value.detail
    assert not (tmp_path / "mail" / "example.org" / "ann" / "new").exists()
    (tmp_path / "mail" / ".spool").touch()
    accounts.account(ann)
    accounts.account(Identity("ben@example.com"))
    assert (tmp_path / "mail" / "example.com" / "ben" / "cur").is_dir()
    (tmp_path / "mail" / ".spool").unlink()
    with pytest.raises(SpoolGone):
        accounts.account(ann)


def test_a_marker_counts_on_its_own_file_system_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".spool").touch()
    (tmp_path / "mail").mkdir()
    accounts = make(tmp_path, mail_location=f"maildir:{tmp_path}/mail/%n", spool_marker=".spool")
    accounts.account(Identity("ann"))
    true_stat = os.stat

    def stat(path: Any, **how: Any) -> os.stat_result:
        found = true_stat(path, **how)
        if os.fsencode(path) != os.fsencode(tmp_path):
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:10]))

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(SpoolGone):
        accounts.account(Identity("ben"))


def test_a_spool_that_has_been_served_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be unmounted or moved, with the directory above it still there: what has been there comes back."""
    accounts = make(tmp_path)
    ann, ben = Identity("ann"), Identity("ben")
    accounts.account(ann)
    accounts.account(ben)  # nobody has ann's open
    (tmp_path / "ann" / "Maildir").rename(tmp_path / "away")
    with pytest.raises(SpoolGone, match="not there just now") as refusal:
        accounts.account(ann)
    assert f"{tmp_path}/ann/Maildir was served" in refusal.value.detail
    (tmp_path / "ann" / "Maildir").mkdir()  # a mount point
    with pytest.raises(SpoolGone):
        accounts.account(ann)
    assert not any((tmp_path / "ann" / "Maildir").iterdir())
    (tmp_path / "ann" / "Maildir").rmdir()
    (tmp_path / "away").rename(tmp_path / "ann" / "Maildir")
    accounts.account(ann)


def test_so_many_roots_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_module, "ROOTS_REMEMBERED", 2)
    accounts = make(tmp_path)
    for name in ("ann", "ben", "ann", "cyd"):
        accounts.account(Identity(name))
    for name in ("ann", "ben"):
        (tmp_path / name / "Maildir").rename(tmp_path / name / "away")
    with pytest.raises(SpoolGone):
        accounts.account(Identity("ann"))
