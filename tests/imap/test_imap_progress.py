"""INPROGRESS (RFC 9585): a word every ten seconds, by a clock that the test winds."""

from __future__ import annotations

import itertools
import re

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.progress import Progress


def slow(spool: Spool, seconds: float) -> MemoryClient:
    """A client in whose session every look at the clock finds it *seconds* further."""
    client = MemoryWires(spool.root).connect(login=True)
    client.session.progress = Progress(itertools.count(0.0, seconds).__next__, client.session.say)
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
