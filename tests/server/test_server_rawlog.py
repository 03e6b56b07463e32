"""What a raw log may hold: everything but secrets, whatever the pieces are in which the octets come."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.server.rawlog import MASK, Masker, Order, Tap

SECRET = b"hunter2-swordfish"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"a LOGIN ann %b\r\n" % SECRET, b"a LOGIN "),
        (b'a login "ann" "%b"\r\n' % SECRET, b"a login "),
        (b"a LOGIN {3}\r\nann {17}\r\n%b\r\nb NOOP\r\n" % SECRET, b"b NOOP\r\n"),
        (b"a LOGIN {3+}\r\nann {17+}\r\n%b\r\nb NOOP\r\n" % SECRET, b"b NOOP\r\n"),
        (b"a LOGIN ann {17-}\r\n%b\r\nb NOOP\r\n" % SECRET, b"b NOOP\r\n"),
        (b"a LOGIN ann ~{17+}\r\n%b\r\nb NOOP\r\n" % SECRET, b"b NOOP\r\n"),
        (b"a AUTHENTICATE PLAIN %b\r\nb NOOP\r\n" % SECRET, b"a AUTHENTICATE PLAIN "),
        (b"a authenticate plain {17+}\r\n%b\r\nb NOOP\r\n" % SECRET, b"b NOOP\r\n"),
        (b"  a  LOGIN  ann %b\n" % SECRET, b"LOGIN"),
        (b"a LOGN ann x\r\na LOGIM ann %b\r\n" % SECRET, b"LOGIM"),
        (b"a LOGIN\tann %b\r\n" % SECRET, b"LOGIN"),
        # The server has refused the literal, and what comes is a command.
        (b"a APPEND x {100}\r\nb LOGIN ann %b\r\n" % SECRET, b"a APPEND x {100}\r\n"),
        (b"a APPEND x {45}\r\nb LOGIN ann %b\r\nc NOOP\r\n" % SECRET, b"a APPEND x {45}\r\n"),
        (b"a UNAUTHENTICATE\r\nb LOGIN ann %b\r\n" % SECRET, b"a UNAUTHENTICATE\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_no_secret_is_written(said: bytes, kept: bytes, size: int) -> None:
    masker = Masker()
    out = b"".join(masker.take(said[at : at + size]) for at in range(0, len(said), size))
    out += masker.take(b"\r\n" * 60)
    assert SECRET not in out
    assert SECRET[:8] not in out
    assert kept in out


def test_lines_of_a_dialogue_are_masked() -> None:
    masker = Masker()
    assert masker.take(b"a AUTHENTICATE PLAIN\r\n") == b"a AUTHENTICATE PLAIN\n"
    assert masker.take(b"AGFubgBzZWNyZXQ=\r\n", secret=True) == MASK + b"\n"
    assert masker.take(b"b NOOP\r\n") == b"b NOOP\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"a LOGOUT\r\n",
        b"a NOOP\r\n",
        b"a APPEND x {11+}\r\nhello\r\nxyzz\r\nb NOOP\r\n",
        b"a SEARCH SUBJECT LOGIN\r\n",
        b"a IDLE\r\nDONE\r\n",
    ],
)
def test_all_else_is_written_as_it_is(said: bytes) -> None:
    assert Masker().take(said) == said


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 30))
def test_nothing_that_a_client_sends_breaks_it(pieces: list[bytes], size: int) -> None:
    """However it is cut, the secret of a whole LOGIN that follows on a line of its own is not there."""
    masker = Masker()
    for piece in pieces:
        masker.take(piece)
    out = masker.take(b"\n" * size)
    out += masker.take(b"\r\nzz LOGIN ann %b\r\n" % SECRET)
    out += masker.take(b"\r\n" * 200)
    assert SECRET not in out


def test_a_tap_is_bounded_in_octets_and_time(tmp_path: Path) -> None:
    def tap(name: str, octets: int, until: float) -> tuple[Tap, Path]:
        path = tmp_path / name
        return Tap(Order("ann", until, octets, str(tmp_path)), os.open(path, os.O_WRONLY | os.O_CREAT)), path

    small, path = tap("small", 100, time.time() + 1000)
    for _ in range(50):
        small.said(b"x" * 60)
    assert small.over
    assert path.stat().st_size < 300
    late, path = tap("late", 10_000, time.time() - 1)
    late.said(b"x")
    assert late.over
    assert b"x\n" not in path.read_bytes()
