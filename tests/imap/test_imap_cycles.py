"""What a session held is free when it ends: nothing of it waits for the collector."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator

import pytest
from memory import POLICY
from spool import Spool

from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account

DIALOGUES = {
    "login": [],
    "read": [
        b"a SELECT INBOX",
        b"b FETCH 1:* (FLAGS ENVELOPE BODY[])",
        b"c SEARCH TEXT body",
        b"d SORT (DATE) UTF-8 ALL",
    ],
    "change": [b"a SELECT INBOX", b"b STORE 1 +FLAGS (word \\Deleted)", b"c EXPUNGE", b"d COPY 1:* Other"],
    "append": [b"a APPEND INBOX {40+}\r\nSubject: " + b"x" * 31],
    "names": [b'a LIST "" *', b"b STATUS INBOX (MESSAGES)", b"c CREATE New", b"d RENAME New Newer", b"e GETACL INBOX"],
    "notify": [b"a NOTIFY SET (personal (MessageNew MessageExpunge FlagChange))", b"b SELECT INBOX"],
    "idle": [b"a SELECT INBOX", b"b IDLE"],
    "error": [b"a SELECT nothing", b"b FETCH", b"c FETCH 1 FLAGS", b"d NONSENSE"],
}


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.long
@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("lines", DIALOGUES.values(), ids=DIALOGUES)
def test_a_session_that_ends_is_no_cycle(spool: Spool, lines: list[bytes]) -> None:
    spool.simple("INBOX", 3)
    spool.folder("Other")

    def talk() -> list[weakref.ref[object]]:
        account = Account(os.fsencode(spool.root), fsync="never")
        engine = Engine(POLICY, preauth=Access("ann", account))
        reply = Reply(lambda data: None)
        engine.greet(reply)
        for line in lines:
            engine.feed(line + b"\r\n", reply)
        held = [
            engine,
            engine.session,
            account,
            account.names,
            account.mailbox("INBOX"),
            account.metadata,
            account.acls,
        ]
        engine.close()
        return [weakref.ref(each) for each in held]

    assert [each() for each in talk()] == [None] * 7
