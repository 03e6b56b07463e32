"""maildir-imapd quota: what is used of it, and counting that anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from maildir_imapd.cli.output import Value, json_option, print_rows
from maildir_imapd.cli.whose import Users, dry_run_option, whose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maildir_imapd.store.account import Account
    from maildir_imapd.store.records.quota import Usage

_COLUMNS = ("user", "storage", "storage_limit", "messages", "messages_limit")


@click.group("quota", short_help="Show quotas, and count anew what is used of them.")
def quota() -> None:
    """Show quotas, and count anew what is used of them.

    Without --user or --all-users it is the mail of whoever runs it.
    """


def _row(user: str, usage: Usage | None) -> dict[str, Value]:
    """A row; without a quota nothing is counted, and without a limit there is none."""
    return {
        "user": user,
        "storage": None if usage is None else usage.used.storage,
        "storage_limit": None if usage is None else usage.limit.storage or None,
        "messages": None if usage is None else usage.used.messages,
        "messages_limit": None if usage is None else usage.limit.messages or None,
    }


@quota.command("show", short_help="Say what is used of quotas.")
@json_option
@whose
def show(users: Users, as_json: bool) -> None:
    """Say how many octets and messages are used, and may be; where there is no quota nothing is counted."""

    def rows(user: str, account: Account) -> Iterator[dict[str, Value]]:
        yield _row(user, account.quota.usage())

    print_rows(_COLUMNS, users.each(rows, look=True), as_json=as_json)


@quota.command("recalc", short_help="Count anew what is used of quotas.")
@dry_run_option
@json_option
@whose
def recalc(users: Users, dry_run: bool, as_json: bool) -> None:
    """Count all messages anew, and write down what is used; where there is no quota nothing is done."""

    def rows(user: str, account: Account) -> Iterator[dict[str, Value]]:
        yield _row(user, account.quota.recount())

    print_rows(_COLUMNS, users.each(rows, look=dry_run), as_json=as_json)
