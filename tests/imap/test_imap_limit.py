"""MESSAGELIMIT and SAVELIMIT (RFC 9738): what one command does of more messages than it may be about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient, MemoryWires
from spool import Spool


def connect(tmp_path: Path, *, message: int = 0, save: int = 0) -> MemoryClient:
    """INBOX has the UIDs 2, 4, ... 24, of the numbers 1 to 12."""
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 24)
    spool.simple("Work", 1)
    wires = MemoryWires(spool.root, replace(POLICY, message_limit=message, save_limit=save))
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"a SELECT INBOX")
    client.command(b"b UID STORE %b +FLAGS.SILENT (\\Deleted)" % b",".join(b"%d" % uid for uid in range(1, 24, 2)))
    client.command(b"c EXPUNGE")
    client = wires.connect(login=True)
    client.command(b"a SELECT INBOX")
    return client


@pytest.fixture
def client(tmp_path: Path) -> MemoryClient:
    return connect(tmp_path, message=5)


def test_what_is_announced(tmp_path: Path, client: MemoryClient) -> None:
    assert b" MESSAGELIMIT=5" in client.command(b"x CAPABILITY")[0]
    assert b" SAVELIMIT=7" in connect(tmp_path / "2", save=7).command(b"x CAPABILITY")[0]
    both = connect(tmp_path / "3", message=5, save=7).command(b"x CAPABILITY")[0]
    assert b"SAVELIMIT" not in both
    assert b"LIMIT=" not in connect(tmp_path / "4").command(b"x CAPABILITY")[0].replace(b"APPENDLIMIT", b"")


def test_fetch_goes_from_the_highest_down(client: MemoryClient) -> None:
    lines = client.command(b"x FETCH 2:9 (UID)")
    assert lines[:-1] == [b"* %d FETCH (UID %d)" % (n, 2 * n) for n in (9, 8, 7, 6, 5)]
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 10] ")
    lines = client.command(b"x UID FETCH 1:9 (ENVELOPE BODY.PEEK[])")
    assert lines[-1].startswith(b"x OK FETCH")
    assert client.command(b"x UID FETCH 1:10 FLAGS")[-1].startswith(b"x OK FETCH")


def test_seen_is_set_on_no_other_message(client: MemoryClient) -> None:
    lines = client.command(b"x FETCH 1:* BODY[]")
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 16] ")
    assert [line.split()[1] for line in lines if b" FETCH (FLAGS" in line] == [b"12", b"11", b"10", b"9", b"8"]
    lines = client.command(b"x UID SEARCH UID 14:* SEEN")
    assert lines == [b"* SEARCH 16 18 20 22 24", lines[-1]]
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 16] ")


def test_fetch_of_what_has_changed_counts_that(client: MemoryClient) -> None:
    for chosen in (b"9:12", b"5:8"):
        client.command(b"x STORE %b +FLAGS.SILENT (\\Flagged)" % chosen)
    lines = client.command(b"x UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)")
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 16] ")
    client.command(b"x UID STORE 4 +FLAGS.SILENT (\\Seen)")
    modseq = int(client.command(b"x FETCH 2 (MODSEQ)")[0].split(b"MODSEQ (")[1].split(b")")[0])
    lines = client.command(b"x UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % (modseq - 1))
    assert len(lines) == 2
    assert lines[-1].startswith(b"x OK FETCH")


def test_partial_wider_than_the_limit_is_refused(client: MemoryClient) -> None:
    assert client.command(b"x UID FETCH 1:3 (FLAGS) (PARTIAL -1:-6)")[-1].startswith(b"x NO [MESSAGELIMIT 5] ")
    lines = client.command(b"x UID FETCH 1:* (UID) (PARTIAL -1:-5)")
    assert len(lines) == 6
    assert lines[-1].startswith(b"x OK FETCH")


def test_store(client: MemoryClient) -> None:
    lines = client.command(b"x UID STORE 1:12 +FLAGS (\\Flagged)")
    assert len(lines) == 6
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 4] ")
    assert client.command(b"x UID SEARCH UID 1:10 FLAGGED")[0] == b"* SEARCH 4 6 8 10"
    # Beside another code it comes alone (3.1).
    lines = client.command(b"x UID STORE 1:12 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)")
    assert lines[-2].startswith(b"* NO [MESSAGELIMIT 5 4] ")
    assert lines[-1].startswith(b"x OK [MODIFIED 4,6,8,10,12] ")


def test_search_counts_what_it_looks_at(client: MemoryClient) -> None:
    client.command(b"x UID STORE 2 +FLAGS.SILENT (\\Flagged)")
    lines = client.command(b"x UID SEARCH FLAGGED")
    assert lines[0] == b"* SEARCH"
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 16] ")
    lines = client.command(b"x SEARCH 1:4 FLAGGED")
    assert lines == [b"* SEARCH 1", b"x OK SEARCH completed"]
    # Numbers inside of an OR leave nothing out.
    assert client.command(b"x UID SEARCH OR UID 2 UID 4")[-1].startswith(b"x OK [MESSAGELIMIT 5 16] ")
    assert client.command(b"x UID SEARCH UIDAFTER 14 UIDBEFORE 22 UNFLAGGED")[0] == b"* SEARCH 16 18 20"


def test_what_is_saved_is_cut_as_well(client: MemoryClient) -> None:
    assert client.command(b"x SEARCH RETURN (SAVE) ALL")[-1].startswith(b"x OK [MESSAGELIMIT 5 16] ")
    assert client.command(b"x UID SEARCH $")[0] == b"* SEARCH 16 18 20 22 24"
    lines = client.command(b"x UID SEARCH RETURN (UPDATE COUNT) ALL")
    assert lines[0] == b'* ESEARCH (TAG "x") UID COUNT 5'
    assert lines[1].startswith(b'* NO [NOUPDATE "x"] ')


def test_sort_and_thread_are_whole_or_refused(client: MemoryClient) -> None:
    for command in (b"SORT (DATE) UTF-8", b"UID SORT RETURN (COUNT) (DATE) UTF-8", b"THREAD REFS UTF-8"):
        assert client.command(b"x %b ALL" % command)[-1].startswith(b"x NO [MESSAGELIMIT 5] ")
        assert client.command(b"x %b UID 1:10" % command)[-1].startswith(b"x OK ")


def test_copy_is_whole_or_refused(client: MemoryClient) -> None:
    assert client.command(b"x UID COPY 1:16 Work")[-1].startswith(b"x NO [MESSAGELIMIT 5 8] ")
    assert client.command(b"x STATUS Work (MESSAGES)")[0] == b"* STATUS Work (MESSAGES 1)"
    assert client.command(b"x UID COPY 8:16 Work")[-1].startswith(b"x OK [COPYUID")


def test_move_takes_the_highest(client: MemoryClient) -> None:
    lines = client.command(b"x UID MOVE 1:16 Work")
    assert b" 8,10,12,14,16 2:6] " in lines[0]
    assert lines[1:-1] == [b"* %d EXPUNGE" % n for n in (8, 7, 6, 5, 4)]
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 8] ")
    assert client.command(b"x UID MOVE 1:16 Work")[-1].startswith(b"x OK MOVE")


def test_uid_expunge_takes_the_highest_and_expunge_all(client: MemoryClient) -> None:
    client.command(b"x STORE 6:8 +FLAGS.SILENT (\\Deleted)")
    client.command(b"x STORE 1:5 +FLAGS.SILENT (\\Deleted)")
    lines = client.command(b"x UID EXPUNGE 1:*")
    assert lines[:-1] == [b"* %d EXPUNGE" % n for n in (8, 7, 6, 5, 4)]
    assert lines[-1].startswith(b"x OK [MESSAGELIMIT 5 8] ")
    client.command(b"x STORE 4:7 +FLAGS.SILENT (\\Deleted)")
    lines = client.command(b"x EXPUNGE")
    assert len(lines) == 8
    assert lines[-1].startswith(b"x OK EXPUNGE")


def test_append_of_too_many(client: MemoryClient, tmp_path: Path) -> None:
    message = b" {3+}\r\nabc"
    assert client.command(b"x APPEND Work" + message * 6)[-1].startswith(b"x NO [MESSAGELIMIT 5] ")
    assert client.command(b"x APPEND Work" + message * 5)[-1].startswith(b"x OK [APPENDUID")
    assert client.command(b"x STATUS Work (MESSAGES)")[0] == b"* STATUS Work (MESSAGES 6)"
    saving = connect(tmp_path / "2", save=5)
    assert saving.command(b"x APPEND Work" + message * 6)[-1].startswith(b"x NO [MESSAGELIMIT 5] ")
    assert saving.command(b"x COPY 1:6 Work")[-1].startswith(b"x NO [MESSAGELIMIT 5 4] ")
    assert len(saving.command(b"x FETCH 1:* FLAGS")) == 13


def test_beside_a_mod_sequence(client: MemoryClient) -> None:
    client.command(b"x ENABLE QRESYNC")
    lines = client.command(b"x UID MOVE 1:16 Work")
    assert b"* VANISHED 8,10,12,14,16" in lines
    assert lines[-2].startswith(b"* NO [MESSAGELIMIT 5 8] ")
    assert lines[-1].startswith(b"x OK [HIGHESTMODSEQ ")
