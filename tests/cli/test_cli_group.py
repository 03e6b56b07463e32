"""The command line's first step: names, help and exit statuses, with nothing loaded that is not needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from spool import Spool

from maildir_imapd.cli import COMMANDS, main
from maildir_imapd.cli.group import CONFIG, NO_PERMISSION, STATUSES, USAGE, CommandFailed, Group, Lazy, each_command
from maildir_imapd.cli.user import COMMANDS as USER_COMMANDS
from maildir_imapd.cli.user import user
from maildir_imapd.errors import ConfigError, Refused


def loaded_by(*words: str) -> set[str]:
    """Which modules a command has loaded when it ends."""
    script = (
        "import sys\nfrom maildir_imapd.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_help_loads_no_command() -> None:
    loaded = loaded_by("--help")
    assert "maildir_imapd.cli.group" in loaded
    assert not [each for each in loaded if each.startswith(("maildir_imapd.server", "maildir_imapd.store"))]


# Libraries that take long to load: for passwords, TLS and tables.
SLOW = {"passlib", "scramp", "cryptography", "rich", "sqlite3"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["user"],
        ["hash-password"],
        ["mailbox", "list"],
        ["acl", "show"],
        ["message", "search"],
        ["doctor"],
        ["index", "show"],
    ],
)
def test_help_loads_what_it_says_and_no_more(words: list[str]) -> None:
    loaded = loaded_by(*words, "--help")
    heavy = ("maildir_imapd.imap", "maildir_imapd.message", "maildir_imapd.server", "maildir_imapd.store")
    assert not [name for name in loaded if name.startswith(heavy)]
    assert not SLOW & loaded


def test_users_are_listed_without_mail_and_without_passwords(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:{PLAIN}x::::::\n")
    loaded = loaded_by("user", "list", f"--passwd-file={tmp_path}/users")
    assert "maildir_imapd.auth.passwdfile" in loaded
    assert not [name for name in loaded if name.startswith(("maildir_imapd.imap", "maildir_imapd.store.account"))]
    assert not {"passlib", "scramp", "cryptography", "rich"} & loaded


@pytest.mark.slow
def test_a_spool_is_looked_into_without_a_server(spool: Spool) -> None:
    where = f"--mail-location=maildir:{spool.root}"
    loaded = loaded_by("mailbox", "list", where)
    assert "maildir_imapd.store.account" in loaded
    assert not [name for name in loaded if name.startswith(("maildir_imapd.message", "maildir_imapd.imap.s"))]
    assert not {"passlib", "scramp", "cryptography", "rich"} & loaded
    loaded = loaded_by("message", "search", "ALL", where)
    assert "maildir_imapd.imap.search.finder" in loaded
    assert not {"maildir_imapd.imap.session", "maildir_imapd.imap.engine", "maildir_imapd.imap.registry"} & loaded
    assert not {"passlib", "scramp", "cryptography", "rich"} & loaded


def test_the_list_says_of_each_command_what_it_says_itself() -> None:
    for group, subjects in ((main, COMMANDS), (user, USER_COMMANDS)):
        for name, lazy in [each for commands in subjects.values() for each in commands.items()]:
            command = group.get_command(click.Context(group), name)
            assert command is not None
            assert command.name == name
            assert command.get_short_help_str(limit=200) == lazy.help, name


def test_every_command_stands_under_one_subject() -> None:
    names = [name for commands in COMMANDS.values() for name in commands]
    assert len(names) == len(set(names))
    assert names == [name for name, _ in each_command(main)]
    out = CliRunner().invoke(main, ["--help"]).output
    for subject in COMMANDS:
        assert f"\n{subject}:\n" in out


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("no such thing"), CONFIG, "maildir-imapd: no such thing"),
        (CommandFailed("not this", NO_PERMISSION), NO_PERMISSION, "maildir-imapd: not this"),
        (Refused("no", detail="why"), 1, "maildir-imapd: no (why)"),
        (PermissionError(13, "Permission denied", "/f"), NO_PERMISSION, "maildir-imapd: /f: Permission denied"),
        (OSError(5, "Input/output error"), 1, "maildir-imapd: Input/output error"),
    ],
)
def test_an_error_is_a_line_and_a_status(error: Exception, status: int, line: str) -> None:
    group = Group("main")

    @group.command("fail")
    def fail() -> None:
        raise error

    done = CliRunner().invoke(group, ["fail"])
    assert (done.exit_code, done.stderr.strip()) == (status, line)
    assert status in STATUSES


@pytest.mark.parametrize(
    "words", [["serve", "--nope"], ["nope"], ["--nope"], ["user", "list", "--nope"], ["user", "x"]]
)
def test_a_command_line_that_cannot_be_read(words: list[str]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == USAGE
    assert "Error: No such" in done.stderr


def test_a_place_that_holds_no_command_is_a_fault_of_the_program() -> None:
    with pytest.raises(AssertionError):
        Lazy("group:STATUSES", "").load()
