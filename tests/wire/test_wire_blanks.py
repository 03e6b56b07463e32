"""Superfluous blanks: a command with them is the command without them, and no octet of a string is one of them."""

from __future__ import annotations

import pytest
from blanks import spread

from maildir_imapd.errors import ProtocolError
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.parse import BARE, PARSERS, UID_PARSERS, parse

COMMANDS = [
    b'ID ("name" "x" "os" NIL)',
    b"ID ()",
    b"AUTHENTICATE PLAIN AGEAYg==",
    b'LOGIN ann "se  cret"',
    b"LOGIN {3}\r\na b {2+}\r\n  ",
    b"ENABLE CONDSTORE x",
    b"COMPRESS DEFLATE",
    b"SELECT box (QRESYNC (1 2 3 (4 5)) CONDSTORE)",
    b"SELECT box (QRESYNC (1 2 (4 5)))",
    b"EXAMINE box (QRESYNC (1 2))",
    b"CREATE box (USE (\\Sent \\Drafts))",
    b"DELETE box",
    b"RENAME a b",
    b"SUBSCRIBE box",
    b"UNSUBSCRIBE box",
    b"MYRIGHTS box",
    b"GETACL box",
    b"GETQUOTAROOT box",
    b"UID EXPUNGE 1:2",
    b"COPY 1 box",
    b"MOVE 1 box",
    b"STORE 1 FLAGS ()",
    b"STORE 1 FLAGS \\Seen x",
    b"FETCH 1 (BODY.PEEK[1.HEADER.FIELDS (DATE FROM)]<0.5> BINARY[1])",
    b"SEARCH (ALL)",
    b'UID SEARCH MODSEQ "/flags/\\\\Seen" all 5 HEADER x "  "',
    b"SORT (DATE) UTF-8 ALL",
    b'LIST "" *',
    b'APPEND box (\\Seen) " 1-Jan-2020 00:00:00 +0000" {3}\r\na b {1}\r\nx',
    b"APPEND box UTF8 (~{3}\r\na b)",
    b'APPEND box CATENATE (URL "/x y" TEXT {1}\r\nx)',
    b"REPLACE 1 box {1}\r\nx",
    b"UID REPLACE 1 box {1}\r\nx",
    b"STATUS INBOX (MESSAGES UIDNEXT)",
    b"SEARCH RETURN (MIN PARTIAL 1:2) CHARSET UTF-8 (OR SEEN NOT (ALL 1)) FROM x",
    b"SEARCH RETURN (UPDATE (UID FLAGS) COUNT) ALL",
    b"UID SORT RETURN (ALL) (REVERSE DATE SUBJECT) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 UNSEEN",
    b"UID THREAD REFERENCES UTF-8 UNSEEN",
    b'ESEARCH IN (selected subtree-one (a "b c")) RETURN (COUNT) ALL',
    b"NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge)) (subtree (a b) NONE)",
    b"UID ESEARCH ALL",
    b"NOTIFY NONE",
    b'CANCELUPDATE "a1" "a2"',
    b"UID FETCH 1:* (FLAGS PREVIEW (LAZY)) (CHANGEDSINCE 5 VANISHED)",
    b"FETCH 1 PREVIEW (CHANGEDSINCE 5)",
    b"UID STORE 1:2 (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen x)",
    b"UID COPY 1 box",
    b"UID MOVE 1 box",
    b"LSUB a b",
    b"UIDBATCHES 500 1:2",
    b'LIST "" * RETURN (METADATA (/a "/b") CHILDREN)',
    b"XLIST a b",
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" (a b) RETURN (CHILDREN STATUS (MESSAGES))',
    b"GETMETADATA (DEPTH 1 MAXSIZE 5) x (/a /b)",
    b'GETMETADATA x (MAXSIZE 5) ("/a")',
    b"GETMETADATA x ({2}\r\n/a)",
    b"SETMETADATA x (/a NIL /b ~{3}\r\n \0 )",
    b'SETQUOTA "" (STORAGE 512)',
    b"GETQUOTA x",
    b"SETACL x fred +lrs",
    b"LISTRIGHTS x fred",
    b"DELETEACL x fred",
    b'LANGUAGE "de" fr',
    b"COMPARATOR a b",
    b"GENURLAUTH a internal b internal",
    b"RESETKEY a internal",
    b"URLFETCH a (b BODYPARTSTRUCTURE BINARY) (c)",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_blanks_change_nothing(text: bytes) -> None:
    wide = spread(text)
    assert wide != text
    assert parse(Frame(b"a " + wide)) == parse(Frame(b"a " + text))


def test_every_command_is_among_them() -> None:
    uid = {text.split()[1].upper() for text in COMMANDS if text.upper().startswith(b"UID ")}
    plain = {text.split()[0].upper() for text in COMMANDS}
    assert not UID_PARSERS.keys() - uid
    assert not PARSERS.keys() - plain
    # One that is alone has only the end of its line, and that is one function.
    assert not BARE.keys() & plain


@pytest.mark.parametrize(
    "text",
    [
        b"a  NOOP",  # which would be a command without a name
        b" a NOOP",
        b"a FETCH 1 BODY [TEXT]",
        b"a FETCH 1 BODY[ TEXT]",
        b"a FETCH 1 (BODY[] <0.5>)",
        b"a FETCH 1 , 2 FLAGS",
        b"a LOGIN  x",
        b"a LOGIN x  ",
        b"a SELECT  ",
        b"a APPEND box {1} \r\nx",
        b"a STORE 1 + FLAGS x",
        b"a SELECT box\t",
        b"a UID" + b" " * 10 + b"FETCH 1 FLAGS",
    ],
)
def test_where_a_blank_is_no_other(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(Frame(text))
