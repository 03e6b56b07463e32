"""UIDs used up: all messages are numbered anew, under a higher UIDVALIDITY, and keep all else that they have."""

from __future__ import annotations

import os
from typing import Any

import pytest
from spool import Spool

from maildir_imapd import errors
from maildir_imapd.store.account import Account
from maildir_imapd.store.index.constants import LAST_UID, LAST_UIDVALIDITY
from maildir_imapd.store.index.index import Index
from maildir_imapd.store.mailbox import Mailbox, Seed
from maildir_imapd.store.maildir.filename import FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.neighbours.uidlist import UidList, parse, render

LAST_BUT_ONE = LAST_UID - 1


def nearly_full(maildir: Any, **options: Any) -> Mailbox:
    """A folder of three messages with UIDs far apart, in which two more have room."""
    bases = maildir.fill(3)
    given = {os.fsencode(base): uid for base, uid in zip(bases, (3, 70, 500), strict=True)}
    box: Mailbox = maildir.open(seed=lambda: Seed(1234, LAST_BUT_ONE, given), **options)
    assert list(box.snapshot.uids) == [3, 70, 500]
    return box


def kept(box: Mailbox) -> list[tuple[object, ...]]:
    """Everything of the messages that no number is in."""
    rows = box.snapshot
    words = [rows.flag_names(bits, uid) for bits, uid in zip(rows.flags, rows.uids, strict=True)]
    return list(zip(rows.names, words, rows.received, rows.saved, rows.sizes, rows.fingerprints, strict=True))


def test_all_that_is_no_number_is_kept(maildir: Any, caplog: pytest.LogCaptureFixture) -> None:
    box, other = nearly_full(maildir), maildir.open()
    words = box.flags([b"word%d" % n for n in range(40)], create=True)
    box.set_flags([70], add=words)
    box.set_flags([3, 500], add=Flags(FLAGGED))
    other.sync()
    assert [maildir.deliver(box), maildir.deliver(box)] == [LAST_BUT_ONE, LAST_UID]
    assert box.snapshot.uidnext == LAST_UID + 1 == 2**32 - 1
    box.expunge([500])
    before, modseq = kept(box), box.snapshot.modseq
    assert maildir.deliver(box) == 5
    assert list(box.snapshot.uids) == [1, 2, 3, 4, 5]
    assert kept(box)[:4] == before
    assert box.snapshot.uidvalidity > 1234
    assert box.snapshot.modseq > modseq
    assert all(each > modseq for each in box.snapshot.modseqs)
    # Nothing is known of the time before: QRESYNC begins anew.
    assert box.vanished_since(modseq) is None
    for again in (other, maildir.open()):
        again.sync()
        assert kept(again) == kept(box)
        assert again.snapshot.uidvalidity == box.snapshot.uidvalidity
        assert list(again.snapshot.uids) == [1, 2, 3, 4, 5]
    events = [record for record in caplog.records if record.getMessage() == "UIDs used up, numbered anew"]
    assert [record.fields["before"] for record in events] == [1234]  # type: ignore[attr-defined]
    # And it goes on from there, whoever does.
    assert maildir.deliver(other) == 6
    box.set_flags([6], add=Flags(SEEN))
    assert other.sync().flags[5] & SEEN


def test_new_mail_of_other_programs(maildir: Any) -> None:
    box = nearly_full(maildir)
    for n in range(4):
        maildir.put(f"180000000{n}.M1P1.h", where="new")
    box.sync()
    assert list(box.snapshot.uids) == [1, 2, 3, 4, 5, 6, 7]
    assert box.snapshot.uidvalidity > 1234
    assert maildir.names("new") == []


def test_a_copy_into_it(make_maildir: Any) -> None:
    full, source = make_maildir("Full"), make_maildir("Source")
    source.fill(3)
    box, from_box = nearly_full(full), source.open()
    given = box.copy_from(from_box, [1, 2, 3])
    assert list(given) == [(1, 4), (2, 5), (3, 6)]
    assert given.uidvalidity == box.snapshot.uidvalidity > 1234


@pytest.mark.parametrize("move", [False, True])
def test_a_copy_within_it_names_no_other_messages(maildir: Any, move: bool) -> None:
    """The UIDs that the client gave are of before: 3 is the third message now, and was the first one."""
    box = nearly_full(maildir)
    before = kept(box)
    with pytest.raises(errors.MailboxMissing) as refusal:
        box.copy_from(box, [3, 70, 500], move=move, under=1234)
    assert "UIDVALIDITY is no longer 1234" in refusal.value.detail
    assert not box.gone
    assert kept(box) == before
    assert list(box.snapshot.uids) == [1, 2, 3]
    assert list(box.copy_from(box, [3], move=move, under=box.uidvalidity)) == [(3, 4)]


def test_there_is_no_higher_uidvalidity(maildir: Any) -> None:
    """Never the same one for other numbers: then it is NO, as before, and nothing is lost."""
    box = maildir.open(seed=lambda: Seed(LAST_UIDVALIDITY, LAST_BUT_ONE))
    assert [maildir.deliver(box), maildir.deliver(box)] == [LAST_BUT_ONE, LAST_UID]
    with pytest.raises(errors.OutOfUids):
        maildir.deliver(box)
    assert maildir.names("tmp") == []
    maildir.put("1.h", where="new")
    assert len(box.sync()) == 2
    assert maildir.names("new") == ["1.h"]


def test_a_seed_that_leaves_too_few(maildir: Any) -> None:
    bases = maildir.fill(4)
    box = maildir.open(seed=lambda: Seed(1234, LAST_UID, {os.fsencode(bases[2]): 9}, first_recent=LAST_UID))
    assert list(box.snapshot.uids) == [1, 2, 3, 4]
    # The one that was listed first, as it would have been.
    assert box.snapshot.names == [os.fsencode(bases[n]) for n in (2, 0, 1, 3)]
    assert box.snapshot.uidvalidity > 1234
    assert len(box.claim_recent()) == 3


def test_the_last_uid_is_given_once_whatever_starts_anew(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = nearly_full(maildir)
    assert [maildir.deliver(box), maildir.deliver(box)] == [LAST_BUT_ONE, LAST_UID]
    box.expunge([LAST_BUT_ONE, LAST_UID])
    monkeypatch.setattr(Index, "boot", b"another")
    again = maildir.open()
    assert again.snapshot.uidnext == LAST_UID + 1
    assert maildir.deliver(again) == 4
    # The same where the index is damaged.
    uidvalidity = again.snapshot.uidvalidity
    assert uidvalidity > 1234


def test_the_last_uid_is_given_once_whatever_is_damaged(maildir: Any) -> None:
    box = nearly_full(maildir)
    assert [maildir.deliver(box), maildir.deliver(box)] == [LAST_BUT_ONE, LAST_UID]
    box.expunge([LAST_BUT_ONE, LAST_UID])
    box.close()
    journal = maildir.path / "maildir-imapd.journal"
    journal.write_bytes(journal.read_bytes()[:-9] + b"00000000\n" + b"x" * 90)
    again = maildir.open()
    assert (again.snapshot.uidvalidity, again.snapshot.uidnext) == (1234, LAST_UID + 1)
    assert maildir.deliver(again) == len(again.snapshot)
    assert again.snapshot.uidvalidity > 1234


@pytest.mark.parametrize(("mirror", "name"), [("dovecot", "dovecot-uidlist"), ("courier", "courierimapuiddb")])
def test_the_list_of_another_server_follows(spool: Spool, mirror: str, name: str) -> None:
    """It may be its list that says so: then its UIDs go with ours, and it gets the list anew."""
    spool.simple("INBOX", 3)
    box = Account(os.fsencode(spool.root), fsync="never", mirror=mirror).mailbox("INBOX")
    before = box.sync()
    old = parse((spool.root / name).read_bytes())
    assert old is not None
    ruined = UidList(old.uidvalidity, LAST_UID + 1, old.records, old.others, old.version)
    (spool.root / name).write_bytes(render(ruined))
    spool.simple("INBOX", 1, None)
    assert box.sync().uidnext == LAST_UID + 1
    spool.simple("INBOX", 1, None)
    rows = box.sync()
    assert list(rows.uids) == [1, 2, 3, 4, 5]
    assert rows.uidvalidity > before.uidvalidity
    found = parse((spool.root / name).read_bytes())
    assert found is not None
    assert (found.uidvalidity, found.uidnext, found.problems) == (rows.uidvalidity, 6, ())
    assert found.uids() == dict(zip(rows.names, rows.uids, strict=True))
