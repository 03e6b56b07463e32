"""``user device``: a password made, used, shown and taken back."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from maildir_imapd.auth.base import Password
from maildir_imapd.auth.last_use import LastUse
from maildir_imapd.cli import main
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed
from maildir_imapd.server import settings


def run(tmp_path: Path, *words: str, status: int = 0) -> str:
    files = [f"--auth-device-file={tmp_path / 'devices'}", f"--auth-device-used-file={tmp_path / 'used'}"]
    result = CliRunner().invoke(main, ["user", "device", *words, *files])
    assert result.exit_code == status, result.output
    return result.output


def test_a_device_from_beginning_to_end(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:{PLAIN}own\n")
    password = run(tmp_path, "add", "ann", "phone").strip()
    assert (tmp_path / "devices").stat().st_mode & 0o777 == 0o600
    assert password not in (tmp_path / "devices").read_text()
    reader = json.loads(run(tmp_path, "add", "ann", "reader", "--read-only", "--json"))
    assert reader["read_only"]
    chain = settings.chain(
        load(None, {"passwd_file": str(tmp_path / "users"), "auth_device_file": str(tmp_path / "devices")})
    )
    assert chain.identify(Password("ann", password.encode())).device == "phone"
    assert chain.identify(Password("ann", reader["password"].encode())).read_only
    uses = LastUse(str(tmp_path / "used"))
    uses.note("ann", "phone", "192.0.2.1", "Mail 1")
    uses.close()
    shown = run(tmp_path, "list", "ann")
    assert "phone: made 20" in shown
    assert "from 192.0.2.1 by Mail 1" in shown
    assert "may read, never used" in shown
    listed = json.loads(run(tmp_path, "list", "ann", "--json"))
    assert [(each["device"], each["read_only"]) for each in listed] == [("phone", False), ("reader", True)]
    assert listed[0]["last_use"]["address"] == "192.0.2.1"
    assert listed[1]["last_use"] is None
    assert "password" not in listed[0]
    assert run(tmp_path, "revoke", "ann", "phone") == "revoked phone of ann\n"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", password.encode()))
    assert "phone" not in run(tmp_path, "list", "ann")


def test_what_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "add", "ann", "phone")
    assert "has a device phone already" in run(tmp_path, "add", "ann", "phone", status=1)
    assert "has no device" in run(tmp_path, "revoke", "ann", "none", status=1)
    assert "has no device" in run(tmp_path, "revoke", "ben", "phone", status=1)
    for name, label in (("../ann", "phone"), ("ann", "a:b"), ("ann", "a\nb"), ("a:b", "phone")):
        assert "cannot be" in run(tmp_path, "add", name, label, status=78)
    for n in range(49):
        run(tmp_path, "add", "ann", f"phone {n}")
    assert "50 devices already" in run(tmp_path, "add", "ann", "one more", status=1)
    result = CliRunner().invoke(main, ["user", "device", "list", "ann"])
    assert result.exit_code != 0
    assert "auth_device_file" in result.output


def test_those_of_a_database_are_listed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("CREATE TABLE device (owner, name, password, read_only, made)")
        database.execute("INSERT INTO device VALUES ('ann', 'pad', '{PLAIN}pp', 1, NULL)")
    database.close()
    conf = tmp_path / "conf"
    conf.write_text(
        f'sql_connect = "sqlite:{tmp_path / "db"}"\n'
        'sql_device_query = "SELECT name, password, read_only, made FROM device WHERE owner = %u"\n'
    )
    listed = CliRunner().invoke(main, ["user", "device", "list", "ann", f"--config={conf}"])
    assert listed.output == "pad: made nobody says when, may read, never used\n"
    as_json = CliRunner().invoke(main, ["user", "device", "list", "ann", "--json", f"--config={conf}"])
    assert json.loads(as_json.output)[0]["made"] is None
    # Beside those of a file, which is where new ones go.
    run(tmp_path, "add", "ann", "phone", f"--config={conf}")
    both = run(tmp_path, "list", "ann", f"--config={conf}")
    assert [line.partition(":")[0] for line in both.splitlines()] == ["phone", "pad"]
    nowhere = CliRunner().invoke(main, ["user", "device", "list", "ann"])
    assert "which devices?" in nowhere.output
