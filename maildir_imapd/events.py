"""The one way to log: an event, in words that never change, and its facts as fields.

An event is found by its words, so no value stands in them; a value is a field, so nobody can forge one by what he calls
his folder.  How a line looks is ``log``'s matter.  Never pass what may be secret.
"""

from __future__ import annotations

import logging
import threading

from maildir_imapd.phrases import Phrase


class _Thread(threading.local):
    """A word that stands in each line of a thread."""

    session: str | None = None


_thread = _Thread()


def set_session(name: str | None) -> None:
    """Have each line that this thread writes from now on say of which session it is."""
    _thread.session = name


def session_here() -> str | None:
    """Return the session that this thread serves, for one that works for it."""
    return _thread.session


class Log:
    """Logs the events of one module.  A field's value may be anything; bytes are text as far as they are UTF-8."""

    __slots__ = ("_logger",)

    def __init__(self, module: str) -> None:
        self._logger = logging.getLogger(module)

    def debug(self, event: str, /, **fields: object) -> None:
        """Note what only whoever looks for a fault wants to see."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Note what goes as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Note what somebody should look at, and what was done instead."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, *, failure: BaseException | None = None, **fields: object) -> None:
        """Note what does not work; with *failure* its traceback follows."""
        self._write(logging.ERROR, event, fields, failure)

    def exception(self, event: str, /, **fields: object) -> None:
        """Note a defect: the error that is being handled, with its traceback."""
        self._write(logging.ERROR, event, fields, True)

    def _write(
        self, level: int, event: str, fields: dict[str, object], failure: BaseException | bool | None = None
    ) -> None:
        if isinstance(event, Phrase):
            # A text that was put together: as an event it is its template.
            fields = {**event.fields, **fields}
            event = event.template
        if self._logger.isEnabledFor(level):
            if _thread.session is not None:
                fields = {**fields, "session": _thread.session}
            self._logger.log(level, event, exc_info=failure, extra={"fields": fields}, stacklevel=3)
