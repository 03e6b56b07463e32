"""METADATA beyond what a script can say: large values, limits, the administrator's entries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory import POLICY, MemoryClient, MemoryWires

from maildir_imapd.store.records import metadata


def client(tmp_path: Path) -> MemoryClient:
    return MemoryWires(tmp_path / "Maildir").connect(login=True)


def test_a_value_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    one = client(tmp_path)
    refused = b"NO [METADATA MAXSIZE 65536] The value is larger than an annotation may be"
    assert one.command(b"a SETMETADATA INBOX (/private/comment {65537}") == [b"a " + refused]
    assert one.command(b"b SETMETADATA INBOX (/private/comment {65537+}\r\n" + b"x" * 65537 + b")") == [b"b " + refused]
    assert one.command(b"c SETMETADATA INBOX (/private/comment {65536+}\r\n" + b"x" * 65536 + b")")[0][:4] == b"c OK"
    assert one.command(b"d GETMETADATA (MAXSIZE 65535) INBOX /private/comment") == [
        b"d OK [METADATA LONGENTRIES 65536] GETMETADATA completed"
    ]
    # Of other commands a literal is as large as ever.
    assert one.command(b"e LIST {65537+}\r\n" + b"x" * 65537 + b" *")[0][:5] == b"e BAD"


def test_too_many(tmp_path: Path) -> None:
    one = client(tmp_path)
    values = b" ".join([b'/private/%d ""' % n for n in range(metadata.ENTRIES_LIMIT)])
    assert one.command(b"a SETMETADATA INBOX (%b)" % values)[0][:4] == b"a OK"
    assert one.command(b'b SETMETADATA INBOX (/private/0 "new" /private/x "")')[0].startswith(
        b"b NO [METADATA TOOMANY]"
    )
    assert one.command(b"c GETMETADATA INBOX /private/0")[0] == b'* METADATA INBOX (/private/0 "")'
    assert one.command(b'd SETMETADATA INBOX (/private/specialuse "\\\\Sent" /private/x "")')[0][:4] == b"d NO"


def test_what_is_refused_takes_its_special_use_back(tmp_path: Path) -> None:
    one = client(tmp_path)
    one.command(b"a CREATE Sent")
    values = b" ".join([b'/private/%d ""' % n for n in range(metadata.ENTRIES_LIMIT)])
    one.command(b"b SETMETADATA Sent (%b)" % values)
    line = b'c SETMETADATA Sent (/private/specialuse "\\\\Junk" /private/x "")'
    assert one.command(line)[0].startswith(b"c NO [METADATA TOOMANY]")
    assert one.command(b"d GETMETADATA Sent /private/specialuse")[0] == (
        b'* METADATA Sent (/private/specialuse "\\\\Sent")'
    )


def test_the_entries_of_the_administrator(tmp_path: Path) -> None:
    policy = replace(POLICY, server_metadata=((b"/shared/admin", b"mailto:a@example.org"), (b"/shared/comment", b"c")))
    one = MemoryWires(tmp_path / "Maildir", policy).connect(login=True)
    assert one.command(b'a GETMETADATA (DEPTH infinity) "" /shared')[0] == (
        b'* METADATA "" (/shared/admin "mailto:a@example.org" /shared/comment "c")'
    )
    assert one.command(b'b SETMETADATA "" (/shared/comment NIL)')[0].startswith(b"b NO [NOPERM]")
    assert one.command(b"c GETMETADATA INBOX /shared/comment")[0] == b"* METADATA INBOX (/shared/comment NIL)"


def test_an_idling_client_hears_at_once(tmp_path: Path) -> None:
    wires = MemoryWires(tmp_path / "Maildir")
    one, two = wires.connect(login=True), wires.connect(login=True)
    one.command(b"a ENABLE METADATA")
    one.command(b"b IDLE")
    two.command(b'a SETMETADATA "" (/private/comment "x")')
    assert one.read_line() == b'* METADATA "" /private/comment'
    one.session.close()
    one.woken = False
    two.command(b'b SETMETADATA "" (/private/comment "y")')
    assert not one.woken


def test_filters_of_the_administrator(tmp_path: Path) -> None:
    shared = ((b"/shared/Filters/values/Two", b"2"), (b"/shared/filters/values/bad", b"OR SEEN"))
    wires = MemoryWires(tmp_path / "Maildir", replace(POLICY, server_metadata=shared))
    one = wires.connect(login=True)
    for text in (b"one", b"two"):
        one.command(b"a APPEND INBOX {15+}\r\nSubject: %b\r\n\r\n" % text)
    one.command(b"b SELECT INBOX")
    assert one.command(b"c SEARCH FILTER two")[0] == b"* SEARCH 2"
    # RFC 5466 3.1: what is not a whole search is no filter, also when the rest of the command would make it one.
    assert one.command(b"d SEARCH FILTER bad SEEN")[0].startswith(b"d NO [UNDEFINED-FILTER bad]")
    # The user's own goes first.
    one.command(b'e SETMETADATA "" (/private/filters/values/TWO "1")')
    assert one.command(b"f SEARCH FILTER two")[0] == b"* SEARCH 1"


def test_filters_do_not_multiply(tmp_path: Path) -> None:
    one = client(tmp_path)
    for n in range(9):
        line = b'/private/filters/values/f%d "FILTER f%d FILTER f%d FILTER f%d"' % (n, n + 1, n + 1, n + 1)
        assert one.command(b'a SETMETADATA "" (%b)' % line)[0][:4] == b"a OK"
    one.command(b'b SETMETADATA "" (/private/filters/values/f9 "ALL")')
    one.command(b"c SELECT INBOX")
    assert one.command(b"d SEARCH FILTER f6")[-1][:4] == b"d OK"
    assert one.command(b"e SEARCH FILTER f0")[-1].startswith(b"e NO [UNDEFINED-FILTER f9]")
