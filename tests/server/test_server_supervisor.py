"""What the supervisor decides, without a fork."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from maildir_imapd.config import load
from maildir_imapd.server import identity, settings, supervisor


def test_the_pause_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that die young are replaced ever more slowly; those that die together count once."""
    parent = supervisor.Supervisor(load(None, {"workers": 3}), lambda: load(None, {}))
    dead: list[tuple[int, int]] = []
    monkeypatch.setattr("os.waitpid", lambda *_: dead.pop() if dead else (0, 0))
    pauses = []
    for age in (1.0, 1.0, 1.0, 100.0):
        for pid in (10, 11, 12):
            parent.children[pid] = supervisor.Child(pid, 0, time.monotonic() - age)
            dead.append((pid, 0))
        parent.children[13] = supervisor.Child(13, 0, 0)
        parent._reap()
        pauses.append(parent._pause)
    assert pauses == [0.5, 1.0, 2.0, 0.0]


def test_root_names_at_its_start_who_cannot_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}x::::::\nben:{PLAIN}x:1000:1000::::\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config = load(None, {"passwd_file": str(tmp_path / "passwd")})
    identity.mail_user(config, settings.chain(config))
    fields = [getattr(record, "fields", None) for record in caplog.records]
    assert {"without_uid": 1, "refused": "ann"} in fields
