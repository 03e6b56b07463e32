import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message.lines import to_crlf


@pytest.mark.parametrize(
    ("raw", "crlf"),
    [
        (b"", b""),
        (b"a", b"a"),
        (b"\n", b"\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\r\nb\nc", b"a\r\nb\r\nc"),
        (b"a\rb\n", b"a\rb\r\n"),
        (b"a\r\r\nb\n", b"a\r\r\nb\r\n"),
        (b"a\r", b"a\r"),
        (b"\n\r", b"\r\n\r"),
    ],
)
def test_to_crlf(raw: bytes, crlf: bytes) -> None:
    assert to_crlf(raw) == crlf


def test_crlf_file_is_not_copied() -> None:
    raw = b"a\r\nb\r\n"
    assert to_crlf(raw) is raw


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x"])).map(b"".join))
def test_any_line_ends(raw: bytes) -> None:
    crlf = to_crlf(raw)
    assert crlf.count(b"\n") == crlf.count(b"\r\n") == raw.count(b"\n")
    assert to_crlf(crlf) == crlf
