"""\\Seen that is each reader's own in mailboxes of others: two readers and the owner."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from memory import MemoryClient
from shared_mail import SharedMail

from maildir_imapd.imap.search.virtual import read
from maildir_imapd.store.branch import Branch, SpaceKind
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder.keeping import Keeping
from maildir_imapd.store.maildir.filename import SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.namespaces import Namespaces, OneAccount, OtherUsers
from maildir_imapd.store.private import SeenOfReader
from maildir_imapd.store.virtual_account import VirtualAccount
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import VirtualSources


class PrivateMail(SharedMail):
    """As SharedMail, with ``private_seen`` for others' mail and everybody's."""

    seen: dict[str, SeenOfReader]

    def namespaces(self, user: str) -> Namespaces:
        """The mail as *user* sees it."""
        self.seen = getattr(self, "seen", {})
        if user not in self.seen:
            self.seen[user] = SeenOfReader(self.accounts[user], Keeping(fsync="never"))
        seen = self.seen[user]

        def opens(owner: str, prefix: str) -> Branch | None:
            if owner == user or owner not in self.accounts:
                return None
            return Branch(
                self.accounts[owner], SpaceKind.OTHERS, prefix, "/", owner, own=False, inbox="prefix", private=seen.of
            )

        public = Branch(
            self.accounts["public"], SpaceKind.PUBLIC, "Public/", "/", own=False, usual=self.usual, private=seen.of
        )
        others = OtherUsers(
            "shared/", "/", spelled=str, read=lambda name: name, owners=lambda: self.shares[user], opens=opens
        )
        spaces = [others, OneAccount(SpaceKind.PUBLIC, "Public/", lambda: public)]
        return Namespaces(self.accounts[user], spaces, user=user)


def flags(client: MemoryClient) -> list[bytes]:
    lines = [line for line in client.ok(b"FETCH 1:* FLAGS") if b"FLAGS (" in line and b"FETCH" in line]
    found = [line.partition(b"FLAGS (")[2].partition(b")")[0].split() for line in lines]
    return [b" ".join([flag for flag in each if flag != b"\\Recent"]) for each in found]


WORK = b"shared/bob/Work"


@pytest.fixture
def mail(tmp_path: Path) -> PrivateMail:
    mail = PrivateMail(tmp_path)
    bob = mail.client("bob")
    bob.ok(b"CREATE Work")
    for n in range(3):
        bob.append(b"Work", f"number {n}", b"\\Seen" if n == 0 else b"")
    bob.ok(b"SETACL Work ann lr")
    bob.ok(b"SETACL Work carol lrswite")
    for reader in ("ann", "carol"):
        mail.share("bob", reader)
    return mail


def names(mail: PrivateMail) -> list[str]:
    """The letters in the names of the owner's files."""
    folder = Path(os.fsdecode(mail.accounts["bob"].folder_of("Work")))
    return sorted(file.name.partition(":2,")[2] for file in (folder / "cur").iterdir())


def test_each_has_his_own(mail: PrivateMail) -> None:
    ann, bob, carol = (mail.client(user) for user in ("ann", "bob", "carol"))
    lines = ann.command(b"s SELECT " + WORK)
    assert lines[-1].startswith(b"s OK [READ-WRITE]")
    assert any(b"[PERMANENTFLAGS (\\Seen)]" in line for line in lines)
    assert any(b"[UNSEEN 1]" in line for line in lines)
    assert ann.ok(b"MYRIGHTS " + WORK) == [b"* MYRIGHTS shared/bob/Work lrs"]
    bob.ok(b"SELECT Work")
    assert (
        bob.ok(b"STATUS Work (UIDVALIDITY UIDNEXT MESSAGES)")[-1].partition(b"(")[2]
        == ann.ok(b"STATUS %b (UIDVALIDITY UIDNEXT MESSAGES)" % WORK)[-1].partition(b"(")[2]
    )
    ann.ok(b"STORE 2 +FLAGS (\\Seen \\Flagged)")
    ann.ok(b"FETCH 3 BODY[]")
    assert flags(ann) == [b"", b"\\Seen", b"\\Seen"]
    carol.ok(b"SELECT " + WORK)
    assert flags(carol) == [b"", b"", b""]
    assert flags(bob) == [b"\\Seen", b"", b""]
    assert names(mail) == ["", "", "S"]
    unseen = b"STATUS %b (UNSEEN)" % WORK
    assert ann.ok(unseen)[0].endswith(b"(UNSEEN 1)")
    assert carol.ok(unseen)[0].endswith(b"(UNSEEN 3)")
    assert bob.ok(b"STATUS Work (UNSEEN)")[-1].endswith(b"(UNSEEN 2)")
    assert ann.ok(b"SEARCH UNSEEN") == [b"* SEARCH 1"]
    assert ann.ok(b'LIST "" shared/* RETURN (STATUS (UNSEEN))')[-1] == b"* STATUS shared/bob/Work (UNSEEN 1)"
    assert ann.command(b"x STORE 1 +FLAGS \\Flagged")[-1].startswith(b"x NO [NOPERM]")


def test_all_other_flags_are_shared(mail: PrivateMail) -> None:
    ann, bob, carol = (mail.client(user) for user in ("ann", "bob", "carol"))
    for client, name in ((ann, WORK), (carol, WORK), (bob, b"Work")):
        client.ok(b"SELECT " + name)
    carol.ok(b"STORE 1 FLAGS (\\Flagged \\Seen Mine)")
    carol.ok(b"STORE 2 FLAGS (\\Seen)")
    bob.ok(b"NOOP")
    assert flags(bob) == [b"\\Flagged \\Seen Mine", b"", b""]
    assert flags(carol) == [b"\\Flagged \\Seen Mine", b"\\Seen", b""]
    ann.ok(b"NOOP")
    assert flags(ann) == [b"\\Flagged Mine", b"", b""]
    carol.ok(b"STORE 1 FLAGS ()")
    bob.ok(b"NOOP")
    assert flags(bob) == [b"\\Seen", b"", b""]
    assert flags(carol) == [b"", b"\\Seen", b""]


def test_it_lasts(mail: PrivateMail) -> None:
    ann = mail.client("ann")
    ann.ok(b"SELECT " + WORK)
    ann.ok(b"STORE 2 +FLAGS \\Seen")
    status = ann.ok(b"STATUS %b (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID UNSEEN)" % WORK)[-1]
    again = PrivateMail(mail.root)
    again.shares = mail.shares
    assert (
        again.client("ann").ok(b"STATUS %b (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID UNSEEN)" % WORK)[-1] == status
    )
    # Whatever it is called now.
    mail.client("bob").ok(b"RENAME Work Play")
    mail.client("bob").ok(b"SETACL Play ann lr")
    client = mail.client("ann")
    client.ok(b"SELECT shared/bob/Play")
    assert flags(client) == [b"", b"\\Seen", b""]


def test_news_and_what_goes(mail: PrivateMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    ann.ok(b"SELECT " + WORK)
    ann.ok(b"STORE 1:* +FLAGS \\Seen")
    bob.ok(b"SELECT Work")
    bob.append(b"Work", "new", b"\\Seen")
    bob.ok(b"STORE 2 +FLAGS (\\Deleted)")
    told = ann.ok(b"NOOP")
    assert b"* 4 EXISTS" in told
    assert b"* 1 RECENT" in told
    bob.ok(b"EXPUNGE")
    assert b"* 2 EXPUNGE" in ann.ok(b"NOOP")
    assert flags(ann) == [b"\\Seen", b"\\Seen", b""]
    assert ann.ok(b"UID SEARCH ALL") == [b"* SEARCH 1 3 4"]
    bob.ok(b"DELETE Work")
    assert b"* BYE" in ann.command(b"x NOOP")[0]


def test_condstore_and_qresync(mail: PrivateMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    ann.ok(b"ENABLE QRESYNC")
    ann.ok(b"SELECT " + WORK)
    values = ann.ok(b"STATUS %b (UIDVALIDITY HIGHESTMODSEQ)" % WORK)[-1].split()
    validity, modseq = values[4], int(values[6].strip(b")"))
    other = mail.client("ann")
    other.ok(b"SELECT " + WORK)
    other.ok(b"STORE 1 +FLAGS \\Seen")
    lines = ann.command(b"c STORE 1:2 (UNCHANGEDSINCE %d) -FLAGS (\\Seen)" % modseq)
    assert lines[-1].startswith(b"c OK [MODIFIED 1]"), lines
    bob.ok(b"SELECT Work")
    before = bob.ok(b"STATUS Work (HIGHESTMODSEQ)")[-1]
    ann.ok(b"STORE 1:3 +FLAGS (\\Seen)")
    # What a reader has seen is no change for anybody else.
    assert bob.ok(b"STATUS Work (HIGHESTMODSEQ)")[-1] == before
    ann.ok(b"UNSELECT")
    bob.ok(b"STORE 3 +FLAGS (\\Deleted)")
    bob.ok(b"EXPUNGE")
    lines = ann.ok(b"SELECT %b (QRESYNC (%b %d))" % (WORK, validity, modseq))
    assert b"* VANISHED (EARLIER) 3" in lines
    assert sum(b"\\Seen" in line and b" FETCH " in line for line in lines) == 2


def test_copies_in_and_out(mail: PrivateMail) -> None:
    ann, bob, carol = (mail.client(user) for user in ("ann", "bob", "carol"))
    ann.ok(b"SELECT " + WORK)
    ann.ok(b"STORE 2 +FLAGS \\Seen")
    assert ann.command(b"c COPY 1:3 INBOX")[-1].startswith(b"c OK [COPYUID")
    ann.ok(b"SELECT INBOX")
    assert flags(ann) == [b"", b"\\Seen", b""]
    carol.ok(b"SELECT " + WORK)
    carol.append(WORK, "put", b"\\Seen \\Flagged")
    carol.append(b"INBOX", "own", b"\\Seen")
    carol.ok(b"SELECT INBOX")
    assert carol.command(b"c COPY 1 " + WORK)[-1].startswith(b"c OK [COPYUID")
    carol.ok(b"SELECT " + WORK)
    assert flags(carol) == [b"", b"", b"", b"\\Flagged \\Seen", b"\\Seen"]
    bob.ok(b"SELECT Work")
    assert flags(bob) == [b"\\Seen", b"", b"", b"\\Flagged", b""]
    assert any(line.startswith(b"* OK [COPYUID") for line in carol.ok(b"MOVE 5 INBOX"))
    carol.ok(b"SELECT INBOX")
    assert flags(carol) == [b"\\Seen", b"\\Seen"]


def test_public_mail(tmp_path: Path) -> None:
    mail = PrivateMail(tmp_path, usual=frozenset("lr"))
    mail.accounts["public"].create("News")
    box = mail.accounts["public"].mailbox("News")
    item = box.deliver()
    item.write(b"Subject: news\r\n\r\nnews\r\n")
    box.commit([(item, Flags(0), 1_000_000_000)])
    ann, carol = mail.client("ann"), mail.client("carol")
    ann.ok(b"SELECT Public/News")
    ann.ok(b"STORE 1 +FLAGS \\Seen")
    carol.ok(b"SELECT Public/News")
    assert (flags(ann), flags(carol)) == ([b"\\Seen"], [b""])
    assert not box.sync().flags[0] & SEEN


def test_an_index_that_is_damaged_or_lost(mail: PrivateMail) -> None:
    ann = mail.client("ann")
    ann.ok(b"SELECT " + WORK)
    ann.ok(b"STORE 1:2 +FLAGS \\Seen")
    ann.ok(b"UNSELECT")
    status = ann.ok(b"STATUS %b (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)" % WORK)[-1]
    (folder,) = (mail.root / "ann").glob("maildir-imapd.seen/*")
    for name, content in (("maildir-imapd.index", b"nonsense\n"), ("maildir-imapd.journal", b"nonsense\n")):
        (folder / name).write_bytes(content)
        again = PrivateMail(mail.root)
        again.shares = mail.shares
        client = again.client("ann")
        client.ok(b"SELECT " + WORK)
        now = client.ok(b"STATUS %b (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)" % WORK)[-1]
        assert now.split()[:7] == status.split()[:7]
        assert int(now.split()[-1].strip(b")")) >= int(status.split()[-1].strip(b")"))
        assert len(flags(client)) == 3


def test_a_folder_that_is_numbered_anew(mail: PrivateMail) -> None:
    ann = mail.client("ann")
    ann.ok(b"SELECT " + WORK)
    box = mail.accounts["bob"].mailbox("Work")
    with box._changing(), box._folder.exclusive():
        box._folder.number_anew()
        box._adopt_rows()
    assert any(line.startswith(b"* BYE") for line in ann.command(b"x NOOP"))
    client = mail.client("ann")
    client.ok(b"SELECT " + WORK)
    assert flags(client) == [b"", b"", b""]


def test_notify_and_idle(mail: PrivateMail) -> None:
    ann, other, bob = mail.client("ann"), mail.client("ann"), mail.client("bob")
    ann.ok(b"NOTIFY SET (mailboxes %b (MessageNew MessageExpunge FlagChange))" % WORK)
    other.ok(b"SELECT " + WORK)
    other.ok(b"STORE 1 +FLAGS \\Seen")
    assert ann.read_line() == b"* STATUS shared/bob/Work (UNSEEN 2)"
    bob.append(b"Work", "new")
    line = ann.read_line()
    assert line is not None
    assert b"MESSAGES 4" in line
    assert b"UNSEEN 3" in line


@pytest.mark.long
def test_any_history_of_two_readers(tmp_path: Path) -> None:
    """Against sets kept beside: what each has seen, by UID; two processes of each."""
    for seed in range(6):
        chance = random.Random(seed)
        mails = [PrivateMail(tmp_path / str(seed)) for _ in range(2)]
        bob = mails[0].client("bob")
        bob.ok(b"CREATE Work")
        for user in ("ann", "carol"):
            bob.ok(b"SETACL Work %b lrswite" % user.encode())
            for mail in mails:
                mail.share("bob", user)
        box = mails[0].accounts["bob"].mailbox("Work")
        seen: dict[str, set[int]] = {"ann": set(), "carol": set()}
        for _ in range(25):
            user = chance.choice(["ann", "carol"])
            client = chance.choice(mails).client(user)
            client.ok(b"SELECT " + WORK)
            uids = list(box.sync().uids)
            some = sorted(chance.sample(uids, min(len(uids), 2)))
            match chance.randrange(5):
                case 0 | 1:
                    bob.append(b"Work", "x", chance.choice([b"", b"\\Seen"]))
                case 2 if some:
                    client.ok(b"UID STORE %b +FLAGS (\\Seen)" % b",".join(b"%d" % uid for uid in some))
                    seen[user].update(some)
                case 3 if some:
                    client.ok(b"UID STORE %b FLAGS (\\Draft)" % b",".join(b"%d" % uid for uid in some))
                    seen[user].difference_update(some)
                case 4 if some and chance.random() < 0.5:
                    client.ok(b"UID STORE %d +FLAGS.SILENT (\\Deleted)" % some[0])
                    client.ok(b"EXPUNGE")
            there = set(box.sync().uids)
            for mail in mails:
                for reader, known in seen.items():
                    one = mail.client(reader)
                    one.ok(b"EXAMINE " + WORK)
                    found = {int(word) for word in one.ok(b"UID SEARCH SEEN")[0].split()[2:]}
                    assert found == known & there
                    assert {int(word) for word in one.ok(b"UID SEARCH ALL")[0].split()[2:]} == there


def test_a_virtual_mailbox_of_it(mail: PrivateMail) -> None:
    """It finds what the reader has not seen, and what he sees in it is his own, too."""
    before = mail.namespaces("ann")
    inner = Namespaces(before.own, before.spaces, user="ann", partial=True)
    definitions = {"Unread": read("shared/*\n  UNSEEN\n")}
    space = VirtualSpace(VirtualSources(inner, "ann", frozenset(), lists=True))
    account = VirtualAccount(before.own, lambda: definitions, space, Keeping(fsync="never"))
    branch = Branch(account, prefix="Virtual/", delimiter="/", owner="ann", most=frozenset("lrswipte"), inbox="none")
    virtual = OneAccount(SpaceKind.PERSONAL, "Virtual/", lambda: branch, virtual=True)
    client = MemoryClient(Namespaces(before.own, [*before.spaces, virtual], user="ann"))
    client.read_line()
    client.ok(b"LOGIN ann secret")
    assert b"* 3 EXISTS" in client.ok(b"SELECT Virtual/Unread")
    client.ok(b"STORE 1:2 +FLAGS \\Seen")
    assert names(mail) == ["", "", "S"]
    assert client.ok(b"STATUS %b (UNSEEN)" % WORK)[-1].endswith(b"(UNSEEN 1)")
    assert b"* 1 EXISTS" in client.ok(b"SELECT Virtual/Unread")


def test_where_nothing_may_be_written(tmp_path: Path) -> None:
    """As on a file system that is mounted read-only: what the reader has seen is kept nowhere, and mail is read."""
    mail = PrivateMail(tmp_path)
    bob = mail.client("bob")
    bob.append(b"INBOX", "of bob")
    bob.command(b"a SETACL INBOX ann lr")
    mail.share("bob", "ann")
    with durable.untouched():
        ann = mail.client("ann")
        assert b"* 1 EXISTS" in ann.ok(b"SELECT shared/bob")
        assert any(b"of bob" in line for line in ann.ok(b"FETCH 1 BODY.PEEK[]"))
        assert b"* STATUS shared/bob (UNSEEN 1)" in ann.ok(b"STATUS shared/bob (UNSEEN)")
        ann.command(b"s STORE 1 +FLAGS (\\Seen)")
    assert b"* STATUS INBOX (UNSEEN 1)" in bob.ok(b"STATUS INBOX (UNSEEN)")
