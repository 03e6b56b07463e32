"""Whose mail a command is about: the options that say so, and going from one user to the next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from maildir_imapd.cli import completing
from maildir_imapd.cli.group import USAGE, CommandFailed, complain, status_of
from maildir_imapd.cli.options import SPOOL_SETTINGS, config_option, read_config, setting_options
from maildir_imapd.cli.output import plain_text
from maildir_imapd.errors import ImapdError, MailboxMissing

if TYPE_CHECKING:
    from rich.status import Status

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.store.account import Account

T = TypeVar("T")

dry_run_option = click.option("--dry-run", "-n", is_flag=True, help="Say what would be done, and change nothing.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def demand_consent(question: str, *, yes: bool) -> None:
    """Ask on a terminal; raises CommandFailed where nobody can be asked and nobody has said *yes*, or he says no."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed("nobody can be asked here: give --yes", USAGE)
    if not click.confirm(question, err=True):
        raise CommandFailed("nothing was done")


class Users:
    """The users that a command is for; what fails for one of them is said, and the others have their turn.

    ``status`` is the exit status of the first that failed.
    """

    def __init__(self, config: Config, names: tuple[str, ...], *, everybody: bool) -> None:
        self.config = config
        self.names, self.everybody = names, everybody
        self.status = 0
        self._shown: Status | None = None
        self._user = ""

    def each(self, do: Callable[[str, Account], Iterable[T]], *, look: bool = False) -> Iterator[T]:
        """Yield what *do* makes of the mail of each user, as its owner; *look*: nothing on the disk is changed."""
        yield from self.each_of(self._chosen(), do, look=look)

    def each_of(
        self, identities: Iterable[Identity], do: Callable[[str, Account], Iterable[T]], *, look: bool = False
    ) -> Iterator[T]:
        """As ``each``, for these users."""
        from maildir_imapd.server import spools
        from maildir_imapd.store.disk import durable

        def opened(identity: Identity) -> Iterator[T]:
            with durable.untouched() if look else nullcontext(), spools.opened(self.config, identity) as account:
                yield from do(identity.user, account)

        yield from self._each(identities, opened)

    def each_identity(self, do: Callable[[Identity], Iterable[T]]) -> Iterator[T]:
        """Yield what *do* makes of each user, for who opens the mail himself."""
        yield from self._each(self._chosen(), do)

    def _chosen(self) -> Iterator[Identity]:
        from maildir_imapd.server import spools

        yield from spools.chosen(self.config, self.names, everybody=self.everybody)

    def _each(self, identities: Iterable[Identity], do: Callable[[Identity], Iterable[T]]) -> Iterator[T]:
        with self._working():
            for identity in identities:
                self._user = identity.user
                self.at("")
                try:
                    yield from do(identity)
                except ImapdError as error:
                    self.failed(error, identity.user)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Say on a terminal what is worked on meanwhile; on standard error, for the answer is on standard output."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True, markup=False).status("") as self._shown:
            yield
        self._shown = None

    def at(self, what: str) -> None:
        """Note that *what* of this user's mail is worked on."""
        if self._shown is not None:
            self._shown.update(plain_text(f"{self._user} {what}"))

    def mailboxes(self, user: str, account: Account, patterns: Sequence[str]) -> Iterator[str]:
        """Yield the mailboxes that match one of *patterns*, without any all of them.

        A name that is none is said, where one user was asked for: of many users not each has every mailbox.
        """
        from maildir_imapd.imap.naming import matcher, matching

        found = matching(account, patterns or ("*",))
        if not self.everybody and len(self.names) <= 1:
            for each in patterns:
                # Of one with * or % as many are meant as there are.
                if not set(each) & {"*", "%"} and not any(map(matcher(account, (each,)), found)):
                    self.failed(MailboxMissing(), f"{user}: {each}")
        for name in found:
            self.at(name)
            yield name

    def failed(self, error: ImapdError, about: str) -> None:
        """Say what went wrong, and go on."""
        complain(error, about)
        self.status = self.status or status_of(error)

    def end(self) -> None:
        """End the command, where something has failed."""
        if self.status:
            sys.exit(self.status)


def whose(function: Callable[..., Any], settings: tuple[str, ...] = SPOOL_SETTINGS) -> Callable[..., Any]:
    """Give a command the options that say whose mail it is about, as ``users: Users``; without any it is one's own."""

    def command(*args: Any, config_file: str | None, names: tuple[str, ...], everybody: bool, **others: Any) -> Any:
        from maildir_imapd import log

        given = {name: others.pop(name) for name in settings}
        if names and everybody:
            raise click.UsageError("--user or --all-users, not both")
        config = read_config(config_file, given, own=not names and not everybody, forgiving=True)
        log.set_up("error", None)
        users = Users(config, names, everybody=everybody)
        function(*args, users=users, **others)
        users.end()

    command.__doc__, command.__name__ = function.__doc__, function.__name__
    # Options and arguments that stand above us in the source.
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for decorate in (
        setting_options(settings),
        config_option,
        click.option("--all-users", "--all", "everybody", is_flag=True, help="Every user that the back ends list."),
        click.option(
            "--user",
            "-u",
            "names",
            multiple=True,
            metavar="NAME",
            shell_complete=completing.users,
            help="This user; may be given several times.",
        ),
    ):
        command = decorate(command)
    return command


def whose_with(*more: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As ``whose``, with more settings."""
    return lambda function: whose(function, (*SPOOL_SETTINGS, *more))
