"""Literals that are refused, longer than a script can hold: no octet of them is carried out."""

from __future__ import annotations

import dataclasses

import pytest
from memory import POLICY, MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.wire.buffer import TAKEN_OCTETS

COMMANDS = b"x DELETE Box\r\nx STORE 1 +FLAGS (\\Deleted)\r\nx EXPUNGE\r\nx LOGOUT\r\n"
REFUSED = [
    b"APPEND No.Such {%d}\r\n",
    b"APPEND No.Such ~{%d}\r\n",
    b"APPEND No.Such UTF8 (~{%d}\r\n",
    b"APPEND No.Such CATENATE (TEXT {%d}\r\n",
    b"REPLACE 7 INBOX {%d}\r\n",
    b"APPEND INBOX (\\Recent) {%d}\r\n",
    b"SEARCH SUBJECT {%d}\r\n",
    b"SETMETADATA INBOX (/private/comment {%d}\r\n",
    b"LOGIN ann {%d}\r\n",
    b"NONSENSE {%d}\r\n",
    b"APPEND Box {1+}\r\nx {%d}\r\n",
    b"NOOP " + b"y" * (1 << 20) + b" {%d}\r\n",
]


def connect(spool: Spool, **policy: int) -> MemoryClient:
    spool.simple("INBOX", 2)
    spool.folder("Box")
    return MemoryClient(MemoryWires(spool.root).account, dataclasses.replace(POLICY, append_limit=100_000, **policy))


@pytest.mark.long
@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("command", REFUSED)
@pytest.mark.parametrize("size", [len(COMMANDS), TAKEN_OCTETS, TAKEN_OCTETS + 1, 200_000])
@pytest.mark.parametrize("piece", [1 << 30, 50_000])
def test_no_octet_is_carried_out(spool: Spool, command: bytes, size: int, piece: int, login: bool) -> None:
    """Of a client that does not wait, whatever the pieces that its octets come in."""
    client = connect(spool)
    if login:
        client.send(b"a LOGIN ann secret\r\nb SELECT INBOX\r\n")
    client._out.clear()
    if size <= TAKEN_OCTETS:
        text = (COMMANDS * (size // len(COMMANDS) + 1))[:size]
    else:
        text = b"Subject: probe\r\n" + (COMMANDS * (size // len(COMMANDS) + 1))[: size - 16]
    begin = b"t " + command % size
    client.send(begin)
    rest = text + (b")" if b"(" in command else b"") + b"\r\nlast NOOP\r\n"
    for start in range(0, len(rest), piece):
        client.send(rest[start : start + piece])
    out = bytes(client._out)
    assert b"\r\nx " not in out, out
    assert not client.engine.over
    assert out.count(b"last OK") == 1
    if login:
        assert client.command(b"c STATUS Box (MESSAGES)")[-1].startswith(b"c OK")
        assert client.command(b"d SEARCH NOT DELETED")[0] == b"* SEARCH 1 2"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"b APPEND No.Such {5}\r\n", b"hello {9999999999+}\r\n"],
        [b"b APPEND No.Such {5+}\r\nhello {9999999999+}\r\n"],
    ],
)
def test_who_sends_too_much_behind_it_hears_why_before_the_bye(spool: Spool, pieces: list[bytes]) -> None:
    client = connect(spool)
    client.send(b"a LOGIN ann secret\r\n")
    client._out.clear()
    for piece in pieces:
        client.send(piece)
    lines = bytes(client._out).split(b"\r\n")
    assert lines[-3].startswith(b"b NO [TRYCREATE]")
    assert lines[-2].startswith(b"* BYE")
    assert client.engine.over
