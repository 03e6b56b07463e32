"""Where commands and messages end, however the octets come; and what merely looks like an end."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.lmtp.answers import BadCommand
from maildir_imapd.lmtp.cutting import BARE, LINE_OCTETS, TOO_LONG, DotText, cut_command

LOOKS = ["\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n\x00.\r\n"]


def taken(*pieces: bytes) -> tuple[bytes, bytes | None]:
    """What is text of these pieces, and what follows its end; None: it has none."""
    text, rest, reader = b"", None, DotText()
    for piece in pieces:
        if reader.ended:
            assert rest is not None
            rest += piece
            continue
        found, behind = reader.take(piece)
        text += found
        if reader.ended:
            rest = behind
    return text, rest


def reference(data: bytes) -> tuple[bytes, bytes | None]:
    """RFC 5321 4.5.2 in words: lines end with CRLF alone; one of a dot alone is the end, another loses its dot."""
    lines = data.split(b"\r\n")
    text = []
    for n, line in enumerate(lines[:-1]):
        if line == b".":
            return b"".join(each + b"\r\n" for each in text), b"\r\n".join(lines[n + 1 :])
        text.append(line.removeprefix(b"."))
    return b"".join(each + b"\r\n" for each in text) + lines[-1].removeprefix(b"."), None


@pytest.mark.parametrize("look", LOOKS)
def test_only_one_thing_is_an_end(look: str) -> None:
    middle = f"a{look}MAIL FROM:<x>\r\n".encode()
    text, rest = taken(middle + b".\r\nQUIT\r\n")
    assert rest == b"QUIT\r\n"
    assert b"MAIL FROM:<x>\r\n" in text
    # A dot is taken away behind CRLF and nowhere else.
    assert text == re.sub(rb"\r\n\.", b"\r\n", middle)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\r\n.\r\n", b"a\r\r\n"),
        (b"\r\n..\r\n...\r\n.\r\n", b"\r\n.\r\n..\r\n"),
    ],
)
def test_dots(sent: bytes, text: bytes) -> None:
    for cut in range(len(sent) + 1):
        assert taken(sent[:cut], sent[cut:] + b"x") == (text, b"x")
    assert taken(*(sent[n : n + 1] for n in range(len(sent)))) == (text, b"")


@given(
    st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"a", b"\r\n.\r\n", b"\0"]), max_size=20),
    st.lists(st.integers(0, 40), max_size=8),
)
def test_as_the_words_have_it_however_it_comes(words: list[bytes], cuts: list[int]) -> None:
    data = b"".join(words)
    text, rest = reference(data)
    pieces = [data[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(data) + 40], strict=True)]
    found, behind = taken(*pieces)
    assert behind == rest
    if rest is None:
        # What may still become an end is not told yet.
        assert text.startswith(found)
        assert len(text) - len(found) <= 3
    else:
        assert found == text


def test_command_lines() -> None:
    received = bytearray(b"NOOP\r\nRS")
    assert cut_command(received) == b"NOOP"
    assert cut_command(received) is None
    received += b"ET\r"
    assert cut_command(received) is None
    received += b"\n"
    assert cut_command(received) == b"RSET"
    assert not received
    received += b"x" * LINE_OCTETS + b"\r\n"
    assert cut_command(received) == b"x" * LINE_OCTETS


@pytest.mark.parametrize(
    "sent", [b"NOOP\n", b"NO\nOP", b"NO\rOP\r\n", b"NOOP\n\r\n", b"NOOP\0\r\n", b"\nNOOP\r\n", b"NOOP\r\r\n", b"a\0"]
)
def test_lines_that_end_otherwise_end_all(sent: bytes) -> None:
    with pytest.raises(BadCommand) as caught:
        cut_command(bytearray(sent))
    assert caught.value.answer is BARE
    assert caught.value.ends


@pytest.mark.parametrize("sent", [b"x" * (LINE_OCTETS + 2), b"x" * (LINE_OCTETS + 1) + b"\r\n"])
def test_an_endless_line_ends_all(sent: bytes) -> None:
    with pytest.raises(BadCommand) as caught:
        cut_command(bytearray(sent))
    assert caught.value.answer is TOO_LONG
    assert caught.value.ends
