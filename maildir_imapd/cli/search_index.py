"""maildir-imapd search-index: the indexes that make SEARCH BODY and TEXT quick, shown, filled and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from maildir_imapd.cli.output import Value, json_option, print_rows
from maildir_imapd.cli.whose import Users, whose, whose_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.store.account import Account

Row = dict[str, Value]

_SHOWN = ("user", "messages", "gone", "attachments", "octets")


@click.group("search-index", short_help="Show, fill and remove indexes for SEARCH BODY and TEXT.")
def search_index() -> None:
    """Show, fill and remove the indexes that make SEARCH BODY and TEXT quick (search_index).

    A server fills them by itself; this does it for all folders at once, and may run beside it. An index can be removed
    at any time.  Without --user or --all-users it takes the mail of whoever runs it.
    """


@search_index.command("show", short_help="Say how large indexes are.")
@json_option
@whose
def show(users: Users, as_json: bool) -> None:
    """Say how large indexes are: messages, those that are gone, those with a text of attachments, and octets.

    Where there is no index there is nothing but the user.
    """

    def rows(user: str, account: Account) -> Iterator[Row]:
        extent = account.texts.extent()
        values = extent if extent is not None else (None,) * (len(_SHOWN) - 1)
        yield dict(zip(_SHOWN, (user, *values), strict=True))

    print_rows(_SHOWN, users.each(rows, look=True), as_json=as_json)


def _refill(users: Users, *, as_json: bool, anew: bool) -> None:
    def rows(identity: Identity) -> Iterator[Row]:
        from maildir_imapd.server import index_jobs

        # In a process of its own, which becomes the owner of the mail.
        yield {"user": identity.user, "messages": index_jobs.refill(users.config, identity, anew=anew)}

    print_rows(("user", "messages"), users.each_identity(rows), as_json=as_json)


@search_index.command("fill", short_help="Bring indexes up to date.")
@json_option
@whose_with("search_extract")
def fill(users: Users, as_json: bool) -> None:
    """Bring indexes up to date with all folders that a server has opened; make those that are not there.

    What is in them of mailboxes that were deleted is forgotten.  It says how many messages were taken in.
    """
    _refill(users, as_json=as_json, anew=False)


@search_index.command("rebuild", short_help="Make indexes anew.")
@json_option
@whose_with("search_extract")
def rebuild(users: Users, as_json: bool) -> None:
    """Make indexes anew, as is needed when search_extract has another command for attachments that were read before.

    Until that is done searches read the messages.
    """
    _refill(users, as_json=as_json, anew=True)


@search_index.command("remove", short_help="Remove indexes.")
@json_option
@whose
def remove(users: Users, as_json: bool) -> None:
    """Remove indexes. A server that keeps them makes them anew."""

    def rows(user: str, account: Account) -> Iterator[Row]:
        from maildir_imapd.store.records import texts_filling

        texts_filling.remove(account.texts.directory)
        yield {"user": user}

    print_rows(("user",), users.each(rows), as_json=as_json)
