"""Lists of commands: a table, lines in a pipe, JSON."""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from maildir_imapd.cli.output import plain_text, print_rows, print_values

WHEN = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
ROWS = [
    {"user": "ann", "messages": 12, "since": WHEN, "tls": True, "more": ["a", "b"]},
    {"user": "b\tob\n\x1b[31m", "messages": 7, "since": None, "tls": False, "more": []},
]
COLUMNS = ("user", "messages", "since", "tls")


def on_a_terminal(say: Callable[[], None]) -> str:
    """What a terminal is sent while *say* runs."""
    parent, number = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.dup2(number, 1)
        os.environ.update(COLUMNS="80", TERM="dumb")
        os.close(parent)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        try:
            say()
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.close(number)
    found = b""
    while True:
        try:
            data = os.read(parent, 4096)
        except OSError:
            break  # the other side is gone
        if not data:
            break
        found += data
    os.close(parent)
    os.waitpid(pid, 0)
    return found.decode()


def test_lines_in_a_pipe_have_the_columns_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(COLUMNS, ROWS, as_json=False, empty="nobody is here")
    assert capsys.readouterr().out == ("ann\t12\t2026-01-31 12:00:05+00:00\tyes\nb\\x09ob\\x0a\\x1b[31m\t7\t\tno\n")
    print_rows(COLUMNS, [], as_json=False, empty="nobody is here")
    assert capsys.readouterr().out == ""


def test_json_has_all_keys(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(COLUMNS, ROWS, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found[0] == {
        "user": "ann",
        "messages": 12,
        "since": "2026-01-31T12:00:05+00:00",
        "tls": True,
        "more": ["a", "b"],
    }
    assert found[1]["user"] == ROWS[1]["user"]
    print_rows(COLUMNS, [], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_json_of_a_name_that_is_no_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    print_values({"file": b"\xff".decode("utf-8", "surrogateescape")}, as_json=True)
    assert "\\udcff" in capsys.readouterr().out


def test_a_table_on_a_terminal() -> None:
    shown = on_a_terminal(lambda: print_rows(COLUMNS, ROWS, as_json=False)).splitlines()
    assert shown[0].split() == list(COLUMNS)
    assert shown[1].split() == ["ann", "12", "2026-01-31", "12:00:05+00:00", "yes"]
    assert "\x1b[31m" not in "".join(shown)
    assert on_a_terminal(lambda: print_rows(COLUMNS, [], as_json=False, empty="nobody is here")) == "nobody is here\r\n"


def test_values_of_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    print_values({"workers": 2, "up": 1.5, "name": "x"}, as_json=False)
    assert capsys.readouterr().out == "workers:\t2\nup:\t1.5\nname:\tx\n"
    assert (
        on_a_terminal(lambda: print_values({"workers": 2, "up": 1.0}, as_json=False)) == "workers: 2\r\nup:      1\r\n"
    )


def test_what_a_person_reads() -> None:
    assert plain_text("\udcff\u2028") == "\\udcff\\u2028"
    assert plain_text(("a", "b")) == "a b"
    assert plain_text(None) == ""
