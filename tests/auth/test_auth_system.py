"""The system's users."""

from __future__ import annotations

import pwd

import pytest

from maildir_imapd.auth.base import Identity
from maildir_imapd.auth.system import System

PEOPLE = [
    pwd.struct_passwd((name, "x", uid, uid, "", home, "/bin/sh"))
    for name, uid, home in [
        ("root", 0, "/root"),
        ("toor", 0, "/root"),
        ("daemon", 1, "/usr/sbin"),
        ("ann", 1000, "/home/ann"),
        ("nobody", 65534, "/nonexistent"),
        ("far", 1_234_567, ""),
        ("odd name", 1001, "/home/odd"),
    ]
]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> pwd.struct_passwd:
        # As sssd does: in any spelling.
        return {entry.pw_name: entry for entry in PEOPLE}[name.lower()]

    monkeypatch.setattr(pwd, "getpwnam", find)
    monkeypatch.setattr(pwd, "getpwall", lambda: PEOPLE)


def test_users_and_no_accounts_of_the_system() -> None:
    users = System(1000)
    for name in ("ann", "ANN"):
        found = users.look_up(name)
        assert found is not None
        assert found.identity == Identity("ann", home="/home/ann", uid=1000, gid=1000)
    for name in ("root", "toor", "daemon", "nobody", "unknown", "", "odd name", "../ann", "ann\0"):
        assert users.look_up(name) is None
    assert list(users.users()) == ["ann", "far"]


def test_root_is_never_a_user() -> None:
    assert System(0).look_up("root") is None
    assert System(1).look_up("daemon") is not None
