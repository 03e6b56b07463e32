"""Compressed and encrypted messages, as a client sees them."""

from __future__ import annotations

import gzip

from memory import MemoryWires
from spool import SIMPLE, Spool

PLAIN = SIMPLE % (7, 7, 7) + b"line of text\n" * 50
CRLF = PLAIN.replace(b"\n", b"\r\n")


def test_a_compressed_message_is_a_message(spool: Spool) -> None:
    spool.put("INBOX", gzip.compress(PLAIN), "", base=f"1793613601.M1P1.test,S={len(PLAIN)},W={len(CRLF)}")
    spool.simple("INBOX", 1)
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"s SELECT INBOX")
    for _ in range(2):
        said = b"\r\n".join(client.command(b"f FETCH 1 (RFC822.SIZE ENVELOPE BODYSTRUCTURE PREVIEW)"))
        assert b"RFC822.SIZE %d" % len(CRLF) in said
        assert b"message 7" in said
        assert b"body of 7" in said
    assert CRLF in b"\r\n".join(client.command(b"f FETCH 1 BODY.PEEK[]"))
    assert CRLF[100:120] in b"\r\n".join(client.command(b"f FETCH 1 BODY.PEEK[]<100.20>"))
    assert client.command(b"a SEARCH BODY {12+}\r\nline of text")[0] == b"* SEARCH 1"
    assert client.command(b"a SEARCH LARGER 500")[0] == b"* SEARCH 1"


def test_an_encrypted_message_is_refused_and_says_so(spool: Spool) -> None:
    spool.put("INBOX", b"CRYPTED\x03\x07" + bytes(100), "")
    spool.simple("INBOX", 1)
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"s SELECT INBOX")
    for items in (b"BODY.PEEK[]", b"ENVELOPE", b"RFC822.SIZE"):
        lines = client.command(b"f FETCH 1:2 (%b)" % items)
        assert not any(line.startswith(b"* 1 FETCH") for line in lines)
        assert any(line.startswith(b"* 2 FETCH") for line in lines)
        assert lines[-1].startswith(b"f NO [CANNOT] A message is encrypted")
