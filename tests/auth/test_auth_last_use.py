"""When a device was used last, as several workers write it down."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_back_end import Clock

from maildir_imapd.auth import last_use
from maildir_imapd.auth.last_use import LastUse, Use, read


class Time(Clock):
    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr("maildir_imapd.auth.last_use.time", clock)
    return clock


def test_what_is_noted(tmp_path: Path, clock: Time) -> None:
    path = tmp_path / "used"
    one, other = LastUse(str(path)), LastUse(str(path))
    one.note("ann", "phone", "192.0.2.1")
    other.note("ben", "phone", "2001:db8::1", "Mail\t1\n2\0")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(path.read_bytes()) == {
        ("ann", "phone"): Use(1000, "192.0.2.1", ""),
        ("ben", "phone"): Use(1000, "2001:db8::1", "Mail 1 2 "),
    }
    clock.now += 59
    one.note("ann", "phone", "192.0.2.2")
    assert read(path.read_bytes())["ann", "phone"].address == "192.0.2.1"
    one.note("ann", "phone", "192.0.2.2", "Mail 1")
    clock.now += 1
    one.note("ann", "phone", "192.0.2.3", "Mail 1")
    assert read(path.read_bytes())["ann", "phone"] == Use(1059, "192.0.2.2", "Mail 1")
    one.close()
    one.note("cyd", "phone", "192.0.2.2")
    one.close()
    other.close()
    assert len(read(path.read_bytes())) == 2


def test_a_file_that_has_grown(tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_use, "_GROWN_OCTETS", 4000)
    monkeypatch.setattr(last_use, "_KEPT", 10)
    path = tmp_path / "used"
    uses = LastUse(str(path))
    inode = path.stat().st_ino
    for n in range(1000):
        clock.now += 60
        uses.note(f"u{n % 20}", "phone", "192.0.2.1", "x" * 200)
        assert path.stat().st_size < 5000
    found = read(path.read_bytes())
    assert found["u19", "phone"].seconds == int(clock.now)
    assert found["u15", "phone"]
    assert len(next(iter(found.values())).program) == 100
    assert path.stat().st_ino == inode
    uses.close()


def test_what_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Time) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "none" / "used", tmp_path, tmp_path / "link"):
        uses = LastUse(str(path))
        uses.note("ann", "phone", "192.0.2.1")
        uses.close()
    assert caplog.text.count("last use is not kept") == 3
    assert not (tmp_path / "elsewhere").exists()


def test_lines_that_are_none() -> None:
    whole = b"5\tann\tphone\t192.0.2.1\t\n"
    assert read(whole + b"x\tann\tphone\ta\tb\n\n\xff\t\n7\tann\tphone\tcut") == {
        ("ann", "phone"): Use(5, "192.0.2.1", "")
    }
