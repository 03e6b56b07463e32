"""The answers of LMTP: a code (RFC 5321 4.2), an enhanced one (RFC 3463) and words; and which error gets which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from maildir_imapd.errors import (
    DiskFull,
    ImapdError,
    LockTimeout,
    OverQuota,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One line; the text is ASCII, and holds nothing of what a client sent."""

    code: int
    status: str
    text: str

    @property
    def good(self) -> bool:
        """Whether what was asked for is done."""
        return self.code < 400

    @property
    def passing(self) -> bool:
        """Whether a sender is to try again."""
        return 400 <= self.code < 500

    def render(self) -> bytes:
        """Write the line."""
        status = f"{self.status} " if self.status else ""
        return f"{self.code} {status}{self.text}\r\n".encode("ascii")


class BadCommand(ValueError):
    """A command that is none, or comes when it may not; with what is answered."""

    def __init__(self, answer: Answer, *, ends: bool = False) -> None:
        super().__init__(answer.text)
        self.answer = answer
        self.ends = ends  # nothing after it can be believed: the connection is closed


class RecipientRefused(Exception):
    """Nothing is taken for a recipient; with what is answered, and what the log alone may have."""

    def __init__(self, answer: Answer, *, detail: str = "") -> None:
        super().__init__(answer.text)
        self.answer = answer
        self.detail = detail


OK: Final = Answer(250, "2.0.0", "OK")
STORED: Final = Answer(250, "2.1.5", "Stored")
UNKNOWN_USER: Final = Answer(550, "5.1.1", "There is no such user")
UNAVAILABLE: Final = Answer(451, "4.3.0", "This is not available just now; try again later")
FULL: Final = Answer(552, "5.2.2", "The mailbox is full")
FULL_NOW: Final = Answer(452, "4.2.2", "The mailbox is full; try again later")
NO_ROOM: Final = Answer(452, "4.3.1", "There is no room left to store this")
BUSY: Final = Answer(451, "4.2.0", "The mailbox is in use; try again later")
TOO_BIG: Final = Answer(552, "5.3.4", "The message is larger than may be")
SHUTTING_DOWN: Final = Answer(421, "4.3.2", "Server is shutting down")
RESTING: Final = Answer(421, "4.3.2", "No mail is taken here just now; try again later")
TOO_LATE: Final = Answer(421, "4.4.2", "Nothing has come for too long")


def of(error: BaseException, *, over_quota: Answer = FULL) -> Answer:
    """Return what a sender is told of an error; for whatever is not the message's own fault that it may try again."""
    match error:
        case OverQuota():
            return over_quota
        case DiskFull():
            return NO_ROOM
        case LockTimeout():
            return BUSY
    return UNAVAILABLE


def why(error: BaseException) -> str:
    """Return what the log says of an error."""
    if isinstance(error, ImapdError):
        return f"{error.text} ({error.detail})" if error.detail else error.text
    return str(error) or type(error).__name__
