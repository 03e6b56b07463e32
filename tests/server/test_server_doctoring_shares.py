"""What is said of mailboxes that are shared: the list, and what the kernel lets others do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maildir_imapd.cli import main
from maildir_imapd.cli.group import FAILED
from maildir_imapd.server import owners
from maildir_imapd.server.doctoring_shares import obstacle, refused
from maildir_imapd.server.owners import Owner
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.records.acl import Kind, Who
from maildir_imapd.store.records.shares import ShareList

ME = os.geteuid()
BOB = Owner(54321, 54321, (54321,))
COLLEAGUE = Owner(54321, 54321, (54321, os.getegid()))
HIMSELF = Owner(ME, os.getegid(), (os.getegid(),))
SHARED = Who(Kind.USER, "bob")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that anybody may read and change, in a home that anybody may pass."""
    for each in (tmp_path, *tmp_path.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o011)
    made = tmp_path / "home" / "Maildir" / ".Work"
    for name in ("cur", "new", "tmp"):
        (made / name).mkdir(parents=True)
    (made / "cur" / "1.x:2,S").write_bytes(b"Subject: x\n\n")
    for each in (tmp_path / "home", *(tmp_path / "home").rglob("*")):
        each.chmod(0o777)
    return made


def test_nothing_is_in_the_way(folder: Path) -> None:
    for who in (BOB, COLLEAGUE, HIMSELF):
        assert obstacle(bytes(folder), who, writing=True) is None


@pytest.mark.parametrize(
    ("which", "mode", "bob", "colleague", "writing"),
    [
        ("..", 0o700, True, True, False),
        ("../..", 0o700, True, True, False),
        ("../..", 0o710, True, False, False),
        ("..", 0o711, False, False, False),
        (".", 0o711, True, True, False),
        (".", 0o750, True, False, False),
        (".", 0o755, False, False, False),
        (".", 0o755, True, True, True),
        ("cur", 0o770, True, False, True),
        ("cur", 0o700, True, True, False),
        ("cur", 0o1777, True, True, True),
        ("cur", 0o1777, False, False, False),
        ("tmp", 0o755, False, False, False),
        ("tmp", 0o755, True, True, True),
        ("cur/1.x:2,S", 0o600, True, True, False),
        ("cur/1.x:2,S", 0o640, True, False, False),
        ("cur/1.x:2,S", 0o606, False, True, False),
    ],
)
def test_what_is_in_the_way(folder: Path, which: str, mode: int, bob: bool, colleague: bool, writing: bool) -> None:
    path = (folder / which).resolve()
    path.chmod(mode)
    for who, closed in ((BOB, bob), (COLLEAGUE, colleague), (HIMSELF, False)):
        found = obstacle(bytes(folder), who, writing=writing)
        assert (found is not None) == closed, found
        if found is not None:
            assert str(path) in found


@pytest.mark.skipif(not owners.supported(), reason="acts as others")
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o755, 0o770, 0o757])
@pytest.mark.parametrize("uid", [0, 54321, 54322])
@pytest.mark.parametrize("gid", [0, 54321])
def test_the_store_opens_what_is_not_refused(folder: Path, mode: int, uid: int, gid: int) -> None:
    os.chown(folder, uid, gid)
    folder.chmod(mode)
    for who in (BOB, COLLEAGUE):
        with owners.acting_as(who):
            try:
                os.close(descriptors.open_directory(bytes(folder)))
            except PermissionError:
                opened = False
            else:
                opened = True
        free = obstacle(bytes(folder), who, writing=False) is None and refused(bytes(folder), who) is None
        assert free == opened


@pytest.mark.skipif(not owners.supported(), reason="acts as others")
def test_the_kernel_says_the_same(folder: Path) -> None:
    """A home of mode 0700, and a folder of a group."""
    for mode, directory in ((0o700, folder.parent.parent), (0o750, folder / "cur"), (0o755, folder)):
        directory.chmod(mode)
        for who in (BOB, COLLEAGUE):
            with owners.acting_as(who):
                try:
                    for name in os.listdir(folder / "cur"):
                        (folder / "cur" / name).read_bytes()
                    os.listdir(folder / "new")
                    free = True
                except PermissionError:
                    free = False
            assert (obstacle(bytes(folder), who, writing=False) is None) == free
        directory.chmod(0o777)


def doctor(config: Path, *words: str, status: int = 0) -> Any:
    done = CliRunner().invoke(main, ["doctor", f"--config={config}", "--json", *words])
    assert done.exit_code == status, (done.exit_code, done.output, done.exception)
    return json.loads(done.stdout)


def site(tmp_path: Path, users: str, **more: str) -> Path:
    (tmp_path / "users").write_text(users)
    settings = {
        "passwd_file": f"{tmp_path}/users",
        "mail_location": f"maildir:{tmp_path}/%u/Maildir",
        "acl_shared_list": f"{tmp_path}/list",
        "fsync": "never",
        **more,
    }
    config = tmp_path / "conf.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return config


def test_a_list_that_is_not_what_the_rights_say_is_mended(tmp_path: Path) -> None:
    config = site(tmp_path, "ann:{PLAIN}x::::::\n", **({"mail_user": "root"} if ME == 0 else {}))
    account = Account(bytes(tmp_path / "ann" / "Maildir"), fsync="never")
    account.create("Work")
    account.acls.change("Work", lambda acl: acl.put(SHARED, frozenset("lr"), negative=False))
    listed = ShareList(bytes(tmp_path / "list"))
    listed.put("ann", [Who(Kind.GROUP, "staff")])
    (found,) = doctor(config, "--user=ann", status=FAILED)
    assert found["kind"] == "shares"
    assert found["found"] == "the list of shares, missing: user=bob; too many: group=staff"
    assert listed.of("ann") == {Who(Kind.GROUP, "staff")}
    done = doctor(config, "--user=ann", "--fix", "--yes")
    assert done["left"] == []
    assert listed.of("ann") == {SHARED}
    assert doctor(config, "--user=ann") == []


def test_a_list_that_anybody_may_change(tmp_path: Path) -> None:
    config = site(tmp_path, "ann:{PLAIN}x::::::\n", **({"mail_user": "root"} if ME == 0 else {}))
    Account(bytes(tmp_path / "ann" / "Maildir"), fsync="never")
    path = tmp_path / "list"
    path.write_bytes(b"")
    path.chmod(0o666)
    (found,) = doctor(config, "--user=ann", status=FAILED)
    assert (found["kind"], found["where"]) == ("shares-open", str(path))
    path.chmod(0o660)
    assert doctor(config, "--user=ann") == []


@pytest.mark.skipif(not owners.supported(), reason="acts as others")
def test_a_home_that_keeps_others_out(tmp_path: Path) -> None:
    for each in (tmp_path, *tmp_path.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o011)
    config = site(
        tmp_path,
        "ann:{PLAIN}x:20001:20001::::\nbob:{PLAIN}x:20002:20002::::userdb_acl_groups=staff\n"
        "joe:{PLAIN}x:20003:20003::::userdb_acl_groups=staff\nsam:{PLAIN}x:20001:20001::::\n",
    )
    home = tmp_path / "ann"
    home.mkdir(mode=0o700)
    os.chown(home, 20001, 20001)
    with owners.acting_as(Owner(20001, 20001, (20001,))):
        account = Account(bytes(home / "Maildir"), fsync="never")
        account.create("Work")
        account.create("Team")
        for name, who in (("Work", SHARED), ("Team", Who(Kind.GROUP, "staff")), ("INBOX", Who(Kind.USER, "sam"))):
            account.acls.change(name, lambda acl, who=who: acl.put(who, frozenset("lr"), negative=False))
    for name in ("nobody", "..", "gone"):
        with owners.acting_as(Owner(20001, 20001, (20001,))):
            account.acls.change(
                "Work", lambda acl, name=name: acl.put(Who(Kind.USER, name), frozenset("lr"), negative=False)
            )
    CliRunner().invoke(main, ["acl", "rebuild", f"--config={config}", "ann"])
    found = doctor(config, "--user=ann", status=FAILED)
    assert [(each["kind"], each["where"], each["count"]) for each in found] == [
        ("shared-closed", "Team", 2),
        ("shared-closed", "Work", 1),
    ]
    assert found[0]["found"] == (
        f"shared with bob (20002), joe (20003): {home} is of user 20001 and group 20001, mode 0700"
    )
    for each in (home, *home.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
    found = doctor(config, "--user=ann", status=FAILED)
    assert [each["where"] for each in found] == ["Team", "Work"]
    assert found[1]["found"].endswith("mode 0755: a group that both are in must be able to write to it")
    # As bob's own group has it now, and joe is in no group with ann.
    for each in (home, *home.rglob("*")):
        os.chown(each, 20001, 20002)
        each.chmod(0o2770 if each.is_dir() else 0o660)
    (left,) = doctor(config, "--user=ann", status=FAILED)
    assert (left["where"], left["count"]) == ("Team", 1)
    assert "shared with joe (20003)" in left["found"]
