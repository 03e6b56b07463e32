"""Answers Postfix whether there is a user, as a table of the type socketmap: netstrings with a map and a key.

``OK name`` for a user by the name he has here, ``NOTFOUND``, ``TEMP`` when that cannot be known, ``PERM`` for another
map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.names import valid_user
from maildir_imapd.errors import ImapdError
from maildir_imapd.events import Log
from maildir_imapd.server.asking import Asking, BadRequest

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport

log = Log(__name__)

REQUEST_OCTETS: Final = 10_000
MAP: Final = b"users"
_LENGTH_DIGITS: Final = len(str(REQUEST_OCTETS))


def recipient(chain: Chain, written: bytes) -> Identity | None:
    """Find the user whose address, or name, *written* is, as it is or in small letters; raises Unavailable."""
    try:
        name = written.decode("utf-8")
    except UnicodeDecodeError:
        return None
    for each in dict.fromkeys((name, name.lower())):
        if valid_user(each) and (found := chain.find(each)) is not None:
            return found
    return None


def parted(written: bytes, delimiters: bytes) -> tuple[bytes, bytes] | None:
    """Take from an address what is the user's own affair: the address without, and that; None: there is none.

    *delimiters*: any of these octets stands between a user's name and it (recipient_delimiter of Postfix's).
    """
    local, at, domain = written.rpartition(b"@")
    if not at:
        local, domain = domain, b""
    position = next((n for n, octet in enumerate(local) if n and octet in delimiters), 0)
    return (local[:position] + at + domain, local[position + 1 :]) if position else None


def cut_netstring(received: bytearray, most: int) -> bytes | None:
    """Take a netstring off *received*, and return what is in it; None: it is not whole.  Raises BadRequest."""
    colon = received.find(b":", 0, _LENGTH_DIGITS + 1)
    digits = bytes(received[: colon if colon >= 0 else _LENGTH_DIGITS + 1])
    if digits and (not digits.isdigit() or (digits.startswith(b"0") and digits != b"0")):
        raise BadRequest("no netstring")
    if colon < 0:
        if len(received) > _LENGTH_DIGITS:
            raise BadRequest("no netstring")
        return None
    if not digits:
        raise BadRequest("no netstring")
    octets = int(digits)
    if octets > most:
        raise BadRequest("a netstring that is too long")
    end = colon + 1 + octets
    if len(received) <= end:
        return None
    if received[end] != ord(","):
        raise BadRequest("a netstring without its end")
    found = bytes(received[colon + 1 : end])
    del received[: end + 1]
    return found


class LookupService(Asking):
    """One program that asks, Postfix's smtpd or proxymap."""

    service = "lookup"

    def __init__(self, visit: Visit, transport: Transport, chain: Chain, delimiters: bytes) -> None:
        super().__init__(visit, transport)
        self._chain = chain
        self._delimiters = delimiters

    def cut(self, received: bytearray) -> bytes | None:
        """As ``Asking.cut``."""
        return cut_netstring(received, REQUEST_OCTETS)

    def answer(self, request: bytes) -> None:
        """As ``Asking.answer``."""
        said = self._found(request)
        self.say(b"%d:%b," % (len(said), said))

    def _found(self, request: bytes) -> bytes:
        name, space, key = request.partition(b" ")
        if name != MAP or not space:
            log.warning("no such map", **self.who, map=name)
            return b"PERM the only map is users"
        try:
            identity = recipient(self._chain, key)
            if identity is None and (found := parted(key, self._delimiters)) is not None:
                # Postfix asks such a table for the whole address only.
                identity = recipient(self._chain, found[0])
        except Exception as error:
            if isinstance(error, ImapdError):
                log.error("lookup failed", service=self.service, user=key, why=error.detail or error.text)
            else:
                log.exception("lookup failed", **self.who, user=key)
            return b"TEMP this cannot be known just now"
        return b"NOTFOUND " if identity is None else b"OK " + identity.user.encode()


class LookupPort:
    """As ``service.Port``: whether there is a user, by *chain*; *delimiters*: as of ``parted``."""

    def __init__(self, chain: Chain, delimiters: bytes = b"") -> None:
        self._chain = chain
        self._delimiters = delimiters

    def refusal(self, text: str) -> bytes:
        """As ``Port.refusal``: Postfix tries again."""
        return b""

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> LookupService:
        """As ``Port.open``."""
        return LookupService(visit, transport, self._chain, self._delimiters)
