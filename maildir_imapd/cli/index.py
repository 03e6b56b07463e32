"""maildir-imapd index: how indexes are, whether they are sound, and making them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from maildir_imapd.cli import completing
from maildir_imapd.cli.group import FAILED
from maildir_imapd.cli.output import Value, json_option, print_rows
from maildir_imapd.cli.whose import Users, demand_consent, dry_run_option, whose, yes_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maildir_imapd.store.account import Account

Row = dict[str, Value]

_SHOWN = ("user", "mailbox", "messages", "uidvalidity", "uidnext", "highestmodseq", "checkpoint", "journal", "cache")


@click.group("index", short_help="Show indexes, verify them, and make them anew.")
def index() -> None:
    """Show the indexes of mailboxes, verify them, and make them anew; see maildir-imapd-index(5).

    Without --user or --all-users it is the mail of whoever runs it.
    """


def _each_mailbox(
    users: Users, patterns: tuple[str, ...], do: Callable[[str, Account, str], Iterator[Row]]
) -> Callable[[str, Account], Iterator[Row]]:
    """Go through the mailboxes that match; what cannot be done with one is said."""

    def rows(user: str, account: Account) -> Iterator[Row]:
        from maildir_imapd.errors import ImapdError

        for name in users.mailboxes(user, account, patterns):
            try:
                yield from do(user, account, name)
            except ImapdError as error:
                users.failed(error, f"{user}: {name}")

    return rows


def _shown(user: str, account: Account, name: str) -> Row:
    from maildir_imapd.store import upkeep

    mailbox = account.mailbox(name)
    now, sizes = mailbox.sync(keep_new=True), upkeep.extent(mailbox)
    return {
        "user": user,
        "mailbox": name,
        "messages": len(now),
        "uidvalidity": now.uidvalidity,
        "uidnext": now.uidnext,
        "highestmodseq": now.modseq,
        "checkpoint": sizes.checkpoint,
        "journal": sizes.journal,
        "cache": sizes.cache,
        "old": sizes.old,
        "set_aside": sizes.damaged,
    }


@index.command("show", short_help="Say how indexes are, and how large.")
@click.argument("patterns", nargs=-1, metavar="[MAILBOX]...", shell_complete=completing.mailboxes)
@json_option
@whose
def show(users: Users, patterns: tuple[str, ...], as_json: bool) -> None:
    """Say of each MAILBOX, in which * and % are those of LIST, its numbers and the octets of its index's files."""

    def rows(user: str, account: Account, name: str) -> Iterator[Row]:
        yield _shown(user, account, name)

    print_rows(_SHOWN, users.each(_each_mailbox(users, patterns, rows), look=True), as_json=as_json)


@index.command("verify", short_help="Say what is wrong with indexes.")
@click.argument("patterns", nargs=-1, metavar="[MAILBOX]...", shell_complete=completing.mailboxes)
@json_option
@whose
def verify(users: Users, patterns: tuple[str, ...], as_json: bool) -> None:
    """Compare each index with its checksums, with itself and with the folder; exit status 1 where something is wrong.

    What is only news, which the next look at the folder takes in, is told as pending, and is not wrong.
    """

    def rows(user: str, account: Account, name: str) -> Iterator[Row]:
        from maildir_imapd.store import upkeep

        for each in upkeep.faults(account.mailbox(name)):
            if not each.pending:
                users.status = users.status or FAILED
            yield {
                "user": user,
                "mailbox": name,
                "kind": each.kind,
                "uid": each.uid,
                "pending": each.pending,
                "found": each.words,
            }

    columns = ("user", "mailbox", "kind", "uid", "pending", "found")
    found = users.each(_each_mailbox(users, patterns, rows), look=True)
    print_rows(columns, found, as_json=as_json, empty="nothing is wrong")


@index.command("rebuild", short_help="Make indexes anew.")
@click.argument("patterns", nargs=-1, required=True, metavar="MAILBOX...", shell_complete=completing.mailboxes)
@dry_run_option
@json_option
@whose
def rebuild(users: Users, patterns: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Make each index anew of what is on record and in the folder, and throw away what can be.

    Sizes, fingerprints and the cache are worked out again.  UIDs, UIDVALIDITY and flags stay as they are wherever they
    can be known: only an index that does not verify, and of which nobody knows which UIDs it gave out, begins anew.
    """

    def rows(user: str, account: Account, name: str) -> Iterator[Row]:
        from maildir_imapd.store import upkeep

        if not dry_run:
            upkeep.rebuild(account.mailbox(name))
        yield _shown(user, account, name)

    print_rows(_SHOWN, users.each(_each_mailbox(users, patterns, rows), look=dry_run), as_json=as_json)


@index.command("renumber", short_help="Give messages new UIDs, after an older state was brought back.")
@click.argument("patterns", nargs=-1, required=True, metavar="MAILBOX...", shell_complete=completing.mailboxes)
@yes_option
@dry_run_option
@json_option
@whose
def renumber(users: Users, patterns: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Give all messages of each MAILBOX new UIDs under another UIDVALIDITY; every client downloads them again.

    It is for mail that was brought back from a backup in the place of a newer state: what was given out since would be
    given out again, and clients would take new messages for others that they know.  Where folders or messages were
    brought back beside what was there it is not needed.  It asks first on a terminal; elsewhere --yes is needed.
    """
    if not dry_run:
        demand_consent("All clients will download these mailboxes again. Go on?", yes=yes)

    def rows(user: str, account: Account, name: str) -> Iterator[Row]:
        from maildir_imapd.store import upkeep

        if not dry_run:
            upkeep.renumber(account.mailbox(name))
        yield _shown(user, account, name)

    print_rows(_SHOWN, users.each(_each_mailbox(users, patterns, rows), look=dry_run), as_json=as_json)
