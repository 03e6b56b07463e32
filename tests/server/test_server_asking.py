"""Lines of programs that ask."""

from __future__ import annotations

import pytest

from maildir_imapd.server.asking import BadRequest, cut_line


def test_lines_are_cut() -> None:
    received = bytearray(b"one\r\ntwo\nthr")
    assert cut_line(received, 10) == b"one"
    assert cut_line(received, 10) == b"two"
    assert cut_line(received, 10) is None
    received += b"ee\n"
    assert cut_line(received, 10) == b"three"
    assert not received


@pytest.mark.parametrize("data", [b"x" * 11, b"x" * 11 + b"\n", b"x\0", b"x\0\n"])
def test_lines_that_are_none(data: bytes) -> None:
    with pytest.raises(BadRequest):
        cut_line(bytearray(data), 10)
