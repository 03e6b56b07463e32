"""What adopt prints: for people, for files and for programs; and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from spool import Spool

from maildir_imapd.cli import main

CRYPTED = b"CRYPTED\x03\x07" + bytes(40)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "Maildir")
    (base,) = spool.simple("INBOX", 1)
    (spool.root / "dovecot-uidlist").write_text(f"3 V5 N10 Gaa\n9 :{base}\n")
    spool.simple("two words", 2)
    return spool


def adopt(spool: Spool, *words: str) -> Result:
    return CliRunner().invoke(main, ["adopt", *words, "--mail-location", f"maildir:{spool.root}", "--fsync", "never"])


def test_a_line_a_folder_where_nobody_looks(spool: Spool) -> None:
    done = adopt(spool, "--dry-run")
    assert done.exit_code == 0
    user = done.stdout.split("\t")[1]
    assert done.stdout.splitlines() == [
        f"ok\t{user}\tINBOX\tdovecot\t1\tUIDVALIDITY 5, next 10\t",
        f'ok\t{user}\t"two words"\tnothing\t2\tnew ones\t',
        "2 folders; no UID would change.",
    ]


def test_a_summary_of_each_kind(spool: Spool) -> None:
    for _ in range(2):
        spool.put("INBOX", CRYPTED, "S")
    spool.put("two words", CRYPTED, "S")
    done = adopt(spool)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[:2]] == ["look", "look"]
    assert "2 messages are encrypted (mail_crypt)" in lines[0]
    assert lines[2].startswith("encrypted: 2 (3): encrypted by Dovecot's mail_crypt")
    assert "doveadm sync" in lines[2]
    assert "2 of 2 folders need a look" in done.stderr


def test_one_document(spool: Spool) -> None:
    spool.put("INBOX", CRYPTED, "S")
    (spool.root / ".Linked").symlink_to(spool.root)
    done = adopt(spool, "--json", "--dry-run")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert done.stdout.isascii()
    user = found["users"][0]["user"]
    assert found["status"] == 1
    assert found["dry_run"] is True
    assert found["interrupted"] is False
    assert found["kinds"] == {"encrypted": {"findings": 1, "count": 1}, "link": {"findings": 1, "count": 1}}
    assert [{**finding, "words": ""} for finding in found["findings"]] == [
        {"kind": "encrypted", "user": user, "where": "INBOX", "count": 1, "words": ""},
        {"kind": "link", "user": user, "where": ".Linked", "count": 1, "words": ""},
    ]
    (mail,) = found["users"]
    assert mail["messages"] == 4
    assert mail["folders"][0] == {
        "mailbox": "INBOX",
        "server": "dovecot",
        "messages": 2,
        "uidvalidity": 5,
        "uidnext": 10,
        "new_uids": False,
        "adopted_before": False,
        "notes": [],
        "kinds": ["encrypted"],
    }
    assert mail["folders"][1]["server"] is None
    assert mail["folders"][1]["new_uids"] is True


def test_the_statuses(spool: Spool, tmp_path: Path) -> None:
    assert adopt(spool, "--dry-run").exit_code == 0
    (spool.root / "cur" / "x:2,").symlink_to("y")
    assert adopt(spool, "--dry-run").exit_code == 1
    (tmp_path / "users").write_text("ann:{PLAIN}x::::::\n")
    users = ["--user", "ann", "--passwd-file", str(tmp_path / "users")]
    failed = CliRunner().invoke(main, ["adopt", *users, "--mail-location", "maildir:%h/Maildir", "--json"])
    assert failed.exit_code == 3
    assert list(json.loads(failed.stdout)["kinds"]) == ["failed"]
    assert adopt(spool, "--all").exit_code == 78, "no passwd-file is given"
    assert adopt(spool, "--no-such-option").exit_code == 64


@pytest.mark.long
def test_on_a_terminal_there_is_a_table_and_a_bar(spool: Spool) -> None:
    """And none of it is left in the way of who reads the output from a pipe."""
    here, there = pty.openpty()
    words = [sys.executable, "-m", "maildir_imapd", "adopt", "-n", "--mail-location", f"maildir:{spool.root}"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    with subprocess.Popen(words, stdout=there, stderr=there, stdin=there, env=environment) as process:
        os.close(there)
        shown = b""
        while True:
            try:
                some = os.read(here, 65536)
            except OSError:
                break
            if not some:
                break
            shown += some
    os.close(here)
    assert process.returncode == 0
    assert "What would be taken over" in shown.decode()
    assert "messages" in shown.decode()
    assert "\u2500" in shown.decode() or "\u2501" in shown.decode()
    piped = subprocess.run(words, env=environment, capture_output=True)
    assert piped.returncode == 0
    assert b"\x1b" not in piped.stdout + piped.stderr
    assert piped.stderr.count(b"\n") == 1
