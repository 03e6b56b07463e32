"""maildir-imapd config: the configuration checked, shown and begun."""

from __future__ import annotations

import sys
import textwrap
from typing import Any, Final

import click

from maildir_imapd import toml_lines
from maildir_imapd.cli.group import CONFIG
from maildir_imapd.cli.options import DEFAULT_FILE, config_option, read_config, setting_options
from maildir_imapd.cli.output import Value, json_option, print_json, print_rows
from maildir_imapd.config import SETTINGS, Config
from maildir_imapd.errors import ConfigError
from maildir_imapd.setting.shown import shown

_WIDTH: Final = 100
# A setting that has no default.
_NOTHING: Final = '""'


@click.group()
def config() -> None:
    """Check, show and begin the configuration."""


@config.command()
@config_option
@setting_options()
@json_option
def check(config_file: str | None, as_json: bool, **given: Any) -> None:
    """Say what is wrong with the configuration, line by line, or that it is right.

    Files that it names are looked at as the server does when it starts.  Ends with 78 when something is wrong.
    """
    wrong: list[str] = []
    source = None
    try:
        found = read_config(config_file, given)
        source = found.source
        _try(found, wrong)
    except ConfigError as error:
        wrong += _lines(error)
    wrong = list(dict.fromkeys(wrong))
    if as_json:
        print_json({"ok": not wrong, "file": source, "wrong": wrong})
    elif wrong:
        for line in wrong:
            click.echo(line)
    else:
        click.echo(f"{source or 'no file'}: ok")
    sys.exit(CONFIG if wrong else 0)


def _try(found: Config, wrong: list[str]) -> None:
    """Read what the settings name, as the server does when it starts; what is wrong is added to *wrong*."""
    from maildir_imapd.server import back_ends, settings, tls

    checks = (
        settings.demand_listening,
        tls.read,
        settings.chain,
        back_ends.answers,
        settings.server_metadata,
        settings.demand_what_workers_need,
        settings.keeping,
        settings.control,
    )
    for each in checks:
        try:
            each(found)
        except ConfigError as error:
            wrong += _lines(error)


def _lines(error: ConfigError) -> list[str]:
    text = f"{error.text} ({error.detail})" if error.detail else error.text
    return text.split("\n")


@config.command()
@click.option("--changed", is_flag=True, help="Only what is not as it is by default.")
@config_option
@setting_options()
@json_option
def show(changed: bool, config_file: str | None, as_json: bool, **given: Any) -> None:
    """Show the settings that are in effect, and where each comes from.

    Passwords within a setting are masked.  What stands on the command line here counts as it does for serve.
    """
    found = read_config(config_file, given)
    lines = {} if found.source is None else toml_lines.read(found.source)[1]
    rows: list[dict[str, Value]] = []
    for setting in SETTINGS:
        if given.get(setting.name) not in (None, ()):
            origin = "command line"
        elif setting.name in lines:
            origin = f"{found.source}:{lines[setting.name]}"
        else:
            origin = "default"
        value = found.values[setting.name]
        if changed and (origin == "default" or value == setting.default):
            continue
        rows.append({"setting": setting.name, "value": shown(value), "from": origin})
    print_rows(("setting", "value", "from"), rows, as_json=as_json, empty="Everything is as it is by default.")


@config.command()
def default() -> None:
    """Print a configuration with every setting, each explained and left out, to begin with."""
    click.echo(f"# The configuration of maildir-imapd: {DEFAULT_FILE}, or the file that --config names.")
    click.echo("# It is TOML, a setting a line. What begins with # is left out; what follows it is the default.")
    group = ""
    for setting in SETTINGS:
        if setting.group != group:
            group = setting.group
            click.echo(f"\n\n# --- {group} ".ljust(_WIDTH, "-"))
        click.echo()
        many = " (one or a list)" if setting.many else ""
        for line in textwrap.wrap(f"{setting.help} Default: {setting.default_text}.{many}", _WIDTH - 2):
            click.echo(f"# {line}")
        click.echo(f"#{setting.name} = {shown(setting.default) or ('[]' if setting.many else _NOTHING)}")
