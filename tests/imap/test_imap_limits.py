"""Short commands that ask for very much: what they cost is bounded, in octets and in rows, never in seconds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.columns import rows
from maildir_imapd.imap.selected import catenate
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.results import FileRead

SIZE = 200_000


class Weighed(MemoryClient):
    """Throws away what it is sent, and notes the largest piece."""

    total = largest = 0

    def _take(self, data: bytes) -> None:
        self.total += len(data)
        self.largest = max(self.largest, len(data))
        self._out[:] = self._out[-200:] + data[-200:]


@pytest.fixture
def client(spool: Spool) -> Weighed:
    spool.put("INBOX", b"Subject: big\nContent-Type: text/plain\n\n" + b"x" * SIZE, "")
    spool.simple("INBOX", 20)
    client = Weighed(MemoryWires(spool.root).account)
    client.send(b"a LOGIN ann secret\r\nb SELECT INBOX\r\n")
    client.total = client.largest = 0
    return client


@pytest.mark.parametrize("item", [b"BODY.PEEK[]<%d.999999>", b"BODY.PEEK[1]<%d.999999>", b"BINARY.PEEK[1]<%d.999999>"])
def test_overlapping_pieces_of_a_message(client: Weighed, item: bytes) -> None:
    """An answer is whole before it is sent, and a thousand pieces of 25 MB would be no answer any more."""
    client.send(b"c FETCH 1 (%b)\r\n" % b" ".join([item % start for start in range(500)]))
    assert bytes(client._out).endswith(b"c NO [LIMIT] That is too much of one message for one answer\r\n")
    assert client.total < 1000
    # All parts of a message in all ways that there are come.
    client.send(b"d FETCH 1 (BODY.PEEK[] BODY.PEEK[TEXT] BODY.PEEK[1] RFC822 RFC822.TEXT BINARY.PEEK[1])\r\n")
    assert bytes(client._out).endswith(b"d OK FETCH completed\r\n")
    assert client.total > 6 * SIZE


@pytest.mark.long
def test_very_many_columns_are_few_rows(client: Weighed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK_VALUES", 300)
    values = []
    work = rows._send_columns

    def count(view: object, plan: list[object], template: bytes, chunk: range, *more: object) -> None:
        values.append(len(plan) * len(chunk))
        work(view, plan, template, chunk, *more)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(rows, "_send_columns", count)
    for number in (1, 30, 299, 400):
        values.clear()
        names = b" ".join([b"BODY.PEEK[HEADER.FIELDS (x%d)]" % n for n in range(number)])
        client.send(b"c FETCH 1:* (%b)\r\n" % names)
        assert bytes(client._out).endswith(b"c OK FETCH completed\r\n")
        assert sum(values) == 21 * number
        assert max(values) <= max(300, number)


@pytest.mark.parametrize("number", [2, 500])
def test_news_that_cannot_be_fetched_cost_no_other_news(spool: Spool, number: int) -> None:
    """RFC 5465 5.2 lets a client name what comes with each new message, also what may not be had of one."""
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(b"a SELECT INBOX")
    items = b" ".join([b"BINARY.PEEK[1]<%d.999999>" % start for start in range(number)])
    client.command(b"b NOTIFY SET (selected (MessageNew (%b) MessageExpunge))" % items)
    client.command(b"c SEARCH RETURN (ALL UPDATE) ALL")
    odd = b"Content-Transfer-Encoding: x-odd\n" if number == 2 else b""
    spool.put("INBOX", odd + b"Subject: x\n\n" + b"x" * 50_000, "")
    wires.changed()
    client.engine.announce(client.reply)
    lines = client.unread().split(b"\r\n")
    code = b"UNKNOWN-CTE" if odd else b"LIMIT"
    assert [line for line in lines if line.startswith(b"* NO [%b] " % code)], lines
    assert b'* ESEARCH (TAG "c") ADDTO (0 1)' in lines
    assert not [line for line in lines if b" FETCH (" in line]
    assert client.command(b"d NOOP")[-1].startswith(b"d OK")


def test_a_command_that_brings_such_news_is_done_all_the_same(spool: Spool) -> None:
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"a SELECT INBOX")
    client.command(b"b NOTIFY SET (selected (MessageNew (BINARY.PEEK[1]) MessageExpunge))")
    spool.put("INBOX", b"Content-Transfer-Encoding: x-odd\n\nx\n", "")
    lines = client.command(b"c CHECK")
    assert [line for line in lines if line.startswith(b"* NO [UNKNOWN-CTE] ")], lines
    assert any(line.startswith(b"c OK") for line in lines)


# --- CATENATE -------------------------------------------------------------------------------------


@pytest.fixture
def composer(spool: Spool) -> MemoryClient:
    spool.put("INBOX", b"Subject: big\n\n" + b"x" * SIZE, "")
    spool.simple("INBOX", 20)
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"b SELECT INBOX")
    return client


def catenated(client: MemoryClient, *urls: bytes) -> bytes:
    return client.command(b"c APPEND INBOX CATENATE (" + b" ".join(b"URL " + url for url in urls) + b")")[-1]


def test_so_many_urls_and_no_more(composer: MemoryClient) -> None:
    few = [b"/INBOX/;UID=2/;SECTION=HEADER"] * catenate.URLS_LIMIT
    assert catenated(composer, *few).startswith(b"c OK")
    assert catenated(composer, *few, few[0]).startswith(b"c BAD [TOOBIG]")


def test_a_message_is_read_once_for_all_urls(composer: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = Mailbox.load

    def counted(mailbox: Mailbox, uid: int, **how: Any) -> FileRead:
        reads.append(uid)
        return read(mailbox, uid, **how)

    monkeypatch.setattr(Mailbox, "load", counted)
    assert catenated(composer, *[b"/INBOX/;UID=3/;SECTION=HEADER", b"/INBOX/;UID=2/;SECTION=TEXT"] * 50).startswith(
        b"c OK"
    )
    assert reads == [2, 3]


def test_what_is_too_much_is_not_read(composer: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header is little, but to have it the message is read."""
    policy = dataclasses.replace(composer.session.policy, append_limit=SIZE // 5)
    composer.session.policy = policy
    monkeypatch.setattr(Mailbox, "load", lambda *_args, **_rest: pytest.fail("it is read"))
    assert catenated(composer, b"/INBOX/;UID=1/;SECTION=HEADER").startswith(b"c NO [TOOBIG]")


def test_the_parts_together_are_bounded_before_they_are_written(composer: MemoryClient) -> None:
    composer.session.policy = dataclasses.replace(composer.session.policy, append_limit=SIZE * 2)
    assert catenated(composer, b"/INBOX/;UID=1").startswith(b"c OK")
    assert catenated(composer, *[b"/INBOX/;UID=1"] * 100).startswith(b"c NO [TOOBIG]")


def test_the_first_url_that_names_nothing_is_told(composer: MemoryClient) -> None:
    wrong = [b"/Z/;UID=1", b"/INBOX/;UID=99", b"/INBOX/;UID=1/;SECTION=7", b"nonsense"]
    for _ in wrong:
        assert b"[BADURL %b]" % wrong[0] in catenated(composer, b"/INBOX/;UID=2", *wrong)
        wrong.append(wrong.pop(0))


@pytest.mark.parametrize("value", [b'"' + b"v" * 1024 + b'"', b"{1024+}\r\n" + b"v" * 1024])
def test_a_long_id_before_login(spool: Spool, value: bytes) -> None:
    """RFC 2971 3.3: up to 30 pairs, names of up to 30 octets, values of up to 1024."""
    client = Weighed(MemoryWires(spool.root).account)
    pairs = b" ".join(b'"name%026d" %b' % (n, value) for n in range(30))
    client.send(b"a ID (" + pairs + b")\r\n")
    assert b"a OK ID completed\r\n" in bytes(client._out)
    client.send(b"b ID (" + pairs + b' "x" "' + b"v" * 20_000 + b'")\r\n')
    assert b"b BAD" in bytes(client._out)
    client.send(b"c LOGIN ann secret\r\n")
    assert bytes(client._out).endswith(b"] Logged in\r\n")
