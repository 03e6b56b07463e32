"""maildir-imapd ready and drain: whether the running server takes clients, and sending them elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from maildir_imapd.cli.control import RunningServer, asking
from maildir_imapd.cli.group import UNAVAILABLE, CommandFailed
from maildir_imapd.cli.output import json_option, print_json
from maildir_imapd.server.drain import LONGEST_SECONDS, WITHIN_SECONDS
from maildir_imapd.values import duration as read_duration

LOOK_SECONDS = 1.0


@click.command()
@asking
@json_option
def ready(config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Say whether the running server takes clients.

    Ends with 0 when it does, and with 69 when it does not, or no server answers: while it starts, ends or is drained,
    when no worker is alive, and when the spool does not answer.
    """
    # Whoever asks, keepalived for example, waits a few seconds itself.
    found = RunningServer(config_file, socket_path, timeout=5.0).ask("ready")
    if as_json:
        print_json(found)
    else:
        click.echo("ready" if found["ready"] else f"not ready: {found['why']}")
    sys.exit(0 if found["ready"] else UNAVAILABLE)


@click.command()
@click.option(
    "--within",
    metavar="TIME",
    default=f"{WITHIN_SECONDS:.0f}s",
    help=f"Send idle clients away spread over this time. Default: {WITHIN_SECONDS:.0f}s.",
)
@click.option("--back", is_flag=True, help="Take the drain back: new clients are taken again.")
@click.option("--wait/--no-wait", default=True, help="Wait until the last client has gone. Default: yes.")
@asking
@json_option
def drain(within: str, back: bool, wait: bool, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Send the clients of the running server elsewhere, before an upgrade.

    New connections hear BYE [UNAVAILABLE], by LMTP 421, and readiness says draining.  Idle clients hear BYE one after
    the other, spread over --within; those who are at something after that, at the end of their command; and who hangs
    is cut off after shutdown_timeout.  How many are left is shown until nobody is; Ctrl-C leaves the drain going.  It
    lasts until --back or the end of the server, and a reload changes nothing of it.

    \b
    Example:
      maildir-imapd drain --within 5m && maildir-imapd stop
    """
    server = RunningServer(config_file, socket_path)
    if back:
        found = server.ask("drain", do="back")
    else:
        try:
            seconds = read_duration(0, LONGEST_SECONDS)(within)
        except ValueError as error:
            raise click.UsageError(f"--within: {error}") from error
        found = server.ask("drain", do="begin", within=seconds)
        if wait:
            found = _until_over(server, show=not as_json)
    if as_json:
        print_json(found)
    elif back:
        click.echo("New clients are taken again.")
    elif wait:
        click.echo(f"Nobody is left, after {found['seconds']:.0f}s.")


def _until_over(server: RunningServer, *, show: bool) -> dict[str, Any]:
    """Look until the last client has gone, and show how many are left whenever that has changed."""
    shown = None
    while True:
        found = server.ask("draining")
        if not found["on"]:
            raise CommandFailed("somebody has taken the drain back")
        if found["over"]:
            return found
        if show and found["left"] is not None and found["left"] != shown:
            shown = found["left"]
            click.echo(f"{shown} client{'s' if shown != 1 else ''} left", err=True)
        time.sleep(LOOK_SECONDS)
