"""Odd commands beside the real Dovecot: where the RFC leaves room, or clients go beyond it, both answer alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dovecot import Dovecot, meaning
from memory import MemoryWires
from spool import Spool

pytestmark = pytest.mark.interop

SEQUENCES = (
    "SELECT inbox",
    "SELECT {5+}\r\niNbOx",
    *(f"FETCH {numbers} UID" for numbers in ("*", "*:4", "1,1,1", "3,1", "7", "5:9", "0", "4294967296", "1:", "1,,2")),
    *(f"UID FETCH {numbers} FLAGS" for numbers in ("100", "100:*", "*:100", "*", "4294967295")),
    *(f"SEARCH {numbers}" for numbers in ("1", "*", "3:*", "7", "5:9", "UID 100", "UID 100:*", "NOT 1:3", "UID *")),
    "UID SEARCH 1:3",
    "UID STORE 100 FLAGS ()",
    "STORE 100 FLAGS ()",
    "UID COPY 100 Work",
    "COPY 100 Work",
    "COPY 2,1 Work",
    "COPY 1 nowhere",
    "CREATE Empty",
    "SELECT Empty",
    *(f"FETCH {numbers} FLAGS" for numbers in ("1", "*", "1:*")),
    *(f"UID FETCH {numbers} FLAGS" for numbers in ("1:*", "*")),
    *(f"SEARCH {key}" for key in ("ALL", "*", "1:*", "UID 1:*", "UID *", "RETURN (MIN MAX COUNT ALL) ALL")),
    "STORE 1:* FLAGS ()",
    "UID STORE 1:* FLAGS ()",
    "COPY 1:* Work",
    "UID COPY 1:* Work",
    "SORT (DATE) UTF-8 ALL",
    "SELECT nowhere",
    "FETCH 1 FLAGS",
    "CLOSE",
)

ITEMS = (
    "SELECT INBOX",
    *(
        f"FETCH 1 {items}"
        for items in ("()", "(ALL)", "fast", "all", "FULL", "(FLAGS FLAGS)", "FLAGS UID", "RFC822.PEEK")
    ),
    "FETCH 1 BODY.PEEK[1]",
    "FETCH 1 BODY.PEEK[1.MIME]",
    "FETCH 1 BODY.PEEK[TEXT]<0.4>",
    "FETCH 1 BODY.PEEK[TEXT]<100.4>",
    "FETCH 1 BODY.PEEK[]<4294967295.1>",
    "FETCH 1 BODY.PEEK[MIME]",
    "FETCH 1 BODY.PEEK[HEADER.FIELDS ()]",
    'FETCH 1 BODY.PEEK[HEADER.FIELDS ("")]',
    "FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM)])",
    *(
        f"STORE 2 {change}"
        for change in ("FLAGS (\\Recent)", "FLAGS (\\*)", "FLAGS (\\Other)", 'FLAGS ("a")', "=FLAGS (a)")
    ),
    "STORE 2 FLAGS (\\draft \\DRAFT)",
    "STORE 2 flags.silent (\\seen)",
    "STORE 2 FLAGS.LOUD (\\Seen)",
    "STORE 2 FLAGS (\\Seen",
    "STORE 2 FLAGS \\Seen)",
    "STATUS INBOX ()",
    "STATUS inbox MESSAGES",
    "STATUS Work (MESSAGES MESSAGES)",
)

KEYS = (
    "SELECT INBOX",
    *(
        f"SEARCH {keys}"
        for keys in (
            "()",
            "((ALL) (SEEN))",
            "NOT NOT SEEN",
            "OR SEEN DELETED",
            "OR (SEEN FLAGGED) (NOT DELETED DRAFT)",
            "OR SEEN",
            "(1",
            "1)",
            "(OR 1 2) 2",
            'SUBJECT ""',
            "SUBJECT {7+}\r\nmessage",
            "HEADER {7+}\r\nsubject {1+}\r\n2",
            'HEADER From ""',
            'HEADER Nowhere ""',
            'HEADER "" ""',
            'CC ""',
            'BODY ""',
            'TEXT ""',
            "CHARSET US-ASCII ALL",
            'CHARSET "utf-8" ALL',
            "CHARSET {5+}\r\nUTF-8 ALL",
            "CHARSET NOSUCH ALL",
            "CHARSET UTF-8",
            'ON "2-Nov-2026"',
            "ON 02-nov-2026",
            "ON 1-Foo-2026",
            "SINCE 1-Jan-94",
            "LARGER 0",
            "LARGER 99999999999",
            "LARGER -1",
            "SEEN UNSEEN",
            "UNKEYWORD foo",
            "RETURN ALL",
            "RETURN (ALL)",
            "NONSENSE",
        )
    ),
)

NAMES = (
    'LIST "" ""',
    *(
        f'LIST "" "{pattern}"'
        for pattern in (
            "%.%",
            "*%",
            "%*",
            "INB*",
            "iNbOx",
            "INBOX.%",
            "Work.",
            "%.",
            ".Work",
            "Oth*",
            "%.Leaf",
            "&",
            "a]b",
        )
    ),
    'LIST "Work" "%"',
    'LIST "Work." "%"',
    'LIST "." "*"',
    'LIST "Other" "*"',
    "LIST NIL NIL",
    'LIST "" {1+}\r\n%',
    'LIST {0+}\r\n "%"',
    'LIST "" a b',
    'LSUB "" *',
    "SUBSCRIBE Work.Deep",
    "SUBSCRIBE Other.Leaf",
    "SUBSCRIBE inbox",
    "SUBSCRIBE nowhere",
    *(f'LSUB "" "{pattern}"' for pattern in ("*", "%", "Work.%", "Other.%", "nowhere")),
    'LSUB "Work." %',
    "UNSUBSCRIBE nowhere",
    "UNSUBSCRIBE Work.Deep",
    "UNSUBSCRIBE Work.Deep",
    *(
        f'CREATE "{name}"'
        for name in ("inbox", "Work", "a/b", "x..y", ".x", "", "a&b", "&AGE-", "per%cent", "st*ar", "end.", "INBOX.sub")
    ),
    'LIST "" "*"',
    *(f'DELETE "{name}"' for name in ("INBOX", "inbox", "nowhere", "per%cent", "%", "")),
    "RENAME nowhere elsewhere",
    "RENAME end Work",
    "RENAME Work Work.Below",
    "RENAME Work W",
    "RENAME W INBOX",
    'LIST "" "*"',
    "SELECT",
    "EXAMINE (a)",
    'SELECT "foo',
)


@pytest.mark.parametrize("commands", [SEQUENCES, ITEMS, KEYS, NAMES], ids=["sequences", "items", "keys", "names"])
def test_odd_commands_mean_the_same(commands: tuple[str, ...], tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 5, "S")
    spool.put("INBOX", b"Subject: unseen\n\nx\n", "", base="1793800000.unseen.host")
    for name in ("Work", "Work.Deep", "Other.Leaf"):
        spool.folder(name)
    shutil.copytree(tmp_path / "Maildir", tmp_path / "ours")
    theirs = meaning(Dovecot(tmp_path).talk(*commands))
    client = MemoryWires(tmp_path / "ours").connect(login=True)
    ours = []
    for number, command in enumerate(commands):
        ours += [line.decode() for line in client.command(f"{number} {command}".encode())]
    assert set(meaning(ours)) ^ set(theirs) == set()
    assert meaning(ours) == theirs
