"""A field is made of its key alone, for another process is told nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import POLICY
from spool import Spool

from maildir_imapd.imap.columns import fields, items
from maildir_imapd.imap.columns.fields import Field, family, field_of
from maildir_imapd.imap.columns.plan import Cached
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account
from maildir_imapd.wire.commands import FetchBody, Section

MESSAGE = b"""From: Ann <ann@example.org>\nTo: bob@example.org, c@example.org\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Date: Mon, 7 Feb 1994 21:52:25 -0800\nMessage-ID: <1@example.org>\nA: a\nA B: both\nB: b\n\nthe text\n"""
# Everything that a client can have kept, by what it asks.
COMMANDS = [
    b"FETCH 1 (ENVELOPE)",
    b"FETCH 1 (BODY)",
    b"FETCH 1 (BODYSTRUCTURE)",
    b"FETCH 1 (EMAILID PREVIEW)",
    b"FETCH 1 (BODY.PEEK[HEADER.FIELDS (Subject To)])",
    b"FETCH 1 (BODY.PEEK[HEADER.FIELDS.NOT (Subject)])",
    b'FETCH 1 (BODY.PEEK[HEADER.FIELDS ("A B" "c\\\\d")])',
    b"SEARCH SENTSINCE 1-Jan-1994",
    b"SEARCH SUBJECT x",
    b"SEARCH FROM x",
    b"SEARCH HEADER X-Y z",
    b"SORT (DATE SUBJECT FROM TO CC DISPLAYFROM DISPLAYTO) UTF-8 ALL",
    b"THREAD REFS UTF-8 ALL",
    b"ENABLE IMAP4rev2",
    b"FETCH 1 (BODY BODYSTRUCTURE)",
]


def answers(account: Account, *commands: bytes) -> bytes:
    engine = Engine(POLICY, preauth=Access("ann", account))
    out = bytearray()
    reply = Reply(out.extend)
    engine.greet(reply)
    for n, line in enumerate((b"SELECT INBOX", *commands)):
        engine.feed(b"a%d %b\r\n" % (n, line), reply)
    engine.close()
    return bytes(out)


def test_each_field_that_is_kept_is_known_by_its_key(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("INBOX", MESSAGE, "")
    account = Account(os.fsencode(tmp_path), fsync="never")
    said = answers(account, *COMMANDS)
    assert b" BAD " not in said
    assert b" NO " not in said
    box = account.mailbox("INBOX")
    kept = {key: box.cache.get_many([1], key)[0] for key in list(box.cache._fields)}
    assert len(kept) == 22
    again = Account(os.fsencode(tmp_path), fsync="never").mailbox("INBOX")
    for key, value in kept.items():
        field = field_of(key)
        assert field is not None, key
        assert field.make(content_of(again, field)) == value


def content_of(box: object, field: Field) -> object:
    from maildir_imapd.imap.columns import ahead

    return ahead._read(box, box.snapshot, 1, [field])  # type: ignore[attr-defined,arg-type]


def test_names_with_a_space_are_not_two_names(tmp_path: Path) -> None:
    """The cache had one answer for both."""
    Spool(tmp_path).put("INBOX", MESSAGE, "")
    account = Account(os.fsencode(tmp_path), fsync="never")
    two = answers(account, b"FETCH 1 (BODY.PEEK[HEADER.FIELDS (A B)])")
    one = answers(account, b'FETCH 1 (BODY.PEEK[HEADER.FIELDS ("A B")])')
    assert b"{14}\r\nA: a\r\nB: b\r\n\r\n" in two
    assert b"{13}\r\nA B: both\r\n\r\n" in one


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1), st.booleans())
def test_any_names_come_back(names: list[bytes], invert: bool) -> None:
    kind = b"HEADER.FIELDS.NOT" if invert else b"HEADER.FIELDS"
    item = FetchBody(b"BODY[x]", Section((), kind, tuple(names)), None)
    [column] = items.plan_of([item], rev2=False)
    assert isinstance(column, Cached)
    field = field_of(column.field.key)
    assert field is not None
    assert field.key == column.field.key
    assert items._split_names(field.key.partition(b"!" if invert else b"=")[2]) == {name.upper() for name in names}


@given(st.binary(max_size=30))
def test_what_is_no_key_is_no_field(key: bytes) -> None:
    field = field_of(key)
    assert field is None or field.key == key


@pytest.mark.parametrize("key", [b"", b"sort:", b"sort:SIZE", b"envelope ", b"nonsense:x", b"Envelope", b"pieces"])
def test_no_fields(key: bytes) -> None:
    assert field_of(key) is None


def test_a_family_has_one_maker() -> None:
    with pytest.raises(AssertionError):
        family(b"sort:")
    with pytest.raises(AssertionError):
        family(b"Not a name")
    assert b"sort:" in fields._families
