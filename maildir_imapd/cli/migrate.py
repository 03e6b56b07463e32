"""maildir-imapd release, and what it has in common with adopt"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from maildir_imapd import log
from maildir_imapd.cli.options import config_option, read_config, setting_options
from maildir_imapd.errors import ImapdError
from maildir_imapd.server import spools
from maildir_imapd.server.adopting import is_ours
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import release as releasing
from maildir_imapd.store.neighbours.neighbour import Kind


def user_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--user, --all and where users and mail are."""
    for decorate in (
        setting_options(["passwd_file", "mail_location", "delimiter", "follow_links", "fsync", "mail_user"]),
        config_option,
        click.option("--all", "everybody", is_flag=True, help="Every user of the passwd-file."),
        click.option("--user", "users", multiple=True, metavar="NAME", help="This user; may be given several times."),
        click.option("--dry-run", "-n", is_flag=True, help="Say what would be done, and change nothing."),
    ):
        function = decorate(function)
    return function


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A folder in the report; *bad* where a client would notice."""

    user: str
    mailbox: str
    server: str
    messages: str
    uids: str
    note: str
    bad: bool = False


def report(title: str, rows: list[ReportRow]) -> None:
    """Print a table; wide enough for a pipe, too."""
    table = Table(title=title, title_justify="left")
    for heading in ("user", "mailbox", "found", "messages", "UIDs", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            row.user, row.mailbox, row.server, row.messages, row.uids, row.note, style="bold red" if row.bad else None
        )
    # Names are nobody's markup: [/x] is a mailbox, and so is :smile:.
    Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False).print(table)


@click.command(short_help="Give spools back to Dovecot or Courier.")
@click.option(
    "--to", "kind", type=click.Choice(["dovecot", "courier"]), required=True, help="The server that goes on from here."
)
@user_options
def release(
    kind: Kind, dry_run: bool, users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any
) -> None:
    """Give spools back to Dovecot or Courier: write their files in full, so that no client notices.

    Stop the server first.  Our own files stay where they are and harm nobody.  For Dovecot it prints the
    doveadm commands that clients with CONDSTORE and messages with more than 26 keywords need: run them before
    clients come back.

    Without --user or --all it takes the mail of whoever runs it.
    """
    config = read_config(config_file, given, own=not users and not everybody)
    log.set_up("error", None)
    rows: list[ReportRow] = []
    commands: list[str] = []
    for identity in spools.chosen(config, users, everybody=everybody):
        try:
            with spools.opened(config, identity) as account:
                for folder in account.folders():
                    if folder.path is None:
                        continue
                    if dry_run and not is_ours(folder.path):
                        # To open it would be to take it over.
                        note = "not adopted yet, it would be first"
                        rows.append(ReportRow(identity.user, folder.name, kind, str(_count(folder.path)), "", note))
                        continue
                    mailbox = account.mailbox(folder.name)
                    if dry_run:
                        done = releasing.describe(mailbox.sync(keep_new=True), kind)
                    else:
                        done = mailbox.release(kind)
                    uids = f"UIDVALIDITY {done.uidvalidity}, next {done.uidnext}"
                    lacking = b" ".join([word for word, _ in done.unlettered]).decode("utf-8", "replace")
                    note = f"keywords without a letter, see below: {lacking}" if lacking else ""
                    rows.append(ReportRow(identity.user, folder.name, kind, str(done.messages), uids, note))
                    commands += _for_dovecot(identity.user, folder.name, done)
                if not dry_run:
                    account.release_subscriptions(kind)
        except ImapdError as error:
            why = f"{error.text} {error.detail}".strip()
            rows.append(ReportRow(identity.user, "", "", "", "", why, bad=True))
    report("What would be written" if dry_run else "Written", rows)
    if commands and kind == "dovecot":
        click.echo("\nOnce Dovecot runs, before clients come back:\n")
        for command in commands:
            click.echo(command)
    if any(row.bad for row in rows):
        sys.exit(1)


def _count(path: bytes) -> int:
    """How many messages there are at a glance; raises StoreError."""
    with durable.as_store_error(path):
        return sum(len(os.listdir(os.path.join(path, sub))) for sub in (b"cur", b"new"))


def _for_dovecot(user: str, mailbox: str, done: releasing.Released) -> Iterator[str]:
    """Return the commands that put into Dovecot's own index what nothing else can hold."""
    who, where = f"-u {shlex.quote(user)}", shlex.quote(mailbox)
    yield f"doveadm mailbox update {who} --min-highest-modseq {done.modseq} {where}"
    for word, uids in done.unlettered:
        yield f"doveadm flags add {who} {shlex.quote(word.decode('ascii'))} mailbox {where} uid {uids.decode()}"
