"""Extensions beside the real Dovecot: the same commands over copies of one spool, the same meaning."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dovecot import Dovecot, meaning
from memory import MemoryWires
from spool import Spool

pytestmark = pytest.mark.interop

COMMANDS = (
    "SELECT INBOX",
    # ESEARCH, SEARCHRES, WITHIN
    "SEARCH RETURN (MIN MAX COUNT ALL) ALL",
    "SEARCH RETURN () SEEN",
    "SEARCH RETURN (COUNT) SUBJECT nowhere",
    "SEARCH RETURN (MIN) SUBJECT nowhere",
    "UID SEARCH RETURN (ALL) UNSEEN",
    "SEARCH RETURN (SAVE) SEEN",
    "FETCH $ (UID FLAGS)",
    "SEARCH RETURN (ALL) NOT $",
    "SEARCH RETURN (SAVE MIN) ALL",
    "UID SEARCH RETURN (ALL) $",
    "SEARCH RETURN (SAVE) SUBJECT nowhere",
    "FETCH $ UID",
    "SEARCH OLDER 10",
    "SEARCH YOUNGER 10",
    "SEARCH RETURN (WHAT) ALL",
    # ESORT and partial results
    "SORT RETURN (COUNT MIN MAX) (REVERSE ARRIVAL) UTF-8 ALL",
    "UID SORT RETURN (ALL) (REVERSE SUBJECT) US-ASCII ALL",
    "SEARCH RETURN (PARTIAL 2:3) ALL",
    # BINARY
    "FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])",
    "FETCH 1 BINARY.PEEK[1]<2.4>",
    "UID FETCH 2 BINARY.SIZE[7]",
    # MULTIAPPEND, CATENATE, LITERAL+
    "APPEND Work (\\Seen) {6+}\r\nA: b\r\n (\\Flagged) {6+}\r\nC: d\r\n",
    'APPEND Work CATENATE (URL "/INBOX/;UID=1/;SECTION=HEADER" TEXT {6+}\r\nbody\r\n)',
    'APPEND Work CATENATE (URL "/INBOX/;UID=99")',
    "APPEND Nowhere CATENATE (TEXT {4+}\r\na: b)",
    "STATUS Work (MESSAGES UNSEEN UIDNEXT)",
    # LIST-EXTENDED, LIST-STATUS, SPECIAL-USE
    "SUBSCRIBE Work.Deep",
    "SUBSCRIBE Gone",
    'LIST (SUBSCRIBED) "" * RETURN (CHILDREN)',
    'LIST "" (INBOX Work) RETURN (SUBSCRIBED)',
    'LIST (SUBSCRIBED RECURSIVEMATCH) "" %',
    'LIST (RECURSIVEMATCH) "" %',
    'LIST "" % RETURN (STATUS (MESSAGES))',
    # MOVE, UIDPLUS, UNSELECT
    "UID COPY 1:2 Work",
    "UID MOVE 3 Work",
    "UID COPY 99 Work",
    "UID EXPUNGE 1:9",
    "STORE 1 +FLAGS.SILENT (\\Deleted)",
    "UID EXPUNGE 2:9",
    "UID EXPUNGE 1",
    # CONDSTORE: a first change after ENABLE has a higher mod-sequence than what it is compared with
    "UNSELECT",
    "CLOSE",
    "ENABLE CONDSTORE",
    "SELECT INBOX",
    "STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Flagged)",
    "FETCH 1:* FLAGS (CHANGEDSINCE 4000000000)",
    "SEARCH MODSEQ 4000000000",
    "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
)


def fill(home: Path) -> None:
    spool = Spool(home / "Maildir")
    spool.simple("INBOX", 5, "S")
    spool.put("INBOX", b"Subject: unseen\n\nx\n", "", base="1793800000.unseen.host")
    for name in ("Work", "Work.Deep", "Other.Leaf"):
        spool.folder(name)


def test_the_same_commands_mean_the_same(tmp_path: Path) -> None:
    fill(tmp_path)
    shutil.copytree(tmp_path / "Maildir", tmp_path / "ours")
    dovecot = Dovecot(tmp_path)
    theirs = meaning(dovecot.talk(*COMMANDS))
    client = MemoryWires(tmp_path / "ours").connect(login=True)
    ours = []
    for number, command in enumerate(COMMANDS):
        ours += [line.decode() for line in client.command(f"{number} {command}".encode())]
    assert set(meaning(ours)) ^ set(theirs) == set()
    assert meaning(ours) == theirs
