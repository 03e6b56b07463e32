"""The table and the JSON."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .rows import Row


@dataclass
class Result:
    """All figures of one row at one size."""

    row: Row
    size: int | None
    figures: dict[str, list[float]] = field(default_factory=dict)
    error: str | None = None

    def median(self, server: str) -> float | None:
        """The middle of a server's figures."""
        found = self.figures.get(server)
        return statistics.median(found) if found else None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        ours, theirs = self.median("ours"), self.median("dovecot")
        return theirs / ours if ours and theirs else None

    @property
    def verdict(self) -> str:
        """Whether the budget is reached."""
        if self.ratio is None or self.row.budget is None:
            return ""
        return "yes" if self.ratio >= self.row.budget else "NO"

    def as_line(self) -> str:
        """The row as text."""
        title = self.row.title if self.size is None else f"{self.row.title}; {_grouped(self.size)}"
        ratio = "" if self.ratio is None else f"{self.ratio:.3g} x"
        budget = "" if self.row.budget is None else f"{self.row.budget:g} x"
        cells = f"{title:<66} {self._shown('ours'):>12} {self._shown('dovecot'):>12} {ratio:>8} {budget:>6}"
        return f"{cells}  {self.verdict}{self.error or ''}".rstrip()

    def as_value(self) -> dict[str, object]:
        """The row for JSON."""
        return {
            "row": self.row.name,
            "title": self.row.title,
            "size": self.size,
            "unit": "octets" if self.row.shown == "memory" else "seconds",
            "ours": self.median("ours"),
            "dovecot": self.median("dovecot"),
            "ratio": self.ratio,
            "budget": self.row.budget,
            "figures": self.figures,
            "error": self.error,
        }

    def _shown(self, server: str) -> str:
        value = self.median(server)
        if value is None:
            return "-"
        if self.row.shown == "rate":
            return f"{_grouped(1 / value)}/s"
        if self.row.shown == "memory":
            return f"{_grouped(value / 1024)} KB"
        return f"{value * 1000:.2f} ms" if value < 0.1 else f"{_grouped(value * 1000)} ms"


def _grouped(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


HEAD = f"{'':<66} {'ours':>12} {'Dovecot':>12} {'faster':>8} {'budget':>6}"


def write_json(path: Path, results: list[Result]) -> None:
    """Write all figures."""
    value = {"python": sys.version.split()[0], "system": platform.system(), "rows": [r.as_value() for r in results]}
    path.write_text(json.dumps(value, indent=1) + "\n")
