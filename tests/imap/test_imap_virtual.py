"""Virtual mailboxes: what searches find in other mailboxes, with every command that clients have for mailboxes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from memory import MemoryClient
from virtual_mail import USUAL, VirtualMail

from maildir_imapd.imap.search.virtual import read
from maildir_imapd.store.disk import durable


def append(client: MemoryClient, mailbox: bytes, text: str, flags: bytes = b"") -> list[bytes]:
    body = b"Subject: %b\r\n\r\n%b\r\n" % (text.encode(), text.encode())
    return client.command(b"p APPEND %b (%b) {%d+}\r\n%b" % (mailbox, flags, len(body), body))


def ok(client: MemoryClient, command: bytes) -> list[bytes]:
    lines = client.command(b"t " + command)
    assert lines[-1].startswith(b"t OK"), lines
    return lines[:-1]


def refused(client: MemoryClient, command: bytes) -> bytes:
    line = client.command(b"t " + command)[-1]
    assert line.startswith(b"t NO"), line
    return line[5:]


def subjects(client: MemoryClient) -> list[bytes]:
    lines = ok(client, b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [line[9:] for line in lines if line.startswith(b"Subject: ")]


def uids(client: MemoryClient) -> bytes:
    return ok(client, b"UID SEARCH ALL")[0]


def messages(client: MemoryClient, mailbox: bytes) -> int:
    line = ok(client, b"STATUS %b (MESSAGES)" % mailbox)[0]
    return int(line.rpartition(b" ")[2].strip(b")"))


@pytest.fixture
def mail(tmp_path: Path) -> VirtualMail:
    return VirtualMail(tmp_path)


@pytest.fixture
def ann(mail: VirtualMail) -> MemoryClient:
    client = mail.client("ann")
    ok(client, b"CREATE Work")
    append(client, b"INBOX", "one")
    append(client, b"Work", "two wanted", b"\\Seen")
    append(client, b"INBOX", "three wanted", b"\\Flagged")
    return client


def test_what_is_listed(mail: VirtualMail, ann: MemoryClient) -> None:
    lines = ok(ann, b'LIST "" Virtual/*')
    assert b'* LIST (\\HasNoChildren) "/" Virtual/All' in lines
    assert b'* LIST (\\Noselect \\HasChildren) "/" Virtual/Sub' in lines
    assert b'* LIST (\\HasNoChildren) "/" Virtual/Sub/Deep' in lines
    assert b'("Virtual/" "/")' in ok(ann, b"NAMESPACE")[0]
    mail.define({"All": USUAL["All"]})
    assert [line.rpartition(b" ")[2] for line in ok(ann, b'LIST "" Virtual/*')] == [b"Virtual/All"]
    refused(ann, b"SELECT Virtual/Unread")
    mail.define(USUAL)
    ok(ann, b"SELECT Virtual/Unread")


def test_special_use(mail: VirtualMail, ann: MemoryClient) -> None:
    mail.define({})
    mail.definitions = {"Everything": read("*\n  ALL\n", use="All")}
    assert b'* LIST (\\HasNoChildren \\All) "/" Virtual/Everything' in ok(ann, b'LIST (SPECIAL-USE) "" *')
    assert ok(ann, b'LIST "" INBOX RETURN (SPECIAL-USE)') == [b'* LIST (\\HasNoChildren) "/" INBOX']


def test_reading(ann: MemoryClient) -> None:
    assert b"* 3 EXISTS" in ok(ann, b"SELECT Virtual/All")
    assert sorted(subjects(ann)) == [b"one", b"three wanted", b"two wanted"]
    assert len(ok(ann, b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE EMAILID THREADID)")) == 3
    assert ok(ann, b"SEARCH SUBJECT one")[0] != b"* SEARCH"
    assert len(ok(ann, b"SORT (SUBJECT) UTF-8 ALL")[0].split()) == 5
    assert ok(ann, b"FETCH 1:* (RFC822.SIZE)")
    assert messages(ann, b"Virtual/Words") == 1
    # What was worked out is kept where the message lies, and found there.
    assert b"* SEARCH" in ok(ann, b"SEARCH BODY wanted")[0]


def test_what_is_read_stays_until_it_is_left(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ok(ann, b"SELECT Virtual/Unread")
    assert subjects(ann) == [b"one", b"three wanted"]
    ok(ann, b"FETCH 1 BODY[]")
    assert ok(other, b"STATUS INBOX (UNSEEN)")[0] == b"* STATUS INBOX (UNSEEN 1)"
    assert ok(other, b"STATUS Virtual/Unread (UNSEEN)")[0] == b"* STATUS Virtual/Unread (UNSEEN 1)"
    assert ok(ann, b"NOOP") == []
    assert b"\\Seen" in ok(ann, b"FETCH 1 FLAGS")[0]
    # It can be flagged, and taken back.
    ok(ann, b"STORE 1 -FLAGS \\Seen")
    ok(ann, b"STORE 1 +FLAGS \\Seen")
    assert b"* 1 EXPUNGE" in ok(ann, b"EXPUNGE")
    assert messages(other, b"INBOX") == 2
    # Another client that opens it sees what is unread now, and the first hears of it.
    ok(ann, b"FETCH 1 BODY[]")
    assert b"* 0 EXISTS" in ok(other, b"SELECT Virtual/Unread")
    assert b"* 1 EXPUNGE" in ok(ann, b"NOOP")


def test_left_is_left(mail: VirtualMail, ann: MemoryClient) -> None:
    ok(ann, b"SELECT Virtual/Unread")
    ok(ann, b"STORE 1:* +FLAGS \\Seen")
    ok(ann, b"UNSELECT")
    assert ok(ann, b"STATUS Virtual/Unread (MESSAGES UIDNEXT)")[0] == b"* STATUS Virtual/Unread (MESSAGES 0 UIDNEXT 3)"
    ok(ann, b"SELECT INBOX")
    ok(ann, b"STORE 1 -FLAGS \\Seen")
    ok(ann, b"SELECT Virtual/Unread")
    # Its UID is another one: numbers rise.
    assert uids(ann) == b"* SEARCH 3"


def test_examine_takes_nothing_away(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ok(ann, b"SELECT Virtual/Unread")
    ok(ann, b"STORE 1 +FLAGS \\Seen")
    assert b"* 2 EXISTS" in ok(other, b"EXAMINE Virtual/Unread")
    assert ok(ann, b"NOOP") == []
    refused(other, b"STORE 1 +FLAGS \\Seen")


def test_flags_are_those_of_the_message(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ok(other, b"SELECT Work")
    ok(ann, b"SELECT Virtual/All")
    ok(ann, b"STORE 1:* +FLAGS (\\Answered $Label Deep)")
    assert b"FLAGS (\\Answered \\Seen $Label Deep" in ok(other, b"FETCH 1 FLAGS")[-1]
    ok(other, b"STORE 1 FLAGS (\\Draft Other)")
    told = ok(ann, b"NOOP")
    assert any(b"FLAGS (\\Draft Other" in line for line in told), told
    assert b"* STATUS Virtual/Sub/Deep (MESSAGES 2)" in ok(ann, b"STATUS Virtual/Sub/Deep (MESSAGES)")
    ok(ann, b"STORE 1:* FLAGS.SILENT (\\Seen)")
    assert b"FLAGS (\\Seen" in ok(other, b"FETCH 1 FLAGS")[-1]


def test_many_keywords(ann: MemoryClient) -> None:
    words = b" ".join([b"word%d" % n for n in range(60)])
    ok(ann, b"SELECT Work")
    ok(ann, b"STORE 1 +FLAGS (%b)" % words)
    ok(ann, b"SELECT Virtual/All")
    assert any(b"word59" in line and b"word0 " in line for line in ok(ann, b"FETCH 1:* FLAGS"))
    ok(ann, b"STORE 1:* -FLAGS (word59 word3)")
    ok(ann, b"SELECT Work")
    flags = ok(ann, b"FETCH 1 FLAGS")[0]
    assert b"word58" in flags
    assert b"word59" not in flags
    assert b"word3 " not in flags


def test_expunge_removes_the_message(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ok(other, b"SELECT Work")
    ok(ann, b"SELECT Virtual/All")
    found = ok(ann, b"SEARCH SUBJECT two")[0].split()[-1]
    ok(ann, b"STORE %b +FLAGS \\Deleted" % found)
    assert ok(ann, b"EXPUNGE")[0] == b"* %b EXPUNGE" % found
    assert b"* 1 EXPUNGE" in ok(other, b"NOOP")
    ok(ann, b"STORE 1 +FLAGS.SILENT \\Deleted")
    ok(ann, b"CLOSE")
    assert messages(ann, b"INBOX") == 1


def test_expunged_there_is_expunged_here(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ok(ann, b"SELECT Virtual/All")
    ok(other, b"SELECT INBOX")
    ok(other, b"STORE 1 +FLAGS \\Deleted")
    ok(other, b"EXPUNGE")
    assert any(line.endswith(b" EXPUNGE") for line in ok(ann, b"NOOP"))
    assert messages(ann, b"Virtual/All") == 2


def test_uids_last(tmp_path: Path) -> None:
    first = VirtualMail(tmp_path)
    ann = first.client("ann")
    for n in range(5):
        append(ann, b"INBOX", f"number {n}")
    ok(ann, b"SELECT Virtual/All")
    ok(ann, b"UID STORE 2 +FLAGS \\Deleted")
    ok(ann, b"EXPUNGE")
    line = ok(ann, b"STATUS Virtual/All (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID)")[-1]
    assert uids(ann) == b"* SEARCH 1 3 4 5"
    again = VirtualMail(tmp_path).client("ann")
    assert ok(again, b"STATUS Virtual/All (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID)")[-1] == line
    ok(again, b"SELECT Virtual/All")
    assert uids(again) == b"* SEARCH 1 3 4 5"
    assert subjects(again) == [b"number 0", b"number 2", b"number 3", b"number 4"]


def test_what_is_put_into_it(mail: VirtualMail, ann: MemoryClient) -> None:
    ok(ann, b"SELECT Virtual/All")
    lines = append(ann, b"Virtual/All", "put", b"\\Flagged Mine")
    validity = ok(ann, b"STATUS Virtual/All (UIDVALIDITY)")[0].split()[-1].strip(b")")
    assert lines[-1].startswith(b"p OK [APPENDUID %b 4]" % validity), lines
    assert messages(ann, b"INBOX") == 3
    assert b"FLAGS (\\Flagged Mine" in ok(ann, b"FETCH 4 FLAGS")[0]
    ok(ann, b"SELECT Work")
    assert ann.command(b"c COPY 1 Virtual/All")[-1].startswith(b"c OK [COPYUID %b 1 5]" % validity)
    assert append(ann, b"Virtual/Unread", "no")[-1].startswith(b"p NO [NOPERM]")
    assert refused(ann, b"COPY 1 Virtual/Flagged").startswith(b"[NOPERM]")
    assert refused(ann, b"MOVE 1 Virtual/Flagged").startswith(b"[NOPERM]")
    # What is put into it and is not found by it has no UID there.
    mail.define({"Unread": "!INBOX\n  UNSEEN\n"})
    lines = append(ann, b"Virtual/Unread", "seen", b"\\Seen")
    assert lines[-1].startswith(b"p OK APPEND"), lines
    assert messages(ann, b"INBOX") == 5
    ok(ann, b"SELECT INBOX")
    assert ann.command(b"c COPY 5 Virtual/Unread")[-1].startswith(b"c OK COPY")


def test_copy_and_move_out_of_it(mail: VirtualMail, ann: MemoryClient) -> None:
    ok(ann, b"CREATE Other")
    ok(ann, b"SELECT Virtual/All")
    before = subjects(ann)
    line = ann.command(b"c COPY 1:3 Other")[-1]
    assert line.startswith(b"c OK [COPYUID"), line
    validity, _, made = line[line.index(b"[") + 9 :].partition(b"]")[0].split()
    assert int(validity) > 0
    pairs = dict(zip((1, 2, 3), _expanded(made), strict=True))
    ok(ann, b"SELECT Other")
    there = dict(zip((1, 2, 3), subjects(ann), strict=True))
    assert [there[pairs[n]] for n in (1, 2, 3)] == before
    ok(ann, b"SELECT Virtual/All")
    assert b"* 6 EXISTS" not in ok(ann, b"NOOP")
    lines = ok(ann, b"MOVE 1:3 Other")
    assert lines[0].startswith(b"* OK [COPYUID")
    assert sum(line.endswith(b" EXPUNGE") for line in lines) == 3
    assert (messages(ann, b"INBOX"), messages(ann, b"Work"), messages(ann, b"Other")) == (0, 0, 6)
    assert messages(ann, b"Virtual/All") == 6


def _expanded(numbers: bytes) -> list[int]:
    found = []
    for part in numbers.split(b","):
        low, _, high = part.partition(b":")
        found += range(int(low), int(high or low) + 1)
    return found


def test_what_cannot_be_done(ann: MemoryClient) -> None:
    for command in (
        b"CREATE Virtual/New",
        b"CREATE Virtual",
        b"DELETE Virtual/All",
        b"RENAME Virtual/All Other",
        b"RENAME Virtual/All Virtual/Other",
        b"RENAME Work Virtual/Work",
        b"SETACL Virtual/All bob lr",
    ):
        refused(ann, command)
    assert b"* MYRIGHTS Virtual/All lrwstiped" in ok(ann, b"MYRIGHTS Virtual/All")
    ok(ann, b"SUBSCRIBE Virtual/All")
    assert b'* LSUB () "/" Virtual/All' in ok(ann, b'LSUB "" *')


def test_it_counts_for_no_quota(mail: VirtualMail, ann: MemoryClient) -> None:
    mail.accounts["ann"].limit(10_000, 100)
    before = ok(ann, b'GETQUOTA "User quota"')
    ok(ann, b"SELECT Virtual/All")
    assert ok(ann, b"GETQUOTAROOT Virtual/All") == [b'* QUOTAROOT Virtual/All "User quota"', *before]
    mail.accounts["ann"].limit(0, 3)
    assert append(ann, b"Virtual/All", "more")[-1].startswith(b"p NO [OVERQUOTA]")
    ok(ann, b"MOVE 1:* Work")


def test_rights_of_each_mailbox_count(mail: VirtualMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    for name, rights in ((b"Read", b"lr"), (b"Flag", b"lrsw"), (b"Hidden", b"l"), (b"All", b"lrswipte")):
        ok(bob, b"CREATE " + name)
        append(bob, name, name.decode())
        ok(bob, b"SETACL %b ann %b" % (name, rights))
    mail.share("bob", "ann")
    append(ann, b"INBOX", "own")
    ok(ann, b"SELECT Virtual/Shared")
    assert sorted(subjects(ann)) == [b"All", b"Flag", b"Read"]
    ok(ann, b"STORE 1:* +FLAGS (\\Flagged \\Deleted)")
    flags = {}
    for name in (b"Read", b"Flag", b"All"):
        ok(bob, b"SELECT " + name)
        flags[name] = ok(bob, b"FETCH 1 FLAGS")[-1]
    assert b"\\Flagged" not in flags[b"Read"]
    assert b"\\Flagged" in flags[b"Flag"]
    assert b"\\Deleted" not in flags[b"Flag"]
    assert b"\\Flagged \\Deleted" in flags[b"All"]
    ok(ann, b"EXPUNGE")
    assert (messages(bob, b"All"), messages(bob, b"Flag"), messages(bob, b"Read")) == (0, 1, 1)
    alone = ok(ann, b"SEARCH SUBJECT Read")[0].split()[-1]
    assert refused(ann, b"STORE %b +FLAGS \\Flagged" % alone).startswith(b"[NOPERM]")
    ok(bob, b"DELETEACL Flag ann")
    assert any(line.endswith(b" EXPUNGE") for line in ok(ann, b"NOOP"))
    assert subjects(ann) == [b"Read"]


def test_mailboxes_come_and_go(ann: MemoryClient) -> None:
    ok(ann, b"SELECT Virtual/All")
    before = uids(ann)
    ok(ann, b"RENAME Work Play")
    assert ok(ann, b"NOOP") == []
    assert uids(ann) == before
    assert sorted(subjects(ann)) == [b"one", b"three wanted", b"two wanted"]
    lines = ok(ann, b"DELETE Play") + ok(ann, b"NOOP")
    assert any(line.endswith(b" EXPUNGE") for line in lines)
    ok(ann, b"CREATE New")
    append(ann, b"New", "new")
    ok(ann, b"NOOP")
    assert sorted(subjects(ann)) == [b"new", b"one", b"three wanted"]
    # What is left out is not there, by whatever name it came.
    ok(ann, b"RENAME New Trash")
    ok(ann, b"NOOP")
    assert sorted(subjects(ann)) == [b"one", b"three wanted"]


def test_idle(mail: VirtualMail, ann: MemoryClient) -> None:
    idler = mail.client("ann")
    ok(idler, b"SELECT Virtual/Unread")
    idler.send(b"i IDLE\r\n")
    assert idler.read_line() == b"+ idling"
    append(ann, b"Work", "news")
    assert idler.unread() == b"* 3 EXISTS\r\n* 1 RECENT\r\n" or b"* 3 EXISTS" in idler.unread()
    idler.send(b"DONE\r\n")


def test_notify(mail: VirtualMail, ann: MemoryClient) -> None:
    ok(ann, b"NOTIFY SET (mailboxes Virtual/Flagged (MessageNew MessageExpunge FlagChange))")
    other = mail.client("ann")
    append(other, b"INBOX", "new", b"\\Flagged")
    assert ann.read_line() == b"* STATUS Virtual/Flagged (MESSAGES 2 UIDNEXT 3 UNSEEN 2)"
    # Each message is told of once: who asks for all that is his own means where it lies.
    ok(ann, b"NOTIFY SET (personal (MessageNew MessageExpunge))")
    append(other, b"INBOX", "newer", b"\\Flagged")
    told = ann.unread()
    assert b"* STATUS INBOX" in told
    assert b"Virtual" not in told


def test_esearch_finds_each_message_once(ann: MemoryClient) -> None:
    lines = ok(ann, b"ESEARCH IN (personal) SUBJECT wanted")
    assert len(lines) == 2
    assert not any(b"Virtual" in line for line in lines)
    lines = ok(ann, b"ESEARCH IN (mailboxes Virtual/All) SUBJECT wanted")
    assert len(lines) == 1
    assert b"MAILBOX Virtual/All" in lines[0]


def test_condstore(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ok(ann, b"SELECT Virtual/All (CONDSTORE)")
    modseq = int(ok(ann, b"STATUS Virtual/All (HIGHESTMODSEQ)")[0].split()[-1].strip(b")"))
    at = int(ok(ann, b"SEARCH SUBJECT one")[0].split()[-1])
    ok(other, b"SELECT INBOX")
    ok(other, b"STORE 1 +FLAGS \\Answered")
    lines = ann.command(b"t STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS \\Answered" % modseq)
    assert lines[-1].startswith(b"t OK [MODIFIED %d]" % at), lines
    changed = ok(ann, b"FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % modseq)
    assert len(changed) == 3


def test_qresync(mail: VirtualMail, ann: MemoryClient) -> None:
    ok(ann, b"ENABLE QRESYNC")
    ok(ann, b"SELECT Virtual/All")
    status = ok(ann, b"STATUS Virtual/All (UIDVALIDITY HIGHESTMODSEQ)")[0].split()
    validity, modseq = status[4], status[6].strip(b")")
    ok(ann, b"UNSELECT")
    other = mail.client("ann")
    ok(other, b"SELECT Work")
    ok(other, b"STORE 1 +FLAGS.SILENT \\Deleted")
    ok(other, b"EXPUNGE")
    ok(other, b"SELECT INBOX")
    ok(other, b"STORE 1 +FLAGS \\Answered")
    lines = ok(ann, b"SELECT Virtual/All (QRESYNC (%b %b))" % (validity, modseq))
    assert sum(line.startswith(b"* VANISHED (EARLIER) ") for line in lines) == 1
    assert sum(b"\\Answered" in line and b" FETCH " in line for line in lines) == 1


def test_time_goes_by(mail: VirtualMail, ann: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    mail.define({"Late": "INBOX\n  OLDER 3600\n"})
    assert messages(ann, b"Virtual/Late") == 0
    ok(ann, b"SELECT Virtual/Late")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7200)
    assert b"* 2 EXISTS" in ok(ann, b"NOOP")


def test_another_definition(mail: VirtualMail, ann: MemoryClient) -> None:
    ok(ann, b"SELECT Virtual/Flagged")
    assert subjects(ann) == [b"three wanted"]
    validity = ok(ann, b"STATUS Virtual/Flagged (UIDVALIDITY)")
    mail.define({**USUAL, "Flagged": "*\n  SEEN\n"})
    ok(ann, b"SELECT Virtual/Flagged")
    assert subjects(ann) == [b"two wanted"]
    assert ok(ann, b"STATUS Virtual/Flagged (UIDVALIDITY)") == validity


def test_a_search_of_what_is_virtual_finds_nothing(mail: VirtualMail, ann: MemoryClient) -> None:
    mail.define({"Round": "Virtual/*\nVirtual/Round\nVirtual/All\n  ALL\n", "All": USUAL["All"]})
    assert messages(ann, b"Virtual/Round") == 0


def test_replace_and_catenate(ann: MemoryClient) -> None:
    ok(ann, b"SELECT Virtual/Flagged")
    body = b"Subject: another\r\n\r\nanother\r\n"
    lines = ann.command(b"r REPLACE 1 INBOX (\\Flagged) {%d+}\r\n%b" % (len(body), body))
    assert lines[-1].startswith(b"r OK"), lines
    assert subjects(ann) == [b"another"]
    validity = ok(ann, b"STATUS Virtual/Flagged (UIDVALIDITY)")[0].split()[-1].strip(b")")
    url = b'"/Virtual/Flagged;UIDVALIDITY=%b/;UID=2"' % validity
    assert ann.command(b"c APPEND Work CATENATE (URL %b)" % url)[-1].startswith(b"c OK [APPENDUID")


@pytest.mark.parametrize(
    ("text", "wanted", "without", "saves"),
    [
        ("INBOX\n  UNSEEN\n", ["INBOX"], [], ""),
        ("# of what\ninbox\n\tUNSEEN\n# so\n\tFLAGGED\n", ["inbox"], [], ""),
        ("*\n-Trash\n-Trash/*\n!Saved\n+Odd\n  ALL\n", ["*", "Saved", "Odd"], ["Trash", "Trash/*"], "Saved"),
        ("A\n  UNSEEN\nB\nC\n  FLAGGED\n", ["A", "B", "C"], [], ""),
        ("A\n\nB\n  FLAGGED", ["A", "B"], [], ""),
        ("A", ["A"], [], ""),
    ],
)
def test_files(text: str, wanted: list[str], without: list[str], saves: str) -> None:
    found = read(text)
    assert [name for name, _ in found.wanted] == wanted
    assert (list(found.without), found.saves) == (without, saves)


def test_which_search_is_whose() -> None:
    found = read("A\n  UNSEEN\nB\nC\n  FLAGGED\nD\n")
    digests = {name: search.digest for name, search in found.wanted}
    assert digests["B"] == digests["C"]
    assert len(set(digests.values())) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  UNSEEN\n",
        "-Trash\n  ALL\n",
        "!A\n!B\n  ALL\n",
        "A\n  NONSENSE\n",
        "A\n  1:3\n",
        "A\n  UID 7\n",
        "A\n  MODSEQ 5\n",
        "A\n  FILTER mine\n",
        "/shared/comment:x\n  ALL\n",
        "-\n  ALL\n",
        "A\n  X-MAILBOX B\n",
        "A\n  OR (UNSEEN\n",
    ],
)
def test_what_is_no_definition(text: str) -> None:
    with pytest.raises(ValueError, match="has"):
        read(text)


def test_patterns(tmp_path: Path) -> None:
    mail = VirtualMail(
        tmp_path,
        {
            "Level": "%\n  ALL\n",
            "First": "INBOX\n  FLAGGED\n*\n-Work/*\n  UNFLAGGED\n",
            "Used": "*\n-\\Sent\n  ALL\n",
            "Named": "*\n-*\nWork\n  ALL\n",
        },
    )
    ann = mail.client("ann")
    ok(ann, b"CREATE Work")
    ok(ann, b"CREATE Work/Deep")
    ok(ann, b"CREATE Sent (USE (\\Sent))")
    for name in (b"INBOX", b"Work", b"Work/Deep", b"Sent"):
        append(ann, name, name.decode())
    found = {}
    for name in (b"Level", b"First", b"Used", b"Named"):
        ok(ann, b"SELECT Virtual/" + name)
        found[name] = sorted(subjects(ann))
    assert found == {
        b"Level": [b"INBOX", b"Sent", b"Work"],
        b"First": [b"Sent", b"Work"],
        b"Used": [b"INBOX", b"Work", b"Work/Deep"],
        b"Named": [b"Work"],
    }


def test_too_many_mailboxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("maildir_imapd.store.virtual_sources.MAILBOXES", 3)
    ann = VirtualMail(tmp_path).client("ann")
    for n in range(5):
        ok(ann, b"CREATE Box%d" % n)
        append(ann, b"Box%d" % n, "x")
    assert messages(ann, b"Virtual/All") == 2
    assert messages(ann, b"Virtual/All") == 2
    assert caplog.text.count("a virtual mailbox is of too many mailboxes") == 1


def test_where_nothing_may_be_written(mail: VirtualMail, ann: MemoryClient) -> None:
    """As on a file system that is mounted read-only: they are made in memory, and nothing is done to messages."""
    ok(ann, b"NOOP")  # what is read has been put there
    with durable.untouched():
        client = mail.client("ann")
        lines = ok(client, b"SELECT Virtual/All")
        assert any(line.endswith(b" EXISTS") and not line.startswith(b"* 0") for line in lines)
        assert subjects(client)
        refused(client, b"STORE 1 +FLAGS (\\Flagged)")
        refused(client, b"STORE 1 +FLAGS (\\Deleted)")
        ok(client, b"STATUS Virtual/Unread (MESSAGES)")
        refused(client, b"COPY 1 Virtual/All")
    assert not any(mail.root.rglob("virtual*/**/maildir-imapd.index"))


def test_a_message_that_has_gone_meanwhile(mail: VirtualMail, ann: MemoryClient) -> None:
    """Taken away by another program between the look and the work."""
    ok(ann, b"SELECT Virtual/All")
    before = len(subjects(ann))
    for path in (mail.root / "ann" / "cur").iterdir():
        path.unlink()
    for command in (b"FETCH 1:* (BODY[])", b"STORE 1:* +FLAGS (\\Flagged)", b"COPY 1:* Work", b"NOOP"):
        ann.command(b"x " + command)
    assert len(subjects(ann)) < before
