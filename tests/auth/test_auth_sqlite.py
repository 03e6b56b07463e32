"""Users in SQLite: what a query may say, and what a client may not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from maildir_imapd.auth import schemes, sql
from maildir_imapd.auth.base import Password, Token
from maildir_imapd.auth.sql import Database, Queries, Sql
from maildir_imapd.auth.sqlite import SqliteDatabase
from maildir_imapd.auth.waiting import Pool
from maildir_imapd.errors import AuthenticationFailed, Unavailable

PASSWORD = (
    "SELECT username || '@' || domain AS user, password, nologin FROM users WHERE username = '%Ln' AND domain = %Ld"
)
USER = "SELECT home, uid, gid, '*:bytes=' || quota AS quota_rule FROM users WHERE username = %n AND domain = %d"
BEN = schemes.make(b"ben", "SHA512-CRYPT").partition("}")[2]
ALL = "SELECT username, domain FROM users WHERE username NOT LIKE '%%x'"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE users (username TEXT, domain TEXT, password TEXT, home TEXT, uid INT, gid INT, quota INT,"
            " nologin INT)"
        )
        rows = [
            ("ann", "example.org", "{PLAIN}secret", "/home/ann", 1001, 1002, 5, 0),
            (
                "ben",
                "example.org",
                BEN,
                None,
                None,
                None,
                None,
                None,
            ),
            ("off", "example.org", "{PLAIN}secret", "/", 1, 1, 0, 1),
            ("odd", "example.org", "{NTLM}secret", "/", 1, 1, 0, 0),
            ("none", "example.org", None, "/", 1, 1, 0, 0),
            ("two", "example.org", "{PLAIN}secret", "/", 1, 1, 0, 0),
            ("two", "example.org", "{PLAIN}secret", "/", 1, 1, 0, 0),
            ("who", "example.org", "{PLAIN}secret", "/", "no such user", 1, 0, 0),
            ("x", "example.org", "{PLAIN}secret", "/", 1, 1, 0, 0),
        ]
        database.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.close()
    return path


def users(path: Path, *, password: str | None = PASSWORD, user: str | None = USER, seconds: float = 30) -> Sql:
    def opened(until: object) -> Database:
        return SqliteDatabase(str(path), until)  # type: ignore[arg-type]

    queries = Queries(*(None if each is None else sql.parse(each) for each in (password, user, ALL)))
    return Sql(Pool("sql", opened, most=2, seconds=seconds), queries, scheme="CRYPT")


def test_right_and_wrong(path: Path) -> None:
    asked = users(path)
    found = asked.check(Password("Ann@Example.ORG", b"secret"))
    assert (found.user, found.home, found.uid, found.gid) == ("ann@example.org", "/home/ann", 1001, 1002)
    assert found.quota is not None
    assert found.quota.octets == 5
    assert asked.check(Password("ben@example.org", b"ben")).home is None
    for user, secret in [
        ("ann@example.org", b"wrong"),
        ("ann@example.org", b""),
        ("ann", b"secret"),
        ("off@example.org", b"secret"),
        ("none@example.org", b""),
        ("nobody@example.org", b"secret"),
        ("", b""),
    ]:
        with pytest.raises(AuthenticationFailed):
            asked.check(Password(user, secret))
    with pytest.raises(AuthenticationFailed) as unusable:
        asked.check(Password("odd@example.org", b"secret"))
    assert unusable.value.detail == "stored-password"
    with pytest.raises(AuthenticationFailed):
        asked.check(Token("ann@example.org", b"secret"))
    assert list(asked.users())[:2] == ["ann@example.org", "ben@example.org"]


@pytest.mark.parametrize(
    "name",
    ["' OR 1=1 --", "ann' --@example.org", "%", "_nn@example.org", "ann@example.org\0", "*", 'a"b', "a;b", "a\\"],
)
def test_a_name_is_never_part_of_the_query(path: Path, name: str) -> None:
    asked = users(path)
    assert asked.look_up(name) is None
    with pytest.raises(AuthenticationFailed):
        asked.check(Password(name, b"secret"))
    # Not even where nobody looks at the name first.
    query = sql.parse("SELECT username AS user FROM users WHERE username = '%u'")
    assert asked._ask(query, name, None) == []


def test_who_is_on_record(path: Path) -> None:
    asked = users(path)
    before = asked.look_up("ann@example.org")
    assert before is not None
    assert before == asked.look_up("ann@example.org")
    assert asked.look_up("nobody@example.org") is None
    with sqlite3.connect(path) as database:
        database.execute("UPDATE users SET password = '{PLAIN}other' WHERE username = 'ann'")
    database.close()
    assert asked.look_up("ann@example.org") != before


def test_two_rows_are_no_answer(path: Path) -> None:
    for asked in (users(path), users(path, password=None)):
        with pytest.raises(Unavailable):
            asked.look_up("two@example.org")
    with pytest.raises(Unavailable):
        users(path).check(Password("two@example.org", b"secret"))


def test_a_row_that_cannot_be_used_is_no_wrong_password(path: Path) -> None:
    with pytest.raises(Unavailable):
        users(path).check(Password("who@example.org", b"secret"))


def test_only_one_of_the_queries(path: Path) -> None:
    knows = users(path, password=None)
    found = knows.look_up("ann@example.org")
    assert found is not None
    assert (found.identity.user, found.identity.home) == ("ann@example.org", "/home/ann")
    with pytest.raises(AuthenticationFailed):
        knows.check(Password("ann@example.org", b"secret"))
    assert users(path, user=None).check(Password("ann@example.org", b"secret")).home is None


@pytest.mark.parametrize(
    "query", ["SELECT nothing FROM users WHERE %u = 1", "SELEC %u", "DELETE FROM users WHERE %u != ''"]
)
def test_a_query_that_the_database_does_not_take(path: Path, query: str, caplog: pytest.LogCaptureFixture) -> None:
    asked = users(path, password=query)
    for _ in range(2):
        with pytest.raises(Unavailable):
            asked.look_up("ann@example.org")
    assert len(list(users(path).users())) == 8


def test_a_database_that_is_not_there(path: Path) -> None:
    asked = users(path)
    assert asked.look_up("ann@example.org")
    for wrong in (path.with_name("other"), path.with_name("100%")):
        with pytest.raises(Unavailable):
            users(wrong).check(Password("ann@example.org", b"secret"))
    path.with_name("text").write_text("no database " * 100)
    with pytest.raises(Unavailable):
        users(path.with_name("text")).look_up("ann@example.org")


def test_one_that_does_not_end_is_given_up(path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0 AND %u != ''"
    asked = users(path, password=endless, seconds=0.5)
    for _ in range(3):
        with pytest.raises(Unavailable):
            asked.look_up("ann@example.org")


def test_one_that_is_locked_is_waited_for_and_given_up(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    asked = users(path, seconds=0.3)
    with pytest.raises(Unavailable):
        asked.look_up("ann@example.org")
    other.execute("ROLLBACK")
    other.close()
    assert asked.look_up("ann@example.org")


def test_a_stranger_costs_what_a_user_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = users(path)
    asked.check(Password("ben@example.org", b"ben"))
    compared: list[str] = []
    monkeypatch.setattr(schemes, "verify", lambda stored, password: compared.append(stored))
    with pytest.raises(AuthenticationFailed):
        asked.check(Password("nobody@example.org", b"x"))
    assert compared[0].startswith("{CRYPT}$6$")


def test_another_file_in_its_place_is_opened(path: Path) -> None:
    asked = users(path)
    assert asked.look_up("ann@example.org")
    other = path.with_name("other.db")
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE users (username, domain, password, home, uid, gid, quota, nologin)")
    database.close()
    other.replace(path)
    assert asked.look_up("ann@example.org") is None
