"""maildir-imapd deliver"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from maildir_imapd.cli import group
from maildir_imapd.cli.options import config_option, read_config, setting_options

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.lmtp.answers import Answer

_FLAGS: Final = {"\\seen", "\\answered", "\\flagged", "\\draft", "\\deleted"}
# Of answers, by code: what the mail server makes of a command that ends so (sysexits.h).
_BY_STATUS: Final = {
    "5.1.1": group.NO_USER,
    "5.2.2": group.NO_PERMISSION,
    "5.3.4": group.DATA,
    "5.6.0": group.DATA,
}


def _flag(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value.lower() not in _FLAGS:
            raise click.BadParameter("must be one of \\Seen \\Answered \\Flagged \\Draft \\Deleted", ctx, param)
    return values


def _keyword(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value or not all("!" <= each <= "~" and each not in '(){%*"\\]' for each in value):
            raise click.BadParameter("must be an atom of IMAP, for example $Label1", ctx, param)
    return values


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and (len(value) > 1024 or any(each < " " or each == "\x7f" for each in value)):
        raise click.BadParameter("must be an address", ctx, param)
    return value


@click.command(short_help="Put a message from standard input into a mailbox.")
@click.option("-d", "--user", metavar="USER", callback=_address, help="Whose mail; without, that of whoever runs it.")
@click.option("-m", "--mailbox", "folder", metavar="FOLDER", default="", help="The folder, if it is there; else INBOX.")
@click.option("-f", "--sender", metavar="SENDER", callback=_address, help="Who sent it, for Return-Path; <> is nobody.")
@click.option("-a", "--recipient", metavar="ADDRESS", callback=_address, help="For Delivered-To, if not USER.")
@click.option("--flag", "flags", multiple=True, metavar="FLAG", callback=_flag, help="A flag to set, such as \\Seen.")
@click.option("--keyword", "keywords", multiple=True, metavar="WORD", callback=_keyword, help="A keyword to set.")
@click.option("--create", "made", is_flag=True, help="Make a FOLDER that is not there, and subscribe it.")
@config_option
@setting_options(
    [
        "passwd_file",
        "mail_location",
        "delimiter",
        "follow_links",
        "mail_user",
        "fsync",
        "delivery_limit",
        "delivery_over_quota",
        "recipient_delimiter",
        "log_level",
        "log_file",
    ]
)
def deliver(
    user: str | None,
    folder: str,
    sender: str | None,
    recipient: str | None,
    flags: tuple[str, ...],
    keywords: tuple[str, ...],
    made: bool,
    config_file: str | None,
    **given: Any,
) -> None:
    """Put a message from standard input into a mailbox.

    A mail server runs this for each message. It is on the disk when this ends with status 0, clients that wait are
    told of it, and no server need run.  As root, or as mail_user, it takes USER's mail; without USER that of whoever
    runs it.  The line From of mbox before the message is left out; Return-Path and Delivered-To are put before it
    unless the mail server has done so.

    \b
    Postfix, the system's users (main.cf):   mailbox_command = maildir-imapd deliver -m "$EXTENSION"
    One's own (~/.forward):                  "|maildir-imapd deliver"
    Postfix, virtual users (master.cf):      user=vmail argv=maildir-imapd deliver -f ${sender} -d ${recipient}

    It ends with 0 (stored), 64 (usage), 65 (too large, or no message), 67 (no such user), 75 (try again later) or 77
    (no room within the quota), and then says why in a line that begins with an enhanced status code.
    """
    from maildir_imapd import log
    from maildir_imapd.errors import ConfigError, ImapdError
    from maildir_imapd.events import Log
    from maildir_imapd.lmtp.answers import UNAVAILABLE, why

    said: Answer
    log.set_up("critical", None)
    try:
        config = read_config(config_file, given, own=user is None, forgiving=user is None)
        _log(config)
        said = _deliver(config, user, folder, sender, recipient, (*flags, *keywords), made)
    except (ImapdError, OSError) as error:
        Log(__name__).error("not delivered", service="deliver", user=user, why=why(error))
        status = "4.3.5" if isinstance(error, ConfigError) else UNAVAILABLE.status
        click.echo(f"{status} {why(error)}", err=True)
        raise SystemExit(group.TRY_AGAIN) from error
    except Exception:
        # Mail waits for us to be mended, and does not come back.
        Log(__name__).exception("not delivered", service="deliver", user=user)
        said = UNAVAILABLE
    finally:
        log.reopen()
    if not said.good:
        click.echo(f"{said.status} {said.text}", err=True)
        raise SystemExit(group.TRY_AGAIN if said.passing else _BY_STATUS.get(said.status, group.UNAVAILABLE))


def _log(config: Config) -> None:
    """Log to the file of the settings; what this says on standard error stands in bounces, so nothing else may."""
    from maildir_imapd import log
    from maildir_imapd.errors import ConfigError

    if config.log_file is not None:
        try:
            log.set_up(config.log_level, config.log_file)
            return
        except ConfigError:
            pass  # the server's, and not ours to write


def _deliver(
    config: Config,
    user: str | None,
    folder: str,
    sender: str | None,
    recipient: str | None,
    flags: tuple[str, ...],
    made: bool,
) -> Answer:
    from maildir_imapd.server.delivering import DeliveryOrder, deliver

    order = DeliveryOrder(
        user,
        folder,
        None if sender is None else os.fsencode(sender.strip("<>")),
        None if recipient is None else os.fsencode(recipient.strip("<>")),
        tuple(each.encode("ascii") for each in flags),
        made,
    )
    return deliver(config, 0, order)
