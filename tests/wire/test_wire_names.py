"""Mailbox names in modified UTF-7 and UTF-8; LIST patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import BadArgument, BadMailboxName
from maildir_imapd.wire.names import Pattern, decode_mailbox, encode_mailbox, in_subtree

PAIRS = [
    (b"", ""),
    (b"Sent", "Sent"),
    (b"a/b c", "a/b c"),
    (b"Tom &- Jerry", "Tom & Jerry"),
    (b"&-", "&"),
    (b"&-&-", "&&"),
    (b"Entw&APw-rfe", "Entwürfe"),
    (b"&AOQ-&-", "ä&"),
    # RFC 3501 section 5.1.3
    (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
    (b"&2D3eAA-", "\U0001f600"),
    (b'a"b\\c', 'a"b\\c'),
]


@pytest.mark.parametrize(("raw", "name"), PAIRS)
def test_modified_utf7(raw: bytes, name: str) -> None:
    assert decode_mailbox(raw) == name
    assert encode_mailbox(name) == raw


@pytest.mark.parametrize("raw", [b"inbox", b"INBOX", b"InBoX"])
@pytest.mark.parametrize("utf8", [False, True])
def test_inbox(raw: bytes, utf8: bool) -> None:
    assert decode_mailbox(raw, utf8=utf8) == "INBOX"


@pytest.mark.parametrize(
    "raw",
    [
        b"&",
        b"a&b",
        b"&AOQ",
        b"&AOQ=-",
        b"&AOR-",  # stray bits
        b"&AO-",  # half a character
        b"&A-",
        b"&AGE-",  # "a" has no business there (RFC 3501 5.1.3)
        b"&AGEA5A-",
        b"&ACY-",  # neither has "&"
        b"&AC8-",
        b"&AC4ALg-",
        b"&U,BTFw-&ZeVnLIqe-",  # superfluous shift
        b"&U/BTFw-",
        b"&2D0-",  # half a surrogate pair
        b"&3gA-",
        b"&AAA-",
        b"&AAo-",
        b"&AH8-",
        b"&AIU-",
        b"&ICg-",
        b"a\0b",
        b"a\r\nb",
        b"a\x7f",
        b"\xc3\xa4",
        b"\xe4",
        b"&A*-",
        b"&" + b"A" * 100_000,
    ],
)
def test_other_spellings_are_refused(raw: bytes) -> None:
    with pytest.raises(BadMailboxName):
        decode_mailbox(raw)


def test_utf8() -> None:
    assert decode_mailbox("Entwürfe & mehr".encode(), utf8=True) == "Entwürfe & mehr"
    assert encode_mailbox("Entwürfe & mehr", utf8=True) == "Entwürfe & mehr".encode()


@pytest.mark.parametrize("raw", [b"\xe4", b"\xc0\x80", b"\xed\xa0\x80"])
def test_bad_utf8(raw: bytes) -> None:
    with pytest.raises(BadArgument):
        decode_mailbox(raw, utf8=True)


@pytest.mark.parametrize("raw", [b"\xc2\x85", b"\xe2\x80\xa8", b"\n"])
def test_utf8_that_no_name_may_have(raw: bytes) -> None:
    with pytest.raises(BadMailboxName):
        decode_mailbox(raw, utf8=True)


def test_encode_never_fails() -> None:
    assert encode_mailbox("a\udc80\n") == b"a&3IAACg-"
    assert encode_mailbox("a\udc80", utf8=True) == b"a?"


visible = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)


@given(visible)
def test_names_round_trip(name: str) -> None:
    expected = "INBOX" if name.upper() == "INBOX" else name
    for utf8 in (False, True):
        assert decode_mailbox(encode_mailbox(name, utf8=utf8), utf8=utf8) == expected


@given(st.binary(max_size=30) | st.text("&-,/AOQ+=x", max_size=12).map(str.encode))
def test_a_name_has_one_spelling(raw: bytes) -> None:
    try:
        name = decode_mailbox(raw)
    except BadMailboxName:
        return
    assert encode_mailbox(name).upper() == raw.upper()


# --- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["", "a", "a/b", "INBOX"], []),
        ("%", ["", "a", "INBOX"], ["a/b", "/"]),
        ("a/%", ["a/", "a/b"], ["a", "a/b/c", "b/c"]),
        ("a/*", ["a/b", "a/b/c"], ["a"]),
        ("%/b", ["a/b"], ["a/c/b", "b"]),
        ("*b", ["b", "a/b", "abb"], ["ba"]),
        ("%*%", ["", "a/b/c"], []),
        ("%%", ["abc"], ["a/b"]),
        ("a%c*e", ["ace", "abcd/e", "acce"], ["a/ce", "ace/"]),
        ("", [""], ["a"]),
        ("Foo", ["Foo"], ["foo"]),
        ("inbox", ["INBOX"], ["inbox2"]),
        ("inb%", ["INBOX"], ["INBOXES", "INBOX/a"]),
        ("Inbox/*", ["INBOX/a"], ["INBOX", "INBOXES"]),
        ("INBOX", ["INBOX"], []),
        ("i%s", [], ["INBOXES"]),
        (".", ["."], ["a", "/"]),
        ("(.*)+", [], ["a"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    matcher = Pattern(pattern, "/")
    assert [name for name in yes if not matcher.matches(name)] == []
    assert [name for name in no if matcher.matches(name)] == []


@given(st.text("ab/*%", max_size=12), st.text("ab/", max_size=12))
def test_patterns_agree_with_a_regex(pattern: str, name: str) -> None:
    regex = "".join({"*": ".*", "%": "[^/]*"}.get(char, re.escape(char)) for char in pattern)
    assert Pattern(pattern, "/").matches(name) == bool(re.fullmatch(regex, name, re.DOTALL))


def test_hostile_patterns_are_quick() -> None:
    assert not Pattern("*a" * 2000 + "b", "/").matches("a" * 4000)
    assert not Pattern("*%a" * 300_000, "/").matches("a" * 4000)


@pytest.mark.parametrize(
    ("name", "root", "one", "below"),
    [
        ("A", "A", True, True),
        ("A.B", "A", True, True),
        ("A.B.C", "A", False, True),
        ("A.B.C", "A", True, False),
        ("AB", "A", False, False),
        ("A", "A.B", False, False),
        ("A", "", True, True),
        ("A.B", "", True, False),
        ("A.B", "", False, True),
    ],
)
def test_in_subtree(name: str, root: str, one: bool, below: bool) -> None:
    assert in_subtree(name, root, ".", one=one) is below
