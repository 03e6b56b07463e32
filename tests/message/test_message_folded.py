"""What an index of texts is made of: all that SEARCH finds in a message stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildir_imapd.message import mime, text

OVERLAP = 2
# What folds to something else, longer, shorter or decomposed; NUL; lone marks; entities and what they stand for.
SPECIAL = [
    *"aBcß\u0149ǆﬁıİσς\u212b\ufdfa\0\t\u0301\u0345\u1fb7é&;#<>\r\n \U0001d11e",
    "&uuml;",
    "&#223;",
    "&#0;",
    "&amp;",
]
WORDS = st.lists(st.sampled_from(SPECIAL), max_size=30).map("".join)
CHARSETS = ["us-ascii", "utf-8", "iso-8859-1", "utf-7", "utf-16", "iso-2022-jp", "koi8-r", "none-such"]


def rendered(subject: str, body: str, charset: str, subtype: str) -> bytes:
    """A multipart message with one text in it."""
    codec = charset if charset != "none-such" else "utf-8"
    octets = body.encode(codec, "replace").replace(b"\n", b"\r\n")
    header = subject.replace("\n", "\r\n ").encode()
    return (
        b"Subject: %b\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n--xx\r\n"
        b"Content-Type: text/%b; charset=%b; name=part\r\n\r\n%b\r\n--xx\r\n"
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nwithin\r\n--xx--\r\n"
    ) % (header, subtype.encode(), charset.encode(), octets)


def trigrams(some: str) -> set[str]:
    return {some[at : at + 3] for at in range(len(some) - 2)}


def found_in(message: bytes, needle: str, *, body_only: bool) -> bool:
    return text.contains(message, lambda: text.pieces(mime.parse(message), message), needle, body_only=body_only)


def indexed(message: bytes, *, body_only: bool) -> set[str]:
    """The trigrams of all that is folded for an index."""
    found: set[str] = set()
    for of_body, some in text.folded_texts(message, text.pieces(mime.parse(message), message), OVERLAP):
        if of_body or not body_only:
            found |= trigrams(some)
    return found


@pytest.mark.long
@settings(max_examples=300)
@given(WORDS, WORDS, st.sampled_from(CHARSETS), st.sampled_from(["plain", "html"]), st.data())
def test_whatever_is_found_stands_in_the_folded_texts(
    subject: str, body: str, charset: str, subtype: str, data: st.DataObject
) -> None:
    message = rendered(subject, body, charset, subtype)
    whole = data.draw(st.sampled_from([subject, body, "within", "inner", body.replace("&uuml;", "ü")]))
    start = data.draw(st.integers(0, max(0, len(whole) - 1)))
    needle = text.fold(whole[start : start + data.draw(st.integers(1, 8))])
    for body_only in (False, True):
        if found_in(message, needle, body_only=body_only):
            assert trigrams(needle) <= indexed(message, body_only=body_only)


def test_a_needle_over_the_end_of_a_window() -> None:
    """A long text is folded in windows; each begins with the end of the one before."""
    for charset in ("utf-8", "utf-16"):
        body = "é" * (text._WINDOW_OCTETS * 3 - 2) + "needle" + "é" * text._WINDOW_OCTETS
        message = rendered("s", body, charset, "plain")
        assert found_in(message, "NEEDLE", body_only=True)
        assert trigrams("NEEDLE") <= indexed(message, body_only=True)


def test_headers_are_not_of_the_body() -> None:
    message = rendered("outermost", "text", "utf-8", "plain")
    said = list(text.folded_texts(message, text.pieces(mime.parse(message), message), OVERLAP))
    assert any("OUTERMOST" in some for of_body, some in said if not of_body)
    assert not any("OUTERMOST" in some for of_body, some in said if of_body)
    assert any("WITHIN" in some for of_body, some in said if of_body)
    assert any("NAME=PART" in some for of_body, some in said if not of_body)
