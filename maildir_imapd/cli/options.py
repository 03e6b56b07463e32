"""Command-line options made from the table of settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from maildir_imapd.config import BY_NAME, SETTINGS, Config, load
from maildir_imapd.errors import ConfigError

DEFAULT_FILE = "/etc/maildir-imapd/maildir-imapd.toml"
# As a reader knows it; XDG_CONFIG_HOME may put it elsewhere.
OWN_FILE = "~/.config/maildir-imapd/maildir-imapd.toml"
# Where they were before 0.2.0; read where there is no other.
OLD_DEFAULT_FILE = "/etc/maildir-imapd.conf"
_OLD_OWN_NAME = "maildir-imapd.conf"


def setting_options(names: Iterable[str] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each setting, or for *names*."""
    chosen = [BY_NAME[name] for name in names] if names is not None else list(SETTINGS)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for setting in reversed(chosen):
            function = click.option(
                setting.flag,
                setting.name,
                metavar=setting.metavar,
                multiple=setting.many,
                default=None,
                help=f"{setting.help} Default: {setting.default_text}.",
            )(function)
        return function

    return decorate


config_option = click.option(
    "--config",
    "-c",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, readable=False),
    envvar="MAILDIR_IMAPD_CONFIG",
    metavar="FILE",
    help=f"Configuration file, TOML. Default: {DEFAULT_FILE} if it exists; for one's own mail {OWN_FILE} goes "
    "before it.",
)


def own_file() -> str | None:
    """The configuration file of whoever runs a command, where he has one."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    paths = [os.path.join(base, "maildir-imapd", name) for name in (os.path.basename(OWN_FILE), _OLD_OWN_NAME)]
    return next((path for path in paths if os.path.lexists(path)), None)


def machines_file() -> str | None:
    """The configuration file of the machine, where it has one."""
    return next((path for path in (DEFAULT_FILE, OLD_DEFAULT_FILE) if os.path.exists(path)), None)


def read_config(
    config_file: str | None, given: dict[str, Any], *, own: bool = False, forgiving: bool = False
) -> Config:
    """The configuration of a command; raises ConfigError.

    For one's *own* mail one's own file goes before the machine's.  *forgiving*: who may not read the machine's is told,
    and goes on without.
    """
    if config_file is None and own:
        config_file = own_file()
    if config_file is None and (machines := machines_file()) is not None:
        try:
            with open(machines, "rb"):
                config_file = machines
        except OSError as error:
            if not forgiving:
                raise ConfigError(f"{machines}: {error.strerror}") from error
            said = f"maildir-imapd: {machines}: {error.strerror}; going on with the defaults"
            click.echo(said, err=True)
    return load(config_file, given)
