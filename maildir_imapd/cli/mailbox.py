"""maildir-imapd mailbox: which mailboxes there are, and making, removing, renaming and subscribing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from maildir_imapd.cli import completing
from maildir_imapd.cli.output import Value, json_option, print_rows
from maildir_imapd.cli.whose import Users, dry_run_option, whose, yes_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maildir_imapd.store.account import Account

Row = dict[str, Value]


@click.group("mailbox", short_help="List, make, remove, rename and subscribe mailboxes.")
def mailbox() -> None:
    """List, make, remove, rename and subscribe mailboxes, beside a running server or without one.

    Without --user or --all-users it is the mail of whoever runs it.  Names are written in UTF-8, with the delimiter
    that clients see.
    """


@mailbox.command("list", short_help="List mailboxes.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=completing.mailboxes)
@click.option("--subscribed", is_flag=True, help="Only those that are subscribed, existing or not.")
@json_option
@whose
def list_mailboxes(users: Users, patterns: tuple[str, ...], subscribed: bool, as_json: bool) -> None:
    """List the mailboxes that match a PATTERN, in which * and % are those of IMAP's LIST.

    A name that is none, and has others below it, is listed as not selectable.
    """

    def rows(user: str, account: Account) -> Iterator[Row]:
        from maildir_imapd.imap.naming import matcher

        matches = matcher(account, patterns or ("*",))
        chosen, uses = account.subscriptions(), account.special_use()
        there = {row.name: row for row in account.folders()}
        for name in [*dict.fromkeys(chosen)] if subscribed else there:
            if matches(name):
                row = there.get(name)
                yield {
                    "user": user,
                    "mailbox": name,
                    "selectable": row is not None and row.selectable,
                    "subscribed": name in chosen,
                    "special_use": [use.decode("ascii") for use in uses.get(name, ())],
                }

    print_rows(
        ("user", "mailbox", "selectable", "subscribed", "special_use"), users.each(rows, look=True), as_json=as_json
    )


@mailbox.command("status", short_help="Say how many messages mailboxes have.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=completing.mailboxes)
@json_option
@whose
def status(users: Users, patterns: tuple[str, ...], as_json: bool) -> None:
    """Say of each mailbox that matches a PATTERN what IMAP's STATUS says.

    Nothing is changed: a mailbox that no server of ours has opened yet is told as it would be.
    """

    def rows(user: str, account: Account) -> Iterator[Row]:
        from maildir_imapd.errors import ImapdError

        for name in users.mailboxes(user, account, patterns):
            try:
                opened = account.mailbox(name)
                now = opened.sync(keep_new=True)
                counts = now.counts()
                yield {
                    "user": user,
                    "mailbox": name,
                    "messages": len(now),
                    "unseen": len(now) - counts["seen"],
                    "deleted": counts["deleted"],
                    "size": sum(opened.sizes(range(len(now)), now)),
                    "uidnext": now.uidnext,
                    "uidvalidity": now.uidvalidity,
                    "highestmodseq": now.modseq,
                }
            except ImapdError as error:
                users.failed(error, f"{user}: {name}")

    columns = ("user", "mailbox", "messages", "unseen", "deleted", "size", "uidnext", "uidvalidity", "highestmodseq")
    print_rows(columns, users.each(rows, look=True), as_json=as_json)


def _change(users: Users, as_json: bool, do: Callable[[Account], str], *, dry_run: bool = False) -> None:
    """Do one thing with the mail of each user, and print which mailbox it was."""

    def rows(user: str, account: Account) -> Iterator[Row]:
        yield {"user": user, "mailbox": do(account)}

    print_rows(("user", "mailbox"), users.each(rows, look=dry_run), as_json=as_json)


@mailbox.command("create", short_help="Make a mailbox.")
@click.argument("name", metavar="MAILBOX", shell_complete=completing.mailboxes)
@click.option(
    "--special-use", "-s", "uses", multiple=True, metavar="USE", help="Such as Sent, Drafts, Junk, Trash, Archive."
)
@click.option("--subscribe", "subscribing", is_flag=True, help="Subscribe it, too.")
@json_option
@whose
def create(users: Users, name: str, uses: tuple[str, ...], subscribing: bool, as_json: bool) -> None:
    """Make a mailbox, and the parents that it lacks."""
    from maildir_imapd.cli.group import USAGE, CommandFailed
    from maildir_imapd.imap.naming import written_name
    from maildir_imapd.store.records.special_use import SPELLED

    wanted = [SPELLED.get(b"\\" + use.lstrip("\\").lower().encode("utf-8", "replace")) for use in uses]
    if None in wanted:
        known = " ".join(sorted(each.decode("ascii")[1:] for each in SPELLED.values()))
        raise CommandFailed(f"there is no such special use: {uses[wanted.index(None)]!r}; there are {known}", USAGE)

    def do(account: Account) -> str:
        made = written_name(account, name)
        account.create(made)
        if wanted:
            account.set_special_use(made, tuple([each for each in wanted if each is not None]))
        if subscribing:
            account.subscribe(made)
        return made

    _change(users, as_json, do)


@mailbox.command("delete", short_help="Remove a mailbox with its messages.")
@click.argument("name", metavar="MAILBOX", shell_complete=completing.mailboxes)
@dry_run_option
@yes_option
@json_option
@whose
def delete(users: Users, name: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove a mailbox with all its messages; the mailboxes below it stay.

    It asks first on a terminal; elsewhere --yes is needed.
    """
    from maildir_imapd.cli.whose import demand_consent
    from maildir_imapd.errors import CannotDo
    from maildir_imapd.imap.naming import written_name

    if not dry_run:
        demand_consent(f"Remove the mailbox {name} with all its messages?", yes=yes)

    def do(account: Account) -> str:
        gone = written_name(account, name)
        if gone == "INBOX":
            raise CannotDo(why="INBOX cannot be deleted")
        if dry_run:
            account.folder_of(gone)
        else:
            account.delete(gone)
        return gone

    _change(users, as_json, do, dry_run=dry_run)


@mailbox.command("rename", short_help="Rename a mailbox.")
@click.argument("old", metavar="MAILBOX", shell_complete=completing.mailboxes)
@click.argument("new", metavar="NEW")
@json_option
@whose
def rename(users: Users, old: str, new: str, as_json: bool) -> None:
    """Rename a mailbox with those below it; of INBOX the messages move, and it stays."""
    from maildir_imapd.errors import MailboxExists
    from maildir_imapd.imap.naming import written_name

    def do(account: Account) -> str:
        before, after = written_name(account, old), written_name(account, new)
        if after == "INBOX":
            raise MailboxExists
        account.rename(before, after)
        return after

    _change(users, as_json, do)


@mailbox.command("subscribe", short_help="Subscribe a mailbox.")
@click.argument("name", metavar="MAILBOX", shell_complete=completing.mailboxes)
@json_option
@whose
def subscribe(users: Users, name: str, as_json: bool) -> None:
    """Subscribe a mailbox, or a name that others are below."""
    from maildir_imapd.imap.naming import written_name

    def do(account: Account) -> str:
        chosen = written_name(account, name)
        account.subscribe(chosen)
        return chosen

    _change(users, as_json, do)


@mailbox.command("unsubscribe", short_help="Take a subscription back.")
@click.argument("name", metavar="MAILBOX", shell_complete=completing.mailboxes)
@json_option
@whose
def unsubscribe(users: Users, name: str, as_json: bool) -> None:
    """Take a subscription back, also of a mailbox that is gone."""
    from maildir_imapd.imap.naming import written_name

    def do(account: Account) -> str:
        chosen = written_name(account, name)
        account.unsubscribe(chosen)
        return chosen

    _change(users, as_json, do)
