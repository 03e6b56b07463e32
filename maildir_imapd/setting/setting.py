"""One setting: its name, what it may be, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry.  *check* makes the value of what is written, see values.py.  *shown*: the default for the manual."""

    name: str
    check: Callable[[Any], Any]
    default: Any
    help: str
    metavar: str
    group: str
    many: bool = False
    shown: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default for a reader."""
        if self.shown:
            return self.shown
        if self.default is None or self.default == ():
            return "none"
        return str(self.default)
