"""Command lines of LMTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.lmtp import parse as parsing
from maildir_imapd.lmtp.answers import Answer, BadCommand
from maildir_imapd.lmtp.commands import NOBODY, Bare, Bdat, EnvelopeAddress, Lhlo, LmtpCommand, MailFrom, RcptTo
from maildir_imapd.lmtp.parse import demand_utf8, parse

ANN = EnvelopeAddress(b"ann@example.org", b"ann", b"example.org")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"LHLO mail.example.org", Lhlo(b"mail.example.org")),
        (b"lhlo [127.0.0.1]", Lhlo(b"[127.0.0.1]")),
        (b"MAIL FROM:<>", MailFrom(NOBODY)),
        (b"mail from:<ann@example.org>", MailFrom(ANN)),
        (b"MAIL FROM: <ann@example.org> size=12 BODY=8bitmime", MailFrom(ANN, 12)),
        (b"MAIL FROM:<ann@example.org> SMTPUTF8", MailFrom(ANN, 0, True)),
        (b"MAIL FROM:<@a,@b.example:ann@example.org>", MailFrom(ANN)),
        (b"RCPT TO:<ann@example.org>", RcptTo(ANN)),
        (b"RCPT TO:<ann>", RcptTo(EnvelopeAddress(b"ann", b"ann", b""))),
        (b"RCPT TO:<a..b.@[192.0.2.1]>", RcptTo(EnvelopeAddress(b"a..b.@[192.0.2.1]", b"a..b.", b"[192.0.2.1]"))),
        (b'RCPT TO:<"a \\"b@"@c>', RcptTo(EnvelopeAddress(b'"a \\"b@"@c', b'a "b@', b"c"))),
        (b'RCPT TO:<"">', RcptTo(EnvelopeAddress(b'""', b"", b""))),
        (b"DATA", Bare(b"DATA")),
        (b"data ", Bare(b"DATA")),
        (b"BDAT 0", Bdat(0, False)),
        (b"BDAT 99 last", Bdat(99, True)),
        (b"RSET", Bare(b"RSET")),
        (b"NOOP what ever", Bare(b"NOOP")),
        (b"VRFY ann", Bare(b"VRFY")),
        (b"QUIT", Bare(b"QUIT")),
    ],
)
def test_commands(line: bytes, command: LmtpCommand) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"", parsing.UNKNOWN),
        (b" DATA", parsing.UNKNOWN),
        (b"STARTTLS", parsing.UNKNOWN),
        (b"EHLO x", parsing.NOT_SMTP),
        (b"HELO x", parsing.NOT_SMTP),
        (b"LHLO", parsing.BAD_LHLO),
        (b"LHLO a b", parsing.BAD_LHLO),
        (b"LHLO " + b"x" * 256, parsing.BAD_LHLO),
        (b"MAIL", parsing.BAD_SENDER),
        (b"MAIL FROM:ann@example.org", parsing.BAD_SENDER),
        (b"MAIL FROM:<ann@example.org", parsing.BAD_SENDER),
        (b"MAIL FROM:<ann@example.org>x", parsing.BAD_SENDER),
        (b"MAIL FROM:<a b@c>", parsing.BAD_SENDER),
        (b"MAIL FROM:<a@b> SIZE=x", parsing.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> SIZE=", parsing.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> SIZE=" + b"9" * 21, parsing.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> BODY=BINARYMIME", parsing.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> SMTPUTF8=1", parsing.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> RET=HDRS", parsing.OTHER_PARAMETER),
        (b"MAIL FROM:<\xc3\xa4@b>", parsing.NEEDS_UTF8),
        (b"MAIL FROM:<\xe4@b> SMTPUTF8", parsing.NOT_UTF8),
        (b"RCPT TO:<>", parsing.BAD_RECIPIENT),
        (b"RCPT FROM:<a@b>", parsing.BAD_RECIPIENT),
        (b"RCPT TO:<" + b"a" * 2000 + b"@b>", parsing.BAD_RECIPIENT),
        (b"RCPT TO:<a@b> NOTIFY=NEVER", parsing.OTHER_PARAMETER),
        (b"DATA now", parsing.NO_ARGUMENT),
        (b"BDAT", parsing.BAD_CHUNK),
        (b"BDAT -1", parsing.BAD_CHUNK),
        (b"BDAT 1 LAST x", parsing.BAD_CHUNK),
    ],
)
def test_what_is_no_command(line: bytes, answer: Answer) -> None:
    with pytest.raises(BadCommand) as caught:
        parse(line)
    assert caught.value.answer is answer
    # Nobody can tell how many octets of a message follow, and where commands go on.
    assert caught.value.ends == (answer is parsing.BAD_CHUNK)


def test_addresses_in_utf8() -> None:
    command = parse("MAIL FROM:<änn@exämple.org> SMTPUTF8".encode())
    assert isinstance(command, MailFrom)
    assert command.sender.plain == "änn@exämple.org".encode()
    demand_utf8(command.sender, allowed=True)
    with pytest.raises(BadCommand):
        demand_utf8(command.sender, allowed=False)


@given(st.binary(max_size=200) | st.from_regex(rb"(MAIL FROM|RCPT TO|BDAT|LHLO):? ?<?[ -~]{0,40}>?[ -~]{0,20}"))
def test_whatever_comes_is_read_or_refused(line: bytes) -> None:
    command, refused = None, None
    try:
        command = parse(line)
    except BadCommand as error:
        refused = error.answer
    assert (command is None) == (refused is not None)
    assert refused is None or (refused.code >= 500 and refused.render().endswith(b"\r\n"))
    address = getattr(command, "sender", None) or getattr(command, "recipient", None)
    # What goes into a header, and into the log, ends no line.
    assert address is None or not any(octet < 32 for octet in address.written + address.plain)
