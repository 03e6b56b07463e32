"""COMPRESS (RFC 4978): what it says; that octets are deflated is the transport's (test_server_transport)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory import POLICY, MemoryWires

from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.message import charset


def test_it_begins_once_and_with_nothing_behind_it(tmp_path: Path) -> None:
    wires = MemoryWires(tmp_path / "Maildir", replace(POLICY, compress=True))
    client = wires.connect(login=True)
    assert client.command(b"a COMPRESS LZW")[-1].startswith(b"a BAD")
    client.send(b"b COMPRESS DEFLATE\r\nc NOOP\r\n")
    assert b"b BAD" in client.unread()
    client = wires.connect(login=True)
    assert client.command(b"d COMPRESS DEFLATE")[-1].startswith(b"d OK")
    assert client.session.upgrade == b"DEFLATE"
    client.engine.upgraded(b"DEFLATE")
    assert client.command(b"e COMPRESS DEFLATE")[-1].startswith(b"e NO [COMPRESSIONACTIVE]")
    assert b"COMPRESS=DEFLATE" not in client.command(b"f CAPABILITY")[0]


def test_it_is_not_there_without_the_setting(tmp_path: Path) -> None:
    client = MemoryWires(tmp_path / "Maildir").connect(login=True)
    assert client.command(b"a COMPRESS DEFLATE")[-1].split()[1] in (b"NO", b"BAD")


def test_nobody_logs_in_where_there_is_no_gate() -> None:
    out: list[bytes] = []
    engine = Engine(Policy(plaintext_login=True))
    engine.feed(b"a LOGIN ann secret\r\n", Reply(out.append))
    assert b"".join(out).startswith(b"a BAD This session cannot log in")


def test_every_codec_is_there() -> None:
    charset.load()
