"""maildir-imapd log and rawlog: the events of the running server as they happen, and one user's dialogue."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from maildir_imapd import log as logs
from maildir_imapd.cli.control import RunningServer, asking
from maildir_imapd.cli.group import CommandFailed
from maildir_imapd.cli.output import Value, json_option, plain_text, print_rows
from maildir_imapd.cli.status import moment, octets
from maildir_imapd.server.control_protocol import LONGEST_RAWLOG_SECONDS, MOST_RAWLOG_OCTETS, RAWLOG_OCTETS
from maildir_imapd.values import duration as read_duration
from maildir_imapd.values import size as read_size


@click.group()
def log() -> None:
    """Follow the log of the running server."""


@log.command()
@click.option("--user", metavar="USER", help="Only events of this user, and of his sessions.")
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="debug",
    help="The least important events. Those that log_level leaves out are nowhere to be had.",
)
@asking
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON a line.")
def follow(user: str | None, level: str, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Print the events of all workers as they happen, until Ctrl-C.

    Whoever reads too slowly loses events, and is told how many; the server never waits.
    """
    server = RunningServer(config_file, socket_path, timeout=None)
    wanted: dict[str, Any] = {"level": level} if user is None else {"level": level, "user": user}
    try:
        for said in server.stream("follow", **wanted):
            if "lost" in said:
                click.echo(json.dumps({"lost": said["lost"]}) if as_json else f"... {said['lost']} events lost")
            elif "event" in said:
                click.echo(json.dumps(said["event"]) if as_json else _line(said["event"]))
    except KeyboardInterrupt:
        return
    raise CommandFailed("the server has ended", 69)


def _line(event: dict[str, Any]) -> str:
    """Write an event as the log has it, in local time."""
    rest = {name: value for name, value in event.items() if name not in ("time", "level", "pid", "event", "traceback")}
    when = datetime.fromisoformat(event["time"]).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")
    words = [when, str(event["level"]), f"pid={event['pid']}", plain_text(str(event["event"]))]
    words += [f"{name}={logs.render_field(value)}" for name, value in rest.items()]
    trace = [f"    {plain_text(line)}" for line in str(event.get("traceback", "")).splitlines()]
    return "\n".join([" ".join(words), *trace])


@click.group()
def rawlog() -> None:
    """Write one user's dialogue down, without passwords."""


@rawlog.command()
@click.argument("user")
@click.option("--for", "period", metavar="TIME", default="1h", help="For how long, as 30m or 2h. Default: 1h.")
@click.option(
    "--octets",
    "most",
    metavar="SIZE",
    default=f"{RAWLOG_OCTETS >> 20}M",
    help=f"How large each session's file may become. Default: {RAWLOG_OCTETS >> 20}M.",
)
@asking
@json_option
def on(user: str, period: str, most: str, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Begin to write down what USER and the server say to each other, in sessions that are open and new ones.

    Each session has a file of its own in rawlog_dir.  What LOGIN and AUTHENTICATE have is masked; the mail itself is
    not.
    """
    try:
        seconds, size = read_duration(1, LONGEST_RAWLOG_SECONDS)(period), read_size(1, MOST_RAWLOG_OCTETS)(most)
    except ValueError as error:
        raise click.UsageError(f"--for, --octets: {error}") from error
    found = RunningServer(config_file, socket_path).ask("rawlog", do="on", user=user, seconds=seconds, octets=size)
    _print(found, as_json)


@rawlog.command()
@click.argument("user")
@asking
@json_option
def off(user: str, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """End writing down the dialogues of USER; what has been written stays."""
    _print(RunningServer(config_file, socket_path).ask("rawlog", do="off", user=user), as_json)


@rawlog.command("list")
@asking
@json_option
def list_(config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """List whose dialogues are written down, until when and where."""
    _print(RunningServer(config_file, socket_path).ask("rawlog", do="list"), as_json)


def _print(found: dict[str, Any], as_json: bool) -> None:
    rows: list[dict[str, Value]] = found["rawlogs"]
    if not as_json:
        rows = [{**each, "until": moment(each["until"]), "octets": octets(each["octets"])} for each in found["rawlogs"]]
    print_rows(("user", "until", "octets", "directory"), rows, as_json=as_json, empty="No dialogue is written down.")
