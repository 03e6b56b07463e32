"""Telling a database of logins: behind the login's back, and whatever the database does."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from client import Client
from running import start_server, stop_server

from maildir_imapd.auth import sql
from maildir_imapd.auth.sql import LoginFacts
from maildir_imapd.auth.waiting import Pool, Until
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import last_logins, settings
from maildir_imapd.server.last_logins import EVERY_SECONDS, LastLoginQuery, LastLogins

STATEMENT = "UPDATE users SET seconds = %t, address = '%r', service = %s, how = '100%%' WHERE name = '%Lu'"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "db").mkdir()
    found = tmp_path / "db" / "users.db"
    with closing(sqlite3.connect(found)) as database:
        database.execute("CREATE TABLE users (name TEXT, seconds INTEGER, address TEXT, service TEXT, how TEXT)")
        database.executemany("INSERT INTO users (name) VALUES (?)", [(f"u{n}",) for n in range(4)])
        database.commit()
    return found


def rows(path: Path) -> dict[str, tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT name, seconds, address, service FROM users WHERE seconds IS NOT NULL")
        return {name: tuple(rest) for name, *rest in found}


def wait(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def telling(path: Path, statement: str = STATEMENT, **given: object) -> Iterator[LastLogins]:
    config = load(None, {"sql_connect": f"sqlite:{path}", "sql_last_login_query": statement, **given})
    found = settings.last_logins(config)
    assert found is not None
    found.start()
    try:
        yield found
    finally:
        found.close()


# --- the statement ------------------------------------------------------------------------------------


def test_variables_are_parameters() -> None:
    query = sql.parse(STATEMENT, of_login=True)
    assert query.with_marks("?") == (
        "UPDATE users SET seconds = ?, address = ?, service = ?, how = '100%' WHERE name = ?"
    )
    assert query.values("Ann@x", LoginFacts(7, "::1", "imap")) == ["7", "::1", "imap", "ann@x"]
    for other in ("SELECT %t", "SELECT %r, %u", "SELECT '%s'"):
        with pytest.raises(ValueError, match="may use the variables"):
            sql.parse(other)


@pytest.mark.parametrize(
    "written", ["", "UPDATE users SET t = %t", "UPDATE u SET t = %x WHERE n = %u", "%u %", "%u %Lt", 7]
)
def test_statements_that_are_none(written: object) -> None:
    with pytest.raises(ConfigError):
        load(None, {"sql_last_login_query": written})


def test_it_needs_a_database() -> None:
    assert settings.last_logins(load(None, {"sql_connect": "sqlite:/x"})) is None
    with pytest.raises(ConfigError, match="needs sql_connect"):
        settings.last_logins(load(None, {"sql_last_login_query": STATEMENT}))


def test_its_directory_is_written_to(path: Path) -> None:
    given = {"sql_connect": f"sqlite:{path}", "sql_last_login_query": STATEMENT}
    assert str(path) in settings.confinement(load(None, given)).writes
    del given["sql_last_login_query"]
    assert str(path) not in settings.confinement(load(None, given)).writes


# --- telling ------------------------------------------------------------------------------------------


def test_a_login_is_written_down(path: Path) -> None:
    before = int(time.time())
    with telling(path) as logins:
        logins.note("U1", "imap", "192.0.2.1")
        logins.note("nobody'; DROP TABLE users; --", "imap", "192.0.2.1")
        wait(lambda: "u1" in rows(path))
    assert list(rows(path)) == ["u1"]
    seconds, *rest = rows(path)["u1"]
    assert before <= seconds <= time.time()
    assert rest == ["192.0.2.1", "imap"]


def test_of_a_user_one_in_a_while(path: Path) -> None:
    moment = [0.0]
    told: list[str] = []

    class Told:
        def rows(
            self, query: object, user: str, until: Until, most: int | None, login: LoginFacts | None = None
        ) -> list[Any]:
            assert login is not None
            told.append(f"{user} {login.address}")
            return []

        def close(self) -> None:
            pass

    pool: Pool[Any] = Pool("sql", lambda _: Told(), most=1, seconds=30)
    logins = LastLogins(LastLoginQuery(pool, sql.parse(STATEMENT, of_login=True)), now=lambda: moment[0])
    logins.start()
    logins.note("ann", "imap", "1")
    logins.note("ann", "imap", "2")
    logins.note("ben", "imap", "3")
    wait(lambda: len(told) == 2)
    moment[0] = EVERY_SECONDS
    logins.note("ann", "imap", "4")
    wait(lambda: len(told) == 3)
    logins.close()
    assert told == ["ann 1", "ben 3", "ann 4"]


def test_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_logins, "WAITING", 2)
    pool: Pool[Any] = Pool("sql", lambda _: pytest.fail("it has not begun"), most=1, seconds=30)
    logins = LastLogins(LastLoginQuery(pool, sql.parse(STATEMENT, of_login=True)))
    for user in ("ann", "ben", "cyd"):
        logins.note(user, "imap", "1")
    assert list(logins._waiting) == ["ben", "cyd"]
    assert list(logins._noted) == ["ben", "cyd"]


@pytest.mark.slow
def test_a_database_that_is_locked_or_away(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told later; whoever notes a login waits for nothing."""
    monkeypatch.setattr(last_logins, "PAUSE_SECONDS", 0.01)
    with closing(sqlite3.connect(path)) as other, telling(path, auth_timeout=1) as logins:
        other.execute("BEGIN EXCLUSIVE")
        logins.note("u1", "imap", "192.0.2.1")
        wait(lambda: "back end cannot be asked" in caplog.text)
        logins.note("u2", "imap", "192.0.2.2")
        other.execute("ROLLBACK")
        wait(lambda: len(rows(path)) == 2)
        path.rename(path.with_suffix(".away"))
        caplog.clear()
        logins.note("u3", "imap", "192.0.2.3")
        wait(lambda: "back end cannot be asked" in caplog.text)
        path.with_suffix(".away").rename(path)
        wait(lambda: len(rows(path)) == 3)


def test_a_statement_that_is_not_taken(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with telling(path, "UPDATE nothing SET seconds = %t WHERE name = %u") as logins:
        logins.note("u1", "imap", "192.0.2.1")
        wait(lambda: "does not take sql_last_login_query" in caplog.text)
        logins.note("u2", "imap", "192.0.2.1")
        wait(lambda: caplog.text.count("does not take sql_last_login_query") == 2)
    assert rows(path) == {}


def test_whoever_waits_is_told_of_at_the_end(path: Path) -> None:
    with telling(path) as logins:
        for n in range(4):
            logins.note(f"u{n}", "imap", "192.0.2.1")
    assert len(rows(path)) == 4
    assert not [thread for thread in threading.enumerate() if thread.name == "last logins"]


# --- a server -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_writes_logins_down_and_waits_for_none(tmp_path: Path, path: Path) -> None:
    given = [f"--sql-connect=sqlite:{path}", f"--sql-last-login-query={STATEMENT}", "--auth-timeout=1s"]
    running = start_server(tmp_path, *given, users=4)
    try:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            # Logins go on.
            for n in (1, 2, 3):
                Client.to(running.port, user=f"u{n}").ok("SELECT INBOX")
            other.execute("ROLLBACK")
        wait(lambda: set(rows(path)) == {"u1", "u2", "u3"})
        assert {row[1:] for row in rows(path).values()} == {("127.0.0.1", "imap")}
    finally:
        Client.close_all()
        stop_server(running)
    assert not os.path.exists(f"{path}-journal")
