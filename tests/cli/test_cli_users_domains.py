"""Commands for users whose files are one a domain."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from maildir_imapd.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "conf").write_text(
        f'passwd_file = ["{tmp_path}/all", "{tmp_path}/domains/%d"]\nauth_default_realm = "example.org"\n'
        f'mail_location = "maildir:{tmp_path}/mail/%d/%n"\n'
    )
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains" / "example.org").write_text("ann:{PLAIN}old\n")
    (tmp_path / "all").write_text("ben@example.org:{PLAIN}b\n")
    return tmp_path / "conf"


def run(config: Path, *words: str, said: str = "") -> Result:
    return CliRunner().invoke(main, ["user", words[0], "-c", str(config), *words[1:]], input=said)


def test_a_user_is_changed_where_he_stands(config: Path) -> None:
    done = run(config, "passwd", "ann@example.org", "--scheme=SSHA", said="new\n")
    assert done.exit_code == 0, done.output
    assert (config.parent / "domains" / "example.org").read_text().startswith("ann:{SSHA}")
    assert run(config, "test", "ann", said="new\n").exit_code == 0
    assert run(config, "test", "Ann@example.org", said="new\n").exit_code == 0
    assert run(config, "test", "ann@example.org", said="old\n").exit_code == 1
    assert run(config, "list").output.split() == ["ben@example.org", "ann@example.org"]
    assert run(config, "remove", "ann@example.org").exit_code == 0
    assert (config.parent / "domains" / "example.org").read_text() == ""
    assert run(config, "remove", "ben@example.org").exit_code == 0
    assert (config.parent / "all").read_text() == ""


def test_a_new_one_comes_into_the_file_that_is_said(config: Path) -> None:
    words = ("add", "eve@example.net", "--scheme=SSHA", "--uid=none", "--no-make-maildir")
    done = run(config, *words, f"--passwd-file={config.parent}/domains/%d", said="secret\n")
    assert done.exit_code == 0, done.output
    assert (config.parent / "domains" / "example.net").read_text().startswith("eve@example.net:{SSHA}")
    done = run(config, *words, f"--passwd-file={config.parent}/domains/%d", said="secret\n")
    assert "exists already" in done.output
    assert run(config, "add", "eve", f"--passwd-file={config.parent}/domains/%d", said="secret\n").exit_code != 0


@pytest.mark.parametrize("name", ["ann@../all", "ann@..", "../x@example.org", "a/b"])
def test_no_name_leads_to_another_file(config: Path, name: str) -> None:
    before = {path: path.read_text() for path in config.parent.rglob("*") if path.is_file()}
    for words in (("remove", name), ("passwd", name), ("add", name)):
        done = run(config, *words, f"--passwd-file={config.parent}/domains/%d", said="secret\n")
        assert done.exit_code != 0, done.output
    assert {path: path.read_text() for path in config.parent.rglob("*") if path.is_file() and path in before} == before
