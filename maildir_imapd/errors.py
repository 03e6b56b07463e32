"""Every exception the server raises on purpose, in one tree.

    ImapdError
        ConfigError                 the process does not start; exit status 78
            NoUser                  a command is for somebody who is not there; 67
        ProtocolError               tagged BAD
            BadSyntax               with what was expected and where
            BadArgument             reads well, and is none of what can stand there
            BadCombination          each argument is good, and they do not go together
            TooLong                 a line, a literal or a command beyond its limit
            UnknownCommand
            WrongState              a command that this state does not know
            UidRequired             sequence numbers from who has enabled UIDONLY
        Refused                     tagged NO, with the class's response code
            MailboxMissing MailboxExists BadMailboxName CannotDo ...
        StoreError                  tagged NO, and a line in the log
            LockTimeout IndexDamaged SpoolUnreadable DiskFull MessageGone
        Goodbye                     untagged BYE, then the connection ends

A class's docstring is its message, unless another is given: ``{name}`` fields are filled from the keyword
arguments, which stay readable as attributes.  The session says it in the client's language
(``imap/languages.py``), so it is never put together beforehand.  The text goes to clients, so it must never
hold what a client sent (robustness: response injection); a detail that only the log may see goes into ``detail``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from maildir_imapd.phrases import Phrase


class ImapdError(Exception):
    """The server could not do this"""

    def __init__(self, text: str | None = None, *, detail: str = "", **fields: Any) -> None:
        if text is None:
            text = (type(self).__doc__ or type(self).__name__).split("\n", 1)[0]
        if fields:
            text = Phrase(text, **fields)
        super().__init__(text)
        self.text = text
        self.detail = detail
        for name, value in fields.items():
            setattr(self, name, value)


class ConfigError(ImapdError):
    """The configuration cannot be used"""

    exit_status: ClassVar[int] = 78


class NoUser(ConfigError):
    """There is no such user"""

    exit_status = 67


# --- BAD ------------------------------------------------------------------------------------------


class ProtocolError(ImapdError):
    """The command was not understood"""

    code: ClassVar[bytes | None] = None


class BadSyntax(ProtocolError):
    """Expected {expected} at position {position}"""

    expected: str
    position: int

    def __init__(self, expected: str, position: int = 0) -> None:
        super().__init__(expected=expected, position=position)


class BadCharset(ProtocolError):
    """This string is not valid in its charset"""


class TooLong(ProtocolError):
    """The command is longer than this server allows"""

    code = b"TOOBIG"


class FilterCharset(ProtocolError):
    """A stored filter goes with the charset UTF-8 only"""

    code = b"BADCHARSET (UTF-8 US-ASCII)"


class UnknownCommand(ProtocolError):
    """Unknown command"""


class BadArgument(ProtocolError):
    """Expected {expected}"""

    expected: str

    def __init__(self, expected: str) -> None:
        super().__init__(expected=expected)


class BadCombination(ProtocolError):
    """{why}"""


class WrongState(ProtocolError):
    """{why}"""


class WrongOrder(ProtocolError):
    """The second of the two numbers is the smaller one"""

    code = b"CLIENTBUG"


class UidRequired(ProtocolError):
    """Messages are named by UID alone once UIDONLY is enabled"""

    code = b"UIDREQUIRED"


# --- NO -------------------------------------------------------------------------------------------


class Refused(ImapdError):
    """The command was refused"""

    code: bytes | None = None


class MailboxMissing(Refused):
    """Mailbox doesn't exist"""

    code = b"NONEXISTENT"


class TryCreate(Refused):
    """Mailbox doesn't exist; CREATE it first"""

    code = b"TRYCREATE"


class MessageLimit(Refused):
    """That is more messages than one command may be about; ask for fewer"""


class TooFew(Refused):
    """A batch must have more messages"""

    code = b"TOOFEW"


class MailboxExists(Refused):
    """Mailbox already exists"""

    code = b"ALREADYEXISTS"


class BadMailboxName(Refused):
    """This mailbox name cannot be used: {why}"""

    code = b"CANNOT"


class NotSelectable(Refused):
    """This name is only a parent of mailboxes and cannot be opened"""

    code = b"CANNOT"


class UseAttribute(Refused):
    """A mailbox cannot have this special use here"""

    code = b"USEATTR"


class CannotDo(Refused):
    """{why}"""

    code = b"CANNOT"


class HasChildren(Refused):
    """The mailbox has children; delete them first"""

    code = b"HASCHILDREN"


class ReadOnly(Refused):
    """The mailbox is open read-only"""

    code = b"NOPERM"


class NoPermission(Refused):
    """You do not have the right to do this"""

    code = b"NOPERM"


class AuthenticationFailed(Refused):
    """User name or password is wrong"""

    code = b"AUTHENTICATIONFAILED"


class AuthorizationFailed(Refused):
    """You cannot act for that user"""

    code = b"AUTHORIZATIONFAILED"


class PrivacyRequired(Refused):
    """This needs TLS: send STARTTLS first or use the TLS port"""

    code = b"PRIVACYREQUIRED"


class Unavailable(Refused):
    """This is not available just now; try again later"""

    code = b"UNAVAILABLE"


class BadCharsetName(Refused):
    """This charset is not supported"""

    code = b"BADCHARSET"


class UndefinedFilter(Refused):
    """There is no such filter, or it is none"""

    code = b"UNDEFINED-FILTER"


class ExpungeIssued(Refused):
    """Some of the messages no longer exist"""

    code = b"EXPUNGEISSUED"


class LimitReached(Refused):
    """{why}"""

    code = b"LIMIT"


class NoMemory(Refused):
    """The server has no memory for this just now; try again later"""

    code = b"LIMIT"


class TooBig(Refused):
    """The message is larger than the limit of {limit} octets"""

    code = b"TOOBIG"


class AnnotationTooBig(Refused):
    """The value is larger than an annotation may be"""

    code = b"METADATA MAXSIZE"


class TooManyAnnotations(Refused):
    """There are too many annotations already"""

    code = b"METADATA TOOMANY"


class OverQuota(Refused):
    """The quota is used up"""

    code = b"OVERQUOTA"


class UnknownCte(Refused):
    """The transfer encoding of this part is unknown or its data is damaged"""

    code = b"UNKNOWN-CTE"


class BadEvent(Refused):
    """This server has no such event"""

    code = b"BADEVENT"


class NotifyOverflow(Refused):
    """These are too many mailboxes to watch"""

    code = b"NOTIFICATIONOVERFLOW"


class BadMessage(Refused):
    """The message cannot be stored: {why}"""


class NeedsUtf8(Refused):
    """The header is not ASCII: ENABLE UTF8=ACCEPT first"""


class BadUrl(Refused):
    """No message or part of one has this URL"""

    def __init__(self, spelled: bytes, *, detail: str = "") -> None:
        super().__init__(detail=detail)
        self.code = b"BADURL " + spelled


# --- trouble below --------------------------------------------------------------------------------


class StoreError(ImapdError):
    """The mail store has a problem; the administrator can find it in the log"""

    code: bytes | None = b"SERVERBUG"


class LockTimeout(StoreError):
    """The mailbox is in use by another process; try again"""

    code = b"INUSE"


class IndexDamaged(StoreError):
    """The index of the mailbox is damaged"""


class OtherVersion(IndexDamaged):
    """The index of the mailbox was written by another version of this server"""

    code = b"CONTACTADMIN"


class SpoolUnreadable(StoreError):
    """The mailbox cannot be read"""

    code = b"NOPERM"


class NoSpool(StoreError):
    """There is no mail where it should be, and something else is; the administrator can find it in the log"""

    code = b"CONTACTADMIN"


class SpoolGone(StoreError):
    """The mail is not there just now; the administrator can find it in the log"""

    code = b"UNAVAILABLE"


class TakeoverRefused(StoreError):
    """What another mail server knew of this mailbox cannot be read; the administrator can find it in the log"""

    code = b"CONTACTADMIN"


class DiskFull(StoreError):
    """There is no room left to store this"""

    code = b"OVERQUOTA"


class TooManyFiles(StoreError):
    """The server has too many files open; try again later"""

    code = b"UNAVAILABLE"


class MessageGone(StoreError):
    """The message no longer exists"""

    code = b"EXPUNGEISSUED"


class MessageUnreadable(StoreError):
    """A message could not be read"""

    code = b"SERVERBUG"


class MessageEncrypted(MessageUnreadable):
    """A message is encrypted by another mail server and cannot be read here"""

    code = b"CANNOT"


class MessagePacked(MessageUnreadable):
    """A message is compressed in a way that cannot be read here"""

    code = b"CONTACTADMIN"


class OutOfUids(StoreError):
    """The mailbox has used up its unique identifiers"""

    code = b"LIMIT"


# --- BYE ------------------------------------------------------------------------------------------


class Goodbye(ImapdError):
    """Closing the connection"""

    code: bytes | None = None


class SelectedGone(Goodbye):
    """The selected mailbox was deleted"""


class MailGone(Goodbye):
    """The mail is not there just now; the administrator can find it in the log"""

    code = b"UNAVAILABLE"


class IdleTooLong(Goodbye):
    """Autologout; idle for too long"""


class TooManyErrors(Goodbye):
    """Too many invalid commands"""


class Kicked(Goodbye):
    """The administrator has ended this session"""


class BeingEmptied(Goodbye):
    """This server is about to rest; connect again"""

    code = b"UNAVAILABLE"


class SpoolSilent(Goodbye):
    """The mail cannot be reached just now; try again later"""

    code = b"UNAVAILABLE"


class ShuttingDown(Goodbye):
    """Server is shutting down"""

    code = b"UNAVAILABLE"
