"""maildir-imapd try: the two-minute acquaintance behind scripts/run."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from maildir_imapd import log
from maildir_imapd.auth import schemes
from maildir_imapd.auth.base import Identity
from maildir_imapd.cli import certificate, sample
from maildir_imapd.cli.certificate import state_dir
from maildir_imapd.cli.options import own_file
from maildir_imapd.config import load, read_file
from maildir_imapd.errors import ConfigError, ImapdError
from maildir_imapd.location import expand
from maildir_imapd.server.spools import myself
from maildir_imapd.store.maildir import decide
from maildir_imapd.store.maildir.instead import instead
from maildir_imapd.store.maildir.layout import Places


@click.command("try", short_help="Serve one Maildir, to see it at work.")
@click.argument("maildir", required=False, type=click.Path(path_type=Path))
@click.option("--imap", default="127.0.0.1:1143", show_default=True, metavar="HOST:PORT", help="Listen here, STARTTLS.")
@click.option("--imaps", default="127.0.0.1:1993", show_default=True, metavar="HOST:PORT", help="Listen here, TLS.")
def try_(maildir: Path | None, imap: str, imaps: str) -> None:
    """Serve one MAILDIR on this machine to try the server, and say what to type into a client.

    Without MAILDIR it takes what mail_location in ~/.config/maildir-imapd/maildir-imapd.toml says, or ~/Maildir; where
    there is none it makes a sample one with a dozen messages.  User, password and certificate are made at the first
    start and kept in ~/.local/state/maildir-imapd.
    """
    from maildir_imapd.server.supervisor import Supervisor

    state = state_dir()
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{state}: {error.strerror}") from error
    made = ""
    places = None
    mine = own_file()
    me = myself()
    configured = read_file(mine).get("mail_location") if mine is not None and maildir is None else None
    if configured is not None:
        places = _places(configured, me)
        maildir = Path(os.fsdecode(places.root))
    elif maildir is None:
        maildir = Path(me.home or "/") / "Maildir"
        if not (maildir / "cur").is_dir():
            maildir = state / "sample"
            if not (maildir / "cur").is_dir():
                count = sample.make(maildir)
                made = f" (a sample with {count} messages, just made)"
            else:
                made = " (the sample)"
    laid_out = _look(maildir, places)
    if os.geteuid() == 0 and (owner := maildir.stat().st_uid) != 0:
        raise ConfigError(f"{maildir} belongs to user {owner}: try it as that user, not as root")
    user = me.user
    password = _password(state / "password")
    users = state / "passwd"
    _write_private(users, f"{user}:{schemes.make(password.encode(), 'SHA512-CRYPT')}::::{me.home}::\n")
    cert, key = certificate.ensure(state)
    location = configured or "maildir:" + str(maildir.resolve()).replace("%", "%%")
    given: dict[str, Any] = {
        "imap": (imap,),
        "imaps": (imaps,),
        "mail_location": location,
        "passwd_file": (str(users).replace("%", "%%"),),
        "auth": ("passwd-file",),
        # Root's own mail, and nobody else's.
        **({"mail_user": "root"} if os.geteuid() == 0 else {}),
        "plaintext_login": "loopback",
        "tls_cert": str(cert),
        "tls_key": str(key),
        "workers": 2,
        # Whoever tries it looks at the terminal for what to type, not for advice on operating a server.
        "log_level": "error",
        # That place is the real server's.
        "control_socket": "none",
    }
    config = load(mine, given)
    log.set_up(config.log_level, None)

    def announce(line: str) -> None:
        host, _, port = imap.rpartition(":")
        tls_host, _, tls_port = imaps.rpartition(":")
        click.echo(line)
        click.echo(
            f"""
  mail       {maildir}{made}
  folders    {laid_out}
  user       {user}
  password   {password}

In a mail client: IMAP, server {host}, port {port} with STARTTLS or port {tls_port} with TLS.
The certificate was made on this machine, so the client will ask whether to trust it.

With curl:
  curl -k --user {user}:{password} "imaps://{tls_host}:{tls_port}/"
  curl -k --user {user}:{password} "imaps://{tls_host}:{tls_port}/INBOX;MAILINDEX=1"
  curl --user {user}:{password} "imap://{host}:{port}/INBOX" -X "FETCH 1:* (FLAGS ENVELOPE)"

Ctrl-C stops it.
"""
        )

    sys.exit(Supervisor(config, lambda: load(mine, given)).run(announce))


def _places(configured: str, me: Identity) -> Places:
    """The places of a mail_location in the user's own file; raises ConfigError."""
    try:
        return expand(configured, me.user, me.home)
    except ValueError as error:
        raise ConfigError(f"mail_location {error}") from error


def _look(maildir: Path, places: Places | None = None) -> str:
    """Say how the folders of a spool are laid out, and why; raises ConfigError for what is none."""
    if not maildir.is_dir():
        raise ConfigError(instead(bytes(maildir)))
    if not any(maildir.iterdir()):
        raise ConfigError(f"{maildir} is empty: there is no mail to try it on")
    try:
        decision = decide.decide(places or Places(bytes(maildir.resolve()), decide.AUTO))
    except ImapdError as error:
        raise ConfigError(f"no Maildir lies below: {error.detail}") from error
    inbox = decision.places.inbox
    apart = "" if inbox is None else f", INBOX is {os.fsdecode(inbox)}"
    return f"LAYOUT={decision.places.kind}{apart}: {decision.why}"


def _password(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        password = secrets.token_urlsafe(9)
        _write_private(path, password + "\n")
        return password


def _write_private(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
