"""Virtual mailboxes: what searches find in other mailboxes, with every command that clients have for mailboxes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from memory import MemoryClient
from virtual_mail import USUAL, VirtualMail

from maildir_imapd.imap.search.virtual import read
from maildir_imapd.store.disk import durable


def refused(client: MemoryClient, command: bytes) -> bytes:
    line = client.command(b"t " + command)[-1]
    assert line.startswith(b"t NO"), line
    return line[5:]


def subjects(client: MemoryClient) -> list[bytes]:
    lines = client.ok(b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [line[9:] for line in lines if line.startswith(b"Subject: ")]


def uids(client: MemoryClient) -> bytes:
    return client.ok(b"UID SEARCH ALL")[0]


def messages(client: MemoryClient, mailbox: bytes) -> int:
    line = client.ok(b"STATUS %b (MESSAGES)" % mailbox)[0]
    return int(line.rpartition(b" ")[2].strip(b")"))


@pytest.fixture
def mail(tmp_path: Path) -> VirtualMail:
    return VirtualMail(tmp_path)


@pytest.fixture
def ann(mail: VirtualMail) -> MemoryClient:
    client = mail.client("ann")
    client.ok(b"CREATE Work")
    client.append(b"INBOX", "one")
    client.append(b"Work", "two wanted", b"\\Seen")
    client.append(b"INBOX", "three wanted", b"\\Flagged")
    return client


def test_what_is_listed(mail: VirtualMail, ann: MemoryClient) -> None:
    lines = ann.ok(b'LIST "" Virtual/*')
    assert b'* LIST (\\HasNoChildren) "/" Virtual/All' in lines
    assert b'* LIST (\\Noselect \\HasChildren) "/" Virtual/Sub' in lines
    assert b'* LIST (\\HasNoChildren) "/" Virtual/Sub/Deep' in lines
    assert b'("Virtual/" "/")' in ann.ok(b"NAMESPACE")[0]
    mail.define({"All": USUAL["All"]})
    assert [line.rpartition(b" ")[2] for line in ann.ok(b'LIST "" Virtual/*')] == [b"Virtual/All"]
    refused(ann, b"SELECT Virtual/Unread")
    mail.define(USUAL)
    ann.ok(b"SELECT Virtual/Unread")


def test_special_use(mail: VirtualMail, ann: MemoryClient) -> None:
    mail.define({})
    mail.definitions = {"Everything": read("*\n  ALL\n", use="All")}
    assert b'* LIST (\\HasNoChildren \\All) "/" Virtual/Everything' in ann.ok(b'LIST (SPECIAL-USE) "" *')
    assert ann.ok(b'LIST "" INBOX RETURN (SPECIAL-USE)') == [b'* LIST (\\HasNoChildren) "/" INBOX']


def test_reading(ann: MemoryClient) -> None:
    assert b"* 3 EXISTS" in ann.ok(b"SELECT Virtual/All")
    assert sorted(subjects(ann)) == [b"one", b"three wanted", b"two wanted"]
    assert len(ann.ok(b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE EMAILID THREADID)")) == 3
    assert ann.ok(b"SEARCH SUBJECT one")[0] != b"* SEARCH"
    assert len(ann.ok(b"SORT (SUBJECT) UTF-8 ALL")[0].split()) == 5
    assert ann.ok(b"FETCH 1:* (RFC822.SIZE)")
    assert messages(ann, b"Virtual/Words") == 1
    # What was worked out is kept where the message lies, and found there.
    assert b"* SEARCH" in ann.ok(b"SEARCH BODY wanted")[0]


def test_what_is_read_stays_until_it_is_left(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ann.ok(b"SELECT Virtual/Unread")
    assert subjects(ann) == [b"one", b"three wanted"]
    ann.ok(b"FETCH 1 BODY[]")
    assert other.ok(b"STATUS INBOX (UNSEEN)")[0] == b"* STATUS INBOX (UNSEEN 1)"
    assert other.ok(b"STATUS Virtual/Unread (UNSEEN)")[0] == b"* STATUS Virtual/Unread (UNSEEN 1)"
    assert ann.ok(b"NOOP") == []
    assert b"\\Seen" in ann.ok(b"FETCH 1 FLAGS")[0]
    # It can be flagged, and taken back.
    ann.ok(b"STORE 1 -FLAGS \\Seen")
    ann.ok(b"STORE 1 +FLAGS \\Seen")
    assert b"* 1 EXPUNGE" in ann.ok(b"EXPUNGE")
    assert messages(other, b"INBOX") == 2
    # Another client that opens it sees what is unread now, and the first hears of it.
    ann.ok(b"FETCH 1 BODY[]")
    assert b"* 0 EXISTS" in other.ok(b"SELECT Virtual/Unread")
    assert b"* 1 EXPUNGE" in ann.ok(b"NOOP")


def test_left_is_left(mail: VirtualMail, ann: MemoryClient) -> None:
    ann.ok(b"SELECT Virtual/Unread")
    ann.ok(b"STORE 1:* +FLAGS \\Seen")
    ann.ok(b"UNSELECT")
    assert ann.ok(b"STATUS Virtual/Unread (MESSAGES UIDNEXT)")[0] == b"* STATUS Virtual/Unread (MESSAGES 0 UIDNEXT 3)"
    ann.ok(b"SELECT INBOX")
    ann.ok(b"STORE 1 -FLAGS \\Seen")
    ann.ok(b"SELECT Virtual/Unread")
    # Its UID is another one: numbers rise.
    assert uids(ann) == b"* SEARCH 3"


def test_examine_takes_nothing_away(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ann.ok(b"SELECT Virtual/Unread")
    ann.ok(b"STORE 1 +FLAGS \\Seen")
    assert b"* 2 EXISTS" in other.ok(b"EXAMINE Virtual/Unread")
    assert ann.ok(b"NOOP") == []
    refused(other, b"STORE 1 +FLAGS \\Seen")


def test_flags_are_those_of_the_message(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    other.ok(b"SELECT Work")
    ann.ok(b"SELECT Virtual/All")
    ann.ok(b"STORE 1:* +FLAGS (\\Answered $Label Deep)")
    assert b"FLAGS (\\Answered \\Seen $Label Deep" in other.ok(b"FETCH 1 FLAGS")[-1]
    other.ok(b"STORE 1 FLAGS (\\Draft Other)")
    told = ann.ok(b"NOOP")
    assert any(b"FLAGS (\\Draft Other" in line for line in told), told
    assert b"* STATUS Virtual/Sub/Deep (MESSAGES 2)" in ann.ok(b"STATUS Virtual/Sub/Deep (MESSAGES)")
    ann.ok(b"STORE 1:* FLAGS.SILENT (\\Seen)")
    assert b"FLAGS (\\Seen" in other.ok(b"FETCH 1 FLAGS")[-1]


def test_many_keywords(ann: MemoryClient) -> None:
    words = b" ".join([b"word%d" % n for n in range(60)])
    ann.ok(b"SELECT Work")
    ann.ok(b"STORE 1 +FLAGS (%b)" % words)
    ann.ok(b"SELECT Virtual/All")
    assert any(b"word59" in line and b"word0 " in line for line in ann.ok(b"FETCH 1:* FLAGS"))
    ann.ok(b"STORE 1:* -FLAGS (word59 word3)")
    ann.ok(b"SELECT Work")
    flags = ann.ok(b"FETCH 1 FLAGS")[0]
    assert b"word58" in flags
    assert b"word59" not in flags
    assert b"word3 " not in flags


def test_expunge_removes_the_message(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    other.ok(b"SELECT Work")
    ann.ok(b"SELECT Virtual/All")
    found = ann.ok(b"SEARCH SUBJECT two")[0].split()[-1]
    ann.ok(b"STORE %b +FLAGS \\Deleted" % found)
    assert ann.ok(b"EXPUNGE")[0] == b"* %b EXPUNGE" % found
    assert b"* 1 EXPUNGE" in other.ok(b"NOOP")
    ann.ok(b"STORE 1 +FLAGS.SILENT \\Deleted")
    ann.ok(b"CLOSE")
    assert messages(ann, b"INBOX") == 1


def test_expunged_there_is_expunged_here(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ann.ok(b"SELECT Virtual/All")
    other.ok(b"SELECT INBOX")
    other.ok(b"STORE 1 +FLAGS \\Deleted")
    other.ok(b"EXPUNGE")
    assert any(line.endswith(b" EXPUNGE") for line in ann.ok(b"NOOP"))
    assert messages(ann, b"Virtual/All") == 2


def test_uids_last(tmp_path: Path) -> None:
    first = VirtualMail(tmp_path)
    ann = first.client("ann")
    for n in range(5):
        ann.append(b"INBOX", f"number {n}")
    ann.ok(b"SELECT Virtual/All")
    ann.ok(b"UID STORE 2 +FLAGS \\Deleted")
    ann.ok(b"EXPUNGE")
    line = ann.ok(b"STATUS Virtual/All (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID)")[-1]
    assert uids(ann) == b"* SEARCH 1 3 4 5"
    again = VirtualMail(tmp_path).client("ann")
    assert again.ok(b"STATUS Virtual/All (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID)")[-1] == line
    again.ok(b"SELECT Virtual/All")
    assert uids(again) == b"* SEARCH 1 3 4 5"
    assert subjects(again) == [b"number 0", b"number 2", b"number 3", b"number 4"]


def test_what_is_put_into_it(mail: VirtualMail, ann: MemoryClient) -> None:
    ann.ok(b"SELECT Virtual/All")
    lines = ann.append(b"Virtual/All", "put", b"\\Flagged Mine")
    validity = ann.ok(b"STATUS Virtual/All (UIDVALIDITY)")[0].split()[-1].strip(b")")
    assert lines[-1].startswith(b"p OK [APPENDUID %b 4]" % validity), lines
    assert messages(ann, b"INBOX") == 3
    assert b"FLAGS (\\Flagged Mine" in ann.ok(b"FETCH 4 FLAGS")[0]
    ann.ok(b"SELECT Work")
    assert ann.command(b"c COPY 1 Virtual/All")[-1].startswith(b"c OK [COPYUID %b 1 5]" % validity)
    assert ann.append(b"Virtual/Unread", "no")[-1].startswith(b"p NO [NOPERM]")
    assert refused(ann, b"COPY 1 Virtual/Flagged").startswith(b"[NOPERM]")
    assert refused(ann, b"MOVE 1 Virtual/Flagged").startswith(b"[NOPERM]")
    # What is put into it and is not found by it has no UID there.
    mail.define({"Unread": "!INBOX\n  UNSEEN\n"})
    lines = ann.append(b"Virtual/Unread", "seen", b"\\Seen")
    assert lines[-1].startswith(b"p OK APPEND"), lines
    assert messages(ann, b"INBOX") == 5
    ann.ok(b"SELECT INBOX")
    assert ann.command(b"c COPY 5 Virtual/Unread")[-1].startswith(b"c OK COPY")


def test_copy_and_move_out_of_it(mail: VirtualMail, ann: MemoryClient) -> None:
    ann.ok(b"CREATE Other")
    ann.ok(b"SELECT Virtual/All")
    before = subjects(ann)
    line = ann.command(b"c COPY 1:3 Other")[-1]
    assert line.startswith(b"c OK [COPYUID"), line
    validity, _, made = line[line.index(b"[") + 9 :].partition(b"]")[0].split()
    assert int(validity) > 0
    pairs = dict(zip((1, 2, 3), _expanded(made), strict=True))
    ann.ok(b"SELECT Other")
    there = dict(zip((1, 2, 3), subjects(ann), strict=True))
    assert [there[pairs[n]] for n in (1, 2, 3)] == before
    ann.ok(b"SELECT Virtual/All")
    assert b"* 6 EXISTS" not in ann.ok(b"NOOP")
    lines = ann.ok(b"MOVE 1:3 Other")
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
    assert b"* MYRIGHTS Virtual/All lrwstiped" in ann.ok(b"MYRIGHTS Virtual/All")
    ann.ok(b"SUBSCRIBE Virtual/All")
    assert b'* LSUB () "/" Virtual/All' in ann.ok(b'LSUB "" *')


def test_it_counts_for_no_quota(mail: VirtualMail, ann: MemoryClient) -> None:
    mail.accounts["ann"].limit(10_000, 100)
    before = ann.ok(b'GETQUOTA "User quota"')
    ann.ok(b"SELECT Virtual/All")
    assert ann.ok(b"GETQUOTAROOT Virtual/All") == [b'* QUOTAROOT Virtual/All "User quota"', *before]
    mail.accounts["ann"].limit(0, 3)
    assert ann.append(b"Virtual/All", "more")[-1].startswith(b"p NO [OVERQUOTA]")
    ann.ok(b"MOVE 1:* Work")


def test_rights_of_each_mailbox_count(mail: VirtualMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    for name, rights in ((b"Read", b"lr"), (b"Flag", b"lrsw"), (b"Hidden", b"l"), (b"All", b"lrswipte")):
        bob.ok(b"CREATE " + name)
        bob.append(name, name.decode())
        bob.ok(b"SETACL %b ann %b" % (name, rights))
    mail.share("bob", "ann")
    ann.append(b"INBOX", "own")
    ann.ok(b"SELECT Virtual/Shared")
    assert sorted(subjects(ann)) == [b"All", b"Flag", b"Read"]
    ann.ok(b"STORE 1:* +FLAGS (\\Flagged \\Deleted)")
    flags = {}
    for name in (b"Read", b"Flag", b"All"):
        bob.ok(b"SELECT " + name)
        flags[name] = bob.ok(b"FETCH 1 FLAGS")[-1]
    assert b"\\Flagged" not in flags[b"Read"]
    assert b"\\Flagged" in flags[b"Flag"]
    assert b"\\Deleted" not in flags[b"Flag"]
    assert b"\\Flagged \\Deleted" in flags[b"All"]
    ann.ok(b"EXPUNGE")
    assert (messages(bob, b"All"), messages(bob, b"Flag"), messages(bob, b"Read")) == (0, 1, 1)
    alone = ann.ok(b"SEARCH SUBJECT Read")[0].split()[-1]
    assert refused(ann, b"STORE %b +FLAGS \\Flagged" % alone).startswith(b"[NOPERM]")
    bob.ok(b"DELETEACL Flag ann")
    assert any(line.endswith(b" EXPUNGE") for line in ann.ok(b"NOOP"))
    assert subjects(ann) == [b"Read"]


def test_mailboxes_come_and_go(ann: MemoryClient) -> None:
    ann.ok(b"SELECT Virtual/All")
    before = uids(ann)
    ann.ok(b"RENAME Work Play")
    assert ann.ok(b"NOOP") == []
    assert uids(ann) == before
    assert sorted(subjects(ann)) == [b"one", b"three wanted", b"two wanted"]
    lines = ann.ok(b"DELETE Play") + ann.ok(b"NOOP")
    assert any(line.endswith(b" EXPUNGE") for line in lines)
    ann.ok(b"CREATE New")
    ann.append(b"New", "new")
    ann.ok(b"NOOP")
    assert sorted(subjects(ann)) == [b"new", b"one", b"three wanted"]
    # What is left out is not there, by whatever name it came.
    ann.ok(b"RENAME New Trash")
    ann.ok(b"NOOP")
    assert sorted(subjects(ann)) == [b"one", b"three wanted"]


def test_idle(mail: VirtualMail, ann: MemoryClient) -> None:
    idler = mail.client("ann")
    idler.ok(b"SELECT Virtual/Unread")
    idler.send(b"i IDLE\r\n")
    assert idler.read_line() == b"+ idling"
    ann.append(b"Work", "news")
    assert idler.unread() == b"* 3 EXISTS\r\n* 1 RECENT\r\n" or b"* 3 EXISTS" in idler.unread()
    idler.send(b"DONE\r\n")


def test_notify(mail: VirtualMail, ann: MemoryClient) -> None:
    ann.ok(b"NOTIFY SET (mailboxes Virtual/Flagged (MessageNew MessageExpunge FlagChange))")
    other = mail.client("ann")
    other.append(b"INBOX", "new", b"\\Flagged")
    assert ann.read_line() == b"* STATUS Virtual/Flagged (MESSAGES 2 UIDNEXT 3 UNSEEN 2)"
    # Each message is told of once: who asks for all that is his own means where it lies.
    ann.ok(b"NOTIFY SET (personal (MessageNew MessageExpunge))")
    other.append(b"INBOX", "newer", b"\\Flagged")
    told = ann.unread()
    assert b"* STATUS INBOX" in told
    assert b"Virtual" not in told


def test_esearch_finds_each_message_once(ann: MemoryClient) -> None:
    lines = ann.ok(b"ESEARCH IN (personal) SUBJECT wanted")
    assert len(lines) == 2
    assert not any(b"Virtual" in line for line in lines)
    lines = ann.ok(b"ESEARCH IN (mailboxes Virtual/All) SUBJECT wanted")
    assert len(lines) == 1
    assert b"MAILBOX Virtual/All" in lines[0]


def test_condstore(mail: VirtualMail, ann: MemoryClient) -> None:
    other = mail.client("ann")
    ann.ok(b"SELECT Virtual/All (CONDSTORE)")
    modseq = int(ann.ok(b"STATUS Virtual/All (HIGHESTMODSEQ)")[0].split()[-1].strip(b")"))
    at = int(ann.ok(b"SEARCH SUBJECT one")[0].split()[-1])
    other.ok(b"SELECT INBOX")
    other.ok(b"STORE 1 +FLAGS \\Answered")
    lines = ann.command(b"t STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS \\Answered" % modseq)
    assert lines[-1].startswith(b"t OK [MODIFIED %d]" % at), lines
    changed = ann.ok(b"FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % modseq)
    assert len(changed) == 3


def test_qresync(mail: VirtualMail, ann: MemoryClient) -> None:
    ann.ok(b"ENABLE QRESYNC")
    ann.ok(b"SELECT Virtual/All")
    status = ann.ok(b"STATUS Virtual/All (UIDVALIDITY HIGHESTMODSEQ)")[0].split()
    validity, modseq = status[4], status[6].strip(b")")
    ann.ok(b"UNSELECT")
    other = mail.client("ann")
    other.ok(b"SELECT Work")
    other.ok(b"STORE 1 +FLAGS.SILENT \\Deleted")
    other.ok(b"EXPUNGE")
    other.ok(b"SELECT INBOX")
    other.ok(b"STORE 1 +FLAGS \\Answered")
    lines = ann.ok(b"SELECT Virtual/All (QRESYNC (%b %b))" % (validity, modseq))
    assert sum(line.startswith(b"* VANISHED (EARLIER) ") for line in lines) == 1
    assert sum(b"\\Answered" in line and b" FETCH " in line for line in lines) == 1


def test_time_goes_by(mail: VirtualMail, ann: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    mail.define({"Late": "INBOX\n  OLDER 3600\n"})
    assert messages(ann, b"Virtual/Late") == 0
    ann.ok(b"SELECT Virtual/Late")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7200)
    assert b"* 2 EXISTS" in ann.ok(b"NOOP")


def test_another_definition(mail: VirtualMail, ann: MemoryClient) -> None:
    ann.ok(b"SELECT Virtual/Flagged")
    assert subjects(ann) == [b"three wanted"]
    validity = ann.ok(b"STATUS Virtual/Flagged (UIDVALIDITY)")
    mail.define({**USUAL, "Flagged": "*\n  SEEN\n"})
    ann.ok(b"SELECT Virtual/Flagged")
    assert subjects(ann) == [b"two wanted"]
    assert ann.ok(b"STATUS Virtual/Flagged (UIDVALIDITY)") == validity


def test_a_search_of_what_is_virtual_finds_nothing(mail: VirtualMail, ann: MemoryClient) -> None:
    mail.define({"Round": "Virtual/*\nVirtual/Round\nVirtual/All\n  ALL\n", "All": USUAL["All"]})
    assert messages(ann, b"Virtual/Round") == 0


def test_replace_and_catenate(ann: MemoryClient) -> None:
    ann.ok(b"SELECT Virtual/Flagged")
    body = b"Subject: another\r\n\r\nanother\r\n"
    lines = ann.command(b"r REPLACE 1 INBOX (\\Flagged) {%d+}\r\n%b" % (len(body), body))
    assert lines[-1].startswith(b"r OK"), lines
    assert subjects(ann) == [b"another"]
    validity = ann.ok(b"STATUS Virtual/Flagged (UIDVALIDITY)")[0].split()[-1].strip(b")")
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
    ann.ok(b"CREATE Work")
    ann.ok(b"CREATE Work/Deep")
    ann.ok(b"CREATE Sent (USE (\\Sent))")
    for name in (b"INBOX", b"Work", b"Work/Deep", b"Sent"):
        ann.append(name, name.decode())
    found = {}
    for name in (b"Level", b"First", b"Used", b"Named"):
        ann.ok(b"SELECT Virtual/" + name)
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
        ann.ok(b"CREATE Box%d" % n)
        ann.append(b"Box%d" % n, "x")
    assert messages(ann, b"Virtual/All") == 2
    assert messages(ann, b"Virtual/All") == 2
    assert caplog.text.count("a virtual mailbox is of too many mailboxes") == 1


def test_where_nothing_may_be_written(mail: VirtualMail, ann: MemoryClient) -> None:
    """As on a file system that is mounted read-only: they are made in memory, and nothing is done to messages."""
    ann.ok(b"NOOP")  # what is read has been put there
    with durable.untouched():
        client = mail.client("ann")
        lines = client.ok(b"SELECT Virtual/All")
        assert any(line.endswith(b" EXISTS") and not line.startswith(b"* 0") for line in lines)
        assert subjects(client)
        refused(client, b"STORE 1 +FLAGS (\\Flagged)")
        refused(client, b"STORE 1 +FLAGS (\\Deleted)")
        client.ok(b"STATUS Virtual/Unread (MESSAGES)")
        refused(client, b"COPY 1 Virtual/All")
    assert not any(mail.root.rglob("virtual*/**/maildir-imapd.index"))


def test_a_message_that_has_gone_meanwhile(mail: VirtualMail, ann: MemoryClient) -> None:
    """Taken away by another program between the look and the work."""
    ann.ok(b"SELECT Virtual/All")
    before = len(subjects(ann))
    for path in (mail.root / "ann" / "cur").iterdir():
        path.unlink()
    for command in (b"FETCH 1:* (BODY[])", b"STORE 1:* +FLAGS (\\Flagged)", b"COPY 1:* Work", b"NOOP"):
        ann.command(b"x " + command)
    assert len(subjects(ann)) < before
