"""Log lines: one per event, ``key=value``, bounded and clean whatever a client put into them."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from typing import Any

FIELD_LIMIT = 500

_PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f]+\Z").match
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SECRET = re.compile("passw|secret|token", re.IGNORECASE).search


def render_field(value: Any) -> str:
    """Render one value: bare when that is unambiguous, quoted otherwise; controls as ``\\xNN``."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > FIELD_LIMIT:
        text = text[:FIELD_LIMIT] + "..."
    if _PLAIN(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text) + '"'


class Formatter(logging.Formatter):
    """``2026-01-31T12:00:00 info login user=ann peer=192.0.2.7 ...``; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        event = _CONTROL.sub("?", record.getMessage())
        parts = [self.formatTime(record, self.datefmt), record.levelname.lower(), f"pid={record.process}", event]
        fields: dict[str, Any] = getattr(record, "fields", {})
        for name, value in fields.items():
            if value is None or value == "" or value == b"":
                continue
            parts.append(f"{name}={'***' if _SECRET(name) else render_field(value)}")
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def set_up(level: str = "info", path: str | None = None) -> None:
    """Send the package's log to standard error, or to a file that log rotation may move away."""
    handler: logging.Handler
    if path is not None:
        handler = logging.handlers.WatchedFileHandler(path, encoding="utf-8")
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    root = logging.getLogger("maildir_imapd")
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    root.propagate = False
