"""``user device``: passwords of a user's devices, made, shown and revoked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from maildir_imapd.auth import devices, last_use
from maildir_imapd.auth.devices import Device
from maildir_imapd.auth.last_use import Use
from maildir_imapd.auth.names import valid_user
from maildir_imapd.cli.options import config_option, read_config, setting_options
from maildir_imapd.cli.users import edit
from maildir_imapd.errors import ConfigError, ImapdError

if TYPE_CHECKING:
    from maildir_imapd.config import Config

# Fast: of a password that is random there is nothing to guess.
_SCHEME: Final = "SSHA512"


@click.group("device", short_help="Passwords of a user's devices.")
def device() -> None:
    """Passwords of a user's devices, each good for one and revoked alone."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which files, and how it is printed."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return config_option(setting_options(["auth_device_file", "auth_device_used_file"])(as_json(function)))


def _config(config_file: str | None, given: dict[str, Any]) -> tuple[Config, str]:
    config = read_config(config_file, given)
    if config.auth_device_file is None:
        raise ConfigError("which file? give --auth-device-file FILE or set auth_device_file")
    return config, config.auth_device_file


@device.command("add")
@click.argument("name")
@click.argument("label", metavar="DEVICE")
@click.option("--read-only", is_flag=True, help="It may read and change nothing.")
@_options
def add(name: str, label: str, read_only: bool, config_file: str | None, as_json: bool, **given: Any) -> None:
    """Make a password for a device of the user NAME, and print it: it is shown this once.

    DEVICE is what the user calls it.  The file is made, readable by its owner only, when it does not exist.
    """
    _, path = _config(config_file, given)
    if not valid_user(name):
        raise ConfigError(f"{name!r} cannot be a user name")
    if not devices.valid_name(label):
        raise ConfigError(f"{label!r} cannot be the name of a device: letters, digits, blanks and . _ ( ) ' + @ - only")
    from maildir_imapd.auth import schemes

    password = devices.new_password()
    stored = schemes.make(password.encode("ascii"), _SCHEME)
    made = Device(name, label, stored, int(time.time()), read_only)

    def change(lines: list[str]) -> list[str]:
        own = [each for each in map(_read, lines) if each is not None and each.user == name]
        if any(each.name == label for each in own):
            raise ImapdError(f"{name} has a device {label} already; revoke it first")
        if len(own) >= devices.MOST:
            raise ImapdError(f"{name} has {devices.MOST} devices already; revoke one first")
        return [*lines, devices.line(made)]

    edit(path, change)
    if as_json:
        click.echo(json.dumps({**_document(made, None), "password": password}, indent=2))
    else:
        click.echo(password)


@device.command("revoke")
@click.argument("name")
@click.argument("label", metavar="DEVICE")
@_options
def revoke(name: str, label: str, config_file: str | None, as_json: bool, **given: Any) -> None:
    """Take the password of a device of the user NAME back.  Connections that it has made stay until they end."""
    _, path = _config(config_file, given)

    def change(lines: list[str]) -> list[str]:
        kept = []
        for line in lines:
            each = _read(line)
            if each is None or (each.user, each.name) != (name, label):
                kept.append(line)
        if len(kept) == len(lines):
            raise ImapdError(f"{name} has no device {label}")
        return kept

    edit(path, change)
    click.echo(
        json.dumps({"user": name, "device": label, "revoked": True}) if as_json else f"revoked {label} of {name}"
    )


@device.command("list")
@click.argument("name")
@_options
def list_devices(name: str, config_file: str | None, as_json: bool, **given: Any) -> None:
    """List the devices of the user NAME: when each was made, what it may, and when and from where it was used last."""
    config = read_config(config_file, given)
    from maildir_imapd.server import back_ends

    sources = back_ends.devices(config)
    if not sources:
        raise ConfigError("which devices? give --auth-device-file FILE or set auth_device_file or sql_device_query")
    uses = {}
    if config.auth_device_used_file is not None:
        try:
            with open(config.auth_device_used_file, "rb") as file:
                uses = last_use.read(file.read())
        except FileNotFoundError:
            pass  # no device has been used yet
    found = [(each, uses.get((name, each.name))) for source in sources for each in source.of(name)]
    if as_json:
        click.echo(json.dumps([_document(*each) for each in found], indent=2))
        return
    for each, use in found:
        scope = "may read" if each.read_only else "may all"
        used = "never used" if use is None else f"used {_moment(use.seconds)} from {use.address}"
        program = f" by {use.program}" if use is not None and use.program else ""
        made = f"made {_moment(each.made)}" if each.made else "made nobody says when"
        click.echo(f"{each.name}: {made}, {scope}, {used}{program}")


def _read(line: str) -> Device | None:
    try:
        return devices.parse(line)
    except ValueError:
        return None


def _document(each: Device, use: Use | None) -> dict[str, Any]:
    return {
        "user": each.user,
        "device": each.name,
        "made": _moment(each.made) if each.made else None,
        "read_only": each.read_only,
        "last_use": None
        if use is None
        else {"time": _moment(use.seconds), "address": use.address, "program": use.program},
    }


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
