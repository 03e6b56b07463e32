"""Access rights beyond what a script can say."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient, MemoryWires

from maildir_imapd.store.records import acl_global
from maildir_imapd.store.records.acl import AclRules
from maildir_imapd.store.records.acl_global import GlobalAcls

IMAP = Path(__file__).parent.parent.parent / "maildir_imapd" / "imap"


def test_there_is_one_door_to_mailboxes() -> None:
    """Whoever opens a mailbox has been asked for his rights: only rights.py opens one by its name."""
    doors = re.compile(r"\.mailbox(_at)?\(")
    others = [path.name for path in IMAP.rglob("*.py") if doors.search(path.read_text())]
    assert others == ["rights.py"]


def test_without_the_setting_there_are_no_rights(tmp_path: Path) -> None:
    wires = MemoryWires(tmp_path / "Maildir", replace(POLICY, acl=False))
    one = wires.connect(login=True)
    (tmp_path / "Maildir" / "dovecot-acl").write_text("owner l\n")
    assert b" ACL " not in one.command(b"a CAPABILITY")[0]
    assert b"RIGHTS" not in one.command(b"a CAPABILITY")[0]
    for command in (b"GETACL INBOX", b"MYRIGHTS INBOX", b"SETACL INBOX bob lr", b'LIST "" * RETURN (MYRIGHTS)'):
        assert one.command(b"b " + command)[-1].startswith(b"b BAD"), command
    assert one.command(b"c SELECT INBOX")[-1].startswith(b"c OK [READ-WRITE]")
    assert one.command(b"d EXPUNGE")[-1].startswith(b"d OK")


def test_rights_of_a_selected_mailbox_are_those_of_the_moment(tmp_path: Path) -> None:
    """RFC 4314 5.1.1 lets us: what SELECT said holds until the next one."""
    one: MemoryClient = MemoryWires(tmp_path / "Maildir").connect(login=True)
    one.command(b"a SELECT INBOX")
    one.command(b"b SETACL INBOX ann lr")
    assert one.command(b"c EXPUNGE")[-1].startswith(b"c OK")
    one.command(b"d SELECT INBOX")
    assert one.command(b"e EXPUNGE")[-1].startswith(b"e NO [NOPERM]")


def test_a_list_that_cannot_be_read_closes_the_mailbox(tmp_path: Path) -> None:
    one: MemoryClient = MemoryWires(tmp_path / "Maildir").connect(login=True)
    one.command(b"a CREATE Work")
    (tmp_path / "Maildir" / ".Work" / "dovecot-acl").symlink_to(tmp_path / "elsewhere")
    for command in (b"SELECT Work", b"STATUS Work (MESSAGES)", b"DELETE Work", b"MYRIGHTS Work"):
        assert one.command(b"b " + command)[-1].startswith(b"b NO"), command
    listed = one.command(b'c LIST "" *')
    assert [line for line in listed if b"Work" in line] == []
    assert listed[-1].startswith(b"c OK")


def test_there_is_room_for_so_many_and_no_more(tmp_path: Path) -> None:
    one = MemoryWires(tmp_path / "Maildir").connect(login=True)
    (tmp_path / "Maildir" / "dovecot-acl").write_text("".join(f"user=u{n} l\n" for n in range(1000)))
    assert one.command(b"a SETACL INBOX bob lr")[-1].startswith(b"a NO [LIMIT]")
    assert one.command(b"b SETACL INBOX u7 lr")[-1].startswith(b"b OK")
    assert one.command(b"c DELETEACL INBOX u8")[-1].startswith(b"c OK")
    assert one.command(b"d SETACL INBOX bob lr")[-1].startswith(b"d OK")


def test_a_name_that_is_no_mailbox_is_renamed_by_who_may_rename_what_is_below(tmp_path: Path) -> None:
    """RFC 4314 4: "x" on each mailbox that gets another name."""
    one = MemoryWires(tmp_path / "Maildir").connect(login=True)
    for name in ("Top.Mine", "Top.Fixed", "Top.Secret"):
        assert one.command(b"a CREATE " + name.encode())[-1].startswith(b"a OK")
    one.command(b"b DELETE Top")
    (tmp_path / "Maildir" / ".Top.Fixed" / "dovecot-acl").write_text("owner lr\n")
    assert one.command(b"c RENAME Top New")[-1].startswith(b"c NO [NOPERM]")
    (tmp_path / "Maildir" / ".Top.Fixed" / "dovecot-acl").write_text("owner lrx\n")
    (tmp_path / "Maildir" / ".Top.Secret" / "dovecot-acl").write_text("owner k\n")
    assert one.command(b"d RENAME Top New")[-1].startswith(b"d NO [NOPERM]")
    for name in ("Mine", "Fixed", "Secret"):
        assert (tmp_path / "Maildir" / f".Top.{name}").is_dir()
    (tmp_path / "Maildir" / ".Top.Secret" / "dovecot-acl").write_text("owner x\n")
    assert one.command(b"e RENAME Top New")[-1].startswith(b"e OK")


def test_a_name_of_which_nothing_may_be_seen_is_not_there(tmp_path: Path) -> None:
    one = MemoryWires(tmp_path / "Maildir").connect(login=True)
    one.command(b"a CREATE Top.Secret")
    one.command(b"b DELETE Top")
    (tmp_path / "Maildir" / ".Top.Secret" / "dovecot-acl").write_text("owner k\n")
    assert one.command(b"c RENAME Top New")[-1].startswith(b"c NO [NONEXISTENT]")


def test_what_an_administrator_says_of_a_mailbox_is_shown_and_not_changed(tmp_path: Path) -> None:
    """As Dovecot shows it, with # in front of the identifier."""
    (tmp_path / "global").write_text("Work* anyone lra\nWork -group=x r\nHid* anyone i\n")
    wires = MemoryWires(tmp_path / "Maildir")
    one: MemoryClient = wires.connect(login=True)
    for name in (b"Work", b"Hidden", b"Home"):
        one.command(b"a CREATE " + name)
    one.command(b"a SETACL Work bob lrs")
    account = one.session.account.own
    account.acls.rules = AclRules(GlobalAcls(bytes(tmp_path / "global")))
    assert one.command(b"b GETACL Work")[0] == b"* ACL Work ann lrwstipekxacd bob lrs #anyone lra -#$x r"
    assert one.command(b"c MYRIGHTS Work")[0] == b"* MYRIGHTS Work lra"
    for line in (b"SETACL Work #anyone lrws", b"SETACL Work -#$x r", b"DELETEACL Work #anyone"):
        assert one.command(b"d " + line)[-1].startswith(b"d NO [NOPERM]"), line
    assert one.command(b"e SETACL Work bob lr")[-1].startswith(b"e OK")
    assert (tmp_path / "Maildir" / ".Work" / "dovecot-acl").read_text() == "user=bob lr\n"
    assert one.command(b"f SELECT Work")[-1].startswith(b"f OK [READ-ONLY]")
    assert one.command(b"g SELECT Home")[-1].startswith(b"g OK [READ-WRITE]")
    assert one.command(b"h SELECT Hidden")[-1].startswith(b"h NO")
    listed = b"".join(one.command(b'i LIST "" *'))
    assert b"Hidden" not in listed
    assert b"Work" in listed


def test_an_open_way_ends_when_an_administrator_says_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acl_global, "LOOK_SECONDS", 0.0)
    said = tmp_path / "global"
    said.write_text("Other owner lr\n")
    one: MemoryClient = MemoryWires(tmp_path / "Maildir").connect(login=True)
    one.session.account.own.acls.rules = AclRules(GlobalAcls(bytes(said)))
    for _ in range(3):
        assert one.command(b"a STATUS INBOX (MESSAGES)")[-1].startswith(b"a OK")
    said.write_text("INBOX owner l\n")
    assert one.command(b"b STATUS INBOX (MESSAGES)")[-1].startswith(b"b NO")
    said.write_text("INBOX owner lr\n")
    os.utime(said, (1, 1))
    assert one.command(b"c STATUS INBOX (MESSAGES)")[-1].startswith(b"c OK")
