"""Answers Postfix whether a recipient has room for a message, as a policy service: lines name=value up to an empty one.

The answer is 552 for a quota that is used up, and DUNNO for all else: other restrictions decide then, and mail is
never turned away because of trouble here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError, OverQuota
from maildir_imapd.events import Log
from maildir_imapd.server import owners
from maildir_imapd.server.asking import Asking, BadRequest, cut_line
from maildir_imapd.server.lookup_service import parted, recipient
from maildir_imapd.server.recipients import demand_room

if TYPE_CHECKING:
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport

log = Log(__name__)

LINE_OCTETS: Final = 8192
LINES: Final = 200
DUNNO: Final = b"DUNNO"
FULL: Final = b"552 5.2.2 The mailbox is full"
_SIZE_DIGITS: Final = 18


class PolicyService(Asking):
    """One program that asks, Postfix's smtpd."""

    service = "policy"

    def __init__(self, visit: Visit, transport: Transport, chain: Chain, accounts: Accounts, delimiters: bytes) -> None:
        super().__init__(visit, transport)
        self._delimiters = delimiters
        self._chain = chain
        self._accounts = accounts
        self._lines = 0
        self._fields: dict[bytes, bytes] = {}

    def cut(self, received: bytearray) -> bytes | None:
        """As ``Asking.cut``."""
        return cut_line(received, LINE_OCTETS)

    @property
    def logged_in(self) -> bool:
        """As ``Service.logged_in``: also a request of which some lines have come must be whole in its time."""
        return super().logged_in and not self._lines

    def answer(self, request: bytes) -> None:
        """As ``Asking.answer``: each line is one, and an empty one ends what is asked."""
        if request:
            name, equals, value = request.partition(b"=")
            self._lines += 1
            if not equals or self._lines > LINES:
                raise BadRequest("a line without =" if not equals else "too many lines")
            self._fields[name] = value
            return
        fields, self._fields, self._lines = self._fields, {}, 0
        if fields.get(b"request") != b"smtpd_access_policy":
            raise BadRequest("no request of smtpd_access_policy")
        self.say(b"action=%b\n\n" % self._action(fields))

    def _action(self, fields: dict[bytes, bytes]) -> bytes:
        to, size = fields.get(b"recipient", b""), fields.get(b"size", b"")
        try:
            octets = int(size) if size.isdigit() and len(size) <= _SIZE_DIGITS else 0
            full = to and self._is_full(to, octets)
        except Exception as error:
            if isinstance(error, ImapdError):
                log.error("quota cannot be known", service=self.service, recipient=to, why=error.detail or error.text)
            else:
                log.exception("quota cannot be known", **self.who, recipient=to)
            return DUNNO
        if full:
            log.info("over quota", **self.who, recipient=to, size=octets)
        return FULL if full else DUNNO

    def _is_full(self, to: bytes, octets: int) -> bool:
        """Whether a message of so many octets, 0 for what is not known, has no room; raises ImapdError, OSError."""
        identity, folder = recipient(self._chain, to), ""
        if identity is None and (found := parted(to, self._delimiters)) is not None:
            identity, folder = recipient(self._chain, found[0]), found[1].decode("utf-8", "replace")
        if identity is None:
            return False
        owner = self._accounts.owner(identity)
        with owners.acting_as(owner):
            try:
                demand_room(identity, folder, octets, self._accounts, owner)
            except OverQuota:
                return True
        return False


class PolicyPort:
    """As ``service.Port``: whether recipients have room, by *chain* and their *accounts*; *delimiters*: as of
    ``parted``.
    """

    def __init__(self, chain: Chain, accounts: Accounts, delimiters: bytes = b"") -> None:
        self._delimiters = delimiters
        self._chain = chain
        self._accounts = accounts

    def refusal(self, text: str) -> bytes:
        """As ``Port.refusal``: so that mail comes in all the same."""
        return b"action=DUNNO\n\n"

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> PolicyService:
        """As ``Port.open``."""
        return PolicyService(visit, transport, self._chain, self._accounts, self._delimiters)
