"""Command-line options made from the table of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from maildir_imapd.config import BY_NAME, SETTINGS, Config, load

DEFAULT_FILE = "/etc/maildir-imapd.conf"


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
    type=click.Path(exists=True, dir_okay=False),
    envvar="MAILDIR_IMAPD_CONFIG",
    metavar="FILE",
    help=f"Configuration file, TOML. Default: {DEFAULT_FILE} if it exists.",
)


def read_config(config_file: str | None, given: dict[str, Any]) -> Config:
    """The configuration of a command; raises ConfigError."""
    import os

    if config_file is None and os.path.exists(DEFAULT_FILE):
        config_file = DEFAULT_FILE
    return load(config_file, given)
