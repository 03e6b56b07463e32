"""maildir-imapd serve"""

from __future__ import annotations

import sys
from typing import Any

import click

from maildir_imapd import log
from maildir_imapd.cli.options import config_option, read_config, setting_options


@click.command()
@config_option
@setting_options()
def serve(config_file: str | None, **given: Any) -> None:
    """Serve mailboxes over IMAP, in the foreground, until SIGTERM.

    Everything can be said here or in the configuration file; what is said here wins.  One line is printed
    when connections are taken.  SIGHUP reads the configuration and the certificate again without dropping
    a client.

    \b
    Example:
      maildir-imapd serve --imap 127.0.0.1:1143 \\
          --mail-location 'maildir:/srv/mail/%n/Maildir' \\
          --passwd-file /srv/mail/passwd --plaintext-login loopback
    """
    from maildir_imapd.errors import ConfigError
    from maildir_imapd.server.supervisor import Supervisor

    config = read_config(config_file, given)
    if config.passwd_file is None:
        raise ConfigError("no users: give --passwd-file FILE (see 'maildir-imapd user add --help')")
    log.set_up(config.log_level, config.log_file)
    supervisor = Supervisor(config, lambda: read_config(config_file, given))
    sys.exit(supervisor.run(lambda line: click.echo(line)))
