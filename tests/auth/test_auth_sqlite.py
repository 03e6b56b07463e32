"""Users in SQLite: what a query may say, and what a client may not."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from scramp import ScramClient

from maildir_imapd.auth import schemes, scram, sql
from maildir_imapd.auth.base import External, Password, Proven, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.devices import Device, Devices, line
from maildir_imapd.auth.joined import Joined
from maildir_imapd.auth.lookups import LookUps
from maildir_imapd.auth.masters import Masters
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import Offered
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.auth.sql import Database, Queries, Sql, SqlDevices
from maildir_imapd.auth.sqlite import SqliteDatabase
from maildir_imapd.auth.static import Static
from maildir_imapd.auth.waiting import Pool
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, Unavailable

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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


def test_without_a_password_only_who_is_not_locked_out(path: Path) -> None:
    asked = users(path)
    assert asked.check(External("ann@example.org")).home == "/home/ann"
    assert asked.check(External("none@example.org")).user == "none@example.org"
    off = asked.look_up("off@example.org")
    assert off is not None
    assert not off.may_log_in
    for name in ("off@example.org", "nobody@example.org", "ann' --@example.org", ""):
        with pytest.raises(AuthenticationFailed):
            asked.check(External(name))
    # He is locked out where only the other query says so.
    other = users(path, user="SELECT home, 'y' AS nologin FROM users WHERE username = %n AND domain = %d")
    for credential in (External("ann@example.org"), Password("ann@example.org", b"secret")):
        with pytest.raises(AuthenticationFailed):
            other.check(credential)
    with pytest.raises(AuthenticationFailed):
        users(path, password=None).check(External("ann@example.org"))


def test_secrets_are_kept_for_proofs(path: Path) -> None:
    asked = users(path)
    assert asked.stored("ann@example.org") == "{PLAIN}secret"
    assert asked.stored("ben@example.org") == "{CRYPT}" + BEN
    assert asked.stored("none@example.org") is None
    assert asked.stored("nobody@example.org") is None
    assert users(path, password=None).stored("ann@example.org") is None
    assert not asked.all_kept_as(schemes.READABLE)
    assert asked.check(Proven("ann@example.org", "X", True, "{PLAIN}secret")).home == "/home/ann"
    for proof in (
        Proven("ann@example.org", "X", False, "{PLAIN}secret"),
        Proven("ann@example.org", "X", True, "{PLAIN}other"),
        Proven("ann@example.org", "X", True, ""),
        Proven("none@example.org", "X", True, ""),
        Proven("off@example.org", "X", True, "{PLAIN}secret"),
        Proven("nobody@example.org", "X", True, "{PLAIN}secret"),
    ):
        with pytest.raises(AuthenticationFailed):
            asked.check(proof)
    # Of one who is locked out no secret is told to whoever asks.
    assert Chain([asked]).stored("off@example.org") is None
    assert Chain([asked]).stored("ann@example.org") == "{PLAIN}secret"


def of_all_kinds(path: Path) -> Chain:
    """As the settings make it, with a master and a device for each."""
    (path.parent / "masters").write_text("root:{PLAIN}power\nhelp:{PLAIN}power:::::: acts_for=*@example.com\n")
    (path.parent / "devices").write_text(
        "".join(line(Device(f"{name}@example.org", "phone", "{PLAIN}phone")) for name in ("ann", "off"))
    )
    kept = LookUps(Joined(users(path), [Static({"mail": "maildir:/m"})]), seconds=300, nobody_seconds=300)
    masters = Masters(PasswdFile(str(path.parent / "masters")), "*")
    return Chain([kept], masters=masters, devices=[Devices(str(path.parent / "devices"))], remember=300)


def test_certificates_masters_and_devices(path: Path) -> None:
    chain = of_all_kinds(path)
    found = chain.identify(External("ann@example.org"))
    assert (found.user, found.mail) == ("ann@example.org", "maildir:/m")
    assert chain.identify(Password("ann@example.org*root", b"power")).acting == "root"
    assert chain.identify(Password("ann@example.org", b"phone")).device == "phone"
    assert chain.identify(Proven("ann@example.org", "X", True, "{PLAIN}secret")).home == "/home/ann"
    shown = [
        External("%s"),
        Password("%s*root", b"power"),
        Password("%s", b"phone"),
        Proven("%s", "X", True, "{PLAIN}x"),
    ]
    for name in ("off@example.org", "nobody@example.org"):
        for each in shown:
            with pytest.raises(AuthenticationFailed):
                chain.identify(replace(each, user=each.user.format(name)))
    # Locked out: at once, whatever is remembered of him.
    assert chain.find("ann@example.org") is not None
    change(path, "UPDATE users SET nologin = 1 WHERE username = 'ann'")
    for each in (External("ann@example.org"), Password("ann@example.org*root", b"power"),
                 Password("ann@example.org", b"phone")):  # fmt: skip
        with pytest.raises(AuthenticationFailed):
            of_all_kinds(path).identify(each)
        with pytest.raises(AuthenticationFailed):
            chain.identify(each)
        assert chain.find("ann@example.org") is not None


def test_by_another_of_his_names_a_master_gets_no_further(path: Path) -> None:
    """The right is for the user who is found, not for what was typed."""
    aliases = (
        "SELECT 'ann@example.org' AS user, '{PLAIN}a' AS password WHERE %u IN ('info@example.com', 'ann@example.org')"
    )
    (path.parent / "masters").write_text("help:{PLAIN}power:::::: acts_for=*@example.com\n")
    masters = Masters(PasswdFile(str(path.parent / "masters")), "*")
    chain = Chain([users(path, password=aliases, user=None)], masters=masters)
    assert chain.identify(Password("info@example.com", b"a")).user == "ann@example.org"
    with pytest.raises(AuthorizationFailed):
        chain.identify(Password("info@example.com*help", b"power"))


def test_what_is_on_record_may_be_older_than_from_where_he_may_come(path: Path) -> None:
    change(path, "ALTER TABLE users ADD COLUMN allow_nets")
    query = "SELECT username AS user, password, allow_nets FROM users WHERE username = %u"
    (path.parent / "masters").write_text("root:{PLAIN}power\n")
    (path.parent / "devices").write_text(line(Device("ann", "phone", "{PLAIN}phone")))
    chain = Chain(
        [LookUps(users(path, password=query, user=None), seconds=300, nobody_seconds=300)],
        masters=Masters(PasswdFile(str(path.parent / "masters")), "*"),
        devices=[Devices(str(path.parent / "devices"))],
    )
    shown = [External("ann"), Password("ann*root", b"power"), Password("ann", b"phone")]
    for each in shown:
        assert chain.identify(each, "198.51.100.1").user == "ann"
    assert chain.find("ann") is not None
    change(path, "UPDATE users SET allow_nets = '192.0.2.0/24' WHERE username = 'ann'")
    for each in shown:
        with pytest.raises(AuthenticationFailed):
            chain.identify(each, "198.51.100.1")
        change(path, "UPDATE users SET allow_nets = NULL WHERE username = 'ann'")
        assert chain.identify(each, "198.51.100.1").user == "ann"
        assert chain.find("ann") is not None
        change(path, "UPDATE users SET allow_nets = '192.0.2.0/24' WHERE username = 'ann'")


DEVICES = "SELECT name, password, read_only, made FROM devices WHERE user = '%u'"


def devices(path: Path, query: str = DEVICES) -> SqlDevices:
    def opened(until: object) -> Database:
        return SqliteDatabase(str(path), until)  # type: ignore[arg-type]

    return SqlDevices(Pool("sql", opened, most=2, seconds=30), sql.parse(query), scheme="PLAIN")


@pytest.fixture
def with_devices(path: Path) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE devices (user TEXT, name TEXT, password TEXT, read_only, made)")
        rows = [
            ("ann@example.org", "phone", "pppp", None, 1796032440),
            ("ann@example.org", "pad", schemes.make(b"slow", "SHA512-CRYPT"), 0, None),
            ("ann@example.org", "reader", schemes.make(b"rrrr", "SSHA512"), 1, "x"),
            ("ann@example.org", "old", "oooo", "read", None),
            ("ann@example.org", "none", None, 0, None),
            ("ann@example.org", "empty", "", 0, None),
            ("ann@example.org", "torn", "{SSHA512}!", 0, None),
            ("ann@example.org", "a/b", "odd", 0, None),
            ("ann@example.org", "twin", "twin", 1, None),
            ("ann@example.org", "twin of twin", "twin", 0, None),
            ("off@example.org", "phone", "pppp", 0, None),
            ("nobody@example.org", "phone", "pppp", 0, None),
        ]
        database.executemany("INSERT INTO devices VALUES (?, ?, ?, ?, ?)", rows)
    database.close()
    return path


@pytest.mark.long
def test_devices_in_the_database(with_devices: Path) -> None:
    (with_devices.parent / "devices").write_text(line(Device("ann@example.org", "filed", "{PLAIN}ffff")))
    beside = Devices(str(with_devices.parent / "devices"))
    chain = Chain([users(with_devices)], devices=[beside, devices(with_devices)], remember=300)
    for password, name, read_only in [
        (b"pppp", "phone", False),
        (b"slow", "pad", False),
        (b"rrrr", "reader", True),
        (b"oooo", "old", True),
        (b"twin", "twin", True),
        (b"ffff", "filed", False),
        (b"secret", None, False),
    ]:
        found = chain.identify(Password("Ann@Example.org", password))
        assert (found.user, found.device, found.read_only) == ("ann@example.org", name, read_only)
    assert [each.made for each in devices(with_devices).of("ann@example.org")][:3] == [1796032440, 0, 0]
    for user, password in [
        ("ann@example.org", b""),
        ("ann@example.org", b"odd"),
        ("off@example.org", b"pppp"),
        ("nobody@example.org", b"pppp"),
        ("ben@example.org", b"pppp"),
    ]:
        with pytest.raises(AuthenticationFailed):
            chain.identify(Password(user, password))
    # Revoked: at once.
    change(with_devices, "DELETE FROM devices WHERE name = 'phone'")
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann@example.org", b"pppp"))
    for name in ("ann' --@example.org", "' OR 1=1 --", "*", ""):
        assert devices(with_devices).of(name) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "query",
    [
        "SELECT name, password, read_only AS readonly FROM devices WHERE user = %u",
        "SELECT name FROM devices WHERE user = %u",
        "SELECT nothing FROM devices WHERE user = %u",
    ],
)
def test_columns_that_are_not_meant_let_nobody_in(with_devices: Path, query: str) -> None:
    """A scope that is spelled wrong is no scope, and must not be taken for none."""
    with pytest.raises(Unavailable):
        devices(with_devices, query).of("ann@example.org")


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("cyd@example.org", "cyd's", True),
        ("Ann@Example.org", "secret", True),
        ("cyd@example.org", "wrong", False),
        ("ben@example.org", "ben", False),
        ("off@example.org", "secret", False),
        ("nobody@example.org", "secret", False),
    ],
)
def test_scram_by_secrets_of_the_database(path: Path, user: str, password: str, right: bool) -> None:
    with sqlite3.connect(path) as database:
        secret = scram.make("SCRAM-SHA-256", b"cyd's")
        database.execute("INSERT INTO users (username, domain, password) VALUES ('cyd', 'example.org', ?)", [secret])
    database.close()
    chain = Chain([LookUps(users(path), seconds=300, nobody_seconds=300)])
    where = Situation(stored=chain.stored, salt=chain.salt)
    # What all have nobody knows, so it is there where it is named.
    assert b"SCRAM-SHA-256" not in Offered(chain, (), lambda: where).offered(private=True)
    ways = Offered(chain, ("SCRAM-SHA-256",), lambda: where)
    assert ways.offered(private=True) == (b"SCRAM-SHA-256",)
    ours = ways.begin(b"SCRAM-SHA-256", private=True)
    client = ScramClient(["SCRAM-SHA-256"], user, password)
    next(ours)
    client.set_server_first(ours.send(client.get_client_first().encode()).decode())
    with pytest.raises(StopIteration) as end:
        client.set_server_final(ours.send(client.get_client_final().encode()).decode())
        ours.send(b"")
    if right:
        assert chain.identify(end.value.value).user == user.lower()
    else:
        with pytest.raises(AuthenticationFailed):
            chain.identify(end.value.value)
