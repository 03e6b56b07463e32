"""SEARCH that reads messages, and what is kept of it."""

from __future__ import annotations

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.message import mime

MESSAGE = (
    b"Subject: outer\nContent-Type: multipart/mixed; boundary=x\n\n"
    b'--x\nContent-Type: text/plain; name="leaf"; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n'
    b"stra=C3=9Fe =C3=BCb=\nermut\n"
    b"--x\nContent-Type: message/rfc822\n\nSubject: inner\n\ninnermost\n--x--\n"
)
KEYS = (b"TEXT", b"BODY")
# In TEXT, and in BODY too.
FOUND = {"outer": (True, False), "leaf": (True, False), "inner": (True, True), "\u00dcbermut": (True, True)}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("first", KEYS)
def test_a_message_is_parsed_for_one_search_and_found_by_all(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, first: bytes, key: bytes
) -> None:
    """RFC 3501 6.4.4, whatever was asked before, and by whichever session."""
    spool.put("INBOX", MESSAGE, "")
    spool.put("INBOX", b"Subject: other\n\nnothing\n", "")
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(b"s SELECT INBOX")
    assert client.command(b"a SEARCH %b absent" % first)[0] == b"* SEARCH"
    # From here on nothing can be parsed: what is found is found by what was kept.
    monkeypatch.delattr(mime, "parse")
    for again in (client, MemoryWires(spool.root).connect(login=True)):
        again.command(b"s SELECT INBOX")
        for needle, expected in FOUND.items():
            octets = needle.encode()
            lines = again.command(b"a SEARCH CHARSET UTF-8 %b {%d+}\r\n%b" % (key, len(octets), octets))
            assert (lines[0] == b"* SEARCH 1") is expected[KEYS.index(key)], (needle, lines)


def test_one_that_came_later_is_found_too(spool: Spool) -> None:
    spool.put("INBOX", b"Subject: other\n\nnothing\n", "")
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"s SELECT INBOX")
    assert client.command(b"a SEARCH BODY innermost")[0] == b"* SEARCH"
    spool.put("INBOX", MESSAGE, "")
    client.command(b"n NOOP")
    assert client.command(b"a SEARCH BODY innermost")[0] == b"* SEARCH 2"
