"""INPROGRESS (RFC 9585): a word every ten seconds, by a clock that the test winds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import TypeVar

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.progress import MANY, Progress

T = TypeVar("T")


def slow(spool: Spool, seconds: float) -> MemoryClient:
    """A client in whose session every look at the clock finds it *seconds* further."""
    client = MemoryWires(spool.root).connect(login=True)
    client.session.progress = Progress(itertools.count(0.0, seconds).__next__)
    assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
    return client


def words(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b"INPROGRESS" in line]


def test_a_quick_command_says_nothing(spool: Spool) -> None:
    spool.simple("INBOX", 20)
    assert not words(slow(spool, 0.4).command(b"a SEARCH TEXT body"))


def test_a_search_that_reads_says_how_far_it_is(spool: Spool) -> None:
    spool.simple("INBOX", 20)
    lines = slow(spool, 4.0).command(b"a1 SEARCH TEXT body")
    # The command begins at one look; the third look after it is the first beyond ten seconds.
    assert words(lines) == [b'* OK [INPROGRESS ("a1" %d 20)] Still working' % done for done in range(2, 20, 3)]
    assert lines[-1] == b"a1 OK SEARCH completed"


@pytest.mark.parametrize(
    "command",
    [
        b"SORT (SUBJECT) UTF-8 ALL",
        b"THREAD REFERENCES UTF-8 ALL",
        b"UID SEARCH SUBJECT message",
        b"FETCH 1:* (ENVELOPE)",
        b"FETCH 1:* (BODY.PEEK[TEXT])",
        b"ESEARCH IN (inboxes) RETURN (COUNT) BODY body",
    ],
)
def test_whatever_reads_many_messages_does(command: bytes, spool: Spool) -> None:
    spool.simple("INBOX", 20)
    lines = words(slow(spool, 5.0).command(b"a1 " + command))
    assert len(lines) >= 5
    assert all(re.fullmatch(rb'\* OK \[INPROGRESS \("a1" \d+ 20\)\] Still working', line) for line in lines)


def test_numbers_never_go_back(spool: Spool) -> None:
    spool.simple("INBOX", 20)
    lines = words(slow(spool, 5.0).command(b"a1 SEARCH OR TEXT nothing BODY nowhere"))
    told = [tuple(re.findall(rb"(\d+|NIL) (\d+|NIL)\)", line)[0]) for line in lines]
    first = list(itertools.takewhile(lambda pair: pair[0] != b"NIL", told))
    assert first == sorted(first, key=lambda pair: int(pair[0]))
    assert set(told[len(first) :]) == {(b"NIL", b"NIL")}


def test_nothing_is_said_within_a_line_or_a_literal(spool: Spool) -> None:
    spool.simple("INBOX", 5)
    client = slow(spool, 20.0)
    lines = client.command(b"a1 FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[TEXT])")
    text = b"\r\n".join(lines)
    for n, part in enumerate(re.split(rb"\* OK \[INPROGRESS [^\r]*\r\n", text)[1:], 1):
        assert part.startswith(b"* %d FETCH" % n)


def test_a_command_that_is_over_is_not_spoken_of(spool: Spool) -> None:
    spool.simple("INBOX", 5)
    client = slow(spool, 20.0)
    client.command(b"a1 NOOP")
    client.session.progress.report(1, 2)
    assert client.unread() == b""


def telling(spool: Spool) -> MemoryClient:
    """A client in whose session each piece of work under a lock takes long enough for one word."""

    def slowly(work: Callable[[], T], word: Callable[[], None]) -> T:
        word()
        return work()

    client = MemoryWires(spool.root).connect(login=True)
    session = client.session
    session.progress = Progress(itertools.count(0.0, 0.0).__next__, slowly)
    return client


@pytest.mark.parametrize("command", [b"COPY 1:* box", b"UID COPY 1:* box", b"MOVE 1:* box", b"UID MOVE 1:* box"])
@pytest.mark.parametrize(("count", "said"), [(MANY - 1, 0), (MANY, 1)])
def test_a_large_copy_says_that_it_goes_on(spool: Spool, command: bytes, count: int, said: int) -> None:
    spool.simple("INBOX", count)
    spool.folder("box")
    client = telling(spool)
    for name in (b"box", b"INBOX"):
        assert client.command(b"s SELECT " + name)[-1].startswith(b"s OK")
    lines = client.command(b"a1 " + command)
    assert lines[:said] == [b'* OK [INPROGRESS ("a1" NIL NIL)] Still working'] * said
    assert len(words(lines)) == said
    assert lines[-1].startswith(b"a1 OK")
    assert client.command(b"a2 STATUS box (MESSAGES)")[0] == b"* STATUS box (MESSAGES %d)" % count


def test_the_first_select_says_that_it_goes_on_and_no_other(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    client = telling(spool)
    assert words(client.command(b"a1 SELECT INBOX")) == [b'* OK [INPROGRESS ("a1" NIL NIL)] Still working']
    assert not words(client.command(b"a2 SELECT INBOX"))
    again = telling(spool)
    assert not words(again.command(b"a3 SELECT INBOX"))


def test_what_the_work_raises_is_the_answer(spool: Spool) -> None:
    spool.simple("INBOX", MANY)
    spool.folder("box")
    client = telling(spool)
    client.command(b"s SELECT INBOX")
    path = spool.path("INBOX") / "cur" / spool.files("INBOX")[0]
    path.unlink()
    path.mkdir()
    assert client.command(b"a1 UID COPY 1:* box")[-1].startswith(b"a1 NO [SERVERBUG]")
    assert client.command(b"a2 STATUS box (MESSAGES)")[0] == b"* STATUS box (MESSAGES 0)"


# --- the client has gone --------------------------------------------------------------------------

LONG = [
    b"SEARCH TEXT body",
    b"SEARCH SUBJECT message",
    b"SORT (SUBJECT) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 ALL",
    b"FETCH 1:* (ENVELOPE)",
    b"FETCH 1:* (BODY.PEEK[TEXT])",
    b"ESEARCH IN (personal) RETURN (COUNT) FLAGGED",
    b"STATUS INBOX (SIZE)",
    b'LIST "" "*" RETURN (STATUS (MESSAGES))',
]


def watched(spool: Spool, look: Callable[[], bool], seconds: float) -> MemoryClient:
    """A client that *look* looks at, in whose session every look at the clock finds it *seconds* further."""
    spool.simple("INBOX", 20)
    for name in ("a", "b", "c"):
        spool.simple(name, 1)
    client = MemoryWires(spool.root).connect(login=True)
    ticks = itertools.count(0.0, seconds).__next__
    client.session.progress = Progress(ticks, look=look)
    assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
    return client


@pytest.mark.parametrize("command", LONG)
def test_a_command_ends_with_its_client(command: bytes, spool: Spool) -> None:
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        if len(looks) > 1:
            raise ConnectionResetError
        return False

    client = watched(spool, look, 1.0)
    lines = client.command(b"a " + command)
    assert len(looks) == 2
    assert client.engine.over
    assert not [line for line in lines if line.startswith(b"a ")]


@pytest.mark.parametrize("command", LONG)
def test_a_client_that_sends_no_more_is_asked_once(command: bytes, spool: Spool) -> None:
    client = watched(spool, lambda: True, 1.0)
    lines = client.command(b"a " + command)
    said = words(lines)
    assert re.search(rb'"a" (0 \d+|NIL NIL)\)', said[0])
    # What else is said is said every ten seconds.
    assert len(said) <= 1 + 20 // 10
    assert lines[-1].startswith(b"a OK")


def test_a_client_is_looked_at_once_a_second(spool: Spool) -> None:
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        return False

    watched(spool, look, 0.25).command(b"a SEARCH TEXT body")
    assert len(looks) == 20 // 4
