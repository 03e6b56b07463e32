"""LMTP as a service: the only file of ``server`` that knows how its dialogue is made and driven."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import IdleTooLong, ImapdError, Kicked, ShuttingDown
from maildir_imapd.events import Log
from maildir_imapd.imap import commands as _commands  # noqa: F401  (it makes all fields known)
from maildir_imapd.imap.columns import ahead
from maildir_imapd.imap.columns.danger import danger
from maildir_imapd.imap.columns.fields import field_of
from maildir_imapd.lmtp import letter
from maildir_imapd.lmtp.answers import RESTING, SHUTTING_DOWN, TOO_LATE, Answer, RecipientRefused
from maildir_imapd.lmtp.dialogue import LmtpDialogue
from maildir_imapd.lmtp.putting import Manner, Putting, Stored
from maildir_imapd.server.networks import among
from maildir_imapd.server.recipients import UserDestination, destination_of
from maildir_imapd.store.threads.ahead import Want

if TYPE_CHECKING:
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.errors import Goodbye
    from maildir_imapd.imap.columns.danger import Note
    from maildir_imapd.lmtp.commands import EnvelopeAddress, MailFrom
    from maildir_imapd.lmtp.dialogue import Envelope
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.lmtp_rules import LmtpRules
    from maildir_imapd.server.sessions import Visit
    from maildir_imapd.server.transport import Transport

log = Log(__name__)

# Seconds of silence (RFC 5321 4.5.3.2.7).
PATIENCE_SECONDS: Final = 300.0
NOT_TRUSTED: Final = Answer(554, "5.7.1", "Mail is not taken from there")
_GOODBYES: Final[dict[type[Goodbye], Answer]] = {
    IdleTooLong: TOO_LATE,
    ShuttingDown: SHUTTING_DOWN,
    Kicked: SHUTTING_DOWN,
}
# A message of more octets is worked on when somebody asks for it.
_AHEAD_OCTETS: Final = 1 << 20


class LmtpService:
    """As ``service.Service``."""

    def __init__(
        self,
        visit: Visit,
        transport: Transport,
        chain: Chain,
        accounts: Accounts,
        rules: LmtpRules,
        *,
        trusted: bool,
        count: Callable[[int], None],
    ) -> None:
        self._visit = visit
        self._transport = transport
        self._chain = chain
        self._accounts = accounts
        self._rules = rules
        self._trusted = trusted
        self._count = count
        self._dialogue: LmtpDialogue[UserDestination] = LmtpDialogue(rules.policy, self, self._say)
        self._stored: list[Stored] = []
        self.sent = 0
        self.logged_in = True
        self.patience = PATIENCE_SECONDS
        self.quiet = 0.0
        self.upgrade: bytes | None = None

    def _say(self, data: bytes) -> None:
        self._transport.send(data)
        self.sent += len(data)

    # --- as dialogue.Receiving ----------------------------------------------------------------------

    def recipient(self, address: EnvelopeAddress, mail: MailFrom) -> UserDestination:
        """As ``Receiving.recipient``."""
        try:
            return destination_of(address, mail.octets, self._chain, self._accounts, self._rules)
        except RecipientRefused as error:
            log.warning(
                "recipient refused", **self.who, recipient=address.written, sender=mail.sender.written,
                code=error.answer.code, status=error.answer.status, why=error.detail,
            )  # fmt: skip
            self._count(error.answer.code)
            raise

    def begin(self, envelope: Envelope[UserDestination]) -> Putting:
        """As ``Receiving.begin``."""
        mail, alone = envelope.mail, envelope.addresses[0] if len(envelope.addresses) == 1 else None
        token = secrets.token_hex(8)
        top = letter.return_path(mail.sender)
        if alone is not None:
            # With several it would tell each of the others.
            top += letter.delivered_to(alone)
        host, now = self._rules.policy.host, int(time.time())
        top += letter.received(envelope.helo, host, token, now, utf8=mail.utf8, recipient=alone)
        facts: dict[str, object] = {**self.who, "sender": b"<%b>" % mail.sender.written, "id": token}
        manner = Manner(self._rules.over_quota, facts=facts, keywords=self._rules.keywords)
        return Putting(envelope.recipients, top, manner, self._stored.append, lambda answer: self._count(answer.code))

    # --- as service.Service -------------------------------------------------------------------------

    def amid(self) -> bool:
        """As ``Visit.amid``: a transaction is one command here."""
        return self._dialogue.amid

    @property
    def over(self) -> bool:
        """As ``Service.over``."""
        return self._dialogue.over

    @property
    def who(self) -> dict[str, object]:
        """As ``Service.who``."""
        return {"service": "lmtp", "peer": self._visit.peer}

    def greet(self) -> None:
        """As ``Service.greet``."""
        if self._trusted:
            self._dialogue.greet()
            return
        log.warning("connection refused", **self.who, why="it is none of lmtp_networks")
        self._say(NOT_TRUSTED.render())
        self._dialogue.over = True

    def feed(self, data: bytes) -> None:
        """As ``Service.feed``."""
        self._dialogue.feed(data, lambda: self._visit.goodbye is not None and not self._dialogue.amid)
        self._work_ahead()

    def _work_ahead(self) -> None:
        """Work out what clients have asked of other messages of the folder; all has been answered by now."""
        # The list stays: a message that is under way knows it.
        stored = self._stored[:]
        self._stored.clear()
        if not self._rules.works_ahead:
            return
        for each in stored:
            try:
                with each.destination.acting():
                    _fill(each)
            except (ImapdError, OSError) as error:
                log.debug("nothing worked out ahead", path=each.mailbox.path, why=error)
            except Exception:
                log.exception("nothing worked out ahead", path=each.mailbox.path)

    def announce(self) -> None:
        """As ``Service.announce``: nothing ever happens elsewhere."""

    def keep_alive(self) -> None:
        """As ``Service.keep_alive``."""

    def upgraded(self, kind: bytes) -> None:
        """As ``Service.upgraded``."""

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """As ``Service.say_goodbye``."""
        self._dialogue.leave(_GOODBYES.get(type(goodbye), RESTING))

    def close(self) -> None:
        """As ``Service.close``."""
        if self._dialogue.amid and not self._dialogue.over:
            log.info("message not finished", **self.who)
        self._dialogue.close()

    def note(self, event: str, **fields: object) -> None:
        """As ``Service.note``; mail servers come and go."""
        log.debug(event, **self.who, **fields)


class _Careful:
    """As ``ahead.Stopping``: notes the message, for when the process dies of it."""

    ending = False

    def __init__(self, note: Note) -> None:
        self._note = note

    def at(self, uid: int) -> bool:
        """As ``Stopping.at``."""
        if uid:
            return self._note.begin(uid)
        self._note.end()
        return True


def _fill(stored: Stored) -> None:
    """Make the fields of a message that the folder's cache has of others; raises ImapdError, OSError."""
    mailbox = stored.mailbox
    if stored.octets > _AHEAD_OCTETS or not mailbox.snapshot.seen:
        return
    fields = tuple(key for key in mailbox.cache.fields if field_of(key) is not None)
    if not fields:
        return
    note = danger.notes.folder(*mailbox.identity, mailbox.uidvalidity)
    try:
        ahead.work(mailbox, Want(mailbox.path, fields, stored.uid, stored.uid), _Careful(note))
    finally:
        note.close()


class LmtpPort:
    """As ``service.Port``: mail for the users of *chain*, into their *accounts*.

    *count* hears the code of each recipient's answer.
    """

    def __init__(
        self, rules: LmtpRules, chain: Chain, accounts: Accounts, count: Callable[[int], None] = lambda _: None
    ) -> None:
        self._count = count
        self._rules = rules
        self._chain = chain
        self._accounts = accounts

    def refusal(self, text: str) -> bytes:
        """As ``Port.refusal``."""
        return Answer(421, "4.3.2", text).render()

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> LmtpService:
        """As ``Port.open``."""
        trusted = not visit.host or among(visit.host, self._rules.networks)
        service = LmtpService(
            visit, transport, self._chain, self._accounts, self._rules, trusted=trusted, count=self._count
        )
        visit.amid = service.amid
        return service
