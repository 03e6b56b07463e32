"""maildir-imapd status, who, kick, stop and reload: the running server, asked and told."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from maildir_imapd.cli.control import RunningServer, asking
from maildir_imapd.cli.group import FAILED, UNAVAILABLE, CommandFailed
from maildir_imapd.cli.output import Value, json_option, print_json, print_rows, print_values

_WORKERS = ("pid", "state", "sessions", "commands", "memory", "age")
_SESSIONS = ("session", "user", "peer", "client", "tls", "mailbox", "state", "idle", "in", "out")


@click.command()
@asking
@json_option
def status(config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Show how the running server is, and what is wrong now.

    Ends with 0 when all is well, with 1 when something is wrong, and with 69 when no server answers.
    """
    found = RunningServer(config_file, socket_path).ask("status")
    if as_json:
        print_json(found)
    else:
        _print_status(found)
    sys.exit(0 if found["ok"] else FAILED)


def _print_status(found: dict[str, Any]) -> None:
    rates, figures = found["rates"], found["figures"]
    values: dict[str, Value] = {
        "version": found["version"],
        "pid": found["pid"],
        "up": duration(found["uptime_seconds"]),
        "ready": "yes" if found["ready"]["ready"] else f"no, {found['ready']['why']}",
        "sessions": f"{found['sessions']}, {found['logged_in']} logged in",
        "connections a second": round(rates["connections"], 2),
        "logins a second": round(rates["logins"], 2),
        "commands a second": round(rates["commands"], 1),
        "octets a second": f"{octets(rates['octets_in'])} in, {octets(rates['octets_out'])} out",
        "logins": f"{figures['logins']}, {figures['logins_failed']} failed",
        "commands": figures["commands"],
        "log": f"{found['errors']} errors, {found['warnings']} warnings",
    }
    if found["rawlogs"]:
        values["written down"] = ", ".join(each["user"] for each in found["rawlogs"])
    print_values(values, as_json=False)
    click.echo()
    print_rows(_WORKERS, [_worker(each) for each in found["workers"]], as_json=False)
    click.echo()
    if not found["wrong"]:
        click.echo("Nothing is wrong.")
        return
    wrong = [
        {"wrong": each["what"], "times": each["count"], "last": moment(each["last"]), "text": each["text"]}
        for each in found["wrong"]
    ]
    print_rows(("wrong", "times", "last", "text"), wrong, as_json=False)


def _worker(said: dict[str, Any]) -> dict[str, Value]:
    state = "retired" if said["retired"] else "serving"
    return {
        "pid": said["pid"],
        "state": state if said["answers"] else f"{state}, does not answer",
        "sessions": said["sessions"],
        "commands": said["commands"],
        "memory": None if said["memory_octets"] is None else octets(said["memory_octets"]),
        "age": duration(said["age_seconds"]),
    }


@click.command()
@click.argument("user", required=False)
@asking
@json_option
def who(user: str | None, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Show who is connected, and what each session does.

    With USER only his sessions.
    """
    found = RunningServer(config_file, socket_path).ask("who", **({} if user is None else {"user": user}))
    rows = found["sessions"] if as_json else [_session(each) for each in found["sessions"]]
    print_rows(_SESSIONS, rows, as_json=as_json, empty="Nobody is here.")
    tell_silent(found["silent"])


def _session(said: dict[str, Any]) -> dict[str, Value]:
    command = said["command"]
    state = said["state"] if command is None else command
    running = said["state"] == "running"
    return {
        "session": said["session"],
        "user": said["user"],
        "peer": said["peer"],
        "client": said.get("client"),
        "tls": said.get("tls"),
        "mailbox": said.get("mailbox"),
        "state": f"{state} for {duration(said['seconds'])}" if running else state,
        "idle": duration(said["idle_seconds"]),
        "in": octets(said["octets_in"]),
        "out": octets(said["octets_out"]),
    }


@click.command()
@click.argument("whom", metavar="USER|SESSION")
@asking
@json_option
def kick(whom: str, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """End a session, or all sessions of a user.

    Each client is told BYE, after the command that is under way; one that does not take it is cut off after five
    seconds.
    """
    found = RunningServer(config_file, socket_path).ask("kick", whom=whom)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{len(found['kicked'])} session{'s' if len(found['kicked']) != 1 else ''} sent away.")
    tell_silent(found["silent"])


@click.command()
@click.option("--wait/--no-wait", default=True, help="Wait until it has ended. Default: yes.")
@asking
def stop(wait: bool, config_file: str | None, socket_path: str | None) -> None:
    """End the running server: BYE to all, as after SIGTERM."""
    server = RunningServer(config_file, socket_path, timeout=3700.0)
    pid = server.ask("stop")["stopping"]
    if wait and not server.wait_for_the_end():
        raise CommandFailed(f"the server (pid {pid}) has not ended yet", UNAVAILABLE)
    click.echo(f"The server (pid {pid}) {'has ended' if wait else 'is ending'}.")


@click.command()
@asking
@json_option
def reload(config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Have the running server read its configuration again, as after SIGHUP.

    Says what has changed.  Where the configuration cannot be used that is said instead, the status is 78, and the
    server goes on with the old one.
    """
    found = RunningServer(config_file, socket_path, timeout=600.0).ask("reload")
    if as_json:
        print_json(found)
        return
    print_rows(
        ("setting", "before", "after"), found["changed"], as_json=False, empty="Reloaded; no setting has changed."
    )


def tell_silent(silent: list[int]) -> None:
    """Say on standard error which workers have not answered, and end with 1 then."""
    if silent:
        pids = ", ".join(map(str, silent))
        raise CommandFailed(f"no answer from worker{'s' if len(silent) > 1 else ''} {pids}; its sessions are not here")


def octets(number: float) -> str:
    """Write a number of octets for people."""
    for unit in ("", "K", "M", "G"):
        if number < 1024 or unit == "G":
            return f"{number:.0f}{unit}" if number >= 10 or not unit else f"{number:.1f}{unit}"
        number /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if hours < 1:
        return f"{minutes}m{int(seconds % 60):02d}s"
    return f"{hours}h{minutes % 60:02d}m" if days < 1 else f"{days}d{hours % 24:02d}h"


def moment(seconds: float) -> datetime:
    """The moment of so many seconds since the epoch, to the second and in local time."""
    return datetime.fromtimestamp(min(seconds, time.time() + 1e9), UTC).astimezone().replace(microsecond=0)
