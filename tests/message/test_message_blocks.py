"""Large messages in blocks: the same octets as of the whole, from every place to every other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message import blocks
from maildir_imapd.message.blocks import Blocks
from maildir_imapd.message.lines import to_crlf


def reader(raw: bytes) -> blocks.Read:
    return lambda offset, count: raw[offset : offset + count]


TEXTS = st.text(alphabet="\r\nax\0", max_size=60).map(str.encode)


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    """Blocks of three octets, so that every line end falls between two of them."""
    patch = pytest.MonkeyPatch()
    patch.setattr(blocks, "BLOCK_OCTETS", 3)
    yield
    patch.undo()


@given(TEXTS, st.integers(0, 130), st.integers(0, 130))
def test_any_piece_is_what_the_whole_has_there(raw: bytes, start: int, count: int) -> None:
    whole = to_crlf(raw)
    found = Blocks(reader(raw), len(raw))
    assert found.octets == len(whole)
    start = min(start, len(whole))
    end = min(start + count, len(whole))
    assert b"".join(found.pieces(reader(raw), start, end)) == whole[start:end]


@given(TEXTS, TEXTS)
def test_a_file_that_has_changed_gives_as_many_octets(raw: bytes, now: bytes) -> None:
    """They have been announced."""
    found = Blocks(reader(raw), len(raw))
    assert sum(map(len, found.pieces(reader(now), 0, found.octets))) == found.octets


def test_what_is_lacking_is_blanks() -> None:
    found = Blocks(reader(b"a\nbcdefgh\n"), 10)
    assert b"".join(found.pieces(reader(b"a\nb"), 0, found.octets)) == b"a\r\nb        "
