"""Searches by marks find what searches by positions find, and are answered alike."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from memory import MemoryClient
from spool import Spool

from maildir_imapd.imap.search import marks as module
from maildir_imapd.imap.search.finder import Finder
from maildir_imapd.imap.view import View
from maildir_imapd.store.account import Account
from maildir_imapd.wire import numbers
from maildir_imapd.wire.numbers import NumberSet
from maildir_imapd.wire.search_keys import KeyAll, KeyAnd, KeyFlag, KeyNot, KeyNumbers, KeyOr, KeySize, SearchKey

FLAGS = (b"\\Seen", b"\\Flagged", b"\\Answered", b"\\Deleted", b"\\Draft", b"\\Recent", b"word0", b"word39", b"none")


@pytest.fixture
def client(spool: Spool) -> Iterator[MemoryClient]:
    """Sixty messages with many combinations of flags, some UIDs left out, some \\Recent, more keywords than letters."""
    rnd = random.Random(7)
    for _ in range(60):
        spool.simple("INBOX", 1, "".join(sorted(rnd.sample("DFRST", rnd.randint(0, 4)))))
    spool.simple("INBOX", 5, None)
    found = MemoryClient(Account(os.fsencode(spool.root), fsync="never"))
    found.read_line()
    found.command(b"L LOGIN ann secret")
    found.command(b"s SELECT INBOX")
    found.command(b"u STORE 3,7,21:24 +FLAGS (%b)" % b" ".join(b"word%d" % n for n in range(40)))
    found.command(b"u UID STORE 5,9:11 +FLAGS (\\Deleted)")
    found.command(b"u UID EXPUNGE 5,9:11")
    found.session.selected.mailbox.sync()
    yield found
    found.engine.close()


def view_of(client: MemoryClient) -> View:
    return client.session.selected


def tree(rnd: random.Random, depth: int) -> SearchKey:
    """A key of flags and numbers."""
    kind = rnd.randrange(6 if depth else 3)
    if kind == 0:
        return KeyFlag(rnd.choice(FLAGS), rnd.random() < 0.5)
    if kind == 1:
        low, high = rnd.randint(1, 80), rnd.choice([numbers.STAR, rnd.randint(1, 80)])
        ranges = ((low, high),) if rnd.random() < 0.7 else ((low, high), (2, 3))
        return KeyNumbers(NumberSet(ranges), rnd.random() < 0.5)
    if kind == 2:
        return KeyAll()
    if kind == 3:
        return KeyNot(tree(rnd, depth - 1))
    parts = tuple(tree(rnd, depth - 1) for _ in range(rnd.randint(2, 4)))
    return KeyAnd(parts) if kind == 4 else KeyOr(parts)


def test_both_ways_find_the_same(client: MemoryClient) -> None:
    rnd, view = random.Random(11), view_of(client)
    by_marks = 0
    for _ in range(600):
        key = tree(rnd, 3)
        marks = module.marks_of(view, key)
        if marks is None:
            continue
        by_marks += 1
        assert len(marks) == len(view.snapshot)
        assert [i for i, mark in enumerate(marks) if mark] == Finder(view, client.session.clock).run(key), key
        assert {*marks} <= {0, 1}
    assert by_marks > 300


def test_what_needs_more_than_flags_has_no_marks(client: MemoryClient) -> None:
    view = view_of(client)
    other = KeySize(5, True)
    for key in (other, KeyNot(other), KeyAnd((KeyAll(), other)), KeyOr((KeyFlag(b"\\Seen", True), other))):
        assert module.marks_of(view, key) is None


@pytest.mark.long
@pytest.mark.parametrize("largest", [5, 1 << 16])
@pytest.mark.parametrize("uid", [b"", b"UID "])
@pytest.mark.parametrize(
    "key", [b"UNSEEN", b"FLAGGED", b"OR ANSWERED NOT KEYWORD word39", b"1:* UNDELETED", b"RECENT", b"KEYWORD none"]
)
def test_the_answer_is_that_of_esearch(
    client: MemoryClient, monkeypatch: pytest.MonkeyPatch, uid: bytes, key: bytes, largest: int
) -> None:
    """Which is made the other way; also where the numbers' texts are not kept."""
    monkeypatch.setattr(module, "LARGEST_TEXT", largest)
    [line, done] = client.command(b"x " + uid + b"SEARCH " + key)
    assert done == b"x OK SEARCH completed"
    told = [int(word) for word in line.removeprefix(b"* SEARCH").split()]
    other = client.command(b"x " + uid + b"SEARCH RETURN (ALL) " + key)[0]
    *_, last = other.split()
    every = [] if b"ALL" not in other else [int(part) for part in last.replace(b":", b",").split(b",")]
    if every:
        expected: list[int] = []
        for part in last.split(b","):
            low, _, high = part.partition(b":")
            expected += range(int(low), int(high or low) + 1)
        assert told == expected
    else:
        assert told == []
    if key == b"KEYWORD none":
        assert line == b"* SEARCH"


def test_texts_of_numbers_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_texts", [])
    first = numbers.texts_up_to(3)
    assert first == [b"1", b"2", b"3"]
    assert numbers.texts_up_to(2) is first
    longer = numbers.texts_up_to(12)
    assert longer[:3] == first
    assert (longer[-1], len(longer)) == (b"12", 12)
    assert longer[0] is first[0]


def test_an_empty_mailbox_has_nothing(client: MemoryClient) -> None:
    client.command(b"c CREATE Empty")
    client.command(b"s SELECT Empty")
    for key in (b"ALL", b"UNSEEN", b"NOT SEEN", b"OR SEEN FLAGGED", b"RECENT", b"1:*"):
        for uid in (b"", b"UID "):
            assert client.command(b"x " + uid + b"SEARCH " + key)[0] == b"* SEARCH"
