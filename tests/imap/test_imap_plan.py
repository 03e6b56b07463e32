"""The order of FETCH's columns: which a client cannot choose, and old ones depend on."""

from __future__ import annotations

import pytest

from maildir_imapd.imap.columns.items import plan_of
from maildir_imapd.imap.columns.plan import FLAGS, MODSEQ, SIZE, UID, Column, Plan
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.commands import Fetch
from maildir_imapd.wire.parse import parse


def asked(items: str) -> Plan:
    cmd = parse(Frame(f"a FETCH 1 ({items})".encode()))
    assert isinstance(cmd, Fetch)
    return plan_of(cmd.items, rev2=False)


@pytest.mark.parametrize(
    ("items", "labels"),
    [("FLAGS UID", "UID FLAGS"), ("BODY[] UID", "UID BODY[]"), ("FLAGS", "UID FLAGS"), ("UID", "UID")],
)
def test_the_uid_comes_first(items: str, labels: str) -> None:
    assert b" ".join(asked(items).uid_first().labels).decode() == labels


@pytest.mark.parametrize(
    ("items", "news", "labels"),
    [
        ("BODY[]", [FLAGS], "FLAGS BODY[]"),
        ("UID BODY[]", [FLAGS, MODSEQ], "UID FLAGS MODSEQ BODY[]"),
        ("UID BODY[] FLAGS", [FLAGS, MODSEQ], "UID MODSEQ BODY[] FLAGS"),
    ],
)
def test_news_come_before_literals(items: str, news: list[Column], labels: str) -> None:
    assert b" ".join(asked(items).with_news(news).labels).decode() == labels


def test_what_two_asked_for_comes_once() -> None:
    both = asked("FLAGS BODY[1]").followed_by(asked("BODY[1] RFC822.SIZE"))
    assert both.labels == (b"FLAGS", b"BODY[1]", b"RFC822.SIZE")
    assert SIZE in both
    assert MODSEQ not in both
    assert not Plan()


def test_a_percent_sign_is_no_slot() -> None:
    plan = asked('BODY[HEADER.FIELDS ("100%")]')
    assert plan.template(b"* %d FETCH (") % (7, b"{0}\r\n") == b'* 7 FETCH (BODY[HEADER.FIELDS ("100%")] {0}\r\n)\r\n'


def test_only_what_is_made_of_each_message_may_be_refused() -> None:
    assert asked("BODY[]").has_bodies
    assert not asked("UID FLAGS ENVELOPE BODY[HEADER.FIELDS (X)]").has_bodies
    assert asked("UID") == Plan((UID,))
