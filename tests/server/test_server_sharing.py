"""Accounts go by the rules about rights, and keep the list of who shares with whom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.auth.base import Identity
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.store.records.acl import FILES_ALONE, Acl, Kind, Who
from maildir_imapd.store.records.shares import ShareList

BOB = Who(Kind.USER, "bob")


def make(tmp_path: Path, **given: Any) -> Accounts:
    given = {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "fsync": "never", **given}
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    return Accounts(settings.mail(load(None, given)), None)


def show(acl: Acl) -> Acl:
    return acl.put(BOB, frozenset("lr"), negative=False)


def hide(acl: Acl) -> Acl:
    return acl.put(BOB, None, negative=False)


def test_the_list_says_who_shares_with_whom(tmp_path: Path) -> None:
    path = tmp_path / "list"
    accounts = make(tmp_path, acl_shared_list=str(path))
    ann, joe = accounts.account(Identity("ann")), accounts.account(Identity("joe"))
    ann.create("Work")
    assert not path.exists()
    for account, mailbox in ((ann, "Work"), (ann, "INBOX"), (joe, "INBOX")):
        account.acls.change(mailbox, show)
    listed = ShareList(bytes(path))
    assert listed.owners("bob", []) == ("ann", "joe")
    ann.acls.change("INBOX", hide)
    assert listed.owners("bob", []) == ("ann", "joe")
    ann.acls.change("Work", hide)
    assert listed.owners("bob", []) == ("joe",)
    joe.acls.change("INBOX", hide)
    assert listed.everybody() == ()


def test_nothing_is_taken_off_the_list_where_a_mailboxs_rights_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "list"
    ann = make(tmp_path, acl_shared_list=str(path)).account(Identity("ann"))
    ann.create("Work")
    ann.acls.change("Work", show)
    lists = tmp_path / "ann" / "Maildir" / ".Work" / "dovecot-acl"
    lists.unlink()
    lists.mkdir()
    ann.acls.change("INBOX", lambda acl: acl.put(Who(Kind.GROUP, "staff"), frozenset("l"), negative=False))
    assert ShareList(bytes(path)).of("ann") == {BOB, Who(Kind.GROUP, "staff")}


def test_rights_change_where_the_list_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ann = make(tmp_path, acl_shared_list=str(tmp_path / "none" / "list")).account(Identity("ann"))
    ann.acls.change("INBOX", show)
    assert (tmp_path / "ann" / "Maildir" / "dovecot-acl").read_text() == "user=bob lr\n"
    (record,) = [record for record in caplog.records if record.getMessage() == "list of shares not kept"]
    assert record.fields["mend"] == "maildir-imapd acl rebuild ann"  # type: ignore[attr-defined]


@pytest.mark.skipif(not owners.supported(), reason="acts as others")
def test_a_thread_that_acts_as_a_user_writes_it_as_the_process(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    (tmp_path / "state").mkdir(mode=0o700)
    spool = tmp_path / "ann"
    spool.mkdir()
    os.chown(spool, 12345, 12345)
    path = tmp_path / "state" / "list"
    accounts = make(tmp_path, acl_shared_list=str(path), mail_user=None)
    who = Identity("ann", uid=12345, gid=12345)
    owner = accounts.owner(who)
    with owners.acting_as(owner):
        accounts.account(who, owner).acls.change("INBOX", show)
        assert owners.current().uid == 12345
        assert accounts.sharing.list is not None
        assert accounts.sharing.list.owners("bob", []) == ("ann",)
        assert accounts.sharing.list.stamp() is not None
        with pytest.raises(PermissionError):
            path.read_bytes()
    assert (path.stat().st_uid, (spool / "Maildir" / "dovecot-acl").stat().st_uid) == (0, 12345)


def test_what_the_settings_say_of_rights(tmp_path: Path) -> None:
    said = tmp_path / "global"
    said.write_text("INBOX owner lr\n")
    account = make(tmp_path, acl_global=str(said), acl_globals_only="yes").account(Identity("ann"))
    acl = account.acls.read("INBOX")
    assert acl is not None
    assert acl.rights("ann", owner=True) == frozenset("lr")
    assert make(tmp_path, acl_defaults_from_inbox="yes").account(Identity("ann")).acls.rules.from_inbox
    assert make(tmp_path).account(Identity("ann")).acls.rules is FILES_ALONE
    none = make(tmp_path, acl="no", acl_global=str(said), acl_shared_list="/x").account(Identity("ann"))
    assert none.acls.rules is FILES_ALONE
    assert none.acls.shared is None


@pytest.mark.parametrize("text", [None, "INBOX\n", "* nobody lr\n"])
def test_rights_that_cannot_be_read_are_an_error_at_the_start(tmp_path: Path, text: str | None) -> None:
    said = tmp_path / "global"
    if text is not None:
        said.write_text(text)
    config = load(None, {"acl_global": str(said)})
    with pytest.raises(ConfigError, match="acl_global"):
        settings.demand_acl_global(config)
    settings.demand_acl_global(load(None, {"acl_global": str(said), "acl": "no"}))
    said.write_text("INBOX owner lr\n")
    settings.demand_acl_global(config)


def test_what_is_read_and_written_can_be_reached(tmp_path: Path) -> None:
    config = load(None, {"acl_global": f"{tmp_path}/a/global", "acl_shared_list": f"{tmp_path}/b/list"})
    limits = settings.confinement(config)
    assert f"{tmp_path}/a/global" in limits.reads
    assert f"{tmp_path}/b/list" in limits.writes
