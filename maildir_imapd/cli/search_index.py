"""maildir-imapd search-index"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from maildir_imapd import log
from maildir_imapd.cli.options import config_option, read_config, setting_options
from maildir_imapd.errors import ImapdError, StoreError
from maildir_imapd.server import index_jobs, spools
from maildir_imapd.store.records import texts_filling

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config


@click.group("search-index", short_help="Show, fill and remove indexes for SEARCH BODY and TEXT.")
def search_index() -> None:
    """Show, fill and remove the indexes that make SEARCH BODY and TEXT quick (search_index).

    A server fills them by itself; this does it for all folders at once, and may run beside it. An index can be removed
    at any time.  Without --user or --all it takes the mail of whoever runs it.
    """


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--user, --all and where users and mail are."""
    for decorate in (
        setting_options(["passwd_file", "mail_location", "delimiter", "follow_links", "mail_user", "search_extract"]),
        config_option,
        click.option("--all", "everybody", is_flag=True, help="Every user of the passwd-file."),
        click.option("--user", "users", multiple=True, metavar="NAME", help="This user; may be given several times."),
    ):
        function = decorate(function)
    return function


def _each(
    do: Callable[[Config, Identity], Iterable[object]],
    headings: Iterable[str],
    users: tuple[str, ...],
    everybody: bool,
    config_file: str | None,
    given: dict[str, Any],
) -> None:
    """Print a row for each user with what *do* says; exit status 1 where it could not be done."""
    config = read_config(config_file, given, own=not users and not everybody)
    log.set_up("error", None)
    table = Table()
    for heading in ("user", *headings, ""):
        table.add_column(heading, overflow="fold")
    bad = False
    for identity in spools.chosen(config, users, everybody=everybody):
        try:
            row, why = [str(value) for value in do(config, identity)], ""
        except ImapdError as error:
            why = error.detail if isinstance(error, StoreError) and error.detail else f"{error.text} {error.detail}"
            row, bad = ["" for _ in headings], True
        table.add_row(identity.user, *row, why, style="bold red" if why else None)
    Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False).print(table)
    if bad:
        sys.exit(1)


def _refill(
    users: tuple[str, ...], everybody: bool, config_file: str | None, given: dict[str, Any], *, anew: bool
) -> None:
    def do(config: Config, identity: Identity) -> Iterable[object]:
        return (index_jobs.refill(config, identity, anew=anew),)

    _each(do, ("messages taken in",), users, everybody, config_file, given)


@search_index.command("show", short_help="Say how large indexes are.")
@_options
def show(users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any) -> None:
    """Say how large indexes are: messages, those that are gone, those with a text of attachments, and octets."""

    def do(config: Config, identity: Identity) -> Iterable[object]:
        with spools.opened(config, identity) as account:
            extent = account.texts.extent()
            return ("no index", "", "", "") if extent is None else extent

    _each(do, ("messages", "gone", "attachments", "octets"), users, everybody, config_file, given)


@search_index.command("fill", short_help="Bring indexes up to date.")
@_options
def fill(users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any) -> None:
    """Bring indexes up to date with all folders that a server has opened; make those that are not there.

    What is in them of mailboxes that were deleted is forgotten.
    """
    _refill(users, everybody, config_file, given, anew=False)


@search_index.command("rebuild", short_help="Make indexes anew.")
@_options
def rebuild(users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any) -> None:
    """Make indexes anew, as is needed when search_extract has another command for attachments that were read before.

    Until that is done searches read the messages.
    """
    _refill(users, everybody, config_file, given, anew=True)


@search_index.command("remove", short_help="Remove indexes.")
@_options
def remove(users: tuple[str, ...], everybody: bool, config_file: str | None, **given: Any) -> None:
    """Remove indexes. A server that keeps them makes them anew."""

    def do(config: Config, identity: Identity) -> Iterable[object]:
        with spools.opened(config, identity) as account:
            texts_filling.remove(account.texts.directory)
        return ()

    _each(do, (), users, everybody, config_file, given)
