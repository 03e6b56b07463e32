"""The record of which hosts serve a shared spool: no two have one name or one machine id."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maildir_imapd.store.records import hosts
from maildir_imapd.store.records.hosts import Host


def host(name: str, machine: str, start: str) -> Host:
    return Host(name.encode(), machine.encode(), (start.encode(),))


def note(directory: Path, *of: str) -> str | None:
    return hosts.note(os.fsencode(directory), host(*of))


def record(directory: Path) -> list[str]:
    return (directory / ".maildir-imapd.hosts").read_text().splitlines()


def test_hosts_are_put_on_record_and_may_start_anew(tmp_path: Path) -> None:
    assert note(tmp_path, "mail1", "m1", "b1") is None
    assert note(tmp_path, "mail2", "m2", "b2") is None
    for start in ("b1", "b3", "b3"):
        assert note(tmp_path, "mail1", "m1", start) is None
    assert record(tmp_path) == ["maildir-imapd hosts 1", "mail2 m2 b2", "mail1 m1 b3 b1"]


def test_two_with_one_name_are_told_apart_by_their_machines(tmp_path: Path) -> None:
    note(tmp_path, "mail1", "m1", "b1")
    before = record(tmp_path)
    why = note(tmp_path, "mail1", "m2", "b2")
    assert why is not None
    assert "another machine that is called mail1" in why
    assert record(tmp_path) == before
    assert note(tmp_path, "mail2", "m2", "b2") is None


def test_a_machine_may_get_another_name(tmp_path: Path) -> None:
    note(tmp_path, "mail1", "m1", "b1")
    assert note(tmp_path, "imap1", "m1", "b1") is None
    assert record(tmp_path)[1:] == ["imap1 m1 b1"]


def test_copies_of_one_image_are_told_by_their_starts(tmp_path: Path) -> None:
    note(tmp_path, "mail1", "m1", "b1")
    why = note(tmp_path, "mail2", "m1", "b2")
    assert why is not None
    assert "mail1 has the machine id of this one" in why
    # Of one name, too: it looks like a machine that has started anew, until the other one comes again.
    assert note(tmp_path, "mail1", "m1", "b2") is None
    why = note(tmp_path, "mail1", "m1", "b1")
    assert why is not None
    assert "a machine with the machine id of this one" in why


def test_without_a_machine_id_nothing_is_on_record(tmp_path: Path) -> None:
    assert note(tmp_path, "mail1", "", "b1") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\n\n", b"maildir-imapd hosts 1\nhalf a li"])
def test_what_cannot_be_read_is_written_anew(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / ".maildir-imapd.hosts").write_bytes(damage)
    assert note(tmp_path, "mail1", "m1", "b1") is None
    assert note(tmp_path, "mail1", "m2", "b1") is not None


def test_this_host_has_a_name_and_a_start() -> None:
    own = hosts.own()
    assert own.name
    assert own.starts[0]
    assert b"@" not in own.starts[0]
