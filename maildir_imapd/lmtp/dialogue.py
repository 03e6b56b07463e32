"""The dialogue of LMTP (RFC 2033) without a socket: octets in, answers out, and one message at a time to ``Incoming``.

A transaction is MAIL, then RCPT for each recipient, then DATA or BDAT; whatever ends it otherwise (RSET, LHLO, the end
of the connection) leaves nothing of it.  After the text each recipient that was accepted gets an answer of its own, at
once when it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from maildir_imapd.lmtp.answers import OK, SHUTTING_DOWN, TOO_BIG, Answer, BadCommand, RecipientRefused
from maildir_imapd.lmtp.commands import Bare, Bdat, EnvelopeAddress, Lhlo, LmtpCommand, MailFrom, RcptTo
from maildir_imapd.lmtp.cutting import DotText, cut_command
from maildir_imapd.lmtp.parse import demand_utf8, parse

# Commands that were wrong, after which somebody talks who speaks no LMTP, or whose DATA was refused and who goes on
# all the same.
MISTAKES: Final = 30
# Octets of one message that are passed over, in times of what one may have, until the connection is closed.
_PASSED_OVER_TIMES: Final = 4

GO_ON: Final = Answer(354, "", 'End with "." on a line by itself')
BYE: Final = Answer(221, "2.0.0", "Bye")
SENDER_OK: Final = Answer(250, "2.1.0", "Sender OK")
RECIPIENT_OK: Final = Answer(250, "2.1.5", "Recipient OK")
CHUNK_OK: Final = Answer(250, "2.0.0", "Taken")
PERHAPS: Final = Answer(252, "2.1.5", "Send something and see")
HELLO_FIRST: Final = Answer(503, "5.5.1", "LHLO comes first")
MAIL_FIRST: Final = Answer(503, "5.5.1", "MAIL comes first")
NESTED: Final = Answer(503, "5.5.1", "A message is under way: RSET gives it up")
NO_RECIPIENT: Final = Answer(503, "5.5.1", "There is no recipient")
TOO_MANY: Final = Answer(452, "4.5.3", "These are too many recipients")
TOO_MANY_MISTAKES: Final = Answer(421, "4.7.0", "Too many commands that are none")

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LmtpPolicy:
    """How LMTP is spoken: *host* is this machine's name; *octets* and *recipients* are what one message may have."""

    host: str
    octets: int
    recipients: int


@dataclass(slots=True)
class Envelope(Generic[R]):
    """A transaction: what is said of a message before it comes."""

    helo: bytes
    mail: MailFrom
    recipients: list[R] = field(default_factory=list)
    addresses: list[EnvelopeAddress] = field(default_factory=list)


class Incoming(Protocol):
    """One message on its way to its recipients."""

    def write(self, data: bytes) -> None:
        """Take a piece of it; trouble shows at the end."""

    def finish(self) -> Iterator[Answer]:
        """Put it where it goes, recipient by recipient, in their order."""

    def close(self) -> None:
        """Let go of all; what is not put yet leaves nothing.  Harmless twice."""


class Receiving(Protocol[R]):
    """Whoever knows recipients, and takes messages for them."""

    def recipient(self, address: EnvelopeAddress, mail: MailFrom) -> R:
        """Find one; raises RecipientRefused."""

    def begin(self, envelope: Envelope[R]) -> Incoming:
        """Begin to take a message."""


class LmtpDialogue(Generic[R]):
    """One client's; *say* sends what it is given."""

    def __init__(self, policy: LmtpPolicy, receiving: Receiving[R], say: Callable[[bytes], None]) -> None:
        self._policy = policy
        self._receiving = receiving
        self._send = say
        self._received = bytearray()
        self._helo: bytes | None = None
        self._envelope: Envelope[R] | None = None
        self._incoming: Incoming | None = None
        # Of the message: octets that have come; why it will not be taken; the text of DATA, or what is left of a chunk.
        self._octets = 0
        self._failed: Answer | None = None
        self._text: DotText | None = None
        self._chunk: Bdat | None = None
        self._left = 0
        self._mistakes = 0
        self.over = False

    # --- for whoever owns the connection ------------------------------------------------------------

    def greet(self) -> None:
        """Say what is said first."""
        self._say(Answer(220, "", f"{self._policy.host} LMTP ready"))

    def feed(self, data: bytes, leaving: Callable[[], bool] = lambda: False) -> None:
        """Take octets and answer all that is whole; it stops before a command when *leaving* says so."""
        while data or self._received:
            if self.over:
                return
            if self._text is not None:
                reader = self._text
                text, data = reader.take(data)
                self._take(text)
                if reader.ended and not self.over:
                    self._text = None
                    self._end_message()
            elif self._chunk is not None:
                text, data = data[: self._left], data[self._left :]
                self._left -= len(text)
                self._take(text)
                if not self._left and not self.over:
                    self._end_chunk()
            else:
                self._received += data
                data = b""
                if leaving() or not self._command():
                    return
                if self._taking:
                    # What has come behind the command is of the message.
                    data = bytes(self._received)
                    self._received.clear()

    @property
    def _taking(self) -> bool:
        """Whether what comes next is of a message."""
        return self._text is not None or self._chunk is not None

    @property
    def amid(self) -> bool:
        """Whether a transaction is under way."""
        return self._envelope is not None

    def leave(self, answer: Answer = SHUTTING_DOWN) -> None:
        """Say that it ends, and why."""
        self._say(answer)
        self._end()

    def close(self) -> None:
        """Let go of what has come; safe to call twice."""
        self._end()

    # --- commands -----------------------------------------------------------------------------------

    def _command(self) -> bool:
        """Do the next command; False: it is not whole yet."""
        try:
            line = cut_command(self._received)
            if line is None:
                return False
            self._do(parse(line))
        except BadCommand as error:
            self._say(error.answer)
            self._mistakes += 1
            if error.ends:
                self._end()
            elif self._mistakes >= MISTAKES:
                self._say(TOO_MANY_MISTAKES)
                self._end()
        return True

    def _do(self, command: LmtpCommand) -> None:
        match command:
            case Lhlo(name):
                self._forget()
                self._helo = name
                self._say_extensions()
            case MailFrom():
                self._mail(command)
            case RcptTo(address):
                self._rcpt(address)
            case Bdat():
                self._bdat(command)
            case Bare(b"DATA"):
                self._data()
            case Bare(b"RSET"):
                self._forget()
                self._say(OK)
            case Bare(b"QUIT"):
                self._say(BYE)
                self._end()
            case Bare(b"VRFY"):
                self._say(PERHAPS)
            case Bare():
                self._say(OK)

    def _say_extensions(self) -> None:
        words = (
            "PIPELINING",
            f"SIZE {self._policy.octets}",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "SMTPUTF8",
            "CHUNKING",
        )
        lines = [self._policy.host, *words]
        last = len(lines) - 1
        self._send("".join(f"250{' ' if n == last else '-'}{line}\r\n" for n, line in enumerate(lines)).encode("ascii"))

    def _mail(self, command: MailFrom) -> None:
        if self._helo is None:
            raise BadCommand(HELLO_FIRST)
        if self._envelope is not None:
            raise BadCommand(NESTED)
        if command.octets > self._policy.octets:
            self._say(TOO_BIG)
            return
        self._envelope = Envelope(self._helo, command)
        self._say(SENDER_OK)

    def _rcpt(self, address: EnvelopeAddress) -> None:
        envelope = self._envelope
        if envelope is None:
            raise BadCommand(MAIL_FIRST)
        if self._incoming is not None or self._failed is not None:
            raise BadCommand(NESTED)
        demand_utf8(address, allowed=envelope.mail.utf8)
        if len(envelope.recipients) >= self._policy.recipients:
            self._say(TOO_MANY)
            return
        try:
            found = self._receiving.recipient(address, envelope.mail)
        except RecipientRefused as error:
            self._say(error.answer)
            return
        envelope.recipients.append(found)
        envelope.addresses.append(address)
        self._say(RECIPIENT_OK)

    # --- the message --------------------------------------------------------------------------------

    def _data(self) -> None:
        envelope = self._envelope
        if envelope is None:
            raise BadCommand(MAIL_FIRST)
        if self._incoming is not None or self._failed is not None:
            raise BadCommand(NESTED)  # RFC 3030 2: not behind BDAT
        if not envelope.recipients:
            raise BadCommand(NO_RECIPIENT)
        self._incoming = self._receiving.begin(envelope)
        self._text = DotText()
        self._say(GO_ON)

    def _bdat(self, command: Bdat) -> None:
        envelope = self._envelope
        # Whatever is wrong, the octets come and are no commands.
        self._chunk, self._left = command, command.octets
        if envelope is not None and envelope.recipients and self._failed is None:
            if self._incoming is None:
                self._incoming = self._receiving.begin(envelope)
        elif self._octets + command.octets > _PASSED_OVER_TIMES * self._policy.octets:
            self._say(TOO_BIG)
            self._end()
            return
        if not self._left:
            self._end_chunk()

    def _take(self, text: bytes) -> None:
        self._octets += len(text)
        if self._octets > self._policy.octets and self._failed is None:
            self._failed = TOO_BIG
            self._drop()
        if self._incoming is not None:
            self._incoming.write(text)
        elif self._octets > _PASSED_OVER_TIMES * self._policy.octets:
            self._say(Answer(421, TOO_BIG.status, TOO_BIG.text))
            self._end()

    def _end_chunk(self) -> None:
        command, self._chunk = self._chunk, None
        assert command is not None
        envelope = self._envelope
        if envelope is None or not envelope.recipients:
            self._octets = 0
            self._mistakes += 1
            self._say(MAIL_FIRST if envelope is None else NO_RECIPIENT)
        elif command.last:
            self._end_message()
        else:
            self._say(CHUNK_OK if self._failed is None else self._failed)

    def _end_message(self) -> None:
        envelope = self._envelope
        assert envelope is not None
        try:
            if self._incoming is not None:
                for answer in self._incoming.finish():
                    self._say(answer)
            else:
                # In step with a client that has sent all without waiting: one answer for each recipient.
                for answer in _same(self._failed or TOO_BIG, envelope.recipients):
                    self._say(answer)
        finally:
            self._forget()

    def _drop(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.close()

    def _forget(self) -> None:
        """End the transaction."""
        self._drop()
        self._envelope, self._failed, self._octets = None, None, 0
        self._text, self._chunk, self._left = None, None, 0

    def _end(self) -> None:
        self.over = True
        self._forget()
        self._received.clear()

    def _say(self, answer: Answer) -> None:
        self._send(answer.render())


def _same(answer: Answer, recipients: Sequence[object]) -> Iterator[Answer]:
    return (answer for _ in recipients)
