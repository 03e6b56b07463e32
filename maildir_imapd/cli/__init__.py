"""The command line: ``maildir-imapd``."""

from __future__ import annotations

import sys

import click

from maildir_imapd import __version__
from maildir_imapd.cli import devices as _devices  # noqa: F401  # a group of user
from maildir_imapd.cli.adopt import adopt
from maildir_imapd.cli.deliver import deliver
from maildir_imapd.cli.import_config import import_config
from maildir_imapd.cli.migrate import release
from maildir_imapd.cli.search_index import search_index
from maildir_imapd.cli.serve import serve
from maildir_imapd.cli.try_ import try_
from maildir_imapd.cli.tunnel import tunnel
from maildir_imapd.cli.users import hash_password, user
from maildir_imapd.errors import ConfigError, ImapdError


class Group(click.Group):
    """Turns our errors into a line each and an exit status; a traceback is for bugs alone."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ImapdError as error:
            detail = f" ({error.detail})" if error.detail else ""
            for line in f"{error.text}{detail}".split("\n"):
                click.echo(f"maildir-imapd: {line}", err=True)
            ctx.exit(error.exit_status if isinstance(error, ConfigError) else 1)
        except BrokenPipeError:
            raise  # whoever read our output has enough; click ends quietly
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"maildir-imapd: {where}{error.strerror or error}", err=True)
            ctx.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="maildir-imapd")
def main() -> None:
    """An IMAP server for the Maildirs you already have.

    \b
    See it at work:               maildir-imapd try
    Serve a spool to a network:   maildir-imapd serve --help
    Serve your own mail by ssh:   ssh HOST maildir-imapd tunnel

    The manual: maildir-imapd(8), maildir-imapd-adopt(8), maildir-imapd.conf(5), maildir-imapd-index(5).
    """


main.add_command(serve)
main.add_command(tunnel)
main.add_command(try_)
main.add_command(adopt)
main.add_command(release)
main.add_command(search_index)
main.add_command(import_config)
main.add_command(user)
main.add_command(hash_password)
main.add_command(deliver)


def run() -> None:
    """Entry for ``python -m``."""
    sys.exit(main())
