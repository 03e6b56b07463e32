"""The commands of LMTP as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnvelopeAddress:
    """A path of MAIL or RCPT.  *written*: as it came, without its brackets and a route; empty for the null sender."""

    written: bytes
    local: bytes
    """Without quotes."""
    domain: bytes
    """Empty where there is none."""

    @property
    def plain(self) -> bytes:
        """Without quotes, as a user's name is written."""
        return self.local + b"@" + self.domain if self.domain else self.local


NOBODY = EnvelopeAddress(b"", b"", b"")


@dataclass(frozen=True, slots=True)
class Lhlo:
    """LHLO: *name* is what the client calls itself."""

    name: bytes


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL; *octets* is what the message is said to have, 0 for nothing said."""

    sender: EnvelopeAddress
    octets: int = 0
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT."""

    recipient: EnvelopeAddress


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT: so many octets follow (RFC 3030)."""

    octets: int
    last: bool


@dataclass(frozen=True, slots=True)
class Bare:
    """A command that is its name alone: DATA, RSET, NOOP, QUIT, VRFY."""

    name: bytes


LmtpCommand = Lhlo | MailFrom | RcptTo | Bdat | Bare
