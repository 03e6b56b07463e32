"""maildir-imapd acl: rights shown and changed, what is shared with whom, and the list made anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maildir_imapd.cli import main
from maildir_imapd.cli.group import CONFIG, FAILED, NO_PERMISSION, NO_USER, USAGE
from maildir_imapd.store.account import Account
from maildir_imapd.store.records.acl import Kind, Who
from maildir_imapd.store.records.shares import ShareList

BOB = Who(Kind.USER, "bob")


class Site:
    """Three users, one of whom is in a group, with their spools and a list of shares."""

    def __init__(self, tmp_path: Path) -> None:
        self.base = tmp_path
        self.list = tmp_path / "list"
        (tmp_path / "users").write_text(
            "ann:{PLAIN}x::::::\nbob:{PLAIN}x::::::acl_groups=staff\njoe:{PLAIN}x::::::\nnew:{PLAIN}x::::::\n"
        )
        self.config = tmp_path / "conf.toml"
        self.settings = {
            "passwd_file": f"{tmp_path}/users",
            "mail_location": f"maildir:{tmp_path}/%u/Maildir",
            "acl_shared_list": str(self.list),
            "fsync": "never",
        }
        if os.geteuid() == 0:
            self.settings["mail_user"] = "root"
        self.write()
        for user in ("ann", "bob", "joe"):
            Account(bytes(tmp_path / user / "Maildir"), fsync="never").create("Work")

    def write(self, **more: str) -> None:
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in {**self.settings, **more}.items())
        self.config.write_text("".join(lines))

    def folder(self, user: str, name: str = "") -> Path:
        return self.base / user / "Maildir" / (f".{name}" if name else "")

    def lines(self, *words: str, status: int = 0) -> list[list[str]]:
        done = CliRunner().invoke(main, ["acl", words[0], f"--config={self.config}", *words[1:]])
        assert done.exit_code == status, (done.exit_code, done.output, done.exception)
        self.said = done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def rows(self, *words: str) -> Any:
        done = CliRunner().invoke(main, ["acl", words[0], f"--config={self.config}", *words[1:], "--json"])
        assert done.exit_code == 0, (done.exit_code, done.output)
        return json.loads(done.stdout)

    @property
    def listed(self) -> ShareList:
        return ShareList(bytes(self.list))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_rights_are_given_shown_and_taken(site: Site) -> None:
    assert site.lines("set", "ann", "Work", "user=bob", "lr") == [["ann", "Work", "user=bob", "lr", "mailbox"]]
    assert site.lines("set", "ann", "Work", "user=bob", "+sd")[0][3] == "lrste"
    assert site.lines("set", "ann", "Work", "user=bob", "-e")[0][3] == "lrst"
    assert site.lines("set", "ann", "Work", "-group=staff", "w")[1] == ["ann", "Work", "-group=staff", "w", "mailbox"]
    assert site.lines("set", "ann", "inbox", "owner", "-a")[0][3] == "lrwstipekx"
    assert site.lines("set", "ann", "Work", "anyone", "all")[2][3] == "lrwstipekxa"
    assert site.folder("ann", "Work").joinpath("dovecot-acl").read_text() == (
        "user=bob lrst\n-group=staff w\nanyone lrwstipekxa\n"
    )
    assert site.lines("remove", "ann", "Work", "-group=staff") == site.lines("remove", "ann", "Work", "group=none")
    assert [row[1:3] for row in site.lines("show", "ann")] == [
        ["INBOX", "owner"],
        ["Work", "user=bob"],
        ["Work", "anyone"],
    ]
    assert site.lines("show", "ann", "W*") == site.lines("show", "ann", "Work")
    assert site.lines("show", "joe") == []
    assert site.lines("show", "joe", "Work") == [["joe", "Work", "owner", "lrwstipekxa", "default"]]
    assert site.rows("show", "ann", "INBOX") == [
        {"user": "ann", "mailbox": "INBOX", "identifier": "owner", "rights": "lrwstipekx", "origin": "mailbox"}
    ]
    assert site.listed.of("ann") == {BOB, Who(Kind.ANYONE)}


@pytest.mark.parametrize("identifier", ["bob", "user=", "usr=bob", "user=b\nb", "", "-", "$staff"])
def test_an_identifier_that_is_none(site: Site, identifier: str) -> None:
    site.lines("set", "ann", "Work", identifier, "lr", status=USAGE)
    assert "is no identifier" in site.said
    assert not site.folder("ann", "Work").joinpath("dovecot-acl").exists()


@pytest.mark.parametrize("rights", ["lrq", "l r", "+", "++l"])
def test_rights_that_are_none(site: Site, rights: str) -> None:
    status = 0 if rights == "+" else USAGE
    site.lines("set", "ann", "Work", "user=bob", rights, status=status)
    assert ("are no rights" in site.said) == bool(status)


def test_who_or_what_is_not_there(site: Site) -> None:
    site.lines("show", "nobody", status=NO_USER)
    site.lines("set", "ann", "None", "user=bob", "lr", status=FAILED)
    site.lines("shared", "nobody", status=NO_USER)
    site.lines("rebuild", "nobody", status=NO_USER)
    assert "there is no such user" in site.said
    site.settings.pop("acl_shared_list")
    site.write()
    site.lines("shared", "ann", status=CONFIG)
    site.lines("rebuild", status=CONFIG)


def test_what_is_general_is_shown_and_counts(site: Site) -> None:
    said = site.base / "global"
    said.write_text("Work user=bob lr\n")
    site.write(acl_global=str(said))
    assert site.lines("show", "joe") == [["joe", "Work", "user=bob", "lr", "global"]]
    site.write(acl_global=str(said), acl_globals_only="yes")
    site.lines("set", "ann", "Work", "user=bob", "lr", status=NO_PERMISSION)
    site.lines("rebuild")
    assert site.listed.owners("bob", []) == ("ann", "joe")


def test_a_line_that_is_not_understood_is_shown(site: Site) -> None:
    site.folder("ann").joinpath("dovecot-acl").write_bytes(b"# comment\n\nusr=\xff lr\nuser=bob lr\n")
    assert site.lines("show", "ann") == [
        ["ann", "INBOX", "usr=\\\\xff lr".replace("\\\\", "\\"), "", "not understood"],
        ["ann", "INBOX", "user=bob", "lr", "mailbox"],
    ]
    site.lines("rebuild")
    assert site.listed.of("ann") == {BOB}
    assert site.lines("shared", "bob") == []


def test_what_is_shared_with_a_user(site: Site) -> None:
    site.lines("set", "ann", "Work", "user=bob", "lr")
    site.lines("set", "joe", "INBOX", "group=staff", "lrs")
    site.lines("set", "joe", "Work", "anyone", "r")
    assert site.lines("shared", "bob") == [
        ["ann", "Work", "lr"],
        ["joe", "INBOX", "lrs"],
        ["joe", "Work", "r"],
    ]
    assert site.lines("shared", "ann") == []
    assert site.rows("shared", "bob")[0] == {"owner": "ann", "mailbox": "Work", "rights": "lr"}


def test_a_list_that_lies(site: Site) -> None:
    site.lines("set", "ann", "Work", "user=bob", "lr")
    names = ("gone", "..", "a b", "joe", "new", "x" * 255)
    site.listed.put_all({name: [BOB] for name in names})
    assert site.lines("shared", "bob") == [["ann", "Work", "lr"]]
    before = site.list.read_bytes()
    dry = site.lines("rebuild", "--dry-run")
    assert site.list.read_bytes() == before
    assert [row[0] for row in dry] == sorted({*names} - {"new"})
    assert site.lines("rebuild") == dry
    # Of one whose mail is not there the entries stay: it may be a file system that is not mounted.
    assert site.listed.everybody() == ("ann", "new")


def test_it_is_made_anew_from_all_mailboxes(site: Site) -> None:
    site.folder("ann", "Work").joinpath("dovecot-acl").write_text("user=bob lr\nuser=ann lr\nowner lr\n")
    site.folder("ann").joinpath("dovecot-acl").write_text("group-override=staff l\nauthenticated l\n-anyone r\n")
    site.folder("joe").joinpath("dovecot-acl").write_text("user=bob r\n")
    assert site.lines("rebuild", "ann", "joe") == [["ann", "anyone group=staff user=bob"]]
    assert site.listed.of("ann") == {BOB, Who(Kind.ANYONE), Who(Kind.GROUP, "staff")}
    assert site.lines("rebuild", "ann") == []
    site.folder("ann").joinpath("dovecot-acl").unlink()
    assert site.lines("rebuild", "ann") == [["ann", "user=bob"]]
    (site.base / "users").write_text("joe:{PLAIN}x::::::\n")
    assert site.rows("rebuild", "ann") == [{"user": "ann", "shared_with": []}]
    assert site.list.read_bytes() == b""


def test_of_one_whose_rights_cannot_all_be_read_the_entries_stay(site: Site) -> None:
    site.lines("set", "ann", "Work", "user=bob", "lr")
    lists = site.folder("ann", "Work").joinpath("dovecot-acl")
    lists.unlink()
    lists.mkdir()
    assert site.lines("rebuild", "ann") == []
    assert site.listed.of("ann") == {BOB}
    site.lines("show", "ann", status=FAILED)
    assert "ann: Work" in site.said
