"""What ``top`` makes of two looks; the command itself is tried in test_server_control."""

from __future__ import annotations

from typing import Any

from maildir_imapd.cli.top import Looks


def status(commands: int, kinds: dict[str, list[int]]) -> dict[str, Any]:
    return {
        "uptime_seconds": 100.0,
        "rates": {"commands": 1.5, "octets_in": 1.0, "octets_out": 2.0},
        "figures": {"commands": commands, "octets_in": commands * 10, "octets_out": commands * 100, "kinds": kinds},
    }


def session(name: str, user: str, mailbox: str | None, commands: int) -> dict[str, Any]:
    return {"session": name, "user": user, "mailbox": mailbox, "commands": commands, "idle_seconds": 1.0}


def test_rates_are_those_between_two_looks() -> None:
    looks = Looks()
    first = looks.look(status(100, {"NOOP": [100, 5000]}), [session("a", "ann", "INBOX", 50)], 10.0)
    assert first.commands_a_second == 1.5
    second = looks.look(
        status(140, {"NOOP": [120, 7000], "FETCH": [20, 40_000]}),
        [session("a", "ann", "INBOX", 70), session("b", "bob", "Work", 20), session("c", "cat", None, 9)],
        12.0,
    )
    assert second.commands_a_second == 20.0
    assert second.octets_out_a_second == 2000.0
    assert second.kinds == [
        {"command": "NOOP", "a_second": 10.0, "milliseconds": 0.1},
        {"command": "FETCH", "a_second": 10.0, "milliseconds": 2.0},
    ]
    assert [(each["user"], each["mailbox"], each["commands_a_second"]) for each in second.folders] == [
        ("ann", "INBOX", 10.0),
        ("bob", "Work", 10.0),
    ]
    assert [each["session"] for each in second.sessions] == ["a", "b", "c"]


def test_a_worker_that_has_died_takes_its_figures_along() -> None:
    """Then they fall, and no rate is below nothing."""
    looks = Looks()
    looks.look(status(100, {"NOOP": [100, 5000]}), [], 10.0)
    found = looks.look(status(10, {"NOOP": [10, 500]}), [], 12.0)
    assert found.commands_a_second == 0.0
    assert found.kinds == []
