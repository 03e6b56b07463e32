"""maildir-imapd serve"""

from __future__ import annotations

import sys
from typing import Any

import click

from maildir_imapd.cli import certificate
from maildir_imapd.cli.certificate import state_dir
from maildir_imapd.cli.options import config_option, read_config, setting_options
from maildir_imapd.config import Config
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log

log = Log(__name__)


@click.command(short_help="Serve mailboxes over IMAP.")
@config_option
@setting_options()
def serve(config_file: str | None, **given: Any) -> None:
    """Serve mailboxes over IMAP, in the foreground, until SIGTERM.

    Everything can be said here or in the configuration file; what is said here wins.  One line is printed
    when connections are taken.  Without --tls-cert it makes itself a certificate at the first start, which clients
    have to be told to trust.  SIGHUP reads the configuration and the certificate again without dropping
    a client.

    \b
    Example:
      maildir-imapd serve --imap 127.0.0.1:1143 \\
          --mail-location 'maildir:/srv/mail/%n/Maildir' \\
          --passwd-file /srv/mail/passwd --plaintext-login loopback
    """
    from maildir_imapd.server import back_ends, settings, spool_check
    from maildir_imapd.server.supervisor import Supervisor

    def read() -> Config:
        return with_certificate(read_config(config_file, given))

    config = read()
    if not config.passwd_file and back_ends.checking_names(config) == ("passwd-file",):
        raise ConfigError("no users: give --passwd-file FILE (see 'maildir-imapd user add --help')")
    settings.set_up_log(config)
    _warn_of_own_certificate(config)
    spool_check.demand_trusted(config)
    sys.exit(Supervisor(config, read).run(lambda line: click.echo(line)))


def with_certificate(config: Config) -> Config:
    """Without ``tls_cert`` the server makes itself a certificate, once, so that nobody is without TLS.

    Raises ConfigError when that fails and TLS was asked for.
    """
    if config.tls_cert is not None:
        return config
    directory = state_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        cert, key = certificate.ensure(directory)
    except OSError as error:
        if config.imaps:
            why = f"none could be made in {directory}: {error.strerror}"
            raise ConfigError(f"imaps needs a certificate: set tls_cert (and tls_key); {why}") from error
        return config
    return Config({**config.values, "tls_cert": str(cert), "tls_key": str(key)}, config.source)


def _warn_of_own_certificate(config: Config) -> None:
    if config.tls_cert is not None and config.tls_cert == str(state_dir() / certificate.CERT):
        log.warning("no tls_cert is set; clients must trust our own", tls_cert=config.tls_cert)
