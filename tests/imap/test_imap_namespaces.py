"""Mail of others and of everybody: every command across namespaces (RFC 2342, RFC 4314)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient
from shared_mail import SharedMail


def message(text: str) -> bytes:
    return b"Subject: %b\r\n\r\n%b\r\n" % (text.encode(), text.encode())


def append(client: MemoryClient, mailbox: bytes, text: str) -> bytes:
    body = message(text)
    return client.command(b"p APPEND %b {%d+}\r\n%b" % (mailbox, len(body), body))[-1]


def names(lines: list[bytes]) -> list[bytes]:
    """Of answers to LIST or LSUB: the names."""
    return [line.rpartition(b'"/" ')[2].strip(b'"') for line in lines if line.startswith((b"* LIST", b"* LSUB"))]


@pytest.fixture
def mail(tmp_path: Path) -> SharedMail:
    """Bob shares Work with ann to read it, and Drop to put something there; Secret with nobody."""
    mail = SharedMail(tmp_path)
    bob = mail.client("bob")
    for name in (b"Work", b"Work/2024", b"Drop", b"Secret"):
        assert bob.command(b"a CREATE " + name)[-1].startswith(b"a OK")
        assert append(bob, name, "of bob").startswith(b"p OK")
    for name, rights in ((b"Work", b"lrs"), (b"Drop", b"li")):
        assert bob.command(b"b SETACL %b ann %b" % (name, rights))[-1].startswith(b"b OK")
    mail.share("bob", "ann")
    return mail


def test_namespace(mail: SharedMail) -> None:
    ann = mail.client("ann")
    assert ann.command(b"a NAMESPACE")[0] == b'* NAMESPACE (("" "/")) (("shared/" "/")) (("Public/" "/"))'


def test_list_shows_what_one_may_see(mail: SharedMail) -> None:
    ann = mail.client("ann")
    lines = ann.command(b'a LIST "" *')
    assert names(lines) == [b"INBOX", b"shared", b"shared/bob", b"shared/bob/Drop", b"shared/bob/Work"]
    assert b'* LIST (\\Noselect \\HasChildren) "/" shared/bob' in lines
    # Work/2024 was there before Work had a list.
    assert b'* LIST (\\HasNoChildren) "/" shared/bob/Work' in lines
    assert names(ann.command(b'b LIST "" %')) == [b"INBOX", b"shared"]
    assert names(ann.command(b'b LIST "" shared/%')) == [b"shared/bob"]
    assert names(ann.command(b'b LIST "shared/" bob/%')) == [b"shared/bob/Drop", b"shared/bob/Work"]
    # The answer is kept, and is another one at once when a list has changed.
    bob = mail.client("bob")
    bob.command(b"c SETACL Secret anyone l")
    assert b"shared/bob/Secret" in names(ann.command(b'd LIST "" *'))
    bob.command(b"e DELETEACL Secret anyone")
    assert b"shared/bob/Secret" not in names(ann.command(b'f LIST "" *'))


def test_nobody_else_sees_it(mail: SharedMail) -> None:
    carol = mail.client("carol")
    assert names(carol.command(b'a LIST "" *')) == [b"INBOX"]
    mail.share("bob", "carol")
    assert names(carol.command(b'b LIST "" *')) == [b"INBOX"]
    for command in (b"SELECT", b"EXAMINE", b"DELETE", b"SUBSCRIBE", b"MYRIGHTS", b"GETACL", b"GETQUOTAROOT"):
        for name in (b"Work", b"Secret", b"none"):
            line = carol.command(b"c %b shared/bob/%b" % (command, name))[-1]
            assert line.startswith(b"c NO [NONEXISTENT]"), line
    # One who is not there and one who shares nothing are the same.
    assert carol.command(b"d SELECT shared/dora/Work")[-1] == carol.command(b"d SELECT shared/bob/Work")[-1]


def test_reading(mail: SharedMail) -> None:
    ann = mail.client("ann")
    lines = ann.command(b"a SELECT shared/bob/Work")
    assert b"* 1 EXISTS" in lines
    assert lines[-1].startswith(b"a OK [READ-WRITE]")
    assert any(b"of bob" in line for line in ann.command(b"b FETCH 1 BODY[]"))
    assert ann.command(b"d STORE 1 +FLAGS \\Deleted")[-1].startswith(b"d NO [NOPERM]")
    assert ann.command(b"e EXPUNGE")[-1].startswith(b"e NO [NOPERM]")
    assert ann.command(b"f STATUS shared/bob/Work (MESSAGES UNSEEN)")[0] == (
        b"* STATUS shared/bob/Work (MESSAGES 1 UNSEEN 0)"
    )
    assert ann.command(b"g STATUS shared/bob/Drop (MESSAGES)")[-1].startswith(b"g NO [NOPERM]")
    assert ann.command(b"h SELECT shared/bob/Secret")[-1].startswith(b"h NO [NONEXISTENT]")


def test_what_one_does_the_other_sees(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    bob.command(b"a SELECT Work")
    ann.command(b"b SELECT shared/bob/Work")
    ann.command(b"c STORE 1 +FLAGS \\Seen")
    assert any(b"\\Seen" in line for line in bob.command(b"d NOOP"))
    append(bob, b"Work", "more")
    assert b"* 2 EXISTS" in ann.command(b"e NOOP")


def test_copy_and_move_between(mail: SharedMail) -> None:
    ann = mail.client("ann")
    append(ann, b"INBOX", "of ann")
    ann.command(b"a SELECT INBOX")
    assert ann.command(b"b COPY 1 shared/bob/Drop")[-1].startswith(b"b OK [COPYUID")
    assert ann.command(b"c COPY 1 shared/bob/Work")[-1].startswith(b"c NO [NOPERM]")
    assert ann.command(b"d COPY 1 shared/bob/Secret")[-1].startswith(b"d NO [TRYCREATE]")
    assert any(line.startswith(b"* OK [COPYUID") for line in ann.command(b"e MOVE 1 shared/bob/Drop"))
    assert b"* STATUS Drop (MESSAGES 3)" in mail.client("bob").command(b"f STATUS Drop (MESSAGES)")
    ann.command(b"g SELECT shared/bob/Work")
    assert ann.command(b"h MOVE 1 INBOX")[-1].startswith(b"h NO [NOPERM]")
    assert ann.command(b"i COPY 1 INBOX")[-1].startswith(b"i OK [COPYUID")
    assert b"* STATUS INBOX (MESSAGES 1)" in ann.command(b"j STATUS INBOX (MESSAGES)")


def test_append_and_catenate(mail: SharedMail) -> None:
    ann = mail.client("ann")
    assert append(ann, b"shared/bob/Drop", "into").startswith(b"p OK [APPENDUID")
    assert append(ann, b"shared/bob/Work", "into").startswith(b"p NO [NOPERM]")
    line = ann.command(b'b APPEND INBOX CATENATE (URL "/shared/bob/Work/;UID=1")')[-1]
    assert line.startswith(b"b OK [APPENDUID"), line
    line = ann.command(b'c APPEND INBOX CATENATE (URL "/shared/bob/Secret/;UID=1")')[-1]
    assert line.startswith(b"c NO [BADURL"), line


def test_flags_that_may_not_be_set_are_left_out(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    body = message("flagged")
    line = ann.command(b"a APPEND shared/bob/Drop (\\Seen \\Flagged Mine) {%d+}\r\n%b" % (len(body), body))[-1]
    assert line.startswith(b"a OK")
    bob.command(b"b SELECT Drop")
    flags = bob.command(b"c FETCH 2 FLAGS")[0]
    assert b"\\Flagged" not in flags
    assert b"\\Seen" not in flags


def test_making_and_removing(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    assert ann.command(b"a CREATE shared/bob/New")[-1].startswith(b"a NO [NOPERM]")
    assert ann.command(b"a CREATE shared/bob/Work/New")[-1].startswith(b"a NO [NOPERM]")
    assert ann.command(b"a CREATE shared/dora/New")[-1].startswith(b"a NO")
    assert ann.command(b"a CREATE shared")[-1].startswith(b"a NO")
    assert ann.command(b"a CREATE shared/dora")[-1].startswith(b"a NO")
    assert ann.command(b"a DELETE shared/bob/Work")[-1].startswith(b"a NO [NOPERM]")
    assert ann.command(b"a DELETE shared/bob")[-1].startswith(b"a NO")
    assert ann.command(b"a RENAME shared/bob/Work shared/bob/Play")[-1].startswith(b"a NO [NOPERM]")
    bob.command(b"b SETACL Work ann lrkx")
    assert ann.command(b"c CREATE shared/bob/Work/New")[-1].startswith(b"c OK")
    assert b"Work/New" in names(bob.command(b'd LIST "" *'))
    # It has its parent's list (RFC 4314 4).
    assert ann.command(b"e RENAME shared/bob/Work/New shared/bob/Work/Newer")[-1].startswith(b"e OK")
    assert ann.command(b"f RENAME shared/bob/Work/Newer Mine")[-1].startswith(b"f NO [CANNOT]")
    assert ann.command(b"f RENAME INBOX shared/bob/Work/In")[-1].startswith(b"f NO [CANNOT]")
    assert ann.command(b"g DELETE shared/bob/Work/Newer")[-1].startswith(b"g OK")
    assert b"Work/Newer" not in names(bob.command(b'h LIST "" *'))


def test_subscriptions_are_the_readers(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    assert ann.command(b"a SUBSCRIBE shared/bob/Work")[-1].startswith(b"a OK")
    assert names(ann.command(b'b LSUB "" *')) == [b"shared/bob/Work"]
    assert names(ann.command(b'b LIST (SUBSCRIBED) "" *')) == [b"shared/bob/Work"]
    assert names(bob.command(b'c LSUB "" *')) == []
    # Deleting something of one's own forgets nothing of it.
    ann.command(b"d CREATE Mine")
    ann.command(b"e DELETE Mine")
    assert names(ann.command(b'f LSUB "" *')) == [b"shared/bob/Work"]
    bob.command(b"g DELETEACL Work ann")
    assert names(ann.command(b'h LSUB "" *')) == []
    assert ann.command(b"i UNSUBSCRIBE shared/bob/Work")[-1].startswith(b"i OK")


def test_annotations(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    assert ann.command(b'a SETMETADATA shared/bob/Work (/private/comment "for me" /shared/comment "for all")')[
        -1
    ].startswith(b"a OK")
    assert bob.command(b"b GETMETADATA Work (/private/comment /shared/comment)")[0] == (
        b'* METADATA Work (/private/comment NIL /shared/comment "for all")'
    )
    assert ann.command(b"c GETMETADATA shared/bob/Work (/private/comment /shared/comment)")[0] == (
        b'* METADATA shared/bob/Work (/private/comment "for me" /shared/comment "for all")'
    )
    # What is private stays when something else is removed.
    ann.command(b"d CREATE Mine")
    ann.command(b"e DELETE Mine")
    assert b"for me" in ann.command(b"f GETMETADATA shared/bob/Work (/private/comment)")[0]
    assert ann.command(b"g GETMETADATA shared/bob/Secret (/private/comment)")[-1].startswith(b"g NO [NONEXISTENT]")


def test_administering(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    assert ann.command(b"a GETACL shared/bob/Work")[-1].startswith(b"a NO [NOPERM]")
    assert ann.command(b"a MYRIGHTS shared/bob/Work")[0] == b"* MYRIGHTS shared/bob/Work lrs"
    bob.command(b"b SETACL Work ann lra")
    assert ann.command(b"c GETACL shared/bob/Work")[0] == b"* ACL shared/bob/Work bob lrwstipekxacd ann lra"
    assert ann.command(b"d SETACL shared/bob/Work carol lr")[-1].startswith(b"d OK")
    assert bob.command(b"e GETACL Work")[0] == b"* ACL Work bob lrwstipekxacd ann lra carol lr"
    # The owner keeps what he needs, and nobody locks himself out.
    assert ann.command(b'f SETACL shared/bob/Work bob ""')[-1].startswith(b"f OK")
    assert b"la" in bob.command(b"g MYRIGHTS Work")[0]
    assert ann.command(b"h DELETEACL shared/bob/Work ann")[-1].startswith(b"h NO [CANNOT]")
    assert ann.command(b"i LISTRIGHTS shared/bob/Work bob")[0].startswith(b"* LISTRIGHTS shared/bob/Work bob la ")


def test_quota_is_the_owners(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path)
    ann, bob = mail.client("ann"), mail.client("bob")
    bob.command(b"a CREATE Drop")
    bob.command(b"b SETACL Drop ann lri")
    mail.share("bob", "ann")
    mail.accounts["bob"].limit(200, 0)
    mail.accounts["ann"].limit(100000, 0)
    assert append(ann, b"shared/bob/Drop", "x" * 50).startswith(b"p OK")
    assert append(ann, b"shared/bob/Drop", "x" * 150).startswith(b"p NO [OVERQUOTA]")
    assert append(ann, b"INBOX", "y" * 150).startswith(b"p OK")
    lines = ann.command(b"c GETQUOTAROOT shared/bob/Drop")
    assert lines[0] == b'* QUOTAROOT shared/bob/Drop "User quota of bob"'
    assert lines[1].startswith(b'* QUOTA "User quota of bob" (STORAGE 1 1)')
    assert ann.command(b'd GETQUOTA "User quota of bob"')[-1].startswith(b"d OK")
    assert ann.command(b'd GETQUOTA "User quota of carol"')[-1].startswith(b"d NO")
    assert ann.command(b"d GETQUOTAROOT shared/bob/Secret")[-1].startswith(b"d NO")
    ann.command(b"e SELECT INBOX")
    assert ann.command(b"f COPY 1 shared/bob/Drop")[-1].startswith(b"f NO [OVERQUOTA]")
    assert ann.command(b"g MOVE 1 shared/bob/Drop")[-1].startswith(b"g NO [OVERQUOTA]")
    mail.accounts["bob"].limit(10000, 0)
    before = [mail.accounts[user].quota.usage() for user in ("ann", "bob")]
    assert ann.command(b"h MOVE 1 shared/bob/Drop")[-1].startswith(b"h OK")
    after = [mail.accounts[user].quota.usage() for user in ("ann", "bob")]
    assert before[0] is not None
    assert before[1] is not None
    assert after[0] is not None
    assert after[1] is not None
    size = before[0].used.storage - after[0].used.storage
    assert size > 300
    assert after[1].used.storage - before[1].used.storage == size


def test_searching_many(mail: SharedMail) -> None:
    ann = mail.client("ann")
    append(ann, b"INBOX", "of ann")
    lines = ann.command(b"a ESEARCH IN (personal) RETURN (COUNT) ALL")
    assert [line for line in lines if b"shared" in line] == []
    lines = ann.command(b"b ESEARCH IN (subtree shared) RETURN (COUNT) ALL")
    assert len([line for line in lines if b"shared/bob/Work" in line]) == 1
    assert [line for line in lines if b"Drop" in line or b"Secret" in line] == []


def test_public(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path, usual=frozenset("lrs"))
    mail.accounts["public"].create("News")
    ann, carol = mail.client("ann"), mail.client("carol")
    assert names(ann.command(b'a LIST "" *')) == [b"INBOX", b"Public", b"Public/INBOX", b"Public/News"]
    assert ann.command(b"b MYRIGHTS Public/News")[0] == b"* MYRIGHTS Public/News lrs"
    assert ann.command(b"c CREATE Public/Mine")[-1].startswith(b"c NO [NOPERM]")
    assert ann.command(b"d GETACL Public/News")[-1].startswith(b"d NO [NOPERM]")
    assert append(ann, b"Public/News", "x").startswith(b"p NO [NOPERM]")
    (tmp_path / "public" / ".News" / "dovecot-acl").write_text("user=carol lria\nauthenticated lr\n")
    assert append(carol, b"Public/News", "x").startswith(b"p OK")
    assert carol.command(b"e GETACL Public/News")[0] == b"* ACL Public/News carol lria authenticated lr"
    assert ann.command(b"f MYRIGHTS Public/News")[0] == b"* MYRIGHTS Public/News lr"


def test_delimiters_of_owners(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path, delimiters={"bob": "."})
    bob, ann = mail.client("bob"), mail.client("ann")
    bob.command(b"a CREATE Work.2024")
    for name in (b"Work", b"Work.2024"):
        bob.command(b"b SETACL %b ann lr" % name)
    mail.share("bob", "ann")
    assert names(ann.command(b'c LIST "" shared/*')) == [b"shared/bob", b"shared/bob/Work", b"shared/bob/Work/2024"]
    assert ann.command(b"d SELECT shared/bob/Work/2024")[-1].startswith(b"d OK")
    assert ann.command(b"e SELECT shared/bob/Work.2024")[-1].startswith(b"e NO")


def test_inbox_of_another(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path)
    bob, ann = mail.client("bob"), mail.client("ann")
    append(bob, b"INBOX", "of bob")
    bob.command(b"a SETACL INBOX ann lrx")
    mail.share("bob", "ann")
    assert names(ann.command(b'b LIST "" *')) == [b"INBOX", b"shared", b"shared/bob"]
    assert b"* 1 EXISTS" in ann.command(b"c SELECT shared/bob")
    assert ann.command(b"d DELETE shared/bob")[-1].startswith(b"d NO [CANNOT]")
    assert ann.command(b"e SELECT shared/bob/INBOX")[-1].startswith(b"e NO")


def test_mailboxes_where_a_namespace_is(mail: SharedMail) -> None:
    """A name leads to one mailbox: what a user has of his own under a prefix is not shown, and not lost."""
    mail.accounts["ann"].create("shared/bob/Work")
    ann = mail.client("ann")
    assert b"* STATUS shared/bob/Work (MESSAGES 1)" in ann.command(b"a STATUS shared/bob/Work (MESSAGES)")
    listed = names(ann.command(b'b LIST "" *'))
    assert listed == [b"INBOX", b"shared", b"shared/bob", b"shared/bob/Drop", b"shared/bob/Work"]
    assert mail.accounts["ann"].exists("shared/bob/Work")


def test_an_owner_whose_mail_is_gone(mail: SharedMail) -> None:
    ann = mail.client("ann")
    assert b"shared/bob/Work" in names(ann.command(b'a LIST "" *'))
    (mail.root / "bob").rename(mail.root / "away")
    lines = ann.command(b'b LIST "" *')
    assert lines[-1].startswith(b"b OK")
    assert ann.command(b"c SELECT shared/bob/Work")[-1].startswith(b"c NO")
    assert ann.command(b"d SELECT INBOX")[-1].startswith(b"d OK")
    (mail.root / "away").rename(mail.root / "bob")
    assert b"shared/bob/Work" in names(ann.command(b'e LIST "" *'))
    assert ann.command(b"f SELECT shared/bob/Work")[-1].startswith(b"f OK")


def test_a_list_that_lies(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path)
    ann = mail.client("ann")
    mail.shares["ann"] = ("ann", "bob", "carol", "dora", "nobody here")
    assert names(ann.command(b'a LIST "" *')) == [b"INBOX"]
    assert names(ann.command(b'b LIST "" *')) == [b"INBOX"]


def test_one_who_is_not_on_the_list_can_be_reached(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path)
    bob, ann = mail.client("bob"), mail.client("ann")
    bob.command(b"a CREATE Work")
    bob.command(b"b SETACL Work ann lr")
    assert ann.command(b"c SELECT shared/bob/Work")[-1].startswith(b"c OK")
    assert names(ann.command(b'd LIST "" *')) == [b"INBOX"]


def test_special_uses_of_others_are_theirs(mail: SharedMail) -> None:
    bob, ann = mail.client("bob"), mail.client("ann")
    bob.command(b"a CREATE Sent (USE (\\Sent))")
    bob.command(b"b SETACL Sent ann lrswipk")
    line = next(line for line in ann.command(b'c LIST "" * RETURN (SPECIAL-USE)') if b"bob/Sent" in line)
    assert b"\\Sent" not in line.partition(b"shared")[0]
    assert ann.command(b'd SETMETADATA shared/bob/Sent (/private/specialuse "\\\\Trash")')[-1].startswith(
        b"d NO [USEATTR]"
    )
    assert ann.command(b"e CREATE shared/bob/Sent/T (USE (\\Trash))")[-1].startswith(b"e NO [USEATTR]")
    assert b"shared/bob/Sent/T" not in names(ann.command(b'f LIST "" *'))


def test_notify(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    ann.command(b"a SELECT INBOX")
    lines = ann.command(
        b"b NOTIFY SET (subtree shared (MailboxName SubscriptionChange MailboxMetadataChange"
        b" MessageNew MessageExpunge FlagChange))"
    )
    assert lines[-1].startswith(b"b OK"), lines
    append(bob, b"Work", "news")
    assert b"* STATUS shared/bob/Work (MESSAGES 2 UIDNEXT 3 UNSEEN 2)" in ann.unread()
    ann.command(b"c NOOP")
    bob.command(b"d SETACL Secret ann lr")
    assert b'"/" shared/bob/Secret' in ann.unread()
    ann.command(b"e NOOP")
    bob.command(b"f RENAME Work Play")
    assert b'"/" shared/bob/Play ("OLDNAME" (shared/bob/Work))' in ann.unread()
    ann.command(b"g NOOP")
    bob.command(b"h DELETEACL Play ann")
    assert b"\\NonExistent" in ann.unread()
    ann.command(b"i NOOP")
    bob.command(b'j SETMETADATA Secret (/shared/comment "x")')
    assert b"* METADATA shared/bob/Secret /shared/comment" in ann.unread()
    bob.command(b'k SETMETADATA Secret (/private/comment "x")')
    assert b"/private/comment" not in ann.unread()
    ann.command(b"l NOOP")


def test_notify_personal_is_one_s_own(mail: SharedMail) -> None:
    ann, bob = mail.client("ann"), mail.client("bob")
    ann.command(b"a NOTIFY SET (personal (MailboxName MessageNew MessageExpunge))")
    append(bob, b"Work", "news")
    assert ann.unread() == b""
    append(mail.client("ann"), b"INBOX", "news")
    assert b"* STATUS INBOX" in ann.unread()


def test_another_prefix_for_one_s_own_mail(tmp_path: Path) -> None:
    """For clients that are set to the prefix of the server before this one."""
    mail = SharedMail(tmp_path)
    ann = mail.client("ann")
    assert ann.command(b"a CREATE INBOX/Work")[-1].startswith(b"a OK")
    assert names(ann.command(b'b LIST "" *')) == [b"INBOX", b"Work"]
    assert append(ann, b"INBOX/Work", "x").startswith(b"p OK")
    assert b"* STATUS Work (MESSAGES 1)" in ann.command(b"c STATUS Work (MESSAGES)")
    assert ann.command(b"d SUBSCRIBE INBOX/Work")[-1].startswith(b"d OK")
    assert b"Work" in names(ann.command(b'e LSUB "" *'))
    assert ann.command(b"f RENAME INBOX/Work Play")[-1].startswith(b"f OK")
    assert ann.command(b"g SELECT INBOX/Play")[-1].startswith(b"g OK [READ-WRITE]")
    assert ann.command(b"h SELECT INBOX")[-1].startswith(b"h OK [READ-WRITE]")
    assert ann.command(b"i DELETE INBOX/Play")[-1].startswith(b"i OK")
    assert names(ann.command(b'j LIST "" *')) == [b"INBOX"]
    assert ann.command(b"k DELETE INBOX")[-1].startswith(b"k NO")
    assert b'"User quota"' in ann.command(b"l GETQUOTAROOT INBOX/x")[0]


def test_rights_for_all_users_at_once(tmp_path: Path) -> None:
    mail = SharedMail(tmp_path)
    bob = mail.client("bob", replace(POLICY, acl_anyone=False))
    for identifier in (b"anyone", b"authenticated", b"anonymous"):
        assert bob.command(b"a SETACL INBOX %b lr" % identifier)[-1].startswith(b"a NO [NOPERM]"), identifier
        assert bob.command(b"b SETACL INBOX -%b r" % identifier)[-1].startswith(b"b OK"), identifier
    (tmp_path / "bob" / "dovecot-acl").write_text("anyone lr\n")
    mail.share("bob", "ann")
    assert mail.client("ann").command(b"c SELECT shared/bob")[-1].startswith(b"c OK")
    assert bob.command(b"d SETACL INBOX anyone -r")[-1].startswith(b"d OK")
    assert bob.command(b"e DELETEACL INBOX anyone")[-1].startswith(b"e OK")


def test_as_mail_programs_ask(mail: SharedMail) -> None:
    """Thunderbird's and Roundcube's way of showing folders of others, by the commands that they send."""
    ann = mail.client("ann")
    ann.command(b"0 SUBSCRIBE shared/bob/Work")
    dialogue: list[tuple[bytes, bytes]] = [
        # Thunderbird: the namespaces, what is subscribed in each, and who may do what, for the icon of a folder.
        (b"NAMESPACE", b'* NAMESPACE (("" "/")) (("shared/" "/")) (("Public/" "/"))'),
        (
            b'LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)',
            b'* LIST (\\HasNoChildren \\Subscribed) "/" shared/bob/Work',
        ),
        (b'LIST (SUBSCRIBED) "" "shared/*" RETURN (SPECIAL-USE)', b"shared/bob/Work"),
        (b'LSUB "" "shared/%/%"', b"shared/bob/Work"),
        (b'LIST "" "shared/%"', b'* LIST (\\Noselect \\HasChildren) "/" shared/bob'),
        (b"MYRIGHTS shared/bob/Work", b"* MYRIGHTS shared/bob/Work lrs"),
        (b"GETQUOTAROOT shared/bob/Work", b'* QUOTAROOT shared/bob/Work "User quota of bob"'),
        (b"SELECT shared/bob/Work", b"* 1 EXISTS"),
        (b"UID FETCH 1:* (FLAGS)", b"* 1 FETCH (UID 1 FLAGS ("),
        # Roundcube: all folders with their figures, and the rights of the one that is shown in the settings.
        (b'LIST "" "*" RETURN (SUBSCRIBED)', b'* LIST (\\HasNoChildren \\Subscribed) "/" shared/bob/Work'),
        (b'LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN))', b"* STATUS shared/bob/Work (MESSAGES 1 UNSEEN 1)"),
        (b'LIST "" "" ', b'* LIST (\\Noselect) "/" ""'),
        (b"STATUS shared/bob/Work (UNSEEN UIDNEXT)", b"* STATUS shared/bob/Work (UNSEEN 1 UIDNEXT 2)"),
    ]
    for line, answer in dialogue:
        lines = ann.command(b"t " + line.strip())
        assert lines[-1].startswith(b"t OK"), (line, lines)
        assert any(answer in each for each in lines[:-1]), (line, lines)
    # What one may not administer has no list to show, and the programs hide the page.
    assert ann.command(b"u GETACL shared/bob/Work")[-1].startswith(b"u NO [NOPERM]")


def test_no_two_mailboxes_have_one_mailboxid(mail: SharedMail) -> None:
    """RFC 8474 4: also where two accounts have given one UIDVALIDITY, for it is the time."""
    ann, carol = mail.client("ann"), mail.client("carol")
    mail.client("bob").command(b"a SETACL Work carol lr")
    # As if it had been made in the same second as bob's, who has given this number to his.
    (mail.root / "ann" / "maildir-imapd.uidvalidity").write_bytes(
        (mail.root / "bob" / "maildir-imapd.uidvalidity").read_bytes()
    )
    assert ann.command(b"b CREATE Mine")[-1].startswith(b"b OK [MAILBOXID (F")
    mail.client("bob").command(b"c CREATE Work/New")
    mail.client("bob").command(b"d SETACL Work/New ann lr")
    found = b"".join(ann.command(b'e LIST "" * RETURN (STATUS (MAILBOXID))'))
    ids = re.findall(rb"MAILBOXID \(([A-Za-z0-9_-]+)\)", found)
    assert len(ids) == len(set(ids)) >= 4
    # Every reader is told the same one, by every command.
    (one,) = re.findall(rb"MAILBOXID \(([^)]*)\)", b"".join(ann.command(b"f STATUS shared/bob/Work (MAILBOXID)")))
    assert one in b"".join(carol.command(b"g SELECT shared/bob/Work"))
    assert one in b"".join(ann.command(b"h EXAMINE shared/bob/Work"))
