"""maildir-imapd user add, passwd and remove: lines of a passwd-file."""

from __future__ import annotations

import grp
import os
import pwd
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from maildir_imapd.auth.base import Identity
from maildir_imapd.auth.names import filled, valid_user, variables
from maildir_imapd.cli.options import read_config, setting_options
from maildir_imapd.cli.passwords import file_options, make_password, read_password, scheme_option
from maildir_imapd.errors import ConfigError, ImapdError, LockTimeout, NoUser, Refused, StoreError
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from maildir_imapd.config import Config

# Seconds for which another who changes the file is waited for.
LOCK_SECONDS = 10.0


def _place(config: Config, name: str) -> tuple[str, str]:
    """The file that a user stands, or is to stand, in, and the name that he has there; raises ConfigError."""
    if not config.passwd_file:
        raise ConfigError("which file? give --passwd-file FILE or set passwd_file")
    places = []
    for template in config.passwd_file:
        used = variables(template)
        if used and not valid_user(name):
            continue
        if "d" not in used:
            places.append((filled(template, name), name))
        elif "@" in name:
            # In the file of a domain he may stand without it.
            places += [(filled(template, name), each) for each in (name, name.partition("@")[0])]
    if not places:
        raise ConfigError(f"which file? passwd_file has one for each domain, and {name!r} has none")
    from maildir_imapd.auth.passwdfile import PasswdFile

    # Of several the one that has him, or else the first.
    there = [(path, each) for path, each in places if os.path.exists(path) and PasswdFile(path).look_up(each)]
    return (there or places)[0]


@click.command("add", short_help="Add a user, and make the Maildir.")
@click.argument("name")
@file_options
@setting_options(["mail_location", "mail_user", "spool_marker"])
@scheme_option
@click.option("--home", default="", metavar="DIRECTORY", help="Home directory, for %h in mail_location.")
@click.option(
    "--uid",
    metavar="USER",
    help="Who owns the mail, a name or a number, or none to say nothing. Default, for root without mail_user: the "
    "system user of that name.",
)
@click.option("--gid", metavar="GROUP", help="The group, a name or a number. Default: that of the system user.")
@click.option(
    "--make-maildir/--no-make-maildir",
    default=None,
    help="Make the Maildir, and the directories above it, as the owner of the mail. Default: where there is a "
    "configuration file, or an option says mail_location; then it is no error if it cannot be made.",
)
def add(
    name: str,
    config_file: str | None,
    passwd_file: tuple[str, ...],
    scheme: str,
    home: str,
    uid: str | None,
    gid: str | None,
    make_maildir: bool | None,
    **given: Any,
) -> None:
    """Add a user, or fail when NAME is there already, and make the Maildir.

    The password is asked for, or read from standard input.  The file is made, readable by its owner only,
    when it does not exist.
    """
    _check_name(name)
    given["passwd_file"] = passwd_file
    config = read_config(config_file, given)
    owner = _owner(name, uid, gid, guess=os.geteuid() == 0 and config.mail_user is None)
    if ":" in home or "\n" in home:
        raise ConfigError("a home directory cannot have a colon or a line end in it")
    path, key = _place(config, name)
    numbers = ":".join("" if number is None else str(number) for number in owner)
    line = f"{key}:{make_password(read_password(), scheme)}:{numbers}::{home}::\n"

    def change(lines: list[str]) -> list[str]:
        if any(old.startswith(key + ":") for old in lines):
            raise ImapdError(f"the user {name} exists already; 'maildir-imapd user passwd' changes the password")
        return [*lines, line]

    edit(path, change)
    if owner[0] is not None:
        click.echo(f"added {name} to {path}, uid {owner[0]}, gid {owner[1]}")
    else:
        click.echo(f"added {name} to {path}")
    said = config.source is not None or given["mail_location"] is not None
    if make_maildir or (make_maildir is None and said):
        identity = Identity(name, uid=owner[0], gid=owner[1], home=home or None)
        _make_maildir(config, identity, needed=bool(make_maildir))


def _make_maildir(config: Config, identity: Identity, *, needed: bool) -> None:
    """Make a new user's Maildir, acting as its owner as a login would; raises ImapdError where it is *needed*."""
    from maildir_imapd.server import owners, settings
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.store.maildir.instead import spelled

    accounts = Accounts(settings.mail(config), None)
    try:
        owner = accounts.owner(identity)
        with owners.acting_as(owner):
            root = accounts.account(identity, owner, anywhere=True).root
    except (ConfigError, Refused, StoreError) as error:
        why = f"the Maildir of {identity.user} was not made: {error.detail or error.__cause__ or error.text}"
        if needed:
            raise ImapdError(why) from error
        click.echo(why, err=True)
        return
    click.echo(f"the mail is in {spelled(root)}")


def _owner(name: str, uid: str | None, gid: str | None, *, guess: bool) -> tuple[int | None, int | None]:
    """Return the owner of a new user's mail: as said, or with *guess* the system user *name*; raises ConfigError."""
    if uid == "none" and gid is None:
        return None, None
    try:
        entry = _system_user(uid if uid is not None else name) if uid is not None or guess else None
        user = entry.pw_uid if entry is not None else None
        if uid is not None and user is None:
            user = _number("--uid", uid)
        group = None
        if gid is not None:
            group = _number("--gid", gid) if gid.isdigit() else grp.getgrnam(gid).gr_gid
        elif entry is not None:
            group = entry.pw_gid
    except KeyError:
        raise ConfigError(f"--gid: there is no group {gid!r}") from None
    if user == 0:
        raise ConfigError("mail of root is not served: give the spool to a user without rights, and --uid")
    if group is not None and user is None:
        raise ConfigError("--gid needs --uid")
    if user is not None and group is None:
        raise ConfigError(f"user {user} is no user of this machine: give --gid too")
    return user, group


def _system_user(written: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(_number("--uid", written)) if written.isdigit() else pwd.getpwnam(written)
    except KeyError:
        return None


def _number(what: str, written: str) -> int:
    if not (written.isascii() and written.isdigit() and len(written) <= 10 and int(written) < (1 << 32) - 1):
        raise ConfigError(f"{what}: there is no user or group {written!r}")
    return int(written)


@click.command("passwd", short_help="Change a user's password.")
@click.argument("name")
@file_options
@scheme_option
def passwd(name: str, config_file: str | None, passwd_file: tuple[str, ...], scheme: str) -> None:
    """Change a user's password.  A running server takes the change at once."""
    path, key = _place(read_config(config_file, {"passwd_file": passwd_file}), name)
    made = make_password(read_password("New password"), scheme)

    def change(lines: list[str]) -> list[str]:
        for k, old in enumerate(lines):
            if old.startswith(key + ":"):
                fields = old.rstrip("\n").split(":")
                fields[1] = made
                return [*lines[:k], ":".join(fields) + "\n", *lines[k + 1 :]]
        raise NoUser(f"there is no user {name} in {path}")

    edit(path, change)
    click.echo(f"changed the password of {name}")


@click.command("remove", short_help="Remove a user from the file.")
@click.argument("name")
@file_options
def remove(name: str, config_file: str | None, passwd_file: tuple[str, ...]) -> None:
    """Remove a user from the file.  The mail stays where it is."""
    path, key = _place(read_config(config_file, {"passwd_file": passwd_file}), name)

    def change(lines: list[str]) -> list[str]:
        kept = [line for line in lines if not line.startswith(key + ":")]
        if len(kept) == len(lines):
            raise NoUser(f"there is no user {name} in {path}")
        return kept

    edit(path, change)
    click.echo(f"removed {name}; the mail was not touched")


def _check_name(name: str) -> None:
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
        # Whoever owns the directory may have put a link there.
        number = os.open(lock_path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        with open(number, "w", encoding="ascii") as lock:
            locks.flock(lock.fileno(), os.fsencode(lock_path), LOCK_SECONDS, rank=locks.Rank.COUNTER)
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
