"""Two who change one passwd-file at once."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from maildir_imapd.cli import users
from maildir_imapd.errors import ConfigError


def test_a_lock_that_somebody_keeps_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "LOCK_SECONDS", 0.0)
    path = tmp_path / "passwd"
    path.write_text("ann:x::::::\n")

    def change(lines: list[str]) -> list[str]:
        return [*lines, "ben:x::::::\n"]

    with open(tmp_path / ".passwd.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="is being changed by somebody else") as refusal:
            users.edit(str(path), change)
        assert str(tmp_path / ".passwd.lock") in refusal.value.text
        assert path.read_text() == "ann:x::::::\n"
    users.edit(str(path), change)
    assert path.read_text() == "ann:x::::::\nben:x::::::\n"
