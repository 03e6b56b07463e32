"""A flat file of TOML with the lines that its settings stand in, so that what is wrong can be named with its place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from maildir_imapd.errors import ConfigError


def read(source: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a file: the values, and in which line each begins; raises ConfigError."""
    try:
        with open(source, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: it is not UTF-8 ({error.reason} at octet {error.start + 1})") from error
    places: dict[str, int] = {}
    for k, line in enumerate(lines, 1):
        if match := _SETTING(line):
            places.setdefault(match[1], k)
    wrong: list[str] = []
    values: dict[str, Any] | None = None
    while values is None and len(wrong) < _MOST_WRONG:
        try:
            values = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            said = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error))
            at = int(said[2]) if said else 0
            wrong.append(f"{source}:{at}: {said[1]}" if said else f"{source}: {error}")
            # A line that goes on in the next one, or that is no setting, cannot be left out to see what else is wrong.
            if not 0 < at <= len(lines) or not _SETTING(lines[at - 1]):
                break
            lines[at - 1] = ""
    if wrong or values is None:
        raise ConfigError("\n".join(wrong))
    return values, places


# A line that begins a setting, or a table, which is never right here.
_SETTING = re.compile(r"\s*\[?\s*[\"']?([A-Za-z0-9_-]+)").match
_MOST_WRONG = 50
