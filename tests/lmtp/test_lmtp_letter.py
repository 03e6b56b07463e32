"""What is put before a message, and what the log says of it."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.lmtp.commands import NOBODY, EnvelopeAddress
from maildir_imapd.lmtp.letter import FromLine, HeaderSeen, delivered_to, received, return_path

ANN = EnvelopeAddress(b"ann@example.org", b"ann", b"example.org")


@pytest.mark.parametrize(("utf8", "kind"), [(False, "LMTP"), (True, "UTF8LMTP")])
@pytest.mark.parametrize("recipient", [ANN, None])
def test_a_header(utf8: bool, kind: str, recipient: EnvelopeAddress | None) -> None:
    top = return_path(NOBODY) + delivered_to(ANN)
    top += received(b"client", "host", "token", 1_000_000_000, utf8=utf8, recipient=recipient)
    message = email.message_from_bytes(top + b"\n", policy=email.policy.default)
    assert message["Return-Path"] == "<>"
    assert message["Delivered-To"] == "ann@example.org"
    where, _, when = str(message["Received"]).rpartition(";")
    words = f"from client by host with {kind} id token" + (" for <ann@example.org>" if recipient else "")
    assert " ".join(where.split()) == words
    assert email.utils.parsedate_to_datetime(when.strip()).timestamp() == 1_000_000_000


def test_a_client_that_calls_itself_something_else() -> None:
    for helo in (b"a;b", b"(x", b"\xff", b"for<x>"):
        assert received(helo, "h", "t", 0, utf8=False, recipient=None).startswith(b"Received: from unknown\n\tby h ")


MESSAGE = (
    b"Received: from x (y [192.0.2.1])\r\n\tby z (Postfix) with ESMTP id 4ABC123\r\n\tfor <ann@x>; now\r\n"
    b"Received: by first with SMTP id OTHER; before\r\nmessage-id:\r\n <a.b@c>\r\n\r\nMessage-ID: <body@c>\r\n"
)


@given(st.lists(st.integers(0, len(MESSAGE)), max_size=10))
def test_what_the_log_says(cuts: list[int]) -> None:
    seen = HeaderSeen()
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(MESSAGE)], strict=True):
        seen.take(MESSAGE[a:b])
    seen.finish()
    assert (seen.message_id, seen.queue_id) == (b"<a.b@c>", b"4ABC123")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b"\r\nMessage-ID: <a@b>\n",
        b"Subject: x\n\nMessage-ID: <a@b>",
        b"x" * 200_000 + b"\nMessage-ID: <a@b>",
    ],
)
def test_what_the_log_does_not_say(message: bytes) -> None:
    seen = HeaderSeen()
    seen.take(message)
    seen.finish()
    assert (seen.message_id, seen.queue_id) == (b"", b"")


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (b"From ann@x Mon Nov 30\nSubject: x\n\nFrom here\n", b"Subject: x\n\nFrom here\n"),
        (b"From ann\r\nSubject: x\r\n", b"Subject: x\r\n"),
        (b"From: ann@x\n\n", b"From: ann@x\n\n"),
        (b"Fro", b"Fro"),
        (b"", b""),
        (b"From ann", b""),
        (b"Subject: x\n\nFrom me\n", b"Subject: x\n\nFrom me\n"),
    ],
)
def test_the_line_of_mbox(message: bytes, left: bytes) -> None:
    for size in (1, 3, 100):
        line = FromLine()
        found = b"".join(line.take(message[n : n + size]) for n in range(0, len(message), size))
        assert found + line.finish() == left
