"""maildir-imapd adopt"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maildir_imapd import log
from maildir_imapd.cli.migrate import ReportRow, report, user_options
from maildir_imapd.cli.options import read_config
from maildir_imapd.errors import ConfigError, ImapdError
from maildir_imapd.log import render_field
from maildir_imapd.server import adopting, spools

NEW_UIDS: Final = "new ones"
_FAILED: Final = 3


@click.command(short_help="Take over spools of Dovecot or Courier.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document in place of the report.")
@user_options
def adopt(
    as_json: bool, dry_run: bool, users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any
) -> None:
    """Take over spools that Dovecot or Courier kept: UIDs, UIDVALIDITY, keywords, subscriptions.

    Says per folder what it found and whether any UID would change, and at the end how many findings of each kind there
    are.  A server that is started without this does the same by itself, folder by folder, when a folder is first
    opened; this does it for all at once and tells you before.  Safe to interrupt and to run again.  Nothing of the
    other server's is changed.

    Without --user or --all it takes the mail of whoever runs it.  Exit status 1 when something needs a look, 3 when
    something could not be done.
    """
    config = read_config(config_file, given, own=not users and not everybody)
    log.set_up("error", None)
    done = adopting.Report(dry_run)
    with _failing(), _shown() as progress:
        for identity in spools.chosen(config, users, everybody=everybody):
            try:
                adopting.adopt(config, identity, done, progress)
            except KeyboardInterrupt:
                # A folder is taken over whole or not at all.
                done.interrupted = True
                break
    if as_json:
        click.echo(json.dumps(_document(done), indent=2))
    else:
        _report(done)
    sys.exit(done.status())


@contextmanager
def _failing() -> Iterator[None]:
    """End with the status of an error, and its words, where users cannot be found at all."""
    try:
        yield
    except ConfigError:
        raise
    except ImapdError as error:
        click.echo(f"maildir-imapd: {error.text} {error.detail}".rstrip(), err=True)
        sys.exit(_FAILED)


class _Shown:
    """A bar for a person who waits; of messages, a user at a time."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=0)
        self._user = ""

    def user(self, user: str, messages: int) -> None:
        self._user = user
        self._bar.reset(self._task, total=messages, description=user)

    def folder(self, mailbox: str) -> None:
        self._bar.update(self._task, description=f"{self._user} {mailbox}")

    def files(self, more: int) -> None:
        self._bar.advance(self._task, more)


@contextmanager
def _shown() -> Iterator[_Shown]:
    """Show how far it is, on a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("messages"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield _Shown(bar)


# --- for people -----------------------------------------------------------------------------------


def _report(done: adopting.Report) -> None:
    rows = [_row(folder) for folder in done.folders]
    rows += [ReportRow(found.user, found.where, "", "", "", found.words, bad=True) for found in done.elsewhere]
    if sys.stdout.isatty():
        report("What would be taken over" if done.dry_run else "Taken over", rows)
    else:
        for row in rows:
            click.echo(_line(row))
    if any(folder.new_uids and not folder.server for folder in done.folders):
        click.echo(
            "Where nothing was found, no other server has been; or mail_location lacks the CONTROL= that Dovecot has.",
            err=True,
        )
    for kind, (findings, count) in done.kinds().items():
        of = f" ({count})" if count != findings else ""
        click.echo(f"{kind}: {findings}{of}: {adopting.KINDS[kind]}")
    bad = sum(row.bad for row in rows)
    if bad:
        click.echo(f"{bad} of {len(rows)} folders need a look: the report says why.", err=True)
    if done.interrupted:
        click.echo("Interrupted. What is done stays done; run it again for the rest.", err=True)
    elif not bad:
        count = len(done.folders)
        click.echo(
            f"{count} folder{'s' if count != 1 else ''}; no UID {'would change' if done.dry_run else 'changed'}."
        )


def _row(folder: adopting.Adopted) -> ReportRow:
    if folder.uidvalidity is not None:
        uids = f"UIDVALIDITY {folder.uidvalidity}, next {folder.uidnext}"
    else:
        uids = NEW_UIDS if folder.new_uids else ""
    notes = [*(found.words for found in folder.findings), *folder.notes]
    messages = "" if folder.messages is None else str(folder.messages)
    server = folder.server or "nothing"
    return ReportRow(folder.user, folder.mailbox, server, messages, uids, ", ".join(notes), bool(folder.findings))


def _line(row: ReportRow) -> str:
    """One line for a program or a file: fields with tabs between them, the first says whether it needs a look."""
    mailbox = row.mailbox if row.mailbox.startswith('"') else render_field(row.mailbox)
    return "\t".join(["look" if row.bad else "ok", row.user, mailbox, row.server, row.messages, row.uids, row.note])


# --- for programs ---------------------------------------------------------------------------------


def _document(done: adopting.Report) -> dict[str, object]:
    """Return what --json prints; the manual describes it."""
    return {
        "dry_run": done.dry_run,
        "interrupted": done.interrupted,
        "status": done.status(),
        "kinds": {kind: {"findings": found, "count": count} for kind, (found, count) in done.kinds().items()},
        "findings": [_finding(found) for found in done.findings()],
        "users": [_user(user, [folder for folder in done.folders if folder.user == user]) for user in done.users],
    }


def _finding(found: adopting.Finding) -> dict[str, object]:
    return {
        "kind": found.kind,
        "user": found.user,
        "where": found.where,
        "count": found.count,
        "words": found.words,
    }


def _user(user: str, folders: list[adopting.Adopted]) -> dict[str, object]:
    return {
        "user": user,
        "messages": sum(folder.messages or 0 for folder in folders),
        "folders": [
            {
                "mailbox": folder.mailbox,
                "server": folder.server or None,
                "messages": folder.messages,
                "uidvalidity": folder.uidvalidity,
                "uidnext": folder.uidnext,
                "new_uids": folder.new_uids,
                "adopted_before": folder.before,
                "notes": list(folder.notes),
                "kinds": [found.kind for found in folder.findings],
            }
            for folder in folders
        ],
    }
