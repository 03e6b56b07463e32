"""NOTIFY (RFC 5465)."""

from __future__ import annotations

import pytest

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.commands import FetchAtt, Notify, NotifyEvent, NotifyGroup
from maildir_imapd.wire.parse import parse


def events(names: bytes) -> tuple[NotifyEvent, ...]:
    return tuple(NotifyEvent(name) for name in names.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"NOTIFY NONE", Notify(b"a", None)),
        (
            b"notify set (selected (messagenew (UID) MESSAGEEXPUNGE)) ",
            Notify(
                b"a",
                (
                    NotifyGroup(
                        b"SELECTED",
                        (),
                        (NotifyEvent(b"MessageNew", (FetchAtt(b"UID"),)), NotifyEvent(b"MessageExpunge")),
                    ),
                ),
            ),
        ),
        (
            (
                b"NOTIFY SET STATUS (selected-delayed (MessageNew MessageExpunge FlagChange)) (inboxes NONE) "
                b"(subtree (a inbox) (MailboxName SubscriptionChange)) (personal NONE) (mailboxes x (Foo))"
            ),
            Notify(
                b"a",
                (
                    NotifyGroup(b"SELECTED-DELAYED", (), events(b"MessageNew MessageExpunge FlagChange")),
                    NotifyGroup(b"INBOXES", (), ()),
                    NotifyGroup(b"SUBTREE", (b"a", b"INBOX"), events(b"MailboxName SubscriptionChange")),
                    NotifyGroup(b"PERSONAL", (), ()),
                    NotifyGroup(b"MAILBOXES", (b"x",), events(b"Foo")),
                ),
                status=True,
            ),
        ),
    ],
)
def test_good(text: bytes, expected: Notify) -> None:
    assert parse(Frame(b"a " + text)) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b"NOTIFY", 6),
        (b"NOTIFY FOO", 7),
        (b"NOTIFY NONE x", 11),
        (b"NOTIFY SET", 10),
        (b"NOTIFY SET FOO", 11),
        (b"NOTIFY SET STATUS", 17),
        (b"NOTIFY SET ()", 12),
        (b"NOTIFY SET (foo NONE)", 12),
        (b"NOTIFY SET (selected)", 20),
        (b"NOTIFY SET (selected ())", 22),
        (b"NOTIFY SET (selected FOO)", 21),
        (b"NOTIFY SET (selected NONE) (selected-delayed NONE)", 27),
        (b"NOTIFY SET (subtree NONE)", 24),
        (b"NOTIFY SET (inboxes (MessageNew))", 20),
        (b"NOTIFY SET (inboxes (MessageExpunge))", 20),
        (b"NOTIFY SET (inboxes (FlagChange))", 20),
        (b"NOTIFY SET (inboxes (MessageNew (UID) MessageExpunge))", 21),
        (b"NOTIFY SET (selected (MessageNew (FOO) MessageExpunge))", 34),
    ],
)
def test_bad(text: bytes, position: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(b"a " + text))
    assert caught.value.position == position + 2
