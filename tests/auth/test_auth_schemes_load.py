"""Every scheme is tried before a process gives up its rights."""

from __future__ import annotations

import pytest

from maildir_imapd.auth import schemes


def test_all_of_them_work() -> None:
    assert schemes.load() == []


def test_one_that_fails_and_one_that_is_wrong_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(stored: str, password: bytes) -> bool:
        raise OSError("no such library")

    monkeypatch.setitem(schemes._TEXT, "ARGON2ID", fail)
    monkeypatch.setitem(schemes._TEXT, "DES-CRYPT", lambda stored, password: False)
    assert schemes.load() == [("ARGON2ID", "no such library"), ("DES-CRYPT", "a right password is wrong to it")]
