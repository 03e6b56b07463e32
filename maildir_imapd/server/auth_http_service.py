"""Answers nginx's mail proxy: whether a password is right, and to which host its client goes (its auth_http protocol).

One request a connection, HTTP without a body: the name and the password, with %XX in them, and the client's address
stand in fields of the request, the host in fields of the answer, whose status is always 200.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from maildir_imapd.auth.base import Password
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, Goodbye, ImapdError
from maildir_imapd.events import Log
from maildir_imapd.server.asking import Asking, BadRequest
from maildir_imapd.server.http_talk import HEAD_OCTETS, BadHttp, HttpAnswer, parse, plain
from maildir_imapd.server.networks import among
from maildir_imapd.server.sessions import peer_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.server.affinity import Affinity
    from maildir_imapd.server.http_talk import HttpRequest
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport
    from maildir_imapd.values import Network

log = Log(__name__)

# nginx waits a minute for an answer, its client perhaps less.
LONGEST_PAUSE_SECONDS: Final = 8.0
# After so many tries nginx is to hang up.
TRIES: Final = 3
# What nginx says behind NO.
WRONG: Final = "[AUTHENTICATIONFAILED] Invalid user name or password"
NOT_NOW: Final = "[UNAVAILABLE] This cannot be decided just now; try again later"
NO_SERVICE: Final = "[CANNOT] There is IMAP with LOGIN and PLAIN here"


class AuthHttpService(Asking):
    """One request of nginx's."""

    service = "auth_http"

    def __init__(
        self, visit: Visit, transport: Transport, chain: Chain, affinity: Affinity, trusted: Sequence[Network]
    ) -> None:
        super().__init__(visit, transport)
        self._chain = chain
        self._affinity = affinity
        # Whoever reaches a socket in the file system has been let there.
        self._believed = not visit.host or among(visit.host, trusted)

    def cut(self, received: bytearray) -> bytes | None:
        """As ``Asking.cut``: all before the empty line."""
        end = received.find(b"\r\n\r\n", 0, HEAD_OCTETS)
        if end < 0:
            if len(received) >= HEAD_OCTETS:
                raise BadRequest("a request that is too long")
            return None
        head = bytes(received[:end])
        received.clear()
        return head

    def answer(self, request: bytes) -> None:
        """As ``Asking.answer``."""
        try:
            said = self._decided(parse(request))
        except BadHttp as error:
            said = plain(error.status, fields=error.fields)
        self.say(said.render())
        self.over = True

    def _decided(self, request: HttpRequest) -> HttpAnswer:
        fields = request.fields
        method, protocol = fields.get("auth-method", "plain"), fields.get("auth-protocol", "imap")
        if (method, protocol) != ("plain", "imap") or "auth-user" not in fields or "auth-pass" not in fields:
            log.warning("request for no login", **self.who, method=method, protocol=protocol)
            return _says(NO_SERVICE)
        try:
            user = unquote_to_bytes(fields["auth-user"].encode("latin-1")).decode("utf-8")
        except UnicodeDecodeError:
            user = ""
        host, peer = self._client(fields)
        credential = Password(user, unquote_to_bytes(fields["auth-pass"].encode("latin-1")))
        tries = self._chain.tries(host, peer, longest=LONGEST_PAUSE_SECONDS)
        tries.comes_from(host, peer, counted=bool(host))
        try:
            identity = tries.identify(credential)
        except (AuthenticationFailed, AuthorizationFailed, Goodbye):
            return _says(WRONG, again=_number(fields.get("auth-login-attempt", "1")) < TRIES)
        except Exception as error:
            if not isinstance(error, ImapdError):
                log.error("login failed by an error", failure=error, **self.who)
            return _says(NOT_NOW)
        chosen = self._affinity.choose(identity.user)
        log.info("authenticated", user=identity.user, peer=peer, service="imap", host=chosen.name)
        return _says("OK", {"Auth-Server": chosen.address, "Auth-Port": str(chosen.port)})

    def _client(self, fields: Mapping[str, str]) -> tuple[str, str]:
        """Say whose login it is: the client's address and its name in the log; nginx's own where it is not believed."""
        said = fields.get("client-ip", "") if self._believed else ""
        try:
            host = str(ipaddress.ip_address(said)) if "%" not in said else ""
        except ValueError:
            host = ""
        return (host, peer_name(host, 0)) if host else (self._visit.host, self._visit.peer)


class AuthHttpPort:
    """As ``service.Port``: logins of nginx's clients, decided by *chain*, to hosts that *affinity* chooses.

    *trusted*: from where the address of the client is believed.
    """

    def __init__(self, chain: Chain, affinity: Affinity, trusted: Sequence[Network]) -> None:
        self._chain = chain
        self._affinity = affinity
        self._trusted = trusted

    def refusal(self, text: str) -> bytes:
        """As ``Port.refusal``."""
        return plain(HTTPStatus.SERVICE_UNAVAILABLE, text).render()

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> AuthHttpService:
        """As ``Port.open``."""
        return AuthHttpService(visit, transport, self._chain, self._affinity, self._trusted)


def _says(status: str, more: Mapping[str, str] | None = None, *, again: bool = False) -> HttpAnswer:
    """Make the answer; *again*: its client may try once more over the same connection."""
    wait = {"Auth-Wait": "1"} if again else {}
    return HttpAnswer(HTTPStatus.OK, b"", fields={"Auth-Status": status, **wait, **(more or {})})


def _number(written: str) -> int:
    return int(written) if written.isascii() and written.isdigit() and len(written) < 9 else TRIES
