"""NOTIFY (RFC 5465) where a script cannot reach: too many mailboxes, ones that cannot be read, what is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.errors import SpoolUnreadable
from maildir_imapd.imap.name_changes import NameChange, follow, steps
from maildir_imapd.imap.news import notify
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.wire.parse_search import _FILTERS, _FILTERS_WITH_NAMES

ALL = b"n NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))"


def told(client: MemoryClient) -> list[bytes]:
    lines = []
    while client.unread():
        line = client.read_line()
        assert line is not None
        lines.append(line)
    return lines


def test_too_many_mailboxes_are_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAILBOXES_LIMIT", 2)
    for name in ("A", "B"):
        spool.folder(name)
    client = MemoryWires(spool.root).connect(login=True)
    assert client.command(ALL)[-1].startswith(b"n NO [NOTIFICATIONOVERFLOW] ")
    assert client.session.notify is None


def test_too_many_that_come_later_end_it(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.8: the client is told once, and hears of nothing after that."""
    monkeypatch.setattr(notify, "MAILBOXES_LIMIT", 2)
    spool.folder("A")
    wires = MemoryWires(spool.root)
    client, other = wires.connect(login=True), wires.connect(login=True)
    assert client.command(ALL)[-1].startswith(b"n OK")
    other.command(b"c CREATE B")
    assert told(client)[-1].startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
    other.command(b"c CREATE C")
    assert told(client) == []


def test_a_mailbox_that_cannot_be_read(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.1: it is named with \\NoAccess, and the others are watched all the same."""
    spool.folder("Closed")
    wires = MemoryWires(spool.root)
    client, other = wires.connect(login=True), wires.connect(login=True)
    true = Account.mailbox_at

    def mailbox_at(self: Account, path: bytes, *rest: Any) -> Mailbox:
        if path.endswith(b".Closed"):
            raise SpoolUnreadable(detail="x")
        return true(self, path, *rest)

    monkeypatch.setattr(Account, "mailbox_at", mailbox_at)
    lines = client.command(ALL)
    assert lines == [b'* LIST (\\NoAccess) "." Closed', b"n OK NOTIFY completed"]
    other.command(b"a APPEND INBOX {4+}\r\na: b")
    assert told(client) == [b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2)"]


@pytest.mark.parametrize("end", [b"LOGOUT", b"UNAUTHENTICATE", b"NOTIFY NONE"])
def test_nobody_listens_when_it_is_over(end: bytes, spool: Spool) -> None:
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(ALL)
    inbox = wires.account.mailbox("INBOX")
    assert inbox.listened
    assert wires.account.names.listened
    assert client.command(b"l " + end)[-1].startswith(b"l OK")
    assert not inbox.listened
    assert not wires.account.names.listened


NAMES = b"n NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))"


def ready(spool: Spool, command: bytes) -> tuple[MemoryClient, MemoryClient]:
    """A client that is told things, and one that does them."""
    wires = MemoryWires(spool.root)
    client, other = wires.connect(login=True), wires.connect(login=True)
    assert client.command(command)[-1].startswith(b"n OK")
    return client, other


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        # Children go along, but for one that went elsewhere.
        (
            {"A": 1, "A.B": 2, "A.C": 3},
            {"X": 1, "X.B": 2, "Y": 3},
            [NameChange("X", "A"), NameChange("Y", "X.C")],
        ),
        # Each name is free before it is given anew.
        ({"A": 1, "B": 2}, {"B": 1, "C": 2}, [NameChange("C", "B"), NameChange("B", "A")]),
        # Two that change places cannot be told otherwise.
        ({"A": 1, "B": 2}, {"A": 2, "B": 1}, [NameChange("B", gone=True), NameChange("B", "A"), NameChange("A")]),
        # Renamed over one that is gone; gone, and another one made.
        ({"A": 1, "B": 2}, {"B": 1}, [NameChange("B", gone=True), NameChange("B", "A")]),
        ({"A": 1}, {"A": 2}, [NameChange("A", gone=True), NameChange("A")]),
        # Renamed, and another one made.
        ({"A": 1}, {"A": 2, "B": 1}, [NameChange("B", "A"), NameChange("A")]),
        # The parent alone, as another program does on Maildir++.
        ({"A": 1, "A.B": 2}, {"X": 1, "A.B": 2}, [NameChange("X", "A"), NameChange("A.B", "X.B")]),
    ],
)
def test_names_are_told_so_that_a_client_can_follow(
    before: dict[str, int], after: dict[str, int], told: list[NameChange]
) -> None:
    old = {name: (0, inode) for name, inode in before.items()}
    new = {name: (0, inode) for name, inode in after.items()}
    changes = steps(old, new, lambda name: True, ".")
    assert changes == told
    for change in changes:
        follow(change, old, ".")
        old.setdefault(change.name, new.get(change.name, (0, 0))) if not change.gone else None
    assert old == new


def test_a_name_that_another_mailbox_has_now(spool: Spool) -> None:
    """5.1, 5.3: who does not ask for names hears by its figures that a mailbox is not the one that was there."""
    spool.simple("A", 2)
    client, other = ready(spool, b"n NOTIFY SET (personal (MessageNew MessageExpunge FlagChange))")
    other.command(b"r RENAME A B")
    other.command(b"c CREATE A")
    uidvalidity = other.command(b"s STATUS A (UIDVALIDITY)")[0].split()[-1].strip(b")")
    lines = [line for line in told(client) if line.startswith(b"* STATUS A ")]
    assert lines == [b"* STATUS A (MESSAGES 0 UIDNEXT 1 UIDVALIDITY %b UNSEEN 0)" % uidvalidity]


def test_a_mailbox_that_was_made_anew_between_two_looks(spool: Spool) -> None:
    spool.simple("A", 2)
    client, other = ready(spool, NAMES)
    other.command(b"d DELETE A")
    other.command(b"c CREATE A")
    assert told(client)[:2] == [
        b'* LIST (\\NonExistent \\HasNoChildren) "." A',
        b'* LIST (\\HasNoChildren) "." A',
    ]


def test_flags_of_others_beside_a_message_of_its_own(spool: Spool) -> None:
    """5: what this client has done is no news; what others did in the same moment is."""
    spool.simple("A", 2)
    client, other = ready(spool, NAMES)
    other.command(b"s SELECT A")
    other.command(b"f STORE 1 +FLAGS (\\Seen)")
    assert client.command(b"a APPEND A {4+}\r\na: b")[-1] == b"* STATUS A (UNSEEN 2)"


def test_a_subscription_by_others_beside_a_mailbox_of_its_own(spool: Spool) -> None:
    spool.folder("A")
    client, other = ready(spool, NAMES)
    other.command(b"s SUBSCRIBE A")
    assert client.command(b"c CREATE A.B")[-1] == b'* LIST (\\HasChildren \\Subscribed) "." A'


def test_a_child_by_others_beside_a_rename_of_its_own(spool: Spool) -> None:
    spool.folder("A")
    client, other = ready(spool, NAMES)
    other.command(b"c CREATE A.B")
    assert b'* LIST (\\HasNoChildren) "." X.B' in client.command(b"r RENAME A X")


def test_subscriptions_of_hidden_mailboxes_are_hidden(spool: Spool) -> None:
    """As LSUB hides them (RFC 4314 4)."""
    spool.folder("A")
    (spool.path("A") / "dovecot-acl").write_text("owner a\n")
    (spool.root / "subscriptions").write_text("A\n")
    client, other = ready(spool, NAMES)
    assert other.command(b"u UNSUBSCRIBE A")[-1].startswith(b"u OK")
    assert told(client) == []


@pytest.mark.parametrize("scope", sorted(_FILTERS | _FILTERS_WITH_NAMES))
def test_every_filter_that_is_parsed_is_known(scope: bytes, spool: Spool) -> None:
    """To NOTIFY, as a wish and as an exception, and to ESEARCH; but for those that cannot be there (RFC 7377 2.2)."""
    spool.simple("INBOX", 1)
    spool.folder("Work")
    text = scope + b" (INBOX Work)" if scope in _FILTERS_WITH_NAMES else scope
    client = MemoryWires(spool.root).connect(login=True)
    for group in (b"(%b (MessageNew MessageExpunge))", b"(%b NONE) (personal (MessageNew MessageExpunge FlagChange))"):
        assert client.command(b"a NOTIFY SET " + group % text)[-1] == b"a OK NOTIFY completed"
    client.command(b"b SELECT INBOX")
    lines = client.command(b"c ESEARCH IN (%b) ALL" % text)
    if scope == b"SELECTED-DELAYED":
        assert lines[-1].startswith(b"c BAD")
    else:
        assert lines[-1] == b"c OK ESEARCH completed"
