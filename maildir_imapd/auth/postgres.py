"""A database of PostgreSQL's, as ``sql.py`` asks it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from maildir_imapd.auth.sql import LoginFacts, Query, Row, texts
from maildir_imapd.auth.waiting import LineBroken, Until
from maildir_imapd.errors import ConfigError

if TYPE_CHECKING:
    import psycopg


def demand_library() -> None:
    """Raise ConfigError where the library is not installed; loads it as long as everything can be read."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigError("PostgreSQL needs the library psycopg: install maildir-imapd[sql]") from error


class PostgresDatabase:
    """A connection to a server; *secret*: the password, where it does not stand in *where*.  Raises OSError."""

    def __init__(self, where: str, secret: str | None, until: Until) -> None:
        import psycopg

        more: dict[str, str | int] = {} if secret is None else {"password": secret}
        try:
            # Whole seconds, and never one alone: so says libpq.
            self._connection: psycopg.Connection[tuple[object, ...]] = psycopg.connect(
                where,
                autocommit=True,
                prepare_threshold=None,  # so that pgbouncer may stand between
                connect_timeout=max(2, int(until.left)),
                application_name="maildir-imapd",
                **more,  # type: ignore[arg-type]
            )
        except psycopg.Error as error:
            raise OSError(_plain(error)) from error

    def rows(
        self, query: Query, user: str, until: Until, most: int | None, login: LoginFacts | None = None
    ) -> list[Row]:
        """As ``Database.rows``; the statement ends with the time, whatever the server does."""
        import psycopg

        connection = self._connection
        try:
            with _cut_off(connection.fileno(), until), connection.cursor() as cursor:
                # With parameters a percent sign of the text is written twice.
                text = query.with_marks("%s", lambda piece: piece.replace("%", "%%"))
                # Of text, so that a server need not guess; a text of ours, and parameters.
                cursor.execute(text.encode(), query.values(user, login), binary=False)
                if cursor.description is None:
                    return []
                names = [column.name for column in cursor.description]
                rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
                return [texts(names, row) for row in rows]
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise LineBroken("no answer in time" if until.over else _plain(error)) from error
        except (psycopg.Error, ValueError) as error:
            if connection.closed or until.over:
                raise LineBroken(_plain(error)) from error
            raise ConfigError(_plain(error)) from error

    def close(self) -> None:
        """As ``BackEndLine.close``."""
        self._connection.close()


@contextmanager
def _cut_off(number: int, until: Until) -> Iterator[None]:
    """Cut a connection off when the time is over: a server that hangs, or a network, says nothing at all."""
    with socket.socket(fileno=os.dup(number)) as other:
        timer = threading.Timer(until.left, _shut, (other,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _shut(other: socket.socket) -> None:
    try:
        other.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has gone by itself


def _plain(error: Exception) -> str:
    """Its first line: behind that libpq quotes the query."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
