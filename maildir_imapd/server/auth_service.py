"""Answers whether a password is right, in the client protocol of Dovecot's auth (version 1.2): Postfix and Exim ask so.

Lines of words with tabs between them. After a greeting that names the mechanisms a client sends VERSION and CPID, then
AUTH with a number, a mechanism and what it knows of *its* client; CONT, OK or FAIL with that number answer it.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from maildir_imapd.auth.base import Password, Token
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import MECHANISMS, Offered
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, Goodbye, ImapdError, Refused
from maildir_imapd.events import Log
from maildir_imapd.server.asking import Asking, BadRequest, cut_line
from maildir_imapd.server.sessions import peer_name

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Credential, Identity
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.auth.mechanisms import Exchange, SaslOffer
    from maildir_imapd.server.affinity import Affinity
    from maildir_imapd.server.door import Logins
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport

log = Log(__name__)

LINE_OCTETS: Final = 16384
# Exchanges of one connection that wait for their next step.
EXCHANGES: Final = 100
# Postfix waits ten seconds for an answer, and takes its lack for trouble of ours.
LONGEST_PAUSE_SECONDS: Final = 8.0
# The service whose login proxies are told a host: Dovecot's imap-login asks for it, Postfix for smtp.
PROXIED: Final = "imap"
_VERSION: Final = b"VERSION\t1\t2\n"
_ESCAPES: Final = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}
_NUMBER_DIGITS: Final = 10


def escape(text: str) -> bytes:
    """Write a value so that no octet of it ends a word or a line."""
    return escape_octets(text.encode("utf-8", "replace"))


def escape_octets(octets: bytes) -> bytes:
    """As ``escape``, of octets of any kind."""
    octets = octets.replace(b"\1", b"\1\x31")
    for letter, octet in _ESCAPES.items():
        if octet != b"\1":
            octets = octets.replace(octet, b"\1" + letter)
    return octets


def unescape(octets: bytes) -> bytes:
    """Read a value; an escape that is none stands for its second octet."""
    first, *rest = octets.split(b"\1")
    parts = [first]
    mute = False
    for part in rest:
        if mute:  # the octet that was escaped was an escape itself
            parts.append(part)
            mute = False
        elif not part:
            mute = True
        else:
            parts.append(_ESCAPES.get(part[:1], part[:1]) + part[1:])
    return b"".join(parts)


def _answering(response: bytes) -> Callable[[Exchange], bytes]:
    """Make the step that gives an exchange what a client has sent; it raises binascii.Error, and ends it."""
    return lambda exchange: exchange.send(base64.b64decode(response, validate=True))


def offer(chain: Chain, logins: Logins, host: str = "") -> SaslOffer:
    """The mechanisms that can let somebody in who comes from *host* to whoever asks.

    Nothing is known of that connection, so nothing is bound to it, and it has no certificate; nor is anybody let in
    whom nobody knows: he could send mail.
    """
    stored = partial(chain.stored, host=host or None)
    situation = Situation(
        stored=stored, salt=chain.salt, scope=logins.scope, discovery=logins.discovery, host=host or None
    )
    return Offered(chain, logins.mechanisms, lambda: situation)


def lines(there: SaslOffer) -> Iterator[bytes]:
    """Give the line for each mechanism."""
    for name in there.offered(private=True):
        # Whether a secret may go over the line as it is decides the program that asks; this word tells it which are.
        row = MECHANISMS.get(name.decode("ascii"))
        bare = row is not None and row.shows in (Password, Token)
        yield b"MECH\t%b%b\n" % (name, b"\tplaintext" if bare else b"")


@dataclass(slots=True)
class AskedLogin:
    """One AUTH under way."""

    number: bytes
    mechanism: str
    service: str
    host: str
    """The address of the client who logs in at the program that asks; "" where it does not say."""
    peer: str
    exchange: Exchange


class AuthService(Asking):
    """One program that asks, Postfix's smtpd for example; what is slow or wrong in one login waits in its thread."""

    service = "auth"

    def __init__(
        self,
        visit: Visit,
        transport: Transport,
        chain: Chain,
        logins: Logins,
        number: int,
        affinity: Affinity | None = None,
    ) -> None:
        super().__init__(visit, transport)
        self._chain = chain
        self._logins = logins
        self._affinity = affinity
        self._under_way: dict[bytes, AskedLogin] = {}
        self._welcome = False
        # Postfix and Exim say version 1.0.  Postfix takes each FAIL for a wrong password, and the end of the connection
        # for trouble of ours; so does Exim.
        self._knows_temp = True
        self.greeting = b"%b%bSPID\t%d\nCUID\t%d\nCOOKIE\t%b\nDONE\n" % (
            _VERSION,
            b"".join(lines(offer(chain, logins))),
            os.getpid(),
            number,
            os.urandom(16).hex().encode(),
        )

    def cut(self, received: bytearray) -> bytes | None:
        """As ``Asking.cut``."""
        return cut_line(received, LINE_OCTETS)

    def answer(self, request: bytes) -> None:
        """As ``Asking.answer``; commands that are not known are passed over, as the protocol has it."""
        command, *words = request.split(b"\t")
        if command == b"VERSION":
            if words[:1] != [b"1"]:
                raise BadRequest("another version of the protocol")
            self._welcome = True
            self._knows_temp = words[1:2] != [b"0"]
        elif not self._welcome:
            raise BadRequest("it does not begin with VERSION")
        elif command == b"AUTH":
            self._auth(words)
        elif command == b"CONT":
            self._continue(words)
        elif command == b"CANCEL" and words:
            self._under_way.pop(words[0], None)

    def _auth(self, words: list[bytes]) -> None:
        if len(words) < 2 or not words[0].isdigit() or len(words[0]) > _NUMBER_DIGITS:
            raise BadRequest("AUTH without a number or a mechanism")
        number, name, *fields = words
        if number in self._under_way:
            raise BadRequest("AUTH with the number of one that goes on")
        if len(self._under_way) >= EXCHANGES:
            raise BadRequest("too many logins that go on")
        # resp= comes last, for it may have anything behind it.
        initial = next((field[5:] for field in fields if field.startswith(b"resp=")), None)
        said = dict(field.partition(b"=")[::2] for field in fields if not field.startswith(b"resp="))
        host = _address(unescape(said.get(b"rip", b"")))
        port = said.get(b"rport", b"")
        try:
            exchange = offer(self._chain, self._logins, host).begin(name.upper(), private=True)
        except Refused:
            self.say(b"FAIL\t%b\treason=%b\n" % (number, b"This mechanism is not supported"))
            return
        login = AskedLogin(
            number,
            name.decode("ascii", "replace").upper(),
            unescape(said.get(b"service") or said.get(b"protocol", b"")).decode("utf-8", "replace"),
            host,
            peer_name(host, int(port) if port.isdigit() and len(port) <= 5 else 0) if host else self._visit.peer,
            exchange,
        )
        # Exim writes an empty one where its client has sent none.
        self._go_on(login, [next, _answering(initial)] if initial else [next])

    def _continue(self, words: list[bytes]) -> None:
        login = self._under_way.pop(words[0], None) if words else None
        if login is None or len(words) < 2:
            raise BadRequest("CONT for nothing that goes on")
        self._go_on(login, [_answering(words[1])])

    def _ask(self, login: AskedLogin, challenge: bytes) -> None:
        self._under_way[login.number] = login
        self.say(b"CONT\t%b\t%b\n" % (login.number, base64.b64encode(challenge)))

    def _go_on(self, login: AskedLogin, steps: Sequence[Callable[[Exchange], bytes]]) -> None:
        """Take steps of an exchange; the end of it is OK or FAIL."""
        challenge = b""
        try:
            for step in steps:
                challenge = step(login.exchange)
        except StopIteration as stop:
            self._decide(login, stop.value)
        except binascii.Error:
            self._fail(login, b"code=invalid_base64", b"reason=This is not base64")
        except Exception as error:
            self._trouble(login, error)
        else:
            self._ask(login, challenge)

    def _decide(self, login: AskedLogin, credential: Credential) -> None:
        user = b"user=" + escape(credential.user)
        tries = self._chain.tries(login.host, login.peer, longest=LONGEST_PAUSE_SECONDS)
        tries.comes_from(login.host, login.peer, counted=bool(login.host))
        try:
            identity = tries.identify(credential)
        except (AuthenticationFailed, Goodbye):
            self._fail(login, user)
        except AuthorizationFailed:
            self._fail(login, user, b"authz", b"code=authz_fail")
        except Exception as error:
            self._trouble(login, error, user)
        else:
            self._let_in(login, credential, identity)

    def _let_in(self, login: AskedLogin, credential: Credential, identity: Identity) -> None:
        user = identity.user
        facts: dict[str, Any] = {"user": user, "peer": login.peer, "service": login.service, "method": login.mechanism}
        if not self._affinity or login.service != PROXIED:
            log.info("authenticated", **facts)
            self.say(b"OK\t%b\tuser=%b\n" % (login.number, escape(user)))
            return
        if not isinstance(credential, Password) or (identity.acting is not None and credential.authzid is not None):
            # The proxy logs in at the host with a name and a password: a proof, or a second name, it cannot hand on.
            log.error("only a name and its password can be handed on to a host", **facts)
            self._fail(login, b"user=" + escape(user), b"temp", b"code=temp_fail")
            return
        host = self._affinity.choose(user)
        log.info("authenticated", **facts, host=host.name)
        # By the name that was shown: with a master's in it, it is checked there once more.
        words = (b"user=" + escape(credential.user), b"nologin", b"proxy", b"host=" + escape(host.address))
        more = (b"port=%d" % host.port, b"pass=" + escape_octets(credential.password))
        self.say(b"\t".join((b"OK", login.number, *words, *more)) + b"\n")

    def _trouble(self, login: AskedLogin, error: Exception, *fields: bytes) -> None:
        """Say that trouble of ours is no wrong password: the program tells its client to come again."""
        if not isinstance(error, ImapdError):
            log.error("login failed by an error", failure=error, **self.who)
        if self._knows_temp:
            self._fail(login, *fields, b"temp", b"code=temp_fail")
        else:
            self.over = True

    def _fail(self, login: AskedLogin, *fields: bytes) -> None:
        self.say(b"\t".join((b"FAIL", login.number, *fields)) + b"\n")


class AuthPort:
    """As ``service.Port``: questions for passwords, decided by *chain*; *affinity* chooses hosts for login proxies."""

    def __init__(self, chain: Chain, logins: Logins, affinity: Affinity | None = None) -> None:
        self._affinity = affinity
        self._chain = chain
        self._logins = logins
        self._numbers = itertools.count(1)

    def refusal(self, text: str) -> bytes:
        """As ``Port.refusal``: there is no word for it."""
        return b""

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> AuthService:
        """As ``Port.open``."""
        return AuthService(visit, transport, self._chain, self._logins, next(self._numbers), self._affinity)


def _address(octets: bytes) -> str:
    """The address in *octets*, or "" for what is none."""
    try:
        if b"%" in octets:
            return ""
        return str(ipaddress.ip_address(octets.decode("ascii")))
    except ValueError:
        return ""
