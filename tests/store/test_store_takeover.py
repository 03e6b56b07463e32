"""Other servers' files: read tolerantly, written strictly, and believed at first contact."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spool import Spool

from maildir_imapd import errors
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.neighbours import courier_files, takeover, uidlist
from maildir_imapd.store.neighbours.uidlist import Record, UidList, parse, render, updated

V3 = b"""3 V1795392037 N1 P2 G084425162582036b9b40000083ecc375
1 :1795392037.M579570P16539.vm,S=73,W=79
7 :1795392038.M1P1.vm,S=1:2,FS
25017 W2481 :1276533073.M242911P3632.kurkku
"""


def test_version_3() -> None:
    found = parse(V3)
    assert found is not None
    assert (found.uidvalidity, found.uidnext) == (1795392037, 25018)
    assert found.others == (b"P2", b"G084425162582036b9b40000083ecc375")
    assert found.records[1] == Record(7, b"1795392038.M1P1.vm,S=1")
    assert found.records[2].fields == (b"W2481",)
    again = render(found)
    assert again.splitlines()[0] == b"3 V1795392037 N25018 P2 G084425162582036b9b40000083ecc375"
    assert again.splitlines()[3] == b"25017 W2481 :1276533073.M242911P3632.kurkku"
    assert parse(again) == found


def test_version_1_is_couriers() -> None:
    data = b"1 1795392021 3\n1 1795392021.M1P2V00I00_0.host,S=73\n2 x\n"
    found = parse(data)
    assert found is not None
    assert found.uids() == {b"1795392021.M1P2V00I00_0.host,S=73": 1, b"x": 2}
    assert render(found) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"3 V1 N1",
        b"2 V1 N1\n",
        b"3 V0 N1\n",
        b"3 N1\n",
        b"3 V1 Nx\n",
        b"1 2\n",
        b"1 2 3 4\n",
        b"\n",
        b"3 V9999999999 N1\n",
    ],
)
def test_headers_that_cannot_be_believed(data: bytes) -> None:
    assert parse(data) is None


def test_what_is_wrong_is_left_out_and_said() -> None:
    found = parse(b"3 V5 N4\n1 :a\n1 :b\n0 :c\n3 :a\n2 :d\nx :e\n9 f\n10 :g/h\n8 :i\n12 :torn")
    assert found is not None
    assert found.uids() == {b"a": 1, b"i": 8}
    # No UID that was ever named is given again.
    assert found.uidnext == 9
    assert len(found.problems) == 8


def test_update_keeps_what_is_not_ours() -> None:
    old = parse(V3)
    new = updated(
        old, uidvalidity=1795392037, uidnext=10, rows=[(7, b"1795392038.M1P1.vm,S=1"), (30000, b"n")], version=3
    )
    assert new.uidnext == 25018
    assert new.others == (b"P2", b"G084425162582036b9b40000083ecc375")
    kept = updated(old, uidvalidity=1795392037, uidnext=1, rows=[(25017, b"1276533073.M242911P3632.kurkku")], version=3)
    assert kept.records[0].fields == (b"W2481",)


bases = st.binary(min_size=1, max_size=30).filter(lambda b: not set(b) & set(b" :/\n\r\0"))


@given(st.dictionaries(bases, st.integers(1, 2**32 - 3)), st.integers(1, 2**32 - 1))
def test_round_trip(uids: dict[bytes, int], uidvalidity: int) -> None:
    rows = sorted({uid: base for base, uid in uids.items()}.items())
    made = UidList(uidvalidity, (rows[-1][0] if rows else 0) + 1, tuple(Record(uid, base) for uid, base in rows))
    assert parse(render(made)) == made


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    found = parse(b"3 V1 N1\n" + data)
    assert found is not None
    uids = [record.uid for record in found.records]
    assert uids == sorted(set(uids))
    assert all(uid < found.uidnext for uid in uids)


pieces = st.sampled_from(
    b"1 :a|2 W9 :b:2,S|3 :c|4 ::|4 W5 G6 :d|04 :d|x 5 :e|5 :e/f|5|6 :g\0||7 :a|4294967295 :h|4294967294 :i"
    b"|99999999999 :j|0 :k|8 W:x:y|9 :l\r| 9 :l".split(b"|")
)


@given(st.lists(pieces), st.sampled_from([b"\n", b""]), st.sampled_from([b"3 V1 N1\n", b"1 1 1\n"]))
def test_all_at_once_is_as_line_by_line(lines: list[bytes], end: bytes, header: bytes) -> None:
    data = header + b"\n".join(lines) + end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uidlist, "_whole", lambda body, version: None)
        expected = parse(data)
    assert parse(data) == expected
    assert expected is not None
    assert parse(render(expected)) == expected


def test_courier_keywords(tmp_path: Path) -> None:
    box = tmp_path / "courierimapkeywords"
    box.mkdir()
    nobody = b"9" * 5000  # Python reads no number as long as that
    (box / ":list").write_bytes(b"one\ntwo\n\nbase1:0 1\nbase2:1 %b\nbase:with:2:0\n" % nobody)
    (box / "base2").write_bytes(b"three\n")
    (box / ".5.base1").write_bytes(b"old\n")
    (box / ".7.base1").write_bytes(b"")
    (box / ".tmp.x").write_bytes(b"no\n")
    found = courier_files.read_keywords(os.fsencode(tmp_path))
    assert found == {b"base1": (), b"base2": (b"three",), b"base:with:2": (b"one",)}
    assert courier_files.parse_keywords(courier_files.render_keywords(found)) == {
        b"base2": (b"three",),
        b"base:with:2": (b"one",),
    }
    assert courier_files.read_keywords(os.fsencode(tmp_path / "nothing")) == {}


def test_courier_subscriptions() -> None:
    data = "INBOX\nINBOX.Sub.Deep\nINBOX.été\n#shared.x\n".encode()
    assert courier_files.parse_subscriptions(data, ".") == ["INBOX", "Sub.Deep", "été"]
    assert courier_files.parse_subscriptions(b"INBOX.&AOk-t&AOk-\n", "/") == ["été"]
    assert courier_files.render_subscriptions(["INBOX", "Sub.é"], ".", utf8=True) == "INBOX\nINBOX.Sub.é\n".encode()


def test_uids_come_from_dovecot(spool: Spool) -> None:
    bases = spool.simple("INBOX", 3, "ab")
    text = "3 V77 N9 Gaa\n" + f"2 :{bases[1]}\n5 :{bases[0]}\n"
    (spool.root / "dovecot-uidlist").write_text(text)
    (spool.root / "dovecot-keywords").write_text("0 kw1\n1 $Label\n")
    snapshot = Account(os.fsencode(spool.root), fsync="never", mirror="none").mailbox("INBOX").sync()
    assert snapshot.uidvalidity == 77
    assert dict(zip(snapshot.names, snapshot.uids, strict=True)) == {
        bases[1].encode(): 2,
        bases[0].encode(): 5,
        bases[2].encode(): 9,
    }
    assert snapshot.flag_names(snapshot.flags[0], snapshot.uids[0]) == (b"kw1", b"$Label")
    assert snapshot.modseq > 1_700_000_000_000_000
    assert (spool.root / "dovecot-uidlist").read_text() == text


def test_uids_and_keywords_come_from_courier(spool: Spool) -> None:
    bases = spool.simple("INBOX", 2, "S")
    (spool.root / "courierimapuiddb").write_text(f"1 88 12\n4 {bases[0]}\n11 {bases[1]}\n")
    box = spool.root / "courierimapkeywords"
    box.mkdir()
    (box / ":list").write_text(f"urgent\n\n{bases[1]}:0\n")
    snapshot = Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX").sync()
    assert (snapshot.uidvalidity, list(snapshot.uids), snapshot.uidnext) == (88, [4, 11], 12)
    assert snapshot.flag_names(snapshot.flags[1], 11) == (b"\\Seen", b"urgent")


def test_a_file_that_is_no_uidlist_is_said_and_left_alone(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.simple("INBOX", 1)
    (spool.root / "dovecot-uidlist").write_text("garbage\n")
    assert takeover.look(os.fsencode(spool.root)).seed() is None
    assert len(Account(os.fsencode(spool.root), fsync="never", mirror="none").mailbox("INBOX").sync()) == 1
    assert "cannot be taken over" in caplog.text
    assert (spool.root / "dovecot-uidlist").read_text() == "garbage\n"


def test_the_mirror_sets_aside_what_it_cannot_read(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    (spool.root / "dovecot-uidlist").write_text("garbage\n")
    Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX").sync()
    assert (spool.root / "dovecot-uidlist").read_text().startswith("3 V")
    assert (spool.root / "dovecot-uidlist.unreadable").read_text() == "garbage\n"


ALL_LETTERS = "".join(f"{n} kw{n}\n" for n in range(26))
UNREADABLE = {
    "dovecot.index.log": {
        "dovecot-uidlist": "3 V77 N9 Gaa\n",
        "dovecot-keywords": ALL_LETTERS,
        "dovecot.index.log": None,
    },
    "dovecot-uidlist": {"dovecot-uidlist": None},
    "dovecot-keywords": {"dovecot-uidlist": "3 V77 N9 Gaa\n", "dovecot-keywords": None},
    "courierimapuiddb": {"courierimapuiddb": None},
    "courierimapkeywords": {"courierimapuiddb": "1 88 12\n", "courierimapkeywords": None},
    "courierimapkeywords/:list": {"courierimapuiddb": "1 88 12\n", "courierimapkeywords/:list": None},
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_no_reason_for_new_uids(name: str, spool: Spool, tmp_path: Path) -> None:
    """Links, so that root may not follow them either."""
    bases = spool.simple("INBOX", 1)
    for file, text in UNREADABLE[name].items():
        path = spool.root / file
        path.parent.mkdir(exist_ok=True)
        if text is None:
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.write_text(text)
    account = Account(os.fsencode(spool.root), fsync="never")
    with pytest.raises(errors.TakeoverRefused, match="another mail server") as refused:
        account.mailbox("INBOX")
    assert name.partition("/")[0] in refused.value.detail
    assert not (spool.root / "maildir-imapd.index").exists()
    # Once it can be read, all is as if nothing had been.
    for file, text in UNREADABLE[name].items():
        if text is None:
            (spool.root / file).unlink()
    (spool.root / "dovecot-uidlist").write_text(f"3 V99 N9 Gaa\n7 :{bases[0]}\n")
    os.utime(spool.root / "dovecot-uidlist", (4e9, 4e9))
    assert list(account.mailbox("INBOX").sync().uids) == [7]


def test_what_is_recent_is_no_reason_to_refuse_a_folder(
    spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dovecot's own index has nothing else while there are letters for all keywords."""
    (base,) = spool.simple("INBOX", 1)
    (spool.root / "dovecot-uidlist").write_text(f"3 V77 N9 Gaa\n7 :{base}\n")
    (spool.root / "dovecot.index.log").symlink_to(tmp_path / "elsewhere")
    assert list(Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX").sync().uids) == [7]
    assert "Dovecot's own index" in caplog.text


def test_which_server_was_here_is_seen_without_reading(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs in opens the account, and the list may be a long one."""
    spool.simple("INBOX", 1)
    (spool.root / "dovecot-uidlist").write_text("3 V77 N9 Gaa\n")
    monkeypatch.setattr(durable, "read_file", lambda *_: pytest.fail("read"))
    account = Account(os.fsencode(spool.root), fsync="never")
    assert account.mirror == "dovecot"
    (spool.root / "courierimapuiddb").write_text("1 88 12\n")
    os.utime(spool.root / "courierimapuiddb", (4e9, 4e9))
    assert Account(os.fsencode(spool.root), fsync="never").prefix == "INBOX."


def test_too_many_open_files_are_no_reason_for_new_uids(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.simple("INBOX", 1)
    (spool.root / "dovecot-uidlist").write_text("3 V99 N9 Gaa\n")

    def read_file(name: bytes, directory: int, limit: int) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(durable, "read_file", read_file)
        assert isinstance(takeover.look(os.fsencode(spool.root)).closed, errors.TooManyFiles)


# What each says of three messages; the UIDs that can be believed, those of the others, which must be new.
CONTRADICTIONS = {
    "torn": ("3 V77 N9 Gaa\n2 :{0}\n5 :{1}\n7 :{2}", [2, 5], 1),
    "torn header": ("3 V77 N9", [], 3),
    "a UID twice": ("3 V77 N9 Gaa\n2 :{0}\n2 :{1}\n5 :{2}\n", [2, 5], 1),
    "a message twice": ("3 V77 N9 Gaa\n2 :{0}\n5 :{1}\n7 :{0}\n", [2, 5], 1),
    "not rising": ("3 V77 N9 Gaa\n5 :{0}\n2 :{1}\n7 :{2}\n", [5, 7], 1),
    "N too low": ("3 V77 N3 Gaa\n2 :{0}\n5 :{1}\n70 :{2}\n", [2, 5, 70], 0),
    "CR at the ends": ("3 V77 N9 Gaa\r\n2 :{0}\r\n5 :{1}\r\n", [], 3),
    "NUL and junk": ("3 V77 N9 Gaa\n\0\0\0\nx :{0}\n5 :{1}\n", [5], 2),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_list_that_contradicts_itself_gives_no_uid_twice(
    case: str, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    template, believed, new = CONTRADICTIONS[case]
    text = template.format(*spool.simple("INBOX", 3)).encode()
    path = spool.root / "dovecot-uidlist"
    path.write_bytes(text)
    snapshot = Account(os.fsencode(spool.root), fsync="never", mirror="none").mailbox("INBOX").sync()
    uids = list(snapshot.uids)
    assert [uid for uid in uids if uid in believed] == believed
    assert len(set(uids)) == len(believed) + new == 3
    assert snapshot.uidnext > max(uids)
    if believed:
        assert snapshot.uidvalidity == 77
    # What is new was never given to another message.
    seen = [int(word) for word in re.findall(rb"^(\d+) :", text, re.MULTILINE)]
    if believed:
        assert all(uid > max(seen) and uid >= 9 for uid in uids if uid not in believed) or not new
    if case != "N too low":
        assert "taken over" in caplog.text
    assert path.read_bytes() == text


def test_lists_of_rights_stay_as_they_are(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    spool.simple("a", 1)
    spool.root.joinpath("dovecot-uidlist").write_text("3 V77 N9 Gaa\n")
    rights = b"user=bob lrs\n# a remark\n\nanyone \t l\r\ngroup=x :read lookup"
    lists = [spool.path(name) / "dovecot-acl" for name in ("INBOX", "a")]
    for path in lists:
        path.write_bytes(rights)
    account = Account(os.fsencode(spool.root), fsync="never")
    for name in ("INBOX", "a"):
        box = account.mailbox(name)
        box.set_flags(list(box.sync().uids), add=Flags(1))
        box.expunge([box.snapshot.uids[0]])
    account.rename("a", "b")
    lists[1] = spool.path("b") / "dovecot-acl"
    assert [path.read_bytes() for path in lists] == [rights, rights]


@pytest.mark.parametrize("mirror", ["dovecot", "courier", "none"])
def test_the_other_servers_files_are_never_removed(mirror: str, spool: Spool) -> None:
    """All but the locks that we made ourselves."""
    (base,) = spool.simple("INBOX", 1)
    spool.simple("INBOX", 2)
    theirs = {
        "dovecot-uidlist": f"3 V77 N9 Gaa\n5 :{base}\n",
        "dovecot-keywords": "0 kw1\n",
        "dovecot-uidvalidity": "0000004d",
        "dovecot-uidvalidity.0000004d": "",
        "dovecot.index.log": "binary",
        "courierimapuiddb": "1 88 12\n",
        "courierimapsubscribed": "INBOX\n",
        "subscriptions": "V\t2\n\nINBOX\n",
    }
    for name, text in theirs.items():
        (spool.root / name).write_text(text)
    removed: list[object] = []

    def step(action: str, what: object) -> None:
        if action == "unlink":
            removed.append(what)

    durable.step = step
    try:
        account = Account(os.fsencode(spool.root), fsync="never", mirror=mirror)
        box = account.mailbox("INBOX")
        box.set_flags(list(box.sync().uids), add=Flags(1))
        box.expunge([box.snapshot.uids[0]])
        account.subscribe("INBOX")
    finally:
        durable.step = None
    assert removed, "the expunged message"
    assert not {os.fsencode(name) for name in theirs} & {
        os.path.basename(each) for each in removed if isinstance(each, bytes)
    }
    assert all((spool.root / name).exists() for name in theirs)
