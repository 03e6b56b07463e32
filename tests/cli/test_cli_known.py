"""maildir-imapd user list, show and test: what the back ends know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from maildir_imapd.auth import schemes
from maildir_imapd.cli import main, passwords
from maildir_imapd.cli.group import CONFIG, FAILED, NO_USER, UNAVAILABLE


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "users").write_text(
        "ann:{PLAIN}secret:1001:1002::/home/ann::userdb_quota_rule=*:storage=1M allow_nets=192.0.2.0/24\n"
        "ben:{PLAIN}x::::::nologin=y\n"
    )
    return f"--passwd-file={tmp_path}/users"


def run(*words: str, said: str = "") -> Result:
    return CliRunner().invoke(main, ["user", *words], input=said)


def test_list(file: str, tmp_path: Path) -> None:
    assert run("list", file).output == "ann\nben\n"
    assert json.loads(run("list", file, "--json").output)[0] == {"user": "ann", "back_end": f"{tmp_path}/users"}
    assert run("list").exit_code == CONFIG


def test_show(file: str) -> None:
    done = run("show", "ann", file, "--mail-location=maildir:/srv/%n", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["user"], told["uid"], told["gid"], told["home"]) == ("ann", 1001, 1002, "/home/ann")
    assert (told["mail"], told["maildir"]) == ("maildir:/srv/%n", "/srv/ann")
    assert told["quota_storage"] == 1 << 20
    assert told["allow_nets"] == ["192.0.2.0/24"]
    assert told["may_log_in"] is True
    assert told["last_login"] is None
    assert "may_log_in:\tno\n" in run("show", "ben", file).output
    done = run("show", "eve", file)
    assert done.exit_code == NO_USER
    assert done.stderr.startswith("maildir-imapd: there is no user eve in ")


def test_the_last_login(file: str, tmp_path: Path) -> None:
    (tmp_path / "used").write_text("1793613600\tann\tphone\t192.0.2.7\tK-9\n1793613500\tann\tdesk\t192.0.2.8\t\n")
    (tmp_path / "conf").write_text(f'auth_device_used_file = "{tmp_path}/used"\n')
    told = json.loads(run("show", "ann", file, f"--config={tmp_path}/conf", "--json").output)
    assert told["last_login"] == "2026-11-02T10:00:00+00:00"
    assert told["last_address"] == "192.0.2.7"


def test_the_last_login_of_all(file: str, tmp_path: Path) -> None:
    (tmp_path / "used").write_text("1793613600\tann\tphone\t192.0.2.7\tK-9\n")
    (tmp_path / "logins").write_text(
        "1793613700\tann\t\t2001:db8::1\tMail\n1793613800\tben\t\t192.0.2.1\t\n1793613500\tann\t\t192.0.2.9\t\n"
        "1793613700\tann\t\t2001:db8::1\tMail\n"
    )
    lines = f'last_login_file = "{tmp_path}/logins"\nauth_device_used_file = "{tmp_path}/used"\n'
    (tmp_path / "conf").write_text(lines)
    told = json.loads(run("show", "ann", file, f"--config={tmp_path}/conf", "--json").output)
    assert (told["last_login"], told["last_address"]) == ("2026-11-02T10:01:40+00:00", "2001:db8::1")
    (tmp_path / "logins").unlink()
    told = json.loads(run("show", "ann", file, f"--config={tmp_path}/conf", "--json").output)
    assert told["last_address"] == "192.0.2.7"


def test_test(file: str) -> None:
    assert run("test", "ann", file, said="secret\n").output == "ann: the password is right\n"
    assert run("test", "ann", file, said="wrong\n").exit_code == FAILED
    assert run("test", "ann", file, "--from=192.0.2.9", said="secret\n").exit_code == 0
    assert run("test", "ann", file, "--from=203.0.113.9", said="secret\n").exit_code == FAILED
    assert run("test", "ben", file, said="x\n").exit_code == FAILED
    assert run("test", "eve", file, said="x\n").exit_code == NO_USER


def test_a_back_end_that_is_down(tmp_path: Path) -> None:
    names = ("dovecot_auth_socket", "dovecot_userdb_socket")
    lines = ['auth = ["dovecot"]', 'userdb = ["dovecot"]', *(f'{name} = "{tmp_path}/none"' for name in names)]
    (tmp_path / "conf").write_text("\n".join(lines) + "\n")
    done = run("show", "ann", f"--config={tmp_path}/conf")
    assert done.exit_code == UNAVAILABLE, done.output


def test_the_schemes_of_the_help_are_those_that_are_written() -> None:
    assert passwords.SCHEMES == schemes.WRITTEN
