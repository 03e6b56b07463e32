"""A spool goes from the real Courier to us and back, and from Dovecot by way of us to Courier and round."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from courier import Courier
from dovecot import Dovecot
from memory import MemoryClient, MemoryWires
from migration import State, look, subscribed
from spool import Spool

from maildir_imapd.cli import main
from maildir_imapd.store.records.quota import parse

pytestmark = pytest.mark.interop

FOLDERS = ("INBOX", "INBOX.Sent", "INBOX.a.b")


def without_uidnext(state: State) -> State:
    """Courier tells UIDNEXT in STATUS only."""
    return {name: (uidvalidity, "", messages) for name, (uidvalidity, _, messages) in state.items()}


def talker(client: MemoryClient):  # type: ignore[no-untyped-def]  # a closure for look()
    def talk(*commands: str) -> list[str]:
        return [line.decode() for command in commands for line in client.command(f"a {command}".encode())]

    return talk


@pytest.fixture
def courier(tmp_path: Path) -> Courier:
    made = Courier(tmp_path)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 4, "S")
    spool.simple("Sent", 3)
    spool.simple("a.b", 2, "F")
    made.talk("SUBSCRIBE INBOX", "SUBSCRIBE INBOX.a.b")
    for name in FOLDERS:
        made.talk(f"SELECT {name}", "STORE 2 +FLAGS (\\Deleted)", "EXPUNGE", "STORE 1 +FLAGS (urgent later)")
    return made


def test_there_and_back(courier: Courier) -> None:
    before = look(courier.talk, FOLDERS)
    assert "urgent" in str(before)
    client = MemoryWires(courier.home / "Maildir").connect(login=True)
    assert without_uidnext(look(talker(client), FOLDERS)) == without_uidnext(before)
    assert subscribed(talker(client)('LSUB "" *')) == subscribed(courier.talk('LSUB "" *')) == {"INBOX", "INBOX.a.b"}

    client.command(b"a SELECT INBOX")
    client.command(b"b APPEND INBOX (\\Seen) {9+}\r\nA: b\r\n\r\nc")
    client.command(b"c STORE 2 +FLAGS.SILENT (\\Answered)")
    client.command(b"d COPY 3 INBOX.Sent")
    client.command(b"e CREATE INBOX.made")
    client.command(b"f APPEND INBOX.made {9+}\r\nA: b\r\n\r\nc")
    client.command(b"g SUBSCRIBE INBOX.made")
    ours = look(talker(client), (*FOLDERS, "INBOX.made"))
    client.command(b"h LOGOUT")
    release(courier.home, "courier")

    assert look(courier.talk, (*FOLDERS, "INBOX.made")) == without_uidnext(ours)
    assert subscribed(courier.talk('LSUB "" *')) == {"INBOX", "INBOX.a.b", "INBOX.made"}


def release(home: Path, kind: str) -> None:
    words = ["release", "--to", kind, "--mail-location", f"maildir:{home}/Maildir"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_dovecot_to_us_to_courier_and_round(tmp_path: Path) -> None:
    dovecot, courier = Dovecot(tmp_path), Courier(tmp_path)
    dovecot.talk("CREATE Sent", "SUBSCRIBE Sent")
    text = "Subject: x\r\n\r\nbody\r\n"
    dovecot.talk(*[f"APPEND {name} (\\Seen kw1) {{{len(text)}+}}\r\n{text}" for name in ("INBOX", "Sent") * 2])
    first = look(dovecot.talk, ("INBOX", "Sent"))
    release(tmp_path, "courier")
    names = {"INBOX": "INBOX", "Sent": "INBOX.Sent"}
    at_courier = look(courier.talk, tuple(names.values()))
    assert at_courier == {names[name]: (state[0], "", state[2]) for name, state in first.items()}
    assert subscribed(courier.talk('LSUB "" *')) == {"INBOX.Sent"}

    # Courier takes a message in and changes a flag; then the way back.
    courier.talk("SELECT INBOX", "STORE 1 +FLAGS (\\Flagged)", f"APPEND INBOX (\\Draft) {{{len(text)}}}\r\n{text}")
    after = look(courier.talk, ("INBOX", "INBOX.Sent"))
    MemoryWires(tmp_path / "Maildir").connect(login=True).command(b"a STATUS INBOX (MESSAGES)")
    release(tmp_path, "dovecot")
    again = look(dovecot.talk, ("INBOX", "Sent"))
    uids = {name: (state[0], [m.split()[0] for m in state[2]]) for name, state in again.items()}
    assert uids == {
        name: (after[names[name]][0], [m.split()[0] for m in after[names[name]][2]]) for name in ("INBOX", "Sent")
    }
    assert again["Sent"] == first["Sent"]


QUOTA = (
    ("SELECT INBOX", "STORE 1 +FLAGS (\\Deleted)"),
    ("SELECT INBOX", "STORE 1 -FLAGS (\\Deleted)"),
    ("SELECT INBOX", "COPY 1 INBOX.Trash"),
    ("SELECT INBOX", "COPY 1 INBOX.Trash.x"),
    ("SELECT INBOX", "COPY 2 INBOX.Sent"),
    ("SELECT INBOX.Trash", "COPY 1 INBOX.Sent"),
    ("SELECT INBOX", "STORE 2 +FLAGS (\\Deleted)", "EXPUNGE"),
    (
        "SELECT INBOX.Trash",
        "STORE 1 +FLAGS (\\Deleted)",
        "STORE 1 -FLAGS (\\Deleted)",
        "STORE 1 FLAGS (\\Deleted)",
        "EXPUNGE",
    ),
    ("APPEND INBOX (\\Deleted) {12}\r\nSubject: x\r\n",),
    ("APPEND INBOX () {12}\r\nSubject: x\r\n",),
    ("APPEND INBOX.Trash () {12}\r\nSubject: x\r\n",),
    ("SELECT INBOX", "STORE 1:2 FLAGS (\\Deleted \\Seen)", "STORE 1 FLAGS (\\Seen)", "COPY 1:2 INBOX.Sent"),
)


def test_quota_is_counted_as_courier_counts(tmp_path: Path) -> None:
    """The same is done to two spools, through Courier and through us; after each step the same is used."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for home in (theirs, ours):
        home.mkdir()
        spool = Spool(home / "Maildir")
        spool.simple("INBOX", 3, "S")
        for name in ("Trash", "Trash.x", "Sent"):
            spool.folder(name)
        Courier(home).talk("SELECT INBOX")
        (spool.root / "maildirsize").write_text(f"1000000S,1000C\n{3 * 144:12} {3:12}\n")
    client = MemoryWires(ours / "Maildir").connect(login=True)
    for commands in QUOTA:
        Courier(theirs).talk(*commands)
        for command in commands:
            head, _, text = command.partition("}\r\n")
            command = f"{head}+}}\r\n{text}" if text else command
            assert b" OK " in client.command(f"a {command}".encode())[-1], command
        used = [parse((home / "Maildir" / "maildirsize").read_bytes()).used for home in (theirs, ours)]
        assert used[0] == used[1], commands
    # And so is what is counted anew.
    (ours / "Maildir" / "maildirsize").write_text("1000000S,1000C\n")
    client.command(b"q GETQUOTAROOT INBOX")
    assert parse((ours / "Maildir" / "maildirsize").read_bytes()).used == used[0]
    # Moving, which Courier does not know, is copying and removing.
    for command in (
        "SELECT INBOX",
        "MOVE 1 INBOX.Trash",
        "SELECT INBOX.Trash",
        "MOVE 1 INBOX.Sent",
        "SELECT INBOX.Sent",
    ):
        assert b" OK " in client.command(f"m {command}".encode())[-1], command
    moved = parse((ours / "Maildir" / "maildirsize").read_bytes()).used
    (ours / "Maildir" / "maildirsize").write_text("1000000S,1000C\n")
    client.command(b"q GETQUOTAROOT INBOX")
    assert parse((ours / "Maildir" / "maildirsize").read_bytes()).used == moved
