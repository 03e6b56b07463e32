"""A spool goes from the real Dovecot to us and back: no client may notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from dovecot import Dovecot
from memory import MemoryClient, MemoryWires
from migration import State, look, subscribed

from maildir_imapd.cli import main

pytestmark = pytest.mark.interop

FOLDERS = ("INBOX", "Sent", "a.b.c", "&AOk-t&AOk-", '"with space"', "x&-y")
KEYWORDS = [f"kw{n}" for n in range(40)]


@pytest.fixture
def dovecot(tmp_path: Path) -> Dovecot:
    """A Dovecot whose user has mail in several folders."""
    made = Dovecot(tmp_path)
    commands = [f"CREATE {name}" for name in FOLDERS[1:]] + [
        "SUBSCRIBE a.b.c",
        "SUBSCRIBE INBOX",
        "SUBSCRIBE &AOk-t&AOk-",
    ]
    for n, name in enumerate(FOLDERS):
        for k in range(4):
            flags = ["", "\\Seen", "\\Seen \\Flagged", f"\\Answered {KEYWORDS[(n * 4 + k) % 25]} $Label{k}"][k]
            text = f"Subject: message {n}.{k}\r\n\r\nbody\r\n"
            commands.append(f'APPEND {name} ({flags}) "0{k + 1}-Nov-2026 10:00:00 +0000" {{{len(text)}+}}\r\n{text}')
    for name in FOLDERS:
        # A gap in the UIDs, and a UIDNEXT above the last message.
        commands += [f"SELECT {name}", "STORE 2,4 +FLAGS.SILENT (\\Deleted)", "EXPUNGE", "UNSELECT"]
    made.talk(*commands)
    return made


def from_dovecot(dovecot: Dovecot, names: tuple[str, ...] = FOLDERS) -> State:
    return look(dovecot.talk, names)


def from_us(client: MemoryClient, names: tuple[str, ...] = FOLDERS) -> State:
    def talk(*commands: str) -> list[str]:
        return [line.decode() for command in commands for line in client.command(f"a {command}".encode())]

    return look(talk, names)


def test_there_and_back(dovecot: Dovecot) -> None:
    root = dovecot.home / "Maildir"
    before = from_dovecot(dovecot)
    assert all(len(messages) == 2 for _, _, messages in before.values())
    client = MemoryWires(root).connect(login=True)
    assert from_us(client) == before
    lines = [line.decode() for line in client.command(b'c LSUB "" *')]
    assert subscribed(lines) == subscribed(dovecot.talk('LSUB "" *'))

    # Changes of every kind are made through us, with the mirror that an adopted spool has by itself.
    client.command(b"d SELECT INBOX")
    client.command(b"e STORE 1 +FLAGS.SILENT (\\Flagged kw3 fresh)")
    client.command(b"f APPEND INBOX (\\Draft) {10+}\r\nA: b\r\n\r\nc\r")
    client.command(b"g COPY 2 Sent")
    client.command(b"h STORE 2 +FLAGS.SILENT (\\Deleted)")
    client.command(b"i EXPUNGE")
    client.command(b"j CREATE made.here")
    client.command(b"k APPEND made.here (kw1) {9+}\r\nA: b\r\n\r\nc")
    client.command(b"l SUBSCRIBE made.here")
    client.command(b"m UNSUBSCRIBE a.b.c")
    names = (*FOLDERS, "made.here")
    ours = from_us(client, names)
    lines = [line.decode() for line in client.command(b'n LSUB "" *')]
    client.command(b"o LOGOUT")

    theirs = from_dovecot(dovecot, names)
    assert theirs == ours
    assert subscribed(dovecot.talk('LSUB "" *')) == subscribed(lines)

    # And once more: what Dovecot did in the meantime is ours again, under its UIDs.
    dovecot.talk("SELECT INBOX", "COPY 1 Sent", "STORE 1 +FLAGS (\\Answered)", "APPEND INBOX {6+}\r\nA: b\r\n")
    again = from_dovecot(dovecot, names)
    assert from_us(MemoryWires(root).connect(login=True), names) == again


def test_many_keywords(dovecot: Dovecot) -> None:
    """Dovecot gives letters to 26 of them; those are there afterwards."""
    dovecot.talk("SELECT Sent", f"STORE 1 +FLAGS ({' '.join(KEYWORDS)})")
    client = MemoryWires(dovecot.home / "Maildir").connect(login=True)
    client.command(b"a SELECT Sent")
    (line,) = [line for line in client.command(b"b FETCH 1 FLAGS") if line.startswith(b"* 1")]
    assert line.count(b"kw") + line.count(b"$Label") >= 24


def run(dovecot: Dovecot, *words: str) -> str:
    location = f"maildir:{dovecot.home}/Maildir"
    done = CliRunner().invoke(main, [*words, "--mail-location", location], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_adopt_and_release(dovecot: Dovecot) -> None:
    before = from_dovecot(dovecot)
    looked = run(dovecot, "adopt", "--dry-run")
    assert "no UID would change" in looked
    assert "dovecot" in looked
    assert not list(dovecot.home.rglob("maildir-imapd.index"))
    assert "no UID changed" in run(dovecot, "adopt")
    assert "adopted before" in run(dovecot, "adopt")
    assert from_us(MemoryWires(dovecot.home / "Maildir").connect(login=True)) == before
    # Without the mirror: release alone must do.
    for file in dovecot.home.rglob("dovecot-uidlist"):
        file.unlink()
    for file in dovecot.home.rglob("dovecot.index*"):
        file.unlink()
    assert "would be written" in run(dovecot, "release", "--to", "dovecot", "--dry-run")
    assert not list(dovecot.home.rglob("dovecot-uidlist"))
    said = run(dovecot, "release", "--to", "dovecot")
    assert "doveadm mailbox update" in said
    assert "--min-highest-modseq" in said
    assert from_dovecot(dovecot) == before
