"""Work of all kinds, again and again: the process has as much memory after it as before, counted by the octet."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from memory import MemoryClient

from maildir_imapd.imap import view
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk.unused import Bounds, Unused
from maildir_imapd.store.index import index, ring, snapshot, state
from maildir_imapd.store.maildir import flat
from maildir_imapd.store.records import acl, metadata
from maildir_imapd.store.watch import Watcher

# Enough that whatever is bounded has reached its bound, which is low here; and as many to count over.
WARM_ROUNDS, ROUNDS = 60, 120
# Of a round of some forty commands: a place in a table that is being filled again, and what an odd size of an array
# adds. What is kept of one message, one folder or one session is more.
OCTETS = 250
MESSAGE = b"From: a@example.org\r\nSubject: hello\r\nMessage-ID: <1@x>\r\n\r\nsome text\r\n"


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """With low bounds, for they are reached only after thousands of changes."""
    monkeypatch.setattr(ring, "STEPS", 16)
    monkeypatch.setattr(state, "HISTORY_LIMIT", 16)
    monkeypatch.setattr(flat, "SPELLINGS", 16)
    monkeypatch.setattr(metadata, "REMEMBERED", 16)
    monkeypatch.setattr(index, "ROTATE_OCTETS", 2048)
    monkeypatch.setattr(snapshot, "FLAG_SETS", 16)
    monkeypatch.setattr(view, "FLAG_SETS", 16)
    monkeypatch.setattr(acl, "GRAIN_SECONDS", -1.0)
    return Account(os.fsencode(tmp_path), fsync="never", unused=Unused(Bounds(descriptors=12)), watcher=Watcher("poll"))


def log_in(account: Account) -> MemoryClient:
    client = MemoryClient(account)
    client.command(b"L LOGIN ann secret")
    client.command(b"s SELECT INBOX")
    return client


def append(client: MemoryClient, mailbox: bytes = b"INBOX") -> None:
    client.command(b"a APPEND %b {%d+}\r\n%b" % (mailbox, len(MESSAGE), MESSAGE))


def expunge(client: MemoryClient) -> None:
    client.command(b"e STORE 1:* +FLAGS.SILENT (\\Deleted)")
    client.command(b"e EXPUNGE")


def messages(client: MemoryClient, n: int) -> None:
    """Messages come and go, from this client and others, and are looked at."""
    append(client)
    append(client)
    client.command(b"f FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE PREVIEW EMAILID BODY.PEEK[])")
    client.command(b"f FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)] RFC822.SIZE)")
    client.command(b"c COPY 1 INBOX")
    client.command(b"s SEARCH OR TEXT hello UNSEEN")
    client.command(b"s SORT (SUBJECT DATE) UTF-8 ALL")
    client.command(b"s THREAD REFERENCES UTF-8 ALL")
    expunge(client)


def flags(client: MemoryClient, n: int) -> None:
    """Other sets of keywords each time, of one message; all of them are known from the beginning."""
    words = [b"k%d" % bit for bit in range(12)]
    if n == 0:
        append(client)
        client.command(b"f STORE 1 FLAGS (%b)" % b" ".join(words))
    for several in range(8 * n, 8 * n + 8):
        some = [word for bit, word in enumerate(words) if several >> bit & 1]
        client.command(b"f STORE 1 FLAGS (%b)" % b" ".join(some))
    client.command(b"f FETCH 1 (FLAGS MODSEQ)")


def folders(client: MemoryClient, n: int) -> None:
    """Another name each time, with messages, rights and annotations."""
    name = b"folder%d" % n
    client.command(b"c CREATE %b" % name)
    append(client, name)
    client.command(b"c SETACL %b ben lrs" % name)
    client.command(b"c GETACL %b" % name)
    client.command(b'c SETMETADATA %b (/private/comment "x")' % name)
    client.command(b"c STATUS %b (MESSAGES SIZE)" % name)
    client.command(b'c LIST "" * RETURN (STATUS (MESSAGES) SPECIAL-USE)')
    client.command(b"c SUBSCRIBE %b" % name)
    client.command(b"c RENAME %b other%d" % (name, n))
    client.command(b"c UNSUBSCRIBE %b" % name)
    client.command(b"c DELETE other%d" % n)


def sessions(client: MemoryClient, n: int) -> None:
    """Another client, that looks at what the first one does."""
    other = log_in(client.engine.session.account)
    other.command(b"n ENABLE QRESYNC METADATA")
    other.command(b"n NOTIFY SET (selected (MessageNew MessageExpunge FlagChange)) (personal (MailboxName))")
    append(client)
    other.command(b"n NOOP")
    other.command(b"n NOTIFY NONE")
    other.send(b"i IDLE\r\n")
    append(client)
    expunge(client)
    other.unread()
    other.send(b"DONE\r\n")
    other.command(b"o LOGOUT")
    other.engine.close()


def held() -> int:
    """What the process holds in Python's objects, without what is remembered of calls, which has bounds of its own."""
    for each in gc.get_objects():
        # By its type: to be asked for its class a proxy needs what it stands for, which may be gone.
        if type(each) is functools._lru_cache_wrapper:
            each.cache_clear()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.long
@pytest.mark.parametrize("work", [messages, flags, folders, sessions])
def test_nothing_is_left_of_what_is_over(account: Account, work: Callable[[MemoryClient, int], None]) -> None:
    client = log_in(account)
    for n in range(WARM_ROUNDS):
        work(client, n)
    tracemalloc.start()
    try:
        rounds = itertools.count(WARM_ROUNDS)
        for _ in range(ROUNDS):
            work(client, next(rounds))
        grown = OCTETS * ROUNDS
        # A table that is full doubles once; what is left of each round is left of the next ones, too.
        for _ in range(2):
            if grown < OCTETS * ROUNDS:
                break
            before = held()
            for _ in range(ROUNDS):
                work(client, next(rounds))
            grown = held() - before
    finally:
        tracemalloc.stop()
        client.engine.close()
    assert grown < OCTETS * ROUNDS, f"{grown / ROUNDS:.0f} octets a round"
