"""A real PostgreSQL, started for the test as its own system user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running import open_to_all, program

from maildir_imapd.auth import scram
from maildir_imapd.auth.base import External, Password, Proven
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.server import settings

psycopg = pytest.importorskip("psycopg")
pytestmark = [pytest.mark.interop, pytest.mark.slow]

TABLE = """
CREATE TABLE mailbox (username text, domain text, password text, home text, uid int, gid int, quota bigint,
  nologin boolean);
INSERT INTO mailbox VALUES ('ann', 'example.org', '{PLAIN}secret', '/srv/ann', 1001, 1001, 1048576, false),
  ('Ben', 'example.org', '{PLAIN}b', NULL, NULL, NULL, NULL, false),
  ('off', 'example.org', '{PLAIN}o', NULL, NULL, NULL, NULL, true);
CREATE ROLE reader LOGIN PASSWORD 'let me in';
GRANT SELECT ON mailbox TO reader;
"""


@dataclass
class Server:
    """A server with a socket in *directory*."""

    directory: Path
    words: list[str]
    tool: str
    owner: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = open(self.directory / "log", "ab")  # noqa: SIM115  # closed below
        self.process = subprocess.Popen(self.words, stdout=log, stderr=log, cwd=self.directory, **self.owner)
        log.close()
        ready = [self.tool, "-h", str(self.directory), "-t", "60"]
        while subprocess.run(ready, capture_output=True).returncode != 0:
            assert self.process.poll() is None, (self.directory / "log").read_text()

    def stop(self) -> None:
        assert self.process is not None
        pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGINT)
        self.process.wait(60)

    def stand_still(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT for the server and all its processes."""
        pid = (self.directory / "data" / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *children):
            try:
                os.kill(int(each), number)
            except ProcessLookupError:
                continue
            while number == signal.SIGSTOP and ") T" not in Path(f"/proc/{each}/stat").read_text():
                pass  # it is on its way


def binary(name: str) -> str:
    """A program of PostgreSQL's, which Debian keeps apart by version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else program(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("postgres")
    initdb, postgres = binary("initdb"), binary("postgres")
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        # It does not run as root.
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        open_to_all(directory)
        shutil.chown(directory, "postgres")
    data = str(directory / "data")
    secret = directory / "secret"
    secret.write_text("over all\n")
    secret.chmod(0o644)
    made = [initdb, "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
    made += ["-A", "scram-sha-256", f"--pwfile={secret}"]
    subprocess.run(made, check=True, capture_output=True, cwd=directory, **owner)
    words = [postgres, "-D", data, "-k", str(directory), "-c", "listen_addresses=", "-c", "fsync=off"]
    running = Server(directory, words, binary("pg_isready"), owner)
    running.start()
    with psycopg.connect(f"host={directory} user=postgres password='over all'", autocommit=True) as admin:
        admin.execute(TABLE)
    yield running
    running.stop()


def given(server: Server, **more: object) -> dict[str, object]:
    secret = server.directory / "let-me-in"
    secret.write_text("let me in\n")
    return {
        "auth": "sql",
        "auth_timeout": "3s",
        "auth_cache_time": 0,
        "auth_cache_negative_time": 0,
        "sql_connect": f"host={server.directory} dbname=postgres user=reader",
        "sql_password_file": str(secret),
        "sql_password_query": "SELECT lower(username || '@' || domain) AS user, password, nologin, uid, gid, home, "
        "'*:bytes=' || quota AS quota_rule FROM mailbox WHERE lower(username) = '%Ln' AND domain = '%Ld'",
        "sql_iterate_query": "SELECT username, domain FROM mailbox WHERE username NOT LIKE '%%x%%'",
        **more,
    }


def test_right_and_wrong(server: Server) -> None:
    chain = settings.chain(load(None, given(server)))
    found = chain.identify(Password("ANN@example.org", b"secret"))
    assert (found.user, found.home, found.uid, found.gid) == ("ann@example.org", "/srv/ann", 1001, 1001)
    assert found.quota is not None
    assert found.quota.octets == 1 << 20
    assert chain.identify(Password("ben@example.org", b"b")).user == "ben@example.org"
    for name in ("ann@example.org", "nobody@example.org", "ann", "' OR 1=1 --", "ann'@example.org", "%", "a\0", "*"):
        with pytest.raises(AuthenticationFailed):
            chain.identify(Password(name, b"wrong"))
    assert {who.user for who in chain.everybody()} == {"ann@example.org", "ben@example.org", "off@example.org"}


def test_a_wrong_password_for_the_database_and_a_wrong_query(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    wrong = server.directory / "wrong"
    wrong.write_text("wrong\n")
    for more in (
        {"sql_password_file": str(wrong)},
        {"sql_password_query": "SELECT nothing FROM mailbox WHERE username = '%u'"},
        {"sql_connect": "host=/nowhere"},
    ):
        chain = settings.chain(load(None, given(server, **more)))
        with pytest.raises(Unavailable):
            chain.identify(Password("ann@example.org", b"secret"))
    assert "secret" not in caplog.text
    with pytest.raises(ConfigError, match="sql_password_file"):
        settings.chain(load(None, given(server, sql_password_file="/nowhere/secret")))


def test_a_query_that_hangs_is_given_up(server: Server) -> None:
    slow = "SELECT password, pg_sleep(3600) FROM mailbox WHERE username = '%u' OR true"
    chain = settings.chain(load(None, given(server, sql_password_query=slow, auth_timeout="1s", auth_connections=1)))
    for _ in range(2):
        with pytest.raises(Unavailable):
            chain.identify(Password("ann@example.org", b"secret"))


def test_a_server_that_stands_still_or_starts_anew(server: Server) -> None:
    chain = settings.chain(load(None, given(server)))
    assert chain.identify(Password("ann@example.org", b"secret"))
    server.stand_still(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            chain.identify(Password("ann@example.org", b"secret"))
    finally:
        server.stand_still(signal.SIGCONT)
    assert chain.identify(Password("ann@example.org", b"secret"))
    server.stop()
    with pytest.raises(Unavailable):
        chain.identify(Password("ann@example.org", b"secret"))
    server.start()
    assert chain.identify(Password("ann@example.org", b"secret"))


def test_proofs_and_who_comes_without_a_password(server: Server, tmp_path: Path) -> None:
    secret = scram.make("SCRAM-SHA-256", b"cyd's")
    with psycopg.connect(f"host={server.directory} user=postgres password='over all'", autocommit=True) as admin:
        admin.execute("INSERT INTO mailbox (username, domain, password) VALUES ('cyd', 'example.org', %s)", [secret])
    (tmp_path / "masters").write_text("root:{PLAIN}power\n")
    chain = settings.chain(load(None, given(server, auth_master_file=str(tmp_path / "masters"))))
    assert chain.stored("CYD@example.org") == secret
    assert chain.identify(Proven("CYD@example.org", "SCRAM-SHA-256", True, secret)).user == "cyd@example.org"
    assert chain.identify(Password("cyd@example.org", b"cyd's")).user == "cyd@example.org"
    assert chain.identify(External("ann@example.org")).home == "/srv/ann"
    assert chain.identify(Password("ann@example.org*root", b"power")).acting == "root"
    assert chain.stored("off@example.org") is None
    for credential in (
        External("off@example.org"),
        Password("off@example.org*root", b"power"),
        Proven("off@example.org", "SCRAM-SHA-256", True, "{PLAIN}o"),
        Proven("cyd@example.org", "SCRAM-SHA-256", True, "{PLAIN}x"),
        External("ann'@example.org"),
    ):
        with pytest.raises(AuthenticationFailed):
            chain.identify(credential)


def test_devices(server: Server) -> None:
    with psycopg.connect(f"host={server.directory} user=postgres password='over all'", autocommit=True) as admin:
        admin.execute("CREATE TABLE device (owner text, label text, secret text, narrow boolean)")
        admin.execute("INSERT INTO device VALUES ('ann@example.org', 'phone', '{PLAIN}pp', false)")
        admin.execute("INSERT INTO device VALUES ('ann@example.org', 'reader', '{PLAIN}rr', true)")
        admin.execute("GRANT SELECT ON device TO reader")
    query = "SELECT label AS name, secret AS password, narrow AS read_only FROM device WHERE owner = '%u'"
    chain = settings.chain(load(None, given(server, sql_device_query=query)))
    for password, read_only in ((b"pp", False), (b"rr", True)):
        found = chain.identify(Password("ANN@example.org", password))
        assert (found.user, found.read_only) == ("ann@example.org", read_only)
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ben@example.org", b"pp"))
    with pytest.raises(ConfigError, match="sql_device_query"):
        settings.chain(load(None, {"sql_device_query": query}))


def test_a_login_is_written_down(server: Server) -> None:
    """With types of all kinds, which the server makes of the texts that it is given."""
    words = f"host={server.directory} user=postgres password='over all'"
    with psycopg.connect(words, autocommit=True) as admin:
        admin.execute(
            "CREATE TABLE logins (name text PRIMARY KEY, seconds bigint, at timestamptz, address inet, way text)"
        )
        admin.execute("GRANT SELECT, INSERT, UPDATE ON logins TO reader")
    statement = (
        "INSERT INTO logins VALUES (%u, %t, to_timestamp(%t), %r, '%s') ON CONFLICT (name) DO UPDATE SET seconds = %t"
    )
    logins = settings.last_logins(load(None, given(server, sql_last_login_query=statement)))
    assert logins is not None
    logins.start()
    try:
        logins.note("ann@example.org", "imap", "2001:db8::1")
    finally:
        logins.close()
    with psycopg.connect(words, autocommit=True) as admin:
        (row,) = admin.execute(
            "SELECT name, extract(epoch FROM at) = seconds, host(address), way FROM logins"
        ).fetchall()
    assert row == ("ann@example.org", True, "2001:db8::1", "imap")
