"""maildir-imapd doctor: what is wrong with a spool, and mending it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import click

from maildir_imapd.cli.group import FAILED, CommandFailed
from maildir_imapd.cli.output import Value, json_option, plain_text, print_json, print_rows
from maildir_imapd.cli.whose import Users, demand_consent, dry_run_option, whose_with, yes_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maildir_imapd.server.doctoring import Trouble
    from maildir_imapd.store.account import Account

_COLUMNS = ("user", "kind", "where", "found", "plan")


@click.command(short_help="Say what is wrong with a spool, and mend it.")
@click.option("--fix", is_flag=True, help="Mend what can be mended, after the plan has been shown and confirmed.")
@click.option("--deep", is_flag=True, help="Read each message whose name has W=, to see whether that is right.")
@dry_run_option
@yes_option
@json_option
@whose_with("acl_shared_list")
def doctor(users: Users, fix: bool, deep: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Say what of a spool is not served, what is wrong with it, and what could be done about that.

    Without --fix nothing is changed.  With it the plan is shown, and it asks on a terminal; elsewhere --yes is needed.
    No message is removed, and no UID is changed that can be known.  Exit status 1 where something stays wrong.
    """
    from maildir_imapd.server import doctoring
    from maildir_imapd.server.doctoring_shares import ShareDoctor

    found: dict[str, list[Trouble]] = {}
    sharing = ShareDoctor(users.config)

    def rows(user: str, account: Account) -> Iterator[dict[str, Value]]:
        for trouble in chain(doctoring.examine(account, deep=deep, at=users.at), sharing.examine(user, account)):
            found.setdefault(user, []).append(trouble)
            yield _row(user, trouble)

    listed = list(users.each(rows, look=True))
    mending = fix and not dry_run
    if not (mending and as_json):
        print_rows(_COLUMNS, listed, as_json=as_json, empty="nothing is wrong")
    planned = sum(each.mend is not None for troubles in found.values() for each in troubles)
    left = listed
    if mending and planned:
        demand_consent(f"Mend {planned} of {len(listed)}?", yes=yes)

        def again(user: str, account: Account) -> Iterator[Trouble]:
            yield from doctoring.examine(account, deep=deep)
            yield from sharing.examine(user, account)

        list(users.each(lambda user, account: _mend(users, user, again(user, account), found.get(user, []))))
        left = list(users.each(rows, look=True))
        _say(listed, left, as_json=as_json)
    elif mending and as_json:
        _say(listed, left, as_json=True)
    if left and not users.status:
        users.status = FAILED


def _say(listed: list[dict[str, Value]], left: list[dict[str, Value]], *, as_json: bool) -> None:
    """Say what has been mended, and what is left."""
    if as_json:
        print_json({"found": listed, "left": left})
        return
    stays = {(row["user"], row["kind"], row["where"]) for row in left}
    for row in listed:
        if (row["user"], row["kind"], row["where"]) not in stays:
            click.echo(plain_text(f"mended: {row['user']} {row['kind']} {row['where']}".rstrip()), err=True)


def _row(user: str, each: Trouble) -> dict[str, Value]:
    return {
        "user": user,
        "kind": each.kind,
        "where": each.where,
        "found": each.words,
        "plan": each.plan or None,
        "count": each.count,
    }


def _mend(users: Users, user: str, again: Iterator[Trouble], planned: list[Trouble]) -> tuple[()]:
    """Mend what was planned and is so still: it is looked for anew, for others may have been here meanwhile."""
    from maildir_imapd.errors import ImapdError

    wanted = {(each.kind, each.where) for each in planned if each.mend is not None}
    # What can be read decides what else can be seen, so that comes first.
    for trouble in sorted(again, key=lambda each: each.kind != "permissions"):
        if trouble.mend is not None and (trouble.kind, trouble.where) in wanted:
            try:
                trouble.mend()
            except ImapdError as error:
                users.failed(error, f"{user}: {trouble.where}")
            except OSError as error:
                users.failed(CommandFailed(error.strerror or str(error)), f"{user}: {trouble.where}")
    return ()
