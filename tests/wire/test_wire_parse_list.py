"""LIST, LSUB, XLIST and STATUS."""

from __future__ import annotations

from typing import Any

import pytest
from blanks import spread

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire import parse_list
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.commands import Command, List, Lsub, Status, Xlist
from maildir_imapd.wire.parse import parse


def plain(reference: bytes, *patterns: bytes, **more: Any) -> List:
    return List(b"a", reference, patterns, **more)


def extended(*patterns: bytes, select: bytes = b"", returning: bytes = b"", status: bytes = b"") -> List:
    return plain(
        b"",
        *patterns,
        select_options=frozenset(select.split()),
        return_options=frozenset(returning.split()),
        status_items=tuple(status.split()),
        extended=True,
    )


GOOD: list[tuple[bytes, Command]] = [
    (b'LIST "" ""', plain(b"", b"")),
    (b'list "" "*"', plain(b"", b"*")),
    (b'LIST "" %', plain(b"", b"%")),
    (b'LIST "" .', plain(b"", b".")),
    (b'LIST "" INBOX', plain(b"", b"INBOX")),
    (
        b'LIST "" * RETURN (METADATA ("/shared/x" /private/y) CHILDREN)',
        plain(
            b"",
            b"*",
            return_options=frozenset([b"METADATA", b"CHILDREN"]),
            extended=True,
            entries=(b"/shared/x", b"/private/y"),
        ),
    ),
    (b"LIST inbox inbox", plain(b"INBOX", b"inbox")),
    (b'LIST "a/b/" %/x]*', plain(b"a/b/", b"%/x]*")),
    (b"LIST {2}\r\na/ {1+}\r\n%", plain(b"a/", b"%")),
    # RFC 5258
    (b'LIST () "" *', extended(b"*")),
    (b'list (subscribed) "" "*" return (special-use)', extended(b"*", select=b"SUBSCRIBED", returning=b"SPECIAL-USE")),
    (b'LIST (SUBSCRIBED RECURSIVEMATCH) "" %', extended(b"%", select=b"SUBSCRIBED RECURSIVEMATCH")),
    (b'LIST (REMOTE) "" ("INBOX" Sent/%)', extended(b"INBOX", b"Sent/%", select=b"REMOTE")),
    (b'LIST "" (x)', extended(b"x")),
    (b'LIST "" * RETURN ()', extended(b"*")),
    (b'LIST "" * RETURN (CHILDREN MYRIGHTS SUBSCRIBED) ', extended(b"*", returning=b"CHILDREN MYRIGHTS SUBSCRIBED")),
    # RFC 6154
    (b'LIST (SPECIAL-USE) "" "*" RETURN (SUBSCRIBED)', extended(b"*", select=b"SPECIAL-USE", returning=b"SUBSCRIBED")),
    # RFC 5819
    (
        b'LIST "" "*" RETURN (SPECIAL-USE STATUS (UNSEEN messages) CHILDREN)',
        extended(b"*", returning=b"SPECIAL-USE STATUS CHILDREN", status=b"UNSEEN MESSAGES"),
    ),
    (b'LSUB "" "*"', Lsub(b"a", b"", b"*")),
    (b'LSUB "#news." "comp.mail.*"', Lsub(b"a", b"#news.", b"comp.mail.*")),
    (b'XLIST "" "*"', Xlist(b"a", b"", b"*")),
    (b"STATUS blurdybloop (UIDNEXT MESSAGES)", Status(b"a", b"blurdybloop", (b"UIDNEXT", b"MESSAGES"))),
    (b"status inbox (messages MESSAGES unseen)", Status(b"a", b"INBOX", (b"MESSAGES", b"UNSEEN"))),
    (
        b'STATUS "x y" (RECENT UIDVALIDITY HIGHESTMODSEQ SIZE DELETED DELETED-STORAGE APPENDLIMIT MAILBOXID)',
        Status(
            b"a",
            b"x y",
            tuple(b"RECENT UIDVALIDITY HIGHESTMODSEQ SIZE DELETED DELETED-STORAGE APPENDLIMIT MAILBOXID".split()),
        ),
    ),
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_good(text: bytes, expected: Command) -> None:
    assert parse(Frame(b"a " + text)) == expected
    assert parse(Frame(b"a " + spread(text))) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b"LIST", 4),
        (b'LIST ""', 7),
        (b'LIST "" ', 8),
        (b'LIST "*', 5),
        (b"LIST * *", 5),
        (b'LIST "" a b', 10),
        (b'LIST "" ()', 9),
        (b'LIST "" (a', 10),
        (b'LIST (FOO) "" *', 6),
        (b'LIST (SUBSCRIBED FOO) "" *', 17),
        (b'LIST (RECURSIVEMATCH) "" *', 5),
        (b'LIST (REMOTE RECURSIVEMATCH) "" *', 5),
        (b'LIST (SUBSCRIBED)"" *', 17),
        (b'LIST "" * RETURN', 16),
        (b'LIST "" * RETURN (FOO)', 18),
        (b'LIST "" * RETURN (STATUS)', 24),
        (b'LIST "" * RETURN (STATUS ())', 26),
        (b'LIST "" * RETURN (STATUS (FOO))', 26),
        (b'LIST "" * RETURN (CHILDREN', 26),
        (b'LIST "" * RETURN (METADATA)', 26),
        (b'LIST "" * RETURN (METADATA ())', 28),
        (b'LIST "" * RETURN (METADATA /private/x)', 27),
        (b'LIST "" * RETURN (METADATA (private/x))', 28),
        (b'LIST "" * RETURN () x', 19),
        (b'LSUB "" (a b)', 8),
        (b'LSUB "" * RETURN ()', 9),
        (b'LSUB (SUBSCRIBED) "" *', 5),
        (b"STATUS x", 8),
        (b"STATUS x MESSAGES", 9),
        (b"STATUS x ()", 10),
        (b"STATUS x (FOO)", 10),
        (b"STATUS x (MESSAGES", 18),
        (b"STATUS x (MESSAGES)x", 19),
    ],
)
def test_bad(text: bytes, position: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(b"a " + text))
    assert caught.value.position == position + 2


def test_lists_of_items_that_were_read_before_are_read_alike() -> None:
    """Spelled otherwise, cut off, and with what is none in them, too; and however many there are."""
    good = {
        b"(MESSAGES UNSEEN)": (b"MESSAGES", b"UNSEEN"),
        b"(messages  Unseen )": (b"MESSAGES", b"UNSEEN"),
        b"( UNSEEN MESSAGES UNSEEN)": (b"UNSEEN", b"MESSAGES"),
    }
    bad = [b"(MESSAGES UNSEEN", b"(MESSAGES FOO)", b"()", b"(MESSAGES (UNSEEN))", b"(MESSAGES) UNSEEN)"]
    for _ in range(2):
        for text, items in good.items():
            assert parse(Frame(b"a STATUS x " + text)) == Status(b"a", b"x", items)
        for text in bad:
            with pytest.raises(BadSyntax):
                parse(Frame(b"a STATUS x " + text))
    for blanks in range(parse_list.ITEMS_KEPT + 3):
        assert parse(Frame(b"a STATUS x (SIZE%b)" % (b" " * blanks))) == Status(b"a", b"x", (b"SIZE",))
    assert len(parse_list._ITEMS) == parse_list.ITEMS_KEPT
