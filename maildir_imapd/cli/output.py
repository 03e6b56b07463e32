"""Lists that commands print: a table on a terminal, tab-separated lines in a pipe, JSON where it is asked for.

All three are made of the same rows.  For a program the names of the columns are the contract: JSON has them as keys,
and the lines of a pipe have the columns in the same order, without a line of titles.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

# A value in a row; None is nothing known.
Value = str | int | float | bool | datetime | None | Sequence[str]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_rows(
    columns: Sequence[str], rows: Iterable[Mapping[str, Value]], *, as_json: bool, empty: str = "", title: str = ""
) -> None:
    """Print *rows*, each a value by the name of its column.

    As a table on a terminal, with *empty* in its place where there is no row.  JSON is one array of objects, which may
    have more keys than there are columns.
    """
    if as_json:
        print_json([dict(row) for row in rows])
    elif sys.stdout.isatty():
        _print_table(columns, list(rows), empty, title)
    else:
        for row in rows:
            click.echo("\t".join(_one_line(row.get(name)) for name in columns))


def print_values(values: Mapping[str, Value], *, as_json: bool) -> None:
    """Print what is known of one thing: ``name: value`` lines, or a JSON object."""
    if as_json:
        print_json(dict(values))
        return
    aligned = sys.stdout.isatty()
    width = max((len(name) for name in values), default=0) + 1
    for name, value in values.items():
        label = f"{name}:".ljust(width + 1) if aligned else f"{name}:\t"
        click.echo(f"{label}{_one_line(value)}".rstrip())


def print_json(value: Any) -> None:
    """Print *value*, of which datetimes become texts (ISO 8601); names that are no UTF-8 come through as they can."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=_plain)
    click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, frozenset | set | tuple):
        return sorted(value) if isinstance(value, frozenset | set) else list(value)
    raise TypeError(type(value).__name__)


def plain_text(value: Value) -> str:
    """Render a value for a person; one that controls a terminal is written as ``\\xNN``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else " ".join(value)
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_one_line = plain_text


def _print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Value]], empty: str, title: str) -> None:
    if not rows:
        if empty:
            click.echo(empty)
        return
    from rich.console import Console  # a pipe needs none of it
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain_text(row.get(name))) for name in columns))
    Console().print(table)
