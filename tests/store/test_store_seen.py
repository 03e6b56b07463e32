"""Devices that a user has come from: noted once, bounded, by several at once."""

from __future__ import annotations

import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store.account import Account
from maildir_imapd.store.records.seen import FILE, KEPT, Newness, Seen, SeenDevices, field, parse, render

NOW = 1_800_000_000


def devices(tmp_path: Path) -> SeenDevices:
    return Account(bytes(tmp_path / "Maildir"), fsync="never").seen


def note(seen: SeenDevices, network: str, program: str = "Mail", seconds: int = NOW, most: int = 10) -> Newness:
    return seen.note(Seen(seconds, network, program), most=most, within_seconds=1000)


def test_first_known_new(tmp_path: Path) -> None:
    seen = devices(tmp_path)
    assert note(seen, "192.0.0.0/16") is Newness.FIRST
    assert note(seen, "192.0.0.0/16") is Newness.KNOWN
    assert note(seen, "192.0.0.0/16", "Other") is Newness.NEW
    assert note(devices(tmp_path), "198.51.0.0/16") is Newness.NEW
    data = (tmp_path / "Maildir" / FILE.decode()).read_bytes()
    assert data.splitlines()[0] == b"%d\t192.0.0.0/16\tMail" % NOW
    assert len(data.splitlines()) == 3


def test_too_many_in_a_while_are_noted_and_not_told(tmp_path: Path) -> None:
    seen = devices(tmp_path)
    found = [note(seen, f"net {n}", most=3) for n in range(6)]
    assert found == [Newness.FIRST, Newness.NEW, Newness.NEW, Newness.TOO_MANY, Newness.TOO_MANY, Newness.TOO_MANY]
    assert note(seen, "net 5") is Newness.KNOWN
    assert note(seen, "later", seconds=NOW + 1000, most=3) is Newness.NEW


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    seen = devices(tmp_path)
    for n in range(KEPT + 20):
        note(seen, f"net {n}")
    lines = (tmp_path / "Maildir" / FILE.decode()).read_bytes().splitlines()
    assert len(lines) == KEPT
    assert lines[-1].split(b"\t")[1] == b"net %d" % (KEPT + 19)


def test_one_of_several_at_once_has_noted_it(tmp_path: Path) -> None:
    seen = devices(tmp_path)
    note(seen, "first")
    found: list[Newness] = []
    threads = [threading.Thread(target=lambda: found.append(note(seen, "second"))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each.value for each in found) == ["known"] * 7 + ["new"]


@given(st.text(), st.text())
def test_a_field_is_one_whatever_a_client_says(network: str, program: str) -> None:
    device = Seen(NOW, field(network), field(program))
    assert parse(render([device])) == [device]


@given(st.binary())
def test_any_file_can_be_read(data: bytes) -> None:
    for each in parse(data):
        assert each.seconds >= 0
