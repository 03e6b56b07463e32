"""Log lines: one per event, ``key=value``, bounded and clean whatever a client put into them."""

from __future__ import annotations

import errno
import logging
import logging.handlers
import os
import re
import socket
import stat
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any

from maildir_imapd.errors import ConfigError

FIELD_LIMIT_CHARACTERS = 500

EVENT_LIMIT_CHARACTERS = 2000

_PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\Z").match
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SECRET = re.compile("passw|secret|token", re.IGNORECASE).search


# A record's argument that stays what it is: %d and %f want a number.
_NUMBERS = (int, float)


def render_field(value: Any) -> str:
    """Render one value: bare when that is unambiguous, quoted otherwise; controls as ``\\xNN``."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > FIELD_LIMIT_CHARACTERS:
        text = text[:FIELD_LIMIT_CHARACTERS] + "..."
    if _PLAIN(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text) + '"'


class _Shown(str):
    """A rendered value, which ``%r`` does not quote once more."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _message(record: logging.LogRecord) -> str:
    """The event and the values within it; whatever these hold, they look like no field but their own.

    The text is of the source; what comes from a client, a file name or an error is an argument.
    """
    args = record.args
    if not args or isinstance(args, dict):
        return record.getMessage()
    shown = [arg if isinstance(arg, _NUMBERS) else _Shown(render_field(arg)) for arg in args]
    return str(record.msg) % tuple(shown)


class Formatter(logging.Formatter):
    """``2026-01-31T12:00:00 info login user=ann peer=192.0.2.7 ...``; a traceback follows on lines of its own.

    Those are indented: no text of an error begins a line as an event does.
    """

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        event = _CONTROL.sub("?", _message(record)[:EVENT_LIMIT_CHARACTERS])
        parts = [self.formatTime(record, self.datefmt), record.levelname.lower(), f"pid={record.process}", event]
        fields: dict[str, Any] = getattr(record, "fields", {})
        for name, value in fields.items():
            if value is None or value == "" or value == b"":
                continue
            parts.append(f"{name}={'***' if _SECRET(name) else render_field(value)}")
        line = " ".join(parts)
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            line += "".join("\n    " + _CONTROL.sub("?", each) for each in trace)
        # A traceback may quote what no file can take.
        return line.encode("utf-8", "backslashreplace").decode("utf-8")


def open_file(path: str, flags: int = 0) -> int:
    """Open a file to write to, a log or the like, and make it; raises OSError for all that is no file of one name.

    Who may write in its directory may have put a link there, to a file that only we can write.
    """
    flags |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        number = os.open(path, flags, 0o640)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "it is a link, which is not followed", path) from error
        raise
    try:
        state = os.fstat(number)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        if state.st_nlink > 1:
            raise OSError(errno.EMLINK, "the file has another name too", path)
    except BaseException:
        os.close(number)
        raise
    return number


class FileHandler(logging.handlers.WatchedFileHandler):
    """A log file that rotation may move away.

    Whatever goes wrong with the log, a full disk or a directory that became unwritable, the mail goes on:
    the old file stays in use until the new one can be opened.  A process that has given up the right to open it, or
    whose threads act for others, does not try: it is handed the new one (``adopt``).
    """

    opens = True

    def _open(self) -> TextIOWrapper:
        return open(open_file(self.baseFilename, os.O_APPEND), "a", encoding="utf-8")

    def reopenIfNeeded(self) -> None:
        """Open the file anew when its name leads elsewhere now."""
        if not self.opens:
            return
        old, seen = self.stream, (self.dev, self.ino)
        try:
            found = os.lstat(self.baseFilename)
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

    def adopt(self, number: int) -> None:
        """Go on in the file that is open as *number*."""
        old, self.stream = self.stream, open(number, "a", encoding="utf-8")  # noqa: SIM115
        self._statstream()
        if old is not None:
            old.close()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: there is nowhere left to say it."""


def _files() -> list[FileHandler]:
    return [each for each in logging.getLogger("maildir_imapd").handlers if isinstance(each, FileHandler)]


def keep_what_is_open() -> None:
    """Open no log file in this process from here on."""
    for handler in _files():
        handler.opens = False


def hand_over(channel: socket.socket) -> None:
    """Send the log file that is open to the process at the other end; never an error."""
    for handler in _files():
        try:
            if handler.stream is not None:
                socket.send_fds(channel, [b"log"], [handler.stream.fileno()])
        except (OSError, ValueError):
            pass  # it is ending, or takes nothing any more


def receive(channel: socket.socket) -> bool:
    """Go on in the log file that the supervisor has handed over, and say whether it has; never an error."""
    anew = False
    while True:
        try:
            data, numbers, _, _ = socket.recv_fds(channel, 16, 4)
        except OSError:
            return anew  # nothing more has come
        adopt(numbers)
        anew = anew or bool(numbers)
        if not data:
            return anew


def adopt(numbers: Iterable[int]) -> None:
    """Go on in the log file that is open as one of *numbers*, which are ours to close; never an error."""
    handlers = _files()
    for number in numbers:
        if handlers:
            handlers[0].acquire()
            try:
                handlers[0].adopt(number)
            except OSError:
                pass  # a full disk: what the old one still held is lost
            finally:
                handlers[0].release()
        else:
            os.close(number)


def reopen() -> bool:
    """Open the log file again if it was rotated away, and say whether it was.  For threads that act as the process."""
    anew = False
    for handler in _files():
        handler.acquire()
        try:
            before = handler.stream
            handler.reopenIfNeeded()
            anew = anew or handler.stream is not before
        finally:
            handler.release()
    return anew


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
