"""maildir-imapd user, maildir-imapd hash-password"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import click

from maildir_imapd.auth import schemes
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.cli.options import config_option, read_config, setting_options
from maildir_imapd.errors import AuthenticationFailed, ConfigError, ImapdError, LockTimeout
from maildir_imapd.store import locks

# Seconds for which another who changes the file is waited for.
LOCK_TIMEOUT = 10.0

scheme_option = click.option(
    "--scheme",
    type=click.Choice(schemes.WRITTEN, case_sensitive=False),
    default="ARGON2ID",
    show_default=True,
    metavar="SCHEME",
    help=f"How the password is stored: {', '.join(schemes.WRITTEN)}.",
)


def read_password(prompt: str = "Password", *, confirm: bool = True) -> bytes:
    """Ask on a terminal, or take the first line of standard input; raises ConfigError for an empty one."""
    if sys.stdin.isatty():
        password = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise ConfigError("an empty password would let nobody in")
    return str(password).encode("utf-8", "surrogateescape")


def make_password(password: bytes, scheme: str) -> str:
    """Hash a password; raises ConfigError for one that the scheme cannot hold."""
    try:
        return schemes.make(password, scheme.upper())
    except ValueError as error:
        raise ConfigError(str(error)) from error


@click.command("hash-password", short_help="Print the hash of a password.")
@scheme_option
def hash_password(scheme: str) -> None:
    """Print the hash of a password, for a passwd-file.

    The password is asked for, or read from standard input.
    """
    click.echo(make_password(read_password(), scheme))


@click.group(short_help="Add, remove and check users.")
def user() -> None:
    """Add, remove and check users of a passwd-file."""


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which file."""
    return config_option(setting_options(["passwd_file"])(function))


def _path(config_file: str | None, passwd_file: str | None) -> str:
    config = read_config(config_file, {"passwd_file": passwd_file})
    if config.passwd_file is None:
        raise ConfigError("which file? give --passwd-file FILE or set passwd_file")
    return str(config.passwd_file)


@user.command("add")
@click.argument("name")
@file_options
@scheme_option
@click.option("--home", default="", metavar="DIRECTORY", help="Home directory, for %h in mail_location.")
def add(name: str, config_file: str | None, passwd_file: str | None, scheme: str, home: str) -> None:
    """Add a user, or fail when NAME is there already.

    The password is asked for, or read from standard input.  The file is made, readable by its owner only,
    when it does not exist.
    """
    _check_name(name)
    if ":" in home or "\n" in home:
        raise ConfigError("a home directory cannot have a colon or a line end in it")
    path = _path(config_file, passwd_file)
    line = f"{name}:{make_password(read_password(), scheme)}::::{home}::\n"

    def change(lines: list[str]) -> list[str]:
        if any(old.startswith(name + ":") for old in lines):
            raise ImapdError(f"the user {name} exists already; 'maildir-imapd user passwd' changes the password")
        return [*lines, line]

    edit(path, change)
    click.echo(f"added {name} to {path}")


@user.command("passwd")
@click.argument("name")
@file_options
@scheme_option
def passwd(name: str, config_file: str | None, passwd_file: str | None, scheme: str) -> None:
    """Change a user's password.  A running server takes the change at once."""
    path = _path(config_file, passwd_file)
    made = make_password(read_password("New password"), scheme)

    def change(lines: list[str]) -> list[str]:
        for k, old in enumerate(lines):
            if old.startswith(name + ":"):
                fields = old.rstrip("\n").split(":")
                fields[1] = made
                return [*lines[:k], ":".join(fields) + "\n", *lines[k + 1 :]]
        raise ImapdError(f"there is no user {name} in {path}")

    edit(path, change)
    click.echo(f"changed the password of {name}")


@user.command("remove")
@click.argument("name")
@file_options
def remove(name: str, config_file: str | None, passwd_file: str | None) -> None:
    """Remove a user from the file.  The mail stays where it is."""
    path = _path(config_file, passwd_file)

    def change(lines: list[str]) -> list[str]:
        kept = [line for line in lines if not line.startswith(name + ":")]
        if len(kept) == len(lines):
            raise ImapdError(f"there is no user {name} in {path}")
        return kept

    edit(path, change)
    click.echo(f"removed {name}; the mail was not touched")


@user.command("list")
@file_options
def list_users(config_file: str | None, passwd_file: str | None) -> None:
    """List the users of the file, one a line."""
    for name in PasswdFile(_path(config_file, passwd_file)).users():
        click.echo(name)


@user.command("check")
@click.argument("name")
@file_options
def check(name: str, config_file: str | None, passwd_file: str | None) -> None:
    """Say whether a password is right; exit status 1 when it is not."""
    users = PasswdFile(_path(config_file, passwd_file))
    try:
        users.check(name, read_password(confirm=False))
    except AuthenticationFailed:
        click.echo(f"{name}: user or password is wrong", err=True)
        sys.exit(1)
    click.echo(f"{name}: the password is right")


def _check_name(name: str) -> None:
    from maildir_imapd.server.door import valid_user

    if not valid_user(name):
        raise ConfigError(
            f"{name!r} cannot be a user name: letters, digits and . _ + @ = ~ & ' - only, no dot first or behind @"
        )


def edit(path: str, change: Callable[[list[str]], list[str]]) -> None:
    """Change a passwd-file under a lock, by a new file in the place of the old one; mode and owner stay.

    Raises ConfigError, also when somebody else holds the lock and does not let go.
    """
    directory = os.path.dirname(os.path.abspath(path))
    lock_path = os.path.join(directory, f".{os.path.basename(path)}.lock")
    try:
        with open(lock_path, "w", encoding="ascii") as lock:
            locks.flock(lock.fileno(), os.fsencode(lock_path), LOCK_TIMEOUT, rank=locks.Rank.COUNTER)
            mode, owner = 0o600, None
            lines: list[str] = []
            if os.path.exists(path):
                state = os.stat(path)
                mode, owner = state.st_mode & 0o7777, (state.st_uid, state.st_gid)
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    lines = file.read().splitlines(keepends=True)
                if lines and not lines[-1].endswith("\n"):
                    lines[-1] += "\n"
            lines = change(lines)
            fd, temporary = tempfile.mkstemp(dir=directory)
            try:
                with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(lines)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    if owner is not None and owner != (os.geteuid(), os.getegid()):
                        os.fchown(file.fileno(), *owner)
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
    except LockTimeout as error:
        raise ConfigError(f"{path} is being changed by somebody else, who holds {lock_path}; try again") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
