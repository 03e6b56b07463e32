"""Log lines: one per event, ``key=value``, bounded and clean whatever a client put into them."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
from typing import Any

from maildir_imapd.errors import ConfigError

FIELD_LIMIT = 500

EVENT_LIMIT = 2000

_PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\Z").match
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
        event = _CONTROL.sub("?", record.getMessage()[:EVENT_LIMIT])
        parts = [self.formatTime(record, self.datefmt), record.levelname.lower(), f"pid={record.process}", event]
        fields: dict[str, Any] = getattr(record, "fields", {})
        for name, value in fields.items():
            if value is None or value == "" or value == b"":
                continue
            parts.append(f"{name}={'***' if _SECRET(name) else render_field(value)}")
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        # A traceback may quote what no file can take.
        return line.encode("utf-8", "backslashreplace").decode("utf-8")


class FileHandler(logging.handlers.WatchedFileHandler):
    """A log file that rotation may move away.

    Whatever goes wrong with the log, a full disk or a directory that became unwritable, the mail goes on:
    the old file stays in use until the new one can be opened.
    """

    def reopenIfNeeded(self) -> None:
        """Open the file anew when its name leads elsewhere now."""
        old, seen = self.stream, (self.dev, self.ino)
        try:
            found = os.stat(self.baseFilename)
            if old is not None and (found.st_dev, found.st_ino) == seen:
                return
        except FileNotFoundError:
            pass  # moved away
        except OSError:
            return
        try:
            self.stream = self._open()
        except OSError:
            self.stream = old
            return
        self._statstream()
        if old is not None:
            old.close()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: there is nowhere left to say it."""


def reopen() -> None:
    """Open the log file again if it was rotated away.  For threads that may: others act as a user."""
    for handler in logging.getLogger("maildir_imapd").handlers:
        if isinstance(handler, FileHandler):
            handler.acquire()
            try:
                handler.reopenIfNeeded()
            finally:
                handler.release()


def set_up(level: str = "info", path: str | None = None) -> None:
    """Send the package's log to standard error, or to a file that log rotation may move away.

    Raises ConfigError when the file cannot be opened; then the log goes on as it was.
    """
    handler: logging.Handler
    if path is not None:
        try:
            handler = FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"log_file {path}: {error.strerror}") from error
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    root = logging.getLogger("maildir_imapd")
    for old in list(root.handlers):
        root.removeHandler(old)
        try:
            old.close()
        except OSError:
            pass  # a full disk: what it still held is lost
    root.addHandler(handler)
    root.setLevel(level.upper())
    root.propagate = False
