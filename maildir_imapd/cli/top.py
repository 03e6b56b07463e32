"""maildir-imapd top: the running server, looked at again and again."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from maildir_imapd.cli.control import RunningServer, asking
from maildir_imapd.cli.output import json_option, plain_text, print_json, print_rows
from maildir_imapd.cli.status import duration, octets

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# Lines of each list.
FOLDERS: Final = 8
SLOW: Final = 8
SESSIONS: Final = 15


@dataclass
class Sight:
    """A look at the server, beside the last one."""

    commands_a_second: float = 0.0
    octets_in_a_second: float = 0.0
    octets_out_a_second: float = 0.0
    kinds: list[dict[str, Any]] = field(default_factory=list)
    """Commands by name: how many a second, and how long one takes."""
    folders: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)


class Looks:
    """Makes a ``Sight`` of two answers of the server, that of now and that of before."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, Any], dict[str, dict[str, Any]]] | None = None

    def look(self, status: dict[str, Any], sessions: list[dict[str, Any]], now: float) -> Sight:
        """Take the answers of *now*, monotonic seconds; the first time rates are those of the last minute."""
        here = {str(each["session"]): each for each in sessions}
        before, self._before = self._before, (now, status, here)
        view = Sight(status=status)
        if before is None:
            rates = status["rates"]
            view.commands_a_second = rates["commands"]
            view.octets_in_a_second, view.octets_out_a_second = rates["octets_in"], rates["octets_out"]
            seconds = max(1.0, float(status["uptime_seconds"]))
            old_kinds: Mapping[str, Any] = {}
            old: Mapping[str, dict[str, Any]] = {}
        else:
            seconds = max(0.001, now - before[0])
            old_kinds, old = before[1]["figures"]["kinds"], before[2]
            done = {name: status["figures"][name] - before[1]["figures"][name] for name in _SUMS}
            view.commands_a_second = max(0.0, done["commands"] / seconds)
            view.octets_in_a_second = max(0.0, done["octets_in"] / seconds)
            view.octets_out_a_second = max(0.0, done["octets_out"] / seconds)
        view.kinds = _kinds(status["figures"]["kinds"], old_kinds, seconds)
        folders: Counter[tuple[str, str]] = Counter()
        for name, each in here.items():
            did = each["commands"] - (old[name]["commands"] if name in old else 0)
            each["commands_a_second"] = max(0.0, did / seconds)
            if each.get("mailbox") and did > 0:
                folders[each["user"] or "", each["mailbox"]] += did
        view.folders = [
            {"user": user, "mailbox": mailbox, "commands_a_second": round(did / seconds, 2)}
            for (user, mailbox), did in folders.most_common(FOLDERS)
        ]
        view.sessions = sorted(sessions, key=lambda each: (-each["commands_a_second"], each["idle_seconds"]))
        return view


_SUMS: Final = ("commands", "octets_in", "octets_out")


def _kinds(now: Mapping[str, list[int]], before: Mapping[str, list[int]], seconds: float) -> list[dict[str, Any]]:
    found = []
    for name, row in now.items():
        old = before.get(name, [0, 0])
        count, took = row[0] - old[0], row[1] - old[1]
        if count > 0:
            each = {
                "command": name,
                "a_second": round(count / seconds, 2),
                "milliseconds": round(took / count / 1e3, 2),
            }
            found.append(each)
    return sorted(found, key=lambda each: -float(str(each["a_second"])))


@click.command()
@click.option("--once", is_flag=True, help="Look once and end; so it is where there is no terminal.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=2.0, metavar="SECONDS", help="Between looks. Default: 2."
)
@asking
@json_option
def top(once: bool, interval: float, config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Show the running server live: sessions, commands, slow commands, busy folders.

    q or Ctrl-C ends it.
    """
    server, looks = RunningServer(config_file, socket_path), Looks()
    if once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        _look(server, looks)
        if not as_json and not sys.stdout.isatty():
            _print_lines(_look(server, looks, after=min(interval, 1.0)))
        elif as_json:
            print_json(_as_json(_look(server, looks, after=min(interval, 1.0))))
        else:
            from rich.console import Console

            Console().print(_picture(_look(server, looks, after=min(interval, 1.0)), Console().height))
        return
    with contextlib.suppress(KeyboardInterrupt):
        _live(server, looks, interval)


def _look(server: RunningServer, looks: Looks, after: float = 0.0) -> Sight:
    time.sleep(after)
    status = server.ask("status")
    return looks.look(status, server.ask("who")["sessions"], time.monotonic())


def _live(server: RunningServer, looks: Looks, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_picture(_look(server, looks), console.height), refresh=True)
            if _pressed(keys, interval):
                return


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Have keys come one by one and unseen; the terminal is as before afterwards."""
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _pressed(number: int, seconds: float) -> bool:
    """Wait for q, or so many seconds."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([number], [], [], left)[0]:
            keys = os.read(number, 64)
            if not keys or b"q" in keys.lower():
                return True
    return False


def _as_json(view: Sight) -> dict[str, Any]:
    return {
        "sessions": view.status["sessions"],
        "logged_in": view.status["logged_in"],
        "ok": view.status["ok"],
        "wrong": view.status["wrong"],
        "commands_a_second": round(view.commands_a_second, 2),
        "octets_in_a_second": round(view.octets_in_a_second, 1),
        "octets_out_a_second": round(view.octets_out_a_second, 1),
        "commands": view.kinds,
        "slow": view.status["long"][:SLOW],
        "folders": view.folders,
        "busiest": view.sessions[:SESSIONS],
    }


def _print_lines(view: Sight) -> None:
    head = {"sessions": view.status["sessions"], "logged in": view.status["logged_in"]}
    for name, value in head.items():
        click.echo(f"{name}\t{value}")
    click.echo(f"commands a second\t{view.commands_a_second:.1f}")
    for each in view.kinds:
        click.echo(f"command\t{each['command']}\t{each['a_second']}\t{each['milliseconds']}")
    rows = [{"what": "folder", **each} for each in view.folders]
    print_rows(("what", "user", "mailbox", "commands_a_second"), rows, as_json=False)


def _table(title: str, columns: tuple[str, ...], numbers: tuple[str, ...], rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", expand=False)
    for name in columns:
        right = name in numbers
        table.add_column(name.replace("_", " "), justify="right" if right else "left", no_wrap=True, max_width=30)
    for row in rows:
        table.add_row(*(Text(plain_text(row.get(name))) for name in columns))
    return table


def _picture(view: Sight, height: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    said = view.status
    head = Text.assemble(
        ("maildir-imapd ", "bold"),
        f"{said['version']}, up {duration(said['uptime_seconds'])}, {len(said['workers'])} workers   ",
        f"{said['sessions']} sessions ({said['logged_in']} logged in)   ",
        f"{view.commands_a_second:.1f} commands/s   ",
        f"{octets(view.octets_in_a_second)}/s in, {octets(view.octets_out_a_second)}/s out",
    )
    state = (
        Text("Nothing is wrong.", "green")
        if said["ok"]
        else Text("\n".join(plain_text(each["text"]) for each in said["wrong"][:5]), "red")
    )
    slow = [
        {
            "command": each["command"],
            "seconds": f"{each['seconds']:.2f}",
            "user": each["user"],
            "mailbox": each["mailbox"],
            "ago": duration(max(0.0, time.time() - each["ended"])),
        }
        for each in said["long"][:SLOW]
    ]
    sessions = [
        {
            **each,
            "state": each["command"] or each["state"],
            "a_second": round(each["commands_a_second"], 1),
            "idle": duration(each["idle_seconds"]),
            "out": octets(each["octets_out"]),
        }
        for each in view.sessions[:SESSIONS]
    ]
    numbers = ("a_second", "milliseconds", "seconds", "ago", "idle", "out", "commands_a_second")
    parts: list[RenderableType] = [head, state, Text()]
    parts += [_table("Commands", ("command", "a_second", "milliseconds"), numbers, view.kinds[:FOLDERS]), Text()]
    if slow:
        parts += [_table("Slow commands", ("command", "seconds", "user", "mailbox", "ago"), numbers, slow), Text()]
    if view.folders:
        parts += [_table("Busy folders", ("user", "mailbox", "commands_a_second"), numbers, view.folders), Text()]
    columns = ("user", "peer", "mailbox", "state", "a_second", "idle", "out")
    room = max(3, height - 12 - len(view.kinds[:FOLDERS]) - len(slow) - len(view.folders))
    parts.append(_table("Sessions", columns, numbers, sessions[:room]))
    return Group(*parts)
