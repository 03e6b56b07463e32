from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd import log
from maildir_imapd.errors import ConfigError

logger = logging.getLogger("maildir_imapd.test")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger("maildir_imapd")
    before = root.handlers[:], root.level, root.propagate
    root.handlers = []
    yield
    for handler in root.handlers:
        with contextlib.suppress(OSError):
            handler.close()
    root.handlers, root.propagate = before[0], before[2]
    root.setLevel(before[1])


@given(st.one_of(st.text(), st.binary()))
def test_no_value_breaks_a_line(value: str | bytes) -> None:
    shown = log.render_field(value)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert len(shown) < 4 * log.FIELD_LIMIT + 10


def test_a_line(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    fields = {"user": "ann", "why": 'a "b"\nc', "password": "x", "token": "y", "none": None, "raw": b"\xff"}
    logger.info("login", extra={"fields": fields})
    logger.debug("too much detail")
    logger.info("x" * 10_000)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(
        f'info pid={os.getpid()} login user=ann why="a \\"b\\"\\x0ac" password=*** token=*** raw=\\xff'
    )
    assert len(lines[1]) < log.EVENT_LIMIT + 100


def test_what_no_file_can_take(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    try:
        raise ValueError("\udcff")
    except ValueError:
        logger.exception("failed", extra={"fields": {"user": "\udc80"}})
    assert "ValueError" in (tmp_path / "log").read_text()


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.set_up("info", str(path))
    logger.info("one")
    path.rename(tmp_path / "log.1")
    logger.info("two")
    assert "two" in path.read_text()
    path.unlink()
    log.reopen()
    assert path.read_text() == ""


def test_a_directory_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mail goes on, and the log where it can."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "log"
    log.set_up("info", str(path))
    (tmp_path / "logs").rename(tmp_path / "away")
    logger.info("still")
    assert "still" in (tmp_path / "away" / "log").read_text()
    (tmp_path / "logs").mkdir()
    logger.info("again")
    assert "again" in path.read_text()
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", "/dev/full")
    logger.info("lost")
    assert capsys.readouterr().err == ""


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    with pytest.raises(ConfigError, match=r"log_file .*No such file"):
        log.set_up("info", str(tmp_path / "none" / "log"))
    logger.info("as before")
    assert "as before" in (tmp_path / "log").read_text()
