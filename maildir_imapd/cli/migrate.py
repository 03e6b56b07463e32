"""maildir-imapd adopt, maildir-imapd release"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from maildir_imapd import log
from maildir_imapd.cli.options import config_option, read_config, setting_options
from maildir_imapd.errors import ImapdError
from maildir_imapd.log import render_field
from maildir_imapd.server import spools
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import release as releasing
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL
from maildir_imapd.store.maildir import decide
from maildir_imapd.store.maildir.filename import usable
from maildir_imapd.store.neighbours.neighbour import Kind


def user_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--user, --all and where users and mail are."""
    for decorate in (
        setting_options(["passwd_file", "mail_location", "delimiter", "fsync", "mail_user"]),
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
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@click.command(short_help="Take over spools of Dovecot or Courier.")
@user_options
def adopt(dry_run: bool, users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any) -> None:
    """Take over spools that Dovecot or Courier kept: UIDs, UIDVALIDITY, keywords, subscriptions.

    Says per folder what it found and whether any UID would change.  A server that is started without this does
    the same by itself, folder by folder, when a folder is first opened; this does it for all at once and tells
    you before.  Safe to interrupt and to run again.  Nothing of the other server's is changed.

    Without --user or --all it takes the mail of whoever runs it.  Exit status 1 when a UID would change.
    """
    config = read_config(config_file, given, own=not users and not everybody)
    log.set_up("error", None)
    chosen = spools.chosen(config, users, everybody=everybody)
    rows: list[ReportRow] = []
    interrupted = False
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("folders", total=0)
        try:
            for identity in chosen:
                try:
                    with spools.opened(config, identity) as account:
                        folders = [(row.name, row.path) for row in account.folders() if row.path is not None]
                        progress.update(task, total=len(rows) + len(folders), description=identity.user)
                        for name, path in folders:
                            rows.append(_adopt(account, identity.user, name, path, dry_run=dry_run))
                            progress.advance(task)
                        for path, why in account.passed_over():
                            shown = render_field(os.path.relpath(path, account.root))
                            said = f"not shown to clients: {why}"
                            rows.append(ReportRow(identity.user, shown, "", "", "", said, bad=True))
                except ImapdError as error:
                    why = f"{error.text} {error.detail}".strip()
                    rows.append(ReportRow(identity.user, "", "", "", "", why, bad=True))
        except KeyboardInterrupt:
            # A folder is taken over whole or not at all.
            interrupted = True
    report("What would be taken over" if dry_run else "Taken over", rows)
    if any(row.server == "nothing" and row.uids == NEW_UIDS for row in rows):
        click.echo(
            "Where nothing was found, no other server has been; or mail_location lacks the CONTROL= that Dovecot has.",
            err=True,
        )
    bad = sum(row.bad for row in rows)
    if bad:
        click.echo(f"{bad} of {len(rows)} folders need a look: the table says why.", err=True)
    if interrupted:
        click.echo("Interrupted. What is done stays done; run it again for the rest.", err=True)
        sys.exit(130)
    if bad:
        sys.exit(1)
    count = f"{len(rows)} folder{'s' if len(rows) != 1 else ''}"
    click.echo(f"{count}; no UID {'would change' if dry_run else 'changed'}.")


NEW_UIDS = "new ones"


def _adopt(account: Account, user: str, name: str, path: bytes, *, dry_run: bool) -> ReportRow:
    ours = _is_ours(path)
    found = account.look(path)
    server = found.server or "nothing"
    if found.uids is not None:
        uids = f"UIDVALIDITY {found.uids.uidvalidity}, next {found.uids.uidnext}"
    else:
        uids = "" if ours or found.closed is not None else NEW_UIDS
    try:
        count = _count(path)
    except ImapdError as error:
        return ReportRow(user, name, server, "", uids, f"{error.text} {error.detail}", bad=True)
    notes = []
    bad = bool(found.problems) and not ours
    if found.problems:
        notes.append("; ".join(found.problems[:3]))
    if not found.server and count and not ours and glob.glob(os.path.join(glob.escape(path), b"dovecot.index*")):
        bad = True
        notes.append("Dovecot has been here and its dovecot-uidlist is not: does mail_location lack CONTROL=?")
    words = len({word for chosen in found.words.values() for word in chosen}) + len(found.keywords)
    if words:
        notes.append(f"{words} keyword{'s' if words != 1 else ''}")
    if name == "INBOX":
        subscribed = len(account.subscriptions())
        if subscribed:
            notes.append(f"{subscribed} subscription{'s' if subscribed != 1 else ''}")
        if account.prefix:
            notes.append(f"other names begin with {account.prefix}")
        if account.layout.places.kind != decide.FLAT or account.layout.places.inbox is not None:
            notes.append(f"LAYOUT={account.layout.places.kind}: {account.layout.why}")
    odd = _no_messages(path)
    if odd:
        bad = True
        notes.append(
            f"{len(odd)} file{'s are no messages' if len(odd) != 1 else ' is no message'}: {', '.join(odd[:5])}"
        )
    if ours:
        notes.append("adopted before")
    if dry_run or (found.closed is not None and not ours):
        return ReportRow(user, name, server, str(count), uids, ", ".join(notes), bad)
    try:
        snapshot = account.mailbox(name).sync(keep_new=True)
    except ImapdError as error:
        return ReportRow(user, name, server, "", uids, f"{error.text} {error.detail}", bad=True)
    if found.uids is not None and snapshot.uidvalidity != found.uids.uidvalidity:
        bad = True
        notes.append(f"UIDVALIDITY is {snapshot.uidvalidity} here")
    return ReportRow(user, name, server, str(len(snapshot)), uids, ", ".join(notes), bad)


def _is_ours(path: bytes) -> bool:
    """Whether we have an index of the folder."""
    return any(os.path.exists(os.path.join(path, entry)) for entry in (CHECKPOINT, JOURNAL))


def _no_messages(path: bytes) -> list[str]:
    """Name what lies among the messages and is shown to no client, with why; hidden files are nobody's mail."""
    found = []
    for sub in (b"cur", b"new"):
        with contextlib.suppress(OSError), os.scandir(os.path.join(path, sub)) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if entry.is_symlink():
                    why = "a link"
                elif not entry.is_file():
                    why = "no file"
                elif not usable(entry.name):
                    why = "a name with a line end"
                else:
                    continue
                found.append(f"{render_field(entry.name)} ({why})")
    return sorted(found)


def _count(path: bytes) -> int:
    """How many messages there are at a glance; raises StoreError."""
    with durable.as_store_error(path):
        return sum(len(os.listdir(os.path.join(path, sub))) for sub in (b"cur", b"new"))


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
                    if dry_run and not _is_ours(folder.path):
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


def _for_dovecot(user: str, mailbox: str, done: releasing.Released) -> Iterator[str]:
    """Return the commands that put into Dovecot's own index what nothing else can hold."""
    who, where = f"-u {shlex.quote(user)}", shlex.quote(mailbox)
    yield f"doveadm mailbox update {who} --min-highest-modseq {done.modseq} {where}"
    for word, uids in done.unlettered:
        yield f"doveadm flags add {who} {shlex.quote(word.decode('ascii'))} mailbox {where} uid {uids.decode()}"
