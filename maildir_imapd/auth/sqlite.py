"""A database of SQLite's, as ``sql.py`` asks it."""

from __future__ import annotations

import os
import sqlite3
from urllib.parse import quote

from maildir_imapd.auth.sql import LoginFacts, Query, Row, texts
from maildir_imapd.auth.waiting import LineBroken, Until
from maildir_imapd.errors import ConfigError

# Steps of its machine after which it asks whether to go on.
_STEPS = 20_000


class SqliteDatabase:
    """A database in a file, opened to be read, or with *writable* also to be changed; raises OSError."""

    def __init__(self, path: str, until: Until, *, writable: bool = False) -> None:
        self._path = path
        self._file = _identity(path)
        try:
            self._database = sqlite3.connect(
                f"file:{quote(path)}?mode={'rw' if writable else 'ro'}",
                uri=True,
                timeout=until.left,
                check_same_thread=False,
                isolation_level=None,  # each statement is a transaction of its own
            )
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

    def rows(
        self, query: Query, user: str, until: Until, most: int | None, login: LoginFacts | None = None
    ) -> list[Row]:
        """As ``Database.rows``; another file that has taken the place of ours is to be opened."""
        if _identity(self._path) != self._file:
            raise LineBroken("the database is another file now")
        self._database.execute(f"PRAGMA busy_timeout = {int(until.left * 1000)}")
        self._database.set_progress_handler(lambda: until.over, _STEPS)
        try:
            cursor = self._database.execute(query.with_marks("?"), query.values(user, login))
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
            cursor.close()
            return [texts(names, row) for row in rows]
        except sqlite3.OperationalError as error:
            if until.over or error.sqlite_errorcode & 0xFF in _PASSING:
                raise OSError(str(error)) from error
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR:
                raise ConfigError(str(error)) from error
            raise LineBroken(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise LineBroken(str(error)) from error
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise ConfigError(str(error)) from error

    def close(self) -> None:
        """As ``BackEndLine.close``."""
        self._database.close()


def _identity(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino


_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT)
