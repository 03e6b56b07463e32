"""maildir-imapd tunnel"""

from __future__ import annotations

import signal
from typing import Any

import click

from maildir_imapd.cli.options import config_option, read_config, setting_options


@click.command(short_help="Speak IMAP on stdin and stdout, for ssh.")
@config_option
@setting_options(
    [
        "mail_location",
        "delimiter",
        "namespaces",
        "acl_shared_list",
        "follow_links",
        "fsync",
        "search_index",
        "search_extract",
        "watch",
        "poll_interval",
        "shared_spool",
        "append_limit",
        "idle_timeout",
        "idle_keepalive",
        "log_level",
        "log_file",
    ]
)
def tunnel(config_file: str | None, **given: Any) -> None:
    """Speak IMAP on standard input and output, as the user who runs it, already logged in.

    For a mail program that can start a command in place of a connection; it may run beside a server on the
    same mail.  Needs no root, no password and no port.

    \b
    mbsync:  Tunnel "ssh -q HOST maildir-imapd tunnel"
    mutt:    set tunnel="ssh -q HOST maildir-imapd tunnel"
    """
    from maildir_imapd import log
    from maildir_imapd.server import spools
    from maildir_imapd.server.tunnel import serve

    config = read_config(config_file, given, own=True, forgiving=True)
    # Standard error is the user's terminal, and the server's log file is rarely his to write.
    log.set_up(config.log_level if given.get("log_level") else "warning", given.get("log_file"))
    me = spools.myself()
    serve(config, me.user, me.home or "", ending=(signal.SIGTERM, signal.SIGHUP, signal.SIGINT))
