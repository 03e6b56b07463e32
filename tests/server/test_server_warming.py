"""The session that a worker plays before it takes clients: nobody's mail, and nothing is left of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from open_files import descriptor_count, descriptors_to_begin_with

from maildir_imapd.imap.reply import Reply
from maildir_imapd.server import imap_service, warming
from maildir_imapd.store.account import Account


def test_all_that_is_rehearsed_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it warms the ways of errors."""
    said: list[bytes] = []

    def listening(_: object) -> Reply:
        return Reply(said.append)

    monkeypatch.setattr(imap_service, "Reply", listening)
    monkeypatch.setattr(warming, "PLACES", (str(tmp_path),))
    warming.warm_up()
    lines = b"".join(said).split(b"\r\n")
    tagged = [line for line in lines if line.startswith(b"a ")]
    assert len(tagged) == 3 * len(imap_service._REHEARSED)
    assert all(line.startswith(b"a OK ") for line in tagged), tagged
    assert b"* 2 EXISTS" in lines
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warming, "PLACES", (str(tmp_path / "not there"), str(tmp_path)))
    warming.warm_up()
    before = descriptors_to_begin_with()
    with caplog.at_level(logging.INFO):
        warming.warm_up()
    assert caplog.records == []
    assert descriptor_count() == before
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_place_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def play(root: bytes) -> None:
        raise AssertionError(root)

    monkeypatch.setattr(warming, "_play", play)
    monkeypatch.setattr(warming, "PLACES", ("/not there", "/proc"))
    warming.warm_up()


def test_what_goes_wrong_keeps_no_worker_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(account: Account) -> None:
        raise ValueError("it does not work")

    monkeypatch.setattr(warming, "rehearse", fails)
    monkeypatch.setattr(warming, "PLACES", (str(tmp_path),))
    warming.warm_up()
    assert list(tmp_path.iterdir()) == []
