"""Line ends that grow on their way, counted in pieces as in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.line_ends import bare
from maildir_imapd.message.lines import to_crlf


@given(st.lists(st.text(alphabet="\r\nax", max_size=6).map(str.encode), max_size=10))
def test_pieces_add_what_the_whole_adds(pieces: list[bytes]) -> None:
    whole, count, after_cr = b"".join(pieces), 0, False
    for piece in pieces:
        count += bare(piece, after_cr=after_cr)
        after_cr = piece.endswith(b"\r") if piece else after_cr
    assert count == bare(whole) == len(to_crlf(whole)) - len(whole)
