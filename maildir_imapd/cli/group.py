"""The command line's first step: which commands there are, and where each stands; nothing else is loaded for it.

A command begins in a moment only where what it does not need is not imported.  So a group knows the names, the
subjects and the lines of help by heart, and imports a command when somebody runs it (``Lazy``).  In a command's module
stand at the top the imports that its help needs; what does the work is imported by the function that does it, and so
is, in ``server/settings.py`` and below it, what only some need.  ``tests/cli/test_cli_group.py`` says what each loads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import click

from maildir_imapd import errors
from maildir_imapd.cli.output import plain_text
from maildir_imapd.errors import ConfigError, ImapdError

# As sysexits.h has them; docs and manual have them in one table.
FAILED: Final = 1
USAGE: Final = 64
DATA: Final = 65
NO_USER: Final = 67
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
CANNOT_CREATE: Final = 73
IO: Final = 74
TRY_AGAIN: Final = 75
NO_PERMISSION: Final = 77
CONFIG: Final = 78

# Each exit status and when a command ends with it; the manual's table is made of this.
STATUSES: Final[Mapping[int, str]] = {
    0: "All is done, or nothing was to be done.",
    FAILED: "Something could not be done, or was found to be wrong; standard error says it.",
    USAGE: "The command line cannot be read: an unknown option, a missing argument.",
    DATA: "What was read (a message, a search, a file) is no such thing.",
    NO_USER: "There is no such user.",
    UNAVAILABLE: "The server, or what it has to ask, does not answer.",
    SOFTWARE: "A fault of the program itself.",
    CANNOT_CREATE: "A file or a mailbox cannot be made.",
    IO: "Reading or writing failed.",
    TRY_AGAIN: "It may work later: somebody holds a lock, a disk is full, a user's quota is used up.",
    NO_PERMISSION: "Whoever runs the command may not do this; of deliver: no room within the quota.",
    CONFIG: "The configuration cannot be used.",
}


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not loaded yet: where it is, and its line in the list of commands."""

    place: str
    """``module:attribute``, the module below ``maildir_imapd.cli``."""
    help: str
    """Equal to the first sentence of the command's own help; a test holds the two together."""

    def load(self) -> click.Command:
        """Import it."""
        module, _, name = self.place.partition(":")
        command = getattr(import_module(f"maildir_imapd.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command


# click has a status of its own, 2, for a command line that cannot be read; subclasses of this have it from here.
click.UsageError.exit_code = USAGE


class Group(click.Group):
    """Loads a command when it is run, and turns our errors into a line each and an exit status.

    *lazy*: commands by their names, under the subjects that ``--help`` shows them by.  A traceback is for bugs alone.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, Mapping[str, Lazy]] | None = None, **others: Any) -> None:
        super().__init__(*args, **others)
        self.subjects = lazy or {}
        self.lazy = {name: each for commands in self.subjects.values() for name, each in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As click has it."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As click has it."""
        found = self.lazy.get(cmd_name)
        return found.load() if found is not None else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists of commands, one for each subject, without loading any."""
        if not self.lazy:
            super().format_commands(ctx, formatter)
            return
        for subject, commands in self.subjects.items():
            with formatter.section(subject):
                formatter.write_dl([(name, each.help) for name, each in commands.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ImapdError as error:
            complain(error)
            ctx.exit(status_of(error))
        except BrokenPipeError:
            raise  # whoever read our output has enough; click ends quietly
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"maildir-imapd: {where}{error.strerror or error}", err=True)
            ctx.exit(status_of(error))


def each_command(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield each command of *group* by its name, loaded; for what describes them all."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield name, command


def complain(error: ImapdError, about: str = "") -> None:
    """Say an error on standard error; *about* which user or mailbox it is."""
    detail = f" ({error.detail})" if error.detail else ""
    where = f"{about}: " if about else ""
    for line in f"{where}{error.text}{detail}".split("\n"):
        # It may have names of files in it, or what a client wrote.
        click.echo(f"maildir-imapd: {plain_text(line)}", err=True)


# What the errors of mailboxes and messages are as an exit status; all others are FAILED.
_STATUS_OF: Final[tuple[tuple[tuple[type[ImapdError], ...], int], ...]] = (
    ((errors.ProtocolError,), DATA),
    ((errors.Unavailable,), UNAVAILABLE),
    ((errors.MailboxExists, errors.BadMailboxName), CANNOT_CREATE),
    ((errors.LockTimeout, errors.DiskFull, errors.OverQuota, errors.SpoolGone, errors.TooManyFiles), TRY_AGAIN),
    ((errors.SpoolUnreadable, errors.NoPermission, errors.ReadOnly), NO_PERMISSION),
)


def status_of(error: ImapdError | OSError) -> int:
    """Return the exit status for an error that nobody has taken care of."""
    if isinstance(error, PermissionError):
        return NO_PERMISSION
    if isinstance(error, OSError):
        return FAILED
    if isinstance(error, ConfigError | CommandFailed):
        return error.exit_status
    return next((status for kinds, status in _STATUS_OF if isinstance(error, kinds)), FAILED)


class CommandFailed(ImapdError):
    """The command could not do this"""

    def __init__(self, text: str, exit_status: int = FAILED) -> None:
        super().__init__(text)
        self.exit_status = exit_status
