"""maildir-imapd tunnel"""

from __future__ import annotations

import getpass
import os
import pwd
from typing import Any

import click

from maildir_imapd import log
from maildir_imapd.cli.options import config_option, read_config, setting_options


@click.command()
@config_option
@setting_options(
    ["mail_location", "delimiter", "fsync", "watch", "poll_interval", "append_limit", "log_level", "log_file"]
)
def tunnel(config_file: str | None, **given: Any) -> None:
    """Speak IMAP on standard input and output, as the user who runs it, already logged in.

    For a mail program that can start a command in place of a connection; it may run beside a server on the
    same mail.  Needs no root, no password and no port.

    \b
    mbsync:  Tunnel "ssh -q HOST maildir-imapd tunnel"
    mutt:    set tunnel="ssh -q HOST maildir-imapd tunnel"
    """
    from maildir_imapd.imap import commands as _commands  # noqa: F401  # fills the table
    from maildir_imapd.imap.session import Access, Policy, Session
    from maildir_imapd.server.connection import converse
    from maildir_imapd.server.transport import PipeTransport
    from maildir_imapd.server.tunnel import open_account

    config = read_config(config_file, given)
    log.set_up(config.log_level if given.get("log_level") else "warning", config.log_file)
    entry = pwd.getpwuid(os.geteuid())
    account, watcher = open_account(config, entry.pw_name, entry.pw_dir)
    transport = PipeTransport(0, 1)
    session = Session(
        Policy(greeting=config.greeting, append_limit=config.append_limit, idle_timeout=config.idle_timeout),
        secure=True,
        wake=transport.bell.ring,
        preauth=Access(entry.pw_name or getpass.getuser(), account),
        peer="tunnel",
    )
    try:
        converse(transport, session)
    finally:
        watcher.close()
