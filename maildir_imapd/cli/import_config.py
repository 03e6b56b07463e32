"""maildir-imapd import-config"""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from maildir_imapd.cli.dovecot_config import parse
from maildir_imapd.cli.import_courier import from_courier
from maildir_imapd.cli.import_dovecot import from_dovecot
from maildir_imapd.cli.imported import render
from maildir_imapd.errors import ConfigError


@click.command("import-config", short_help="Make a configuration from another server's.")
@click.argument("files", nargs=-1, required=True, type=click.File("r", encoding="utf-8", errors="replace"))
def import_config(files: tuple[Any, ...]) -> None:
    """Print our configuration made from another server's.

    FILES are the output of 'doveconf -n' (Dovecot 2.3 or 2.4; - for standard input), or Courier's imapd,
    imapd-ssl and authdaemonrc.  What cannot be carried over is named, with what it means for the users, in
    comments.  A file of Dovecot's that includes no others is read as well.

    Exit status 1 where the mail cannot be served as it is; the configuration does not start a server then.
    """
    text = "\n".join(file.read() for file in files)
    if re.search(r"^\s*(MAILDIRPATH|TLS_CERTFILE|IMAP_CAPABILITY|authmodulelist)=", text, re.MULTILINE):
        found = from_courier(text)
    else:
        try:
            tree = parse(text)
        except ConfigError as error:
            raise ConfigError(
                f"{error.text}: this is neither the output of 'doveconf -n' nor a file of Courier's"
            ) from error
        if not tree.root.settings and not tree.root.blocks and not tree.includes and not tree.printed:
            raise ConfigError("this is neither the output of 'doveconf -n' nor a file of Courier's: it says nothing")
        found = from_dovecot(tree)
        if not tree.printed:
            click.echo("This is not what 'doveconf -n' prints: what Dovecot has by default is not in it.", err=True)
    click.echo(render(found), nl=False)
    if found.refused:
        for name, why in found.refused:
            click.echo(f"Refused: {name}: {why}", err=True)
        sys.exit(1)
