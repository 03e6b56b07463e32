"""Command-line options made from the table of settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from maildir_imapd.config import BY_NAME, SETTINGS, Config, load
from maildir_imapd.errors import ConfigError

DEFAULT_FILE = "/etc/maildir-imapd.conf"
# As a reader knows it; XDG_CONFIG_HOME may put it elsewhere.
# Those of commands that look into spools: where users and mail are.
SPOOL_SETTINGS = ("passwd_file", "mail_location", "delimiter", "follow_links", "fsync", "mail_user")
OWN_FILE = "~/.config/maildir-imapd/maildir-imapd.conf"


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
    path = os.path.join(base, "maildir-imapd", os.path.basename(OWN_FILE))
    return path if os.path.lexists(path) else None


def read_config(
    config_file: str | None, given: dict[str, Any], *, own: bool = False, forgiving: bool = False
) -> Config:
    """The configuration of a command; raises ConfigError.

    For one's *own* mail one's own file goes before the machine's.  *forgiving*: who may not read the machine's is told,
    and goes on without.
    """
    if config_file is None and own:
        config_file = own_file()
    if config_file is None and os.path.exists(DEFAULT_FILE):
        try:
            with open(DEFAULT_FILE, "rb"):
                config_file = DEFAULT_FILE
        except OSError as error:
            if not forgiving:
                raise ConfigError(f"{DEFAULT_FILE}: {error.strerror}") from error
            said = f"maildir-imapd: {DEFAULT_FILE}: {error.strerror}; going on with the defaults"
            click.echo(said, err=True)
    return load(config_file, given)
