"""Annotations on disk: what is written is read, damage is set aside, limits hold, others hear of changes."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import AnnotationTooBig, TooManyAnnotations
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.records import metadata
from maildir_imapd.store.records.metadata import Entries, parse, parse_server, render

NAME = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & set(b"\t\n")).map(lambda n: b"/" + n)


@given(st.lists(st.tuples(NAME, st.binary(max_size=40)), min_size=1))
def test_what_is_written_is_read(rows: list[tuple[bytes, bytes]]) -> None:
    assert parse(render(rows), 2) == ([list(row) for row in rows], True)


@given(st.binary(max_size=200))
def test_reading_never_fails(data: bytes) -> None:
    for fields in (2, 3):
        parse(data, fields)
        parse(metadata.HEADER + data, fields)


@pytest.fixture
def account(tmp_path: Path) -> Account:
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    account.create("Work")
    return account


def again(account: Account) -> Account:
    """The same spool as another process sees it."""
    return Account(account.root, fsync="never")


def test_another_process_reads_it(account: Account) -> None:
    account.metadata.change("Work", [(b"/private/comment", b"a\r\nb\\n\tc\0"), (b"/shared/Comment", b"")])
    account.metadata.change("", [(b"/private/x", b"server")])
    other = again(account)
    assert other.metadata.entries("Work") == {
        b"/private/comment": (b"/private/comment", b"a\r\nb\\n\tc\0"),
        b"/shared/comment": (b"/shared/Comment", b""),
    }
    assert other.metadata.entries("").value(b"/PRIVATE/x") == b"server"
    assert other.metadata.entries("INBOX") == {}


def test_nothing_left_is_no_file(account: Account) -> None:
    file = os.path.join(account.root, b".Work", metadata.FILE)
    account.metadata.change("Work", [(b"/private/comment", b"x")])
    assert os.path.exists(file)
    account.metadata.change("Work", [(b"/PRIVATE/comment", None)])
    assert not os.path.exists(file)


def test_limits(account: Account) -> None:
    change = account.metadata.change
    with pytest.raises(AnnotationTooBig) as big:
        change("Work", [(b"/private/a", b"x"), (b"/private/b", b"x" * (metadata.VALUE_LIMIT_OCTETS + 1))])
    assert big.value.code == b"METADATA MAXSIZE 65536"
    assert account.metadata.entries("Work") == {}
    change("Work", [(b"/private/%d" % n, b"x") for n in range(metadata.ENTRIES_LIMIT)])
    with pytest.raises(TooManyAnnotations):
        change("Work", [(b"/private/0", b"changed"), (b"/private/more", b"x")])
    assert account.metadata.entries("Work").value(b"/private/0") == b"x"
    # One can go for another, and a full mailbox can still be changed.
    change("Work", [(b"/private/more", b"x"), (b"/private/0", None)])
    change("INBOX", [(b"/private/%d" % n, b"x" * metadata.VALUE_LIMIT_OCTETS) for n in range(15)])
    with pytest.raises(TooManyAnnotations):
        change("INBOX", [(b"/private/15", b"x" * metadata.VALUE_LIMIT_OCTETS)])


def test_a_damaged_file_is_set_aside(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    account.metadata.change("Work", [(b"/private/a", b"1"), (b"/private/b", b"2")])
    file = Path(os.fsdecode(account.root)) / ".Work" / os.fsdecode(metadata.FILE)
    damaged = file.read_bytes().replace(b"/private/b\t2", b"\xff\0 nonsense")
    file.write_bytes(damaged)
    with caplog.at_level(logging.ERROR):
        assert list(account.metadata.entries("Work")) == [b"/private/a"]
    assert "set aside" in caplog.text
    assert Path(f"{file}.damaged").read_bytes() == damaged
    assert parse(file.read_bytes(), 2) == ([[b"/private/a", b"1"]], True)
    caplog.clear()
    account.metadata.entries("Work")
    assert not caplog.text


def test_damage_found_while_changing_is_set_aside(account: Account) -> None:
    account.metadata.change("", [(b"/private/a", b"1")])
    file = Path(os.fsdecode(account.root)) / os.fsdecode(metadata.ACCOUNT)
    file.write_bytes(file.read_bytes() + b"cut of")
    account.metadata.change("", [(b"/private/b", b"2")])
    assert Path(f"{file}.damaged").read_bytes().endswith(b"cut of")
    assert [row[1] for row in parse(file.read_bytes(), 3)[0]] == [b"/private/a", b"/private/b"]


def test_changes_are_seen_by_other_processes(account: Account) -> None:
    other = again(account)
    start = other.metadata.latest()
    first = account.metadata.change("Work", [(b"/private/a", b"1"), (b"/private/B", b"1")])
    second = other.metadata.change("INBOX", [(b"/private/a", b"1")])
    assert 0 <= start < first < second
    assert other.metadata.changes(start, ours=set()) == (
        second,
        {"Work": [b"/private/a", b"/private/b"], "INBOX": [b"/private/a"]},
    )
    assert account.metadata.changes(start, ours={first}) == (second, {"INBOX": [b"/private/a"]})
    assert account.metadata.changes(second, ours=set()) == (second, {})
    # Set again by another, an entry is his.
    third = other.metadata.change("Work", [(b"/private/a", b"2")])
    assert account.metadata.changes(start, ours={first})[1]["Work"] == [b"/private/a"]
    assert account.metadata.latest() == third


def test_changes_within_the_grain_of_the_clock_are_seen(account: Account) -> None:
    """A file that is put in another's place may have its inode, its size and its time."""
    other = again(account)
    changes = account.root + b"/" + metadata.CHANGES
    for number in range(40):
        for who in (account, account, other):
            who.metadata.change("Work", [(b"/private/comment", b"%d" % number + bytes(str(id(who)), "ascii"))])
            last = Path(os.fsdecode(changes)).read_bytes().split(b"\t")[0]
            assert account.metadata.latest() == other.metadata.latest() == int(last)


@pytest.mark.parametrize("age", [0, 10])
def test_a_file_of_changes_with_the_stamp_of_another(
    account: Account, age: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.metadata.change("Work", [(b"/private/comment", b"1")])
    path = Path(os.fsdecode(account.root + b"/" + metadata.CHANGES))
    now = time.time() + age
    monkeypatch.setattr(time, "time", lambda: now)
    account.metadata.latest()
    reads = []
    read = durable.read_file
    monkeypatch.setattr(durable, "read_file", lambda *args: reads.append(args) or read(*args))
    account.metadata.latest()
    # What has been at rest for long is not read again.
    assert len(reads) == (0 if age else 1)
    if age:
        return
    before = path.stat()
    data = path.read_bytes()
    path.write_bytes(b"9" + data[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert account.metadata.latest() == int(b"9" + data[1:].split(b"\t")[0])


def test_serials_rise_when_the_file_is_lost(account: Account) -> None:
    first = account.metadata.change("Work", [(b"/private/a", b"1")])
    os.unlink(os.path.join(account.root, metadata.CHANGES))
    assert account.metadata.latest() == 0
    assert account.metadata.change("Work", [(b"/private/a", b"2")]) > first


def test_serials_rise_when_the_clock_falls(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    first = account.metadata.change("Work", [(b"/private/a", b"1")])
    monkeypatch.setattr(metadata.time, "time_ns", lambda: 1000)
    assert account.metadata.change("Work", [(b"/private/a", b"2")]) == first + 1


def test_changes_are_not_remembered_for_ever(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "REMEMBERED", 3)
    for n in range(5):
        account.metadata.change("Work", [(b"/private/%d" % n, b"1")])
    assert account.metadata.changes(0, ours=set())[1] == {"Work": [b"/private/2", b"/private/3", b"/private/4"]}


def test_whoever_listens_is_woken(account: Account) -> None:
    woken: list[int] = []
    close = account.metadata.listen(lambda: woken.append(1)).close
    account.metadata.change("Work", [(b"/private/a", b"1")])
    assert woken == [1]
    account.metadata.change("Work", [(b"/private/a", b"1")])
    assert woken == [1]
    close()
    account.metadata.change("Work", [(b"/private/a", b"2")])
    assert woken == [1]


def test_entries_know_no_case() -> None:
    entries = Entries()
    assert entries.put(b"/private/A", b"1")
    assert not entries.put(b"/private/a", b"1")
    assert entries.put(b"/private/a", b"2")
    assert entries == {b"/private/a": (b"/private/a", b"2")}
    assert entries.put(b"/PRIVATE/a", None)
    assert not entries.put(b"/private/a", None)


def test_the_file_of_the_administrator() -> None:
    text = b"# ours\n\n/shared/comment  All of us \n/Shared/admin mailto:postmaster@example.org\n"
    assert parse_server(text) == (
        (b"/shared/comment", b"All of us"),
        (b"/Shared/admin", b"mailto:postmaster@example.org"),
    )
    for bad in (
        b"/private/comment x",
        b"/shared/comment",
        b"/shared/a//b x",
        b"/shared/a/ x",
        b"/shared/* x",
        b"x",
        b"/shared/admin me",
    ):
        with pytest.raises(ValueError, match="line 2"):
            parse_server(b"\n" + bad)
