"""What a client may spell at most: names, and strings to search for (rule H2)."""

from __future__ import annotations

import pytest

from maildir_imapd.errors import BadMailboxName, TooLong
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.cursor import TEXT_LIMIT_OCTETS
from maildir_imapd.wire.names import NAME_LIMIT_OCTETS, decode_mailbox
from maildir_imapd.wire.parse import parse


@pytest.mark.parametrize(
    "command",
    [
        b'SEARCH SUBJECT "%b"',
        b'SEARCH CHARSET UTF-8 NOT (OR SEEN BODY "%b")',
        b'SORT (DATE) UTF-8 TEXT "%b"',
        b'THREAD REFERENCES UTF-8 FROM "%b"',
        b'SEARCH HEADER %b "x"',
        b"SEARCH HEADER x %b",
        b"FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject %b)]",
        b"FETCH 1 BODY.PEEK[1.HEADER.FIELDS.NOT (%b)]",
    ],
)
def test_strings_and_field_names_have_a_limit(command: bytes) -> None:
    assert parse(Frame(b"a " + command % (b"x" * TEXT_LIMIT_OCTETS)))
    with pytest.raises(TooLong):
        parse(Frame(b"a " + command % (b"x" * (TEXT_LIMIT_OCTETS + 1))))


@pytest.mark.parametrize("utf8", [True, False])
def test_mailbox_names_have_a_limit(utf8: bool) -> None:
    assert decode_mailbox(b"x" * NAME_LIMIT_OCTETS, utf8=utf8)
    with pytest.raises(BadMailboxName):
        decode_mailbox(b"x" * (NAME_LIMIT_OCTETS + 1), utf8=utf8)
