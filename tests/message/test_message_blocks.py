"""Large messages in blocks: the same octets as of the whole, from every place to every other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message import blocks, mime
from maildir_imapd.message.blocks import Blocks, Window
from maildir_imapd.message.lines import to_crlf
from maildir_imapd.message.structure import render_bodystructure
from maildir_imapd.message.text import preview


def reader(raw: bytes) -> blocks.Read:
    return lambda offset, count: raw[offset : offset + count]


TEXTS = st.text(alphabet="\r\nax\0", max_size=60).map(str.encode)


@pytest.fixture(autouse=True, scope="module", params=[0, 30])
def _small_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Blocks of three octets, so that every line end falls between two of them; of short messages they are kept."""
    patch = pytest.MonkeyPatch()
    patch.setattr(blocks, "BLOCK_OCTETS", 3)
    patch.setattr(blocks, "KEPT_OCTETS", request.param)
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


def test_a_block_that_was_kept_is_had_once() -> None:
    raw = b"a\nbcdefgh\n"
    found = Blocks(reader(raw), len(raw))
    kept = len(raw) <= blocks.KEPT_OCTETS
    asked: list[int] = []

    def read(offset: int, count: int) -> bytes:
        asked.append(offset)
        return raw[offset : offset + count]

    assert b"".join(found.pieces(read, 0, found.octets)) == to_crlf(raw)
    assert asked == ([] if kept else [0, 3, 6, 9])
    asked.clear()
    assert b"".join(found.pieces(read, 0, found.octets)) == to_crlf(raw)
    assert asked == [0, 3, 6, 9]
    asked.clear()
    again = Blocks(reader(raw), len(raw))
    again.forget()
    assert b"".join(again.pieces(read, 0, again.octets)) == to_crlf(raw)
    assert asked == [0, 3, 6, 9]


def test_pieces_one_after_the_other_make_each_block_once() -> None:
    raw = b"a\nbcdefgh\nij"
    found = Blocks(reader(raw), len(raw))
    found.forget()
    asked: list[int] = []

    def read(offset: int, count: int) -> bytes:
        asked.append(offset)
        return raw[offset : offset + count]

    whole = to_crlf(raw)
    got = [b"".join(found.pieces(read, at, min(at + 2, len(whole)))) for at in range(0, len(whole), 2)]
    assert b"".join(got) == whole
    assert asked == [0, 3, 6, 9]


def test_what_is_lacking_is_blanks() -> None:
    found = Blocks(reader(b"a\nbcdefgh\n"), 10)
    found.forget()
    assert b"".join(found.pieces(reader(b"a\nb"), 0, found.octets)) == b"a\r\nb        "


@given(
    TEXTS, st.sampled_from([b"\n", b"\r\n\r\n", b"\n--a", b"a", b"ax\n"]), st.integers(-70, 70), st.integers(-70, 130)
)
def test_a_window_is_like_the_octets(raw: bytes, wanted: bytes, start: int, end: int) -> None:
    whole = to_crlf(raw)
    window = Window(Blocks(reader(raw), len(raw)), reader(raw))
    assert len(window) == len(whole)
    assert window[start:end] == whole[start:end]
    assert window[:] == whole
    assert window.find(wanted, start, end) == whole.find(wanted, start, end)
    assert window.find(wanted) == whole.find(wanted)
    assert window.count(b"\n", start, end) == whole.count(b"\n", start, end)
    assert window.rfind(b"\n", start, end) == whole.rfind(b"\n", start, end)
    assert window.startswith(wanted, start) == whole.startswith(wanted, start)
    assert window.startswith((b"x", wanted), start) == whole.startswith((b"x", wanted), start)


def test_a_window_holds_a_few_blocks() -> None:
    asked: list[int] = []
    raw = b"ab\n" * 40

    def read(offset: int, count: int) -> bytes:
        asked.append(offset)
        return raw[offset : offset + count]

    found = Blocks(read, len(raw))
    asked.clear()
    window = Window(found, read)
    assert window.find(b"\n--") == -1
    assert asked == sorted(set(asked)), "from the front to the back, each once"
    assert len(window._held) <= blocks.HELD_BLOCKS


def test_a_file_that_shrinks_has_the_parts_it_had() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n"
    found = Blocks(reader(raw), len(raw))
    tree = mime.parse(Window(found, reader(raw[:60])))
    assert tree.end == found.octets


CORPUS = Path(__file__).parent.parent / "corpus"


@pytest.mark.parametrize("octets", [3, 64])
def test_the_parts_of_every_message_are_found_through_a_window(octets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_OCTETS", octets)
    messages = [path.read_bytes() for path in CORPUS.rglob("*.eml")]
    assert len(messages) > 50
    for raw in messages:
        whole = to_crlf(raw)
        window = Window(Blocks(reader(raw), len(raw)), reader(raw))
        tree = mime.parse(window)
        assert tree == mime.parse(whole)
        assert render_bodystructure(tree, window) == render_bodystructure(tree, whole)
        find = partial(mime.parse, whole)
        assert preview(window, find) == preview(whole, find)
