"""One message from a descriptor into one user's mailbox: what ``maildir-imapd deliver`` does, in a process of its own.

The process becomes the owner of the mail for good, and needs no server: it works on the same locks.
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.lmtp import letter
from maildir_imapd.lmtp.answers import TOO_BIG, UNAVAILABLE, UNKNOWN_USER, Answer
from maildir_imapd.lmtp.commands import EnvelopeAddress
from maildir_imapd.lmtp.putting import Manner, Putting
from maildir_imapd.server import settings, spools
from maildir_imapd.server.accounts import Accounts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.server.lmtp_rules import LmtpRules
    from maildir_imapd.store.account import Account

_PIECE_OCTETS: Final = 1 << 16
# Of the begin of a message, what is looked at for fields that are there already.
_HEAD_OCTETS: Final = 1 << 16
_END_OF_HEADER: Final = re.compile(rb"\A\r?\n|\n\r?\n").search
_EMPTY: Final = Answer(554, "5.6.0", "There is no message")


@dataclass(frozen=True, slots=True)
class DeliveryOrder:
    """A message's way, as the command line has it.  *user* None: the mail of whoever runs this; *folder* empty: INBOX.

    *sender* None: not known, b"" for the null sender; *recipient*: for Delivered-To, None for the user's name where one
    was given.
    """

    user: str | None = None
    folder: str = ""
    sender: bytes | None = None
    recipient: bytes | None = None
    flags: tuple[bytes, ...] = ()
    made: bool = False


class _OwnDestination:
    """As ``lmtp.putting.Destination``, in a process that is the owner."""

    owner = None

    def __init__(self, identity: Identity, folder: str, accounts: Accounts) -> None:
        self.user = identity.user
        self.folder = folder
        self._identity = identity
        self._accounts = accounts
        self._account: Account | None = None
        self.crossed = False
        """Whether a threshold of the quota may have been crossed."""

    def acting(self) -> AbstractContextManager[None]:
        """As ``Destination.acting``: nothing to do."""
        return nullcontext()

    def account(self) -> Account:
        """As ``Destination.account``."""
        if self._account is None:
            self._account = self._accounts.account(self._identity, None)
            self._account.quota.crossing, self._account.quota.thresholds = (
                self._crosses,
                self._accounts.mail.quotas.thresholds,
            )
        return self._account

    def _crosses(self) -> None:
        self.crossed = bool(self._accounts.mail.quotas.thresholds)

    def left(self) -> None:
        """As ``Destination.left``: the process ends."""


def deliver(config: Config, source: int, order: DeliveryOrder) -> Answer:
    """Put the message that *source* gives, up to its end, where the order says; raises ImapdError.

    The process is good for nothing else afterwards.
    """
    rules = settings.lmtp(config)
    found = _user(config, order, rules)
    if found is None:
        return UNKNOWN_USER
    identity, folder = found
    owner = spools.owner_of(config, identity)
    if owner is not None:
        from maildir_imapd.server.jobs import become

        become(owner)
    destination = _OwnDestination(identity, folder, Accounts(settings.mail(config), None))
    begin, ended = _begin(source)
    if not begin:
        return _EMPTY
    facts: dict[str, object] = {"service": "deliver"}
    if order.sender is not None:
        facts["sender"] = b"<%b>" % order.sender
    manner = Manner(rules.over_quota, order.flags, order.made, facts, rules.keywords)
    putting = Putting([destination], _top(order, begin), manner)
    try:
        octets = 0
        piece = begin
        while piece:
            octets += len(piece)
            if octets > rules.policy.octets:
                return TOO_BIG
            putting.write(piece)
            piece = b"" if ended else os.read(source, _PIECE_OCTETS)
        answer = next(putting.finish(), UNAVAILABLE)
    finally:
        putting.close()
    if destination.crossed:
        from maildir_imapd.server import quotas, warning_jobs

        warning_jobs.aside(destination.account(), quotas.warnings(config), identity.user)
    return answer


def _user(config: Config, order: DeliveryOrder, rules: LmtpRules) -> tuple[Identity, str] | None:
    """Return whose mail it is, and the folder."""
    if order.user is None:
        return spools.myself(), order.folder
    local, at, domain = os.fsencode(order.user).rpartition(b"@")
    name = EnvelopeAddress(os.fsencode(order.user), local if at else domain, domain if at else b"")
    from maildir_imapd.server.recipients import find_user

    found = find_user(name, settings.chain(config), rules.delimiters)
    return None if found is None else (found[0], order.folder or found[1])


def _begin(source: int) -> tuple[bytes, bool]:
    """Read the header, or the begin of a long one, without the line ``From ``; and whether that is all there is."""
    mbox = letter.FromLine()
    begin = bytearray()
    while len(begin) < _HEAD_OCTETS and not _END_OF_HEADER(begin):
        piece = os.read(source, _PIECE_OCTETS)
        if not piece:
            return bytes(begin + mbox.finish()), True
        begin += mbox.take(piece)
    return bytes(begin), False


def _top(order: DeliveryOrder, begin: bytes) -> bytes:
    """Write the fields that go before the message, but those that the mail server has put there."""
    end = _END_OF_HEADER(begin)
    header = begin if end is None else begin[: end.start() + 1]
    top = b""
    if order.sender is not None and header[:12].lower() != b"return-path:":
        top += letter.return_path(EnvelopeAddress(order.sender, b"", b""))
    recipient = order.recipient
    if recipient is None and order.user is not None:
        recipient = os.fsencode(order.user)
    if recipient:
        there = re.compile(rb"^delivered-to:[ \t]*%b[ \t\r]*$" % re.escape(recipient), re.IGNORECASE | re.MULTILINE)
        if not there.search(header):
            top += letter.delivered_to(EnvelopeAddress(recipient, b"", b""))
    return top
