"""Messages on their way in: line ends, sizes, litter."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.maildir import delivery, packed, scan
from maildir_imapd.store.maildir.delivery import Delivery


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> int:
    path = tmp_path_factory.mktemp("Box")
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir()
    return os.open(path, os.O_RDONLY)


def on_wire(stored: bytes) -> bytes:
    """What a reader makes of the file: every bare LF becomes CRLF."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", stored)


lines = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"a", b"\0", b"text"]), max_size=30)


@given(lines.map(b"".join), st.lists(st.integers(0, 60), max_size=6))
@example(b"a\r\r\n", [1, 2, 3])
@example(b"\r\r\r\r\n\r\n", [])
def test_what_comes_in_goes_out(folder: int, text: bytes, cuts: list[int]) -> None:
    item = Delivery(Descriptor(os.dup(folder)), b"/box")
    last = 0
    for cut in [*sorted(cuts), len(text)]:
        item.write(memoryview(text)[last:cut])
        last = max(last, cut)
    item.close()
    assert item.trouble is None
    stored = durable.read_file(item.name, folder)
    assert item.size_disk == len(stored)
    assert item.size_crlf == len(on_wire(stored))
    assert on_wire(stored) == re.sub(rb"(?<!\r)\n", b"\r\n", text)
    assert b"\r\n" not in stored or b"\r\r\n" in text
    assert item.has_nul == (b"\0" in text)
    item.abort()


@pytest.mark.parametrize("packing", ["none", "gz"])
def test_a_date_that_is_known_is_given_before_the_file_is_closed(
    folder: int, packing: packed.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MULTIAPPEND opened each file once more for it."""
    item = Delivery(Descriptor(os.dup(folder)), b"/box", packing=packing)
    item.received = 1_700_000_000
    item.write(b"Subject: x\r\n\r\nbody\r\n")
    item.close()
    status = os.stat(item.name, dir_fd=folder)
    assert int(status.st_mtime) == 1_700_000_000
    assert status.st_mtime_ns % 1_000_000_000
    assert item.fingerprint == scan.fingerprint(status)
    item.date(1_700_000_000)
    assert os.stat(item.name, dir_fd=folder).st_mtime_ns == status.st_mtime_ns
    item.date(1_600_000_000)
    assert int(os.stat(item.name, dir_fd=folder).st_mtime) == 1_600_000_000
    assert item.fingerprint == scan.fingerprint(os.stat(item.name, dir_fd=folder))
    item.abort()


def test_a_date_that_cannot_be_given_is_trouble(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    item = Delivery(Descriptor(os.dup(folder)), b"/box")
    item.received = 1_700_000_000

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    item.close()
    assert item.trouble is not None
    assert os.listdir(os.open("tmp", os.O_RDONLY, dir_fd=folder)) == []


def test_trouble_is_remembered_and_the_file_gone(folder: int) -> None:
    item = Delivery(Descriptor(os.dup(folder)), b"/box")
    item.write(b"fine")

    def full(action: str, what: object) -> None:
        if action == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    durable.step = full
    item.write(b"x")
    item.write(b"y")
    durable.step = None
    item.close()
    assert isinstance(item.trouble, errors.DiskFull)
    assert "/box/tmp/" in item.trouble.detail
    assert os.listdir(os.open("tmp", os.O_RDONLY, dir_fd=folder)) == []


def test_a_delivery_that_cannot_begin(tmp_path: Path) -> None:
    item = Delivery(Descriptor(os.open(tmp_path, os.O_RDONLY)), b"/box")
    assert item.trouble is not None
    item.write(b"x")
    item.close()
    item.abort()


def test_copying_bytes_refuses_what_is_no_file(folder: int) -> None:
    os.mkfifo("cur/fifo", dir_fd=folder)
    with pytest.raises(errors.MessageUnreadable):
        delivery.copy_bytes(b"cur/fifo", b"cur/x", folder, folder, 0o600)
    with pytest.raises(FileNotFoundError):
        delivery.copy_bytes(b"cur/none", b"cur/x", folder, folder, 0o600)
    assert os.listdir(os.open("tmp", os.O_RDONLY, dir_fd=folder)) == []


@pytest.mark.parametrize("packing", ["none", "gz"])
def test_what_has_come_in_is_read_by_places(folder: int, packing: packed.Kind) -> None:
    item = Delivery(Descriptor(os.dup(folder)), b"/box", packing=packing)
    item.write(b"Subject: x\r\n\r\ny\r\n")
    for _ in range(2):
        with item.contents() as (read, octets):
            assert octets == 14
            assert read(0, 100) == b"Subject: x\n\ny\n"
            assert read(9, 3) == b"x\n\n"
        item.close()
    item.abort()
