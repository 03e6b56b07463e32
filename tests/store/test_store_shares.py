"""The list of shares: found by user, group and anyone; changed beside others; whatever stands in the file."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import StoreError
from maildir_imapd.store.disk import durable
from maildir_imapd.store.records.acl import Kind, Who
from maildir_imapd.store.records.shares import ShareList, parse, render

BOB = Who(Kind.USER, "bob")
STAFF = Who(Kind.GROUP, "staff")
ANYONE = Who(Kind.ANYONE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared-mailboxes"


def shares(path: Path) -> ShareList:
    return ShareList(bytes(path))


def age(path: Path) -> None:
    """Let the file be so old that its stamp says all."""
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_owners_by_name_by_group_and_for_anyone(path: Path) -> None:
    listed = shares(path)
    assert listed.owners("bob", ["staff"]) == ()
    listed.put("dan", [STAFF])
    listed.put("ann", [BOB])
    listed.put("eve", [Who(Kind.AUTHENTICATED)])
    listed.put("cyd", [Who(Kind.USER, "bobby"), Who(Kind.GROUP_OVERRIDE, "boss")])
    assert listed.owners("bob", ["staff"]) == ("ann", "dan", "eve")
    assert listed.owners("bob", []) == ("ann", "eve")
    assert listed.owners("joe", ["boss", "staff"]) == ("cyd", "dan", "eve")
    assert listed.owners("joe", []) == ("eve",)
    assert listed.everybody() == ("ann", "cyd", "dan", "eve")


def test_nobody_shares_with_himself(path: Path) -> None:
    listed = shares(path)
    listed.put("bob", [BOB, STAFF, ANYONE, Who(Kind.OWNER)])
    assert listed.owners("bob", ["staff"]) == ()
    assert b"user/" not in path.read_bytes()
    assert listed.owners("ann", []) == ("bob",)


def test_put_replaces_what_is_said_of_one_owner(path: Path) -> None:
    listed = shares(path)
    listed.put("ann", [BOB, STAFF])
    listed.put("dan", [BOB])
    listed.put("ann", [ANYONE, STAFF])
    assert listed.of("ann") == {ANYONE, STAFF}
    assert listed.of("dan") == {BOB}
    listed.put("ann", [])
    assert listed.of("ann") == frozenset()
    assert listed.owners("bob", ["staff"]) == ("dan",)
    assert not (path.parent / "shared-mailboxes.lock").exists()


def test_names_that_end_alike_are_not_one(path: Path) -> None:
    listed = shares(path)
    listed.put("ann", [BOB])
    listed.put("joann", [BOB])
    listed.put("ann", [])
    assert listed.owners("bob", []) == ("joann",)


def test_nothing_is_written_where_nothing_changes(path: Path) -> None:
    listed = shares(path)
    listed.put("ann", [])
    assert not path.exists()
    listed.put("ann", [BOB, ANYONE])
    before = os.stat(path)
    listed.put("ann", [ANYONE, BOB])
    listed.put("dan", [])
    assert os.stat(path) == before


def test_the_stamp_tells_of_a_change_by_another(path: Path) -> None:
    ours, theirs = shares(path), shares(path)
    assert ours.stamp() is None
    theirs.put("ann", [BOB])
    first = ours.stamp()
    assert first is not None
    assert ours.stamp() == first
    assert ours.owners("bob", []) == ("ann",)
    theirs.put("ann", [STAFF])
    assert ours.stamp() != first
    assert ours.owners("bob", []) == ()
    path.unlink()
    assert ours.stamp() is None
    assert ours.owners("bob", ["staff"]) == ()


def test_it_is_read_once_for_as_long_as_it_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = shares(path)
    listed.put("ann", [BOB])
    age(path)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr("maildir_imapd.store.records.shares.time.time", lambda: 4e9)
    assert listed.owners("bob", []) == ("ann",)
    monkeypatch.setattr(durable, "read_dated", None)
    assert listed.owners("bob", []) == ("ann",)


def test_one_written_over_in_its_place_within_the_clocks_grain(path: Path) -> None:
    listed = shares(path)
    path.write_bytes(b"shared/shared-boxes/user/bob/ann\n1\n")
    state = os.stat(path)
    assert listed.owners("bob", []) == ("ann",)
    path.write_bytes(b"shared/shared-boxes/user/bob/dan\n1\n")
    os.utime(path, ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert listed.owners("bob", []) == ("dan",)


def test_it_is_emptied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = shares(path)
    listed.put("ann", [BOB])
    monkeypatch.setattr("maildir_imapd.store.records.shares.time.time", lambda: 4e9)
    assert listed.owners("bob", []) == ("ann",)
    path.write_bytes(b"")
    assert listed.owners("bob", []) == ()


def test_what_others_keep_in_it_stays(path: Path) -> None:
    path.write_bytes(b"priv/x\n\nshared/shared-boxes/user/bob/ann\n1\nshared/other/ann\n5\\\n")
    shares(path).put("ann", [STAFF])
    assert path.read_bytes() == b"priv/x\n\nshared/other/ann\n5\\\nshared/shared-boxes/group/staff/ann\n1\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\0\0" * 100 + b"\nshared/shared-boxes/user/bob/ann\n1\n",
        b"\n\n\nshared/shared-boxes/user/bob/ann\n1\n",
        b"1\nshared/shared-boxes/user/bob/ann\n1\n",
        b"shared/shared-boxes/user/bob/dan\nshared/shared-boxes/user/bob/ann\n1",
        b"shared/shared-boxes/user/bob/dan\n1\nshared/shared-boxes/user/bob/ann",
        b"shared/shared-boxes/user/bob/dan\n1\n1\nshared/shared-boxes/user/bob/ann\n",
        b"shared/shared-boxes/user/bob/ann\n\nshared/shared-boxes/user/bob/ann\nno\nshared/shared-boxes/anyone\n1\n",
        b"shared/shared-boxes/user/bob/\n1\nshared/shared-boxes/user/bob/ann\n1\nshared/shared-boxes/\n1\n",
        b"shared/shared-boxes/user/bob/\xe4\n1\nshared/shared-boxes/anyone/\x01n\n1\n"
        b"shared/shared-boxes/user/bob/" + b"x" * 300 + b"\n1\nshared/shared-boxes/user/bob/ann\n1\n",
        b"shared/shared-boxes/user/bob/ann\x01\n1\nshared/shared-boxes/user/bob/ann\n1\n",
    ],
)
def test_a_list_with_rubbish_in_it(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    listed = shares(path)
    assert set(listed.owners("bob", [])) - {"dan", "ann\x01"} == {"ann"}
    listed.put("ann", [STAFF])
    listed.put("dan", [])
    assert listed.owners("bob", []) == ()
    assert listed.owners("joe", ["staff"]) == ("ann",)


def test_names_that_need_to_be_escaped(path: Path) -> None:
    listed = shares(path)
    group = Who(Kind.GROUP, "/a\tb\\c")
    listed.put("änn", [group, Who(Kind.USER, "x\1\n\r")])
    assert listed.owners("bob", ["/a\tb\\c"]) == ("änn",)
    assert listed.owners("x\1\n\r", []) == ("änn",)
    assert path.read_bytes().count(b"\n") == 4
    listed.put("änn", [])
    assert path.read_bytes() == b""
    with pytest.raises(ValueError, match="slash"):
        listed.put("a/b", [BOB])


@pytest.mark.parametrize("kind", ["directory", "link", "pipe", "socket"])
def test_what_is_no_file_is_nobodys_list(path: Path, kind: str) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(b"shared/shared-boxes/user/bob/ann\n1\n")
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    listed = shares(path)
    assert listed.owners("bob", []) == ()
    with pytest.raises(StoreError):
        listed.put("dan", [BOB])
    assert elsewhere.read_bytes() == b"shared/shared-boxes/user/bob/ann\n1\n"


def test_what_was_known_counts_where_it_cannot_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed = shares(path)
    listed.put("ann", [BOB])
    assert listed.owners("bob", []) == ("ann",)
    monkeypatch.setattr(durable, "LARGE_OCTETS", 10)
    assert [listed.owners("bob", []) for _ in range(3)] == [("ann",)] * 3
    assert [record.getMessage() for record in caplog.records].count("list of shares not read") == 1


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    listed = shares(tmp_path / "none" / "list")
    assert listed.owners("bob", []) == ()
    with pytest.raises(StoreError):
        listed.put("ann", [BOB])


def test_it_is_written_as_whom_the_process_is(path: Path) -> None:
    as_whom = []

    @contextmanager
    def acting() -> Iterator[None]:
        as_whom.append("itself")
        yield
        as_whom.append("the owner again")

    listed = ShareList(bytes(path), acting)
    listed.put("ann", [BOB])
    assert as_whom == ["itself", "the owner again"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o666])
def test_it_stays_as_open_as_it_is(path: Path, mode: int) -> None:
    path.write_bytes(b"")
    path.chmod(mode)
    shares(path).put("ann", [BOB])
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_it_stays_whose_it_is(path: Path) -> None:
    path.write_bytes(b"")
    os.chown(path, 12345, 23456)
    shares(path).put("ann", [BOB])
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_new_one_belongs_to_whom_its_directory_does(tmp_path: Path) -> None:
    """Root makes it for the workers: maildir-imapd acl rebuild."""
    tmp_path.chmod(0o750)
    os.chown(tmp_path, 12345, 23456)
    path = tmp_path / "list"
    ShareList(bytes(path)).put("ann", [BOB])
    state = path.stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (12345, 23456, 0o640)


def test_one_of_another_user_that_cannot_be_given_back_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"")
    path.chmod(0o640)
    state = os.stat(path)
    values = list(state)
    values[4] = state.st_uid + 1
    monkeypatch.setattr("maildir_imapd.store.disk.durable.os.fchown", _refuse)
    fd = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            durable.resemble(fd, os.stat_result(values))
        values[0] |= 0o060
        durable.resemble(fd, os.stat_result(values))
    finally:
        os.close(fd)
    assert path.stat().st_mode & 0o777 == 0o660


def _refuse(*_: object) -> None:
    raise PermissionError


def test_a_lock_of_dovecots_that_is_as_large_as_the_list(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = path.with_name(path.name + ".lock")
    lock.write_bytes(b"shared/shared-boxes/user/bob/ann\n1\n" * 60_000)
    monkeypatch.setattr("maildir_imapd.store.records.shares._LOCK_SECONDS", 0.0)
    with pytest.raises(StoreError):
        shares(path).put("ann", [BOB])
    os.utime(lock, (1, 1))
    shares(path).put("ann", [BOB])
    assert not lock.exists()


def test_several_at_once_lose_nothing(path: Path) -> None:
    names = [f"user{n}" for n in range(12)]
    threads = [threading.Thread(target=lambda name=name: shares(path).put(name, [BOB])) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert shares(path).owners("bob", []) == tuple(sorted(names))


def test_all_at_once_and_alone(path: Path) -> None:
    listed = shares(path)
    listed.put_all({"ann": [BOB], "dan": [BOB, STAFF], "eve": [ANYONE]})
    listed.put_all({"ann": [STAFF], "dan": []})
    assert listed.everybody() == ("ann", "eve")
    listed.put_all({"dan": [BOB]}, alone=True)
    assert listed.everybody() == ("dan",)
    assert listed.of("dan") == {BOB}


@given(st.binary())
def test_any_octets_are_read_and_written(data: bytes) -> None:
    pairs = parse(data)
    assert parse(render(pairs)) == pairs


LINES = st.lists(
    st.sampled_from(
        [b"", b"1", b"shared/shared-boxes/user/bob/ann", b"shared/shared-boxes/anyone/dan", b"priv/x", b"\1"]
    )
)


@given(LINES, st.booleans())
def test_no_key_is_overlooked(lines: list[bytes], ended: bool) -> None:
    pairs = parse(b"\n".join(lines) + b"\n" * ended)
    assert [key for key, _ in pairs] == [line for line in lines if line.startswith((b"shared/", b"priv/"))]
