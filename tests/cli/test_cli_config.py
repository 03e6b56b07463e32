"""maildir-imapd config: check, show and default."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from maildir_imapd.cli import main
from maildir_imapd.config import BY_NAME, SETTINGS, load
from maildir_imapd.setting.shown import MASK, shown


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["config", *words])


def test_what_is_wrong_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text('imap = "127.0.0.1:1143"\nworkers = "many"\nimapz = 1\n')
    found = run("check", "-c", str(file))
    assert found.exit_code == 78
    assert found.output.splitlines() == [
        f"{file}:2: workers must be a whole number",
        f"{file}:3: unknown setting 'imapz' (did you mean imap?)",
    ]
    said = run("check", "-c", str(file), "--json")
    assert said.exit_code == 78
    assert json.loads(said.output)["ok"] is False
    assert len(json.loads(said.output)["wrong"]) == 2


def test_files_that_are_named_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text(f'imap = "127.0.0.1:1143"\ntls_cert = "{tmp_path}/none"\ncontrol_admins = "nobody-here"\n')
    found = run("check", "-c", str(file))
    assert found.exit_code == 78
    assert f"tls_cert {tmp_path}/none: No such file or directory" in found.output
    assert "control_admins: there is no user 'nobody-here'" in found.output


def test_a_right_one(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("")
    file = tmp_path / "c"
    file.write_text(f'imap = "127.0.0.1:1143"\npasswd_file = "{tmp_path}/passwd"\n')
    found = run("check", "-c", str(file))
    assert (found.exit_code, found.output) == (0, f"{file}: ok\n")
    assert json.loads(run("check", "-c", str(file), "--json").output) == {"ok": True, "file": str(file), "wrong": []}


def test_show_says_where_each_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text("# a comment\nworkers = 3\ngreeting = 'hello'\nlog_level = 'info'\n")
    rows = json.loads(run("show", "-c", str(file), "--greeting", "hey", "--json").output)
    assert len(rows) == len(SETTINGS)
    found = {row["setting"]: (row["value"], row["from"]) for row in rows}
    assert found["workers"] == ("3", f"{file}:2")
    assert found["greeting"] == ('"hey"', "command line")
    assert found["log_format"] == ('"text"', "default")
    lines = run("show", "-c", str(file), "--greeting", "hey", "--changed").output.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["workers", "greeting"] or {
        line.split("\t")[0] for line in lines
    } == {"workers", "greeting"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("postgresql://ann:hunter2@db/mail", "postgresql://ann:"),
        ("host=db user=ann password=hunter2", "host=db user=ann"),
        ("host=db password='hunter2 and more' user=ann", "user=ann"),
        ("/bin/check --secret=hunter2", "/bin/check"),
    ],
)
def test_secrets_are_masked(value: str, kept: str) -> None:
    assert "hunter2" not in shown(value)
    assert MASK in shown(value)
    assert kept in shown(value)
    assert "hunter2" not in shown((value, value))
    assert "hunter2" not in shown([("pass", "x"), ("password", "hunter2")])


def test_the_default_is_a_configuration(tmp_path: Path) -> None:
    text = run("default").output
    file = tmp_path / "c"
    file.write_text(text)
    assert load(file, {}).values == load(None, {}).values
    for setting in SETTINGS:
        assert re.search(f"^#{setting.name} = ", text, re.MULTILINE), setting.name
    # Each line is one that TOML reads once it counts, and those with a value have the default's.
    for line in text.splitlines():
        if (found := re.match("#([a-z_]+) = ", line)) and found[1] in BY_NAME:
            ((name, value),) = tomllib.loads(line[1:]).items()
            setting = BY_NAME[name]
            if isinstance(setting.default, str | bool | int | float) and setting.name != "workers":
                assert load_one(name, value) == setting.default, line


def load_one(name: str, value: object) -> object:
    return load(None, {name: value}).values[name]
