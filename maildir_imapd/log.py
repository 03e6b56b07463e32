"""Log lines: one per event, ``key=value``, bounded and clean whatever a client put into them."""

from __future__ import annotations

import errno
import json
import logging
import logging.handlers
import math
import os
import re
import socket
import stat
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any, Final

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


def facts(record: logging.LogRecord) -> str:
    """The fields of an event, as a line of the log has them."""
    parts = []
    for name, value in getattr(record, "fields", {}).items():
        if value is None or value == "" or value == b"":
            continue
        parts.append(f"{name}={'***' if _SECRET(name) else render_field(value)}")
    return " ".join(parts)


def as_object(record: logging.LogRecord) -> dict[str, object]:
    """An event as an object of JSON: time, level, pid and event, then its fields by their names; no secret.

    A field whose name is one of these four has a ``_`` behind it.
    """
    found: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "pid": record.process,
        "event": _clean(_message(record), EVENT_LIMIT_CHARACTERS),
    }
    for name, value in getattr(record, "fields", {}).items():
        if value is None or value == "" or value == b"":
            continue
        found[f"{name}_" if name in _OWN else str(name)] = "***" if _SECRET(name) else _simple(value)
    if record.exc_info:
        found["traceback"] = _clean(logging.Formatter().formatException(record.exc_info), TRACEBACK_LIMIT_CHARACTERS)
    return found


_OWN: Final = frozenset({"time", "level", "pid", "event", "traceback"})
TRACEBACK_LIMIT_CHARACTERS: Final = 20_000


def _simple(value: Any) -> object:
    """A value as JSON has it; one that is no number or truth is a text, bounded."""
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return _clean(text, FIELD_LIMIT_CHARACTERS)


def _clean(text: str, limit: int) -> str:
    """A text of UTF-8: what no UTF-8 can say is written out."""
    if len(text) > limit:
        text = text[:limit] + "..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class JsonFormatter(logging.Formatter):
    """One object of JSON a line, in ASCII, so that no terminal and no reader of lines takes it for anything else."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        return json.dumps(as_object(record))


class Formatter(logging.Formatter):
    """``2026-01-31T12:00:00 info login user=ann peer=192.0.2.7 ...``; a traceback follows on lines of its own.

    Those are indented: no text of an error begins a line as an event does.  *dated*: with the time in front.
    """

    def __init__(self, *, dated: bool = True) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._dated = dated

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        event = _CONTROL.sub("?", _message(record)[:EVENT_LIMIT_CHARACTERS])
        parts = [self.formatTime(record, self.datefmt)] if self._dated else []
        parts += [record.levelname.lower(), f"pid={record.process}", event]
        line = " ".join([*parts, said] if (said := facts(record)) else parts)
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


class _Prioritised(logging.Formatter):
    """Has ``<N>`` in front of each line, as sd-daemon(3) says: the journal takes the priority from it."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        mark = f"<{_priority(record.levelno)}>"
        return mark + self._inner.format(record).replace("\n", f"\n{mark}")


def _priority(level: int) -> int:
    """The priority of syslog(3) for a level."""
    return 3 if level >= logging.ERROR else 4 if level >= logging.WARNING else 6 if level >= logging.INFO else 7


class SyslogHandler(logging.Handler):
    """The system's log, by its socket.  It never waits: a line that finds no room there is lost."""

    def __init__(self, path: str = "/dev/log") -> None:
        super().__init__()
        self._path = path
        self._sock: socket.socket | None = self._connected()

    def _connected(self) -> socket.socket:
        """Connect; raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; facility mail."""
        priority = 2 << 3 | _priority(record.levelno)
        line = self.format(record).replace("\n", " ")
        data = f"<{priority}>maildir-imapd[{record.process}]: {line}".encode("utf-8", "backslashreplace")
        for _ in range(2):
            try:
                if self._sock is None:
                    self._sock = self._connected()
                self._sock.send(data[:SYSLOG_OCTETS])
            except BlockingIOError:
                return
            except OSError:
                # It was started anew: once more, to the new one.
                if self._sock is not None:
                    self._sock.close()
                self._sock = None
            else:
                return

    def close(self) -> None:
        """Close the socket; harmless twice."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        super().close()


# What the system's logs take of one line.
SYSLOG_OCTETS: Final = 8000


def _journal(stream: Any) -> bool:
    """Whether standard error leads to the journal: it says by device and inode in which descriptor it reads."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _output(path: str | None, style: str, target: str) -> logging.Handler:
    """Make what the lines go out by; raises ConfigError."""
    handler: logging.Handler
    dated = True
    if path is not None:
        try:
            handler = FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"log_file {path}: {error.strerror}") from error
    elif target == "syslog":
        try:
            handler = SyslogHandler()
        except OSError as error:
            raise ConfigError(f"log_target = syslog: /dev/log: {error.strerror}") from error
        dated = False
    else:
        handler = logging.StreamHandler(sys.stderr)
        dated = not _journal(sys.stderr)
    formatter = JsonFormatter() if style == "json" else Formatter(dated=dated)
    marked = not dated and target != "syslog"
    handler.setFormatter(_Prioritised(formatter) if marked else formatter)
    return handler


# Those that are told of each event beside what writes it down.
_listeners: list[logging.Handler] = []


def listen(handler: logging.Handler) -> None:
    """Have *handler* told of each event, from now on and whatever ``set_up`` does; harmless twice."""
    if handler not in _listeners:
        _listeners.append(handler)
        logging.getLogger("maildir_imapd").addHandler(handler)


def unlisten(handler: logging.Handler) -> None:
    """Take that back; harmless twice."""
    if handler in _listeners:
        _listeners.remove(handler)
        logging.getLogger("maildir_imapd").removeHandler(handler)


def set_up(level: str = "info", path: str | None = None, *, style: str = "text", target: str = "stderr") -> None:
    """Send the package's log to *target* (stderr, syslog), or to a file that log rotation may move away.

    *style*: text or json.  Raises ConfigError when it cannot be opened; then the log goes on as it was.
    """
    handler = _output(path, style, target)
    root = logging.getLogger("maildir_imapd")
    for old in [each for each in root.handlers if each not in _listeners]:
        root.removeHandler(old)
        try:
            old.close()
        except OSError:
            pass  # a full disk: what it still held is lost
    root.addHandler(handler)
    root.setLevel(level.upper())
    root.propagate = False
