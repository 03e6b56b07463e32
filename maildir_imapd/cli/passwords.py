"""maildir-imapd hash-password, and what it has in common with commands that ask for a password."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from maildir_imapd.cli.options import config_option, setting_options
from maildir_imapd.errors import ConfigError

# Equal to those of auth/schemes.py, which a test holds.
SCHEMES = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SCRAM-SHA-256", "SSHA512", "SSHA", "PLAIN")

scheme_option = click.option(
    "--scheme",
    type=click.Choice(SCHEMES, case_sensitive=False),
    default="ARGON2ID",
    show_default=True,
    metavar="SCHEME",
    help=f"How the password is stored: {', '.join(SCHEMES)}.",
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
    from maildir_imapd.auth import schemes

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


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which file."""
    return config_option(setting_options(["passwd_file"])(function))
