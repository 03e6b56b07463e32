"""maildir-imapd user list, show and test: what the back ends know."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from maildir_imapd.cli.options import read_config, setting_options
from maildir_imapd.cli.output import Value, json_option, print_rows, print_values
from maildir_imapd.cli.passwords import file_options, read_password
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, ConfigError, NoUser

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Authenticator, Identity, Registered
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.auth.last_use import Use
    from maildir_imapd.config import Config


@click.command("list", short_help="List the users that can be listed.")
@file_options
@json_option
def list_users(config_file: str | None, passwd_file: tuple[str, ...], as_json: bool) -> None:
    """List the users of the back ends that have a list, one a line; JSON says which back end it is."""
    chain = _chain(read_config(config_file, {"passwd_file": passwd_file}))
    names = {name: back_end.name for back_end in reversed(chain.back_ends) for name in back_end.users()}
    order = dict.fromkeys(name for back_end in chain.back_ends for name in back_end.users())
    print_rows(("user",), ({"user": name, "back_end": names[name]} for name in order), as_json=as_json)


@click.command("show", short_help="Say what the back ends know of a user.")
@click.argument("name")
@file_options
@setting_options(["mail_location", "mail_user"])
@json_option
def show(
    name: str,
    config_file: str | None,
    passwd_file: tuple[str, ...],
    mail_location: str | None,
    mail_user: str | None,
    as_json: bool,
) -> None:
    """Say what the back ends know of the user NAME: the first that knows him decides, as at a login.

    Where his mail is, whose it is, how much he may keep, from where he may log in, whether he is locked out, and when
    and from where he came last, if last_login_file keeps that, or auth_device_used_file of his devices.
    """
    given = {"passwd_file": passwd_file, "mail_location": mail_location, "mail_user": mail_user}
    config = read_config(config_file, given)
    chain = _chain(config)
    name = chain.spelled(name)
    for back_end in chain.back_ends:
        registered = back_end.look_up(name)
        if registered is not None:
            print_values(_known(config, back_end, registered), as_json=as_json)
            return
    raise _stranger(chain, name)


@click.command("test", short_help="Say whether a password is right.")
@click.argument("name")
@click.option("--from", "host", metavar="ADDRESS", help="As if the user came from there. Default: from anywhere.")
@file_options
def test(name: str, host: str | None, config_file: str | None, passwd_file: tuple[str, ...]) -> None:
    """Say whether a password is right, and lets in; exit status 1 when it does not, 67 for a stranger.

    Whoever checks passwords for the server (auth) is asked.  The password is asked for, or read from standard input.
    """
    from maildir_imapd.auth.base import Password
    from maildir_imapd.cli.group import CommandFailed

    chain = _chain(read_config(config_file, {"passwd_file": passwd_file}))
    try:
        identity = chain.identify(Password(name, read_password(confirm=False)), host)
    except AuthenticationFailed as error:
        why = f" ({error.detail})" if error.detail else ""
        if chain.find(name) is None:
            raise _stranger(chain, name) from error
        raise CommandFailed(f"{name}: the password is wrong{why}") from error
    except AuthorizationFailed as error:
        raise CommandFailed(f"{name}: may not act for another") from error
    acts = f", as {identity.user}" if identity.user != name else ""
    click.echo(f"{name}: the password is right{acts}")


def _chain(config: Config) -> Chain:
    """Open the back ends that the server asks; raises ConfigError where there is none."""
    from maildir_imapd.server import settings

    chain = settings.chain(config)
    if not chain.back_ends:
        raise ConfigError("which file? give --passwd-file FILE or set passwd_file")
    return chain


def _stranger(chain: Chain, name: str) -> NoUser:
    return NoUser(f"there is no user {name} in {', '.join(back_end.name for back_end in chain.back_ends)}")


def _known(config: Config, back_end: Authenticator, registered: Registered) -> dict[str, Value]:
    """Say it in the order in which a person asks."""
    who = registered.identity
    from maildir_imapd.server import quotas

    allowed = quotas.of_settings(config).of(who)
    last = _last_use(config, who.user)
    return {
        "user": who.user,
        "back_end": back_end.name,
        "may_log_in": registered.may_log_in,
        "home": who.home,
        "mail": who.mail or config.mail_location,
        "maildir": _maildir(config, who),
        "uid": who.uid,
        "gid": who.gid,
        "mail_user": config.mail_user,
        "quota_storage": allowed.storage or None,
        "quota_messages": allowed.messages or None,
        "quota_mailboxes": allowed.mailboxes or None,
        "groups": sorted(who.groups),
        "allow_nets": None if who.nets is None else [str(net) for net in who.nets],
        "connections": who.connections or config.connections_per_user,
        "last_login": None if last is None else datetime.fromtimestamp(last.seconds, UTC),
        "last_address": None if last is None else last.address,
    }


def _maildir(config: Config, who: Identity) -> str | None:
    """Where his mail is, as far as that can be said."""
    from maildir_imapd.location import expand

    try:
        return os.fsdecode(expand(who.mail or config.mail_location, who.user, who.home).root)
    except (ConfigError, ValueError):
        return None


def _last_use(config: Config, user: str) -> Use | None:
    """Find his last login, or the last use of any of his devices."""
    from maildir_imapd.auth import last_use

    found: list[Use] = []
    for path in (config.last_login_file, config.auth_device_used_file):
        if path is None:
            continue
        try:
            with open(path, "rb") as file:
                uses = last_use.read(file.read())
        except FileNotFoundError:
            continue  # nobody has come yet
        found += [use for (name, _), use in uses.items() if name == user]
    return max(found, key=lambda use: use.seconds, default=None)
