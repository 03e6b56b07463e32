"""One message on its way into mailboxes: written once for all recipients whose files are one owner's, put into each.

It streams into tmp/ of the first folder of each group; the other folders of a group get second names of that file.
Whatever goes wrong for one recipient is that one's answer.  What is put is on the disk when its answer is made: the
folder first, the journal second (``Mailbox.commit``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd.errors import ImapdError, LimitReached, LockTimeout, MailboxMissing, NotSelectable
from maildir_imapd.events import Log
from maildir_imapd.lmtp.answers import FULL, STORED, UNAVAILABLE, Answer, of, why
from maildir_imapd.lmtp.letter import HeaderSeen

if TYPE_CHECKING:
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Flags, Mailbox
    from maildir_imapd.store.maildir.delivery import Delivery

log = Log(__name__)

INBOX: Final = "INBOX"
# How often a mailbox may go and come again while something is put into it.
_TRIES: Final = 3


class Destination(Protocol):
    """A recipient's mail."""

    @property
    def user(self) -> str:
        """Whose it is."""

    @property
    def folder(self) -> str:
        """The folder that is asked for; empty for none in particular."""

    @property
    def owner(self) -> object:
        """Equal for those whose files are one system user's."""

    def acting(self) -> AbstractContextManager[None]:
        """Act as the owner inside the block."""

    def account(self) -> Account:
        """Open the mail; the same object each time.  Raises ImapdError."""

    def left(self) -> None:
        """Hear that nothing more is done here; the thread acts as the owner."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that is in a mailbox."""

    destination: Destination
    mailbox: Mailbox
    uid: int
    octets: int


@dataclass(frozen=True, slots=True)
class Manner:
    """How messages are put.  *flags*: names of flags and keywords; *made*: a folder that is not there is made."""

    over_quota: Answer = FULL
    flags: tuple[bytes, ...] = ()
    made: bool = False
    facts: dict[str, object] = field(default_factory=dict)
    """Fields for the log."""
    keywords: Callable[[Delivery], Sequence[bytes]] = lambda _: ()
    """Gives more keywords for a message that is whole."""


@dataclass(slots=True)
class _Part:
    destination: Destination
    name: str = INBOX
    mailbox: Mailbox | None = None
    delivery: Delivery | None = None
    answer: Answer | None = None
    why: str = ""


def choose(account: Account, wanted: str, *, made: bool = False) -> str:
    """Return the name of the mailbox that *wanted* names, in any case of its letters; INBOX where there is none.

    With *made* it is made, and subscribed.
    """
    if not wanted or (wanted.isascii() and wanted.upper() == INBOX):
        return INBOX
    names = [row.name for row in account.folders() if row.selectable]
    for name in (wanted, account.prefix + wanted):
        if name in names:
            return name
    folded = [name for name in names if name.casefold() in (wanted.casefold(), (account.prefix + wanted).casefold())]
    if len(folded) == 1:
        return folded[0]
    if not made:
        return INBOX
    name = wanted if wanted.startswith(account.prefix) else account.prefix + wanted
    account.create(name)
    account.subscribe(name)
    return name


def _flags(mailbox: Mailbox, names: Sequence[bytes]) -> Flags:
    """Return flags and keywords; a folder that can hold no more of these gets the message without."""
    try:
        return mailbox.flags(names, create=True)
    except LimitReached as error:
        log.warning("keywords left out", path=mailbox.path, why=error.text)
        return mailbox.flags(names, create=False)


class Putting:
    """As ``dialogue.Incoming``; *top* goes before the message.  *stored* hears of each that is in its mailbox.

    *answered* hears each recipient's answer.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        top: bytes,
        manner: Manner,
        stored: Callable[[Stored], None] = lambda _: None,
        answered: Callable[[Answer], None] = lambda _: None,
    ) -> None:
        self.looked = HeaderSeen()
        self._manner = manner
        self._stored = stored
        self._answered = answered
        self._received = int(time.time())
        # Of what is in the message, once it is whole.
        self._keywords: Sequence[bytes] = ()
        self._parts = [_Part(destination) for destination in destinations]
        # Those that take the octets, one for each owner and file system; and whose they are.
        self._takers: dict[tuple[object, int], _Part] = {}
        try:
            for part in self._parts:
                self._guard(part, self._prepare)
            self._write(top)
        except BaseException:
            self.close()
            raise

    def _guard(self, part: _Part, work: Callable[[_Part], None]) -> None:
        """Do *work* as the owner; what goes wrong is the answer."""
        if part.answer is not None:
            return
        try:
            with part.destination.acting():
                try:
                    work(part)
                except BaseException:
                    if part.delivery is not None:
                        part.delivery.abort()
                    raise
        except Exception as error:
            if not isinstance(error, ImapdError | OSError):
                log.exception("delivery failed", user=part.destination.user)
            part.answer, part.why = of(error, over_quota=self._manner.over_quota), why(error)

    # --- taking -------------------------------------------------------------------------------------

    def _prepare(self, part: _Part) -> None:
        part.mailbox = self._open(part)
        key = part.destination.owner, part.mailbox.identity[0]
        if key not in self._takers:
            part.delivery = part.mailbox.deliver()
            if part.delivery.trouble is not None:
                raise part.delivery.trouble
            self._takers[key] = part

    def _open(self, part: _Part) -> Mailbox:
        account = part.destination.account()
        for _ in range(_TRIES):
            part.name = choose(account, part.destination.folder, made=self._manner.made)
            try:
                return account.mailbox(part.name)
            except (MailboxMissing, NotSelectable):
                if part.name == INBOX:
                    raise
        raise LockTimeout(detail=f"{part.name} comes and goes")

    def write(self, data: bytes) -> None:
        """As ``Incoming.write``."""
        self.looked.take(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        for part in self._takers.values():
            delivery = part.delivery
            if delivery is not None and delivery.trouble is None:
                # What fails takes the file away, as its owner.
                with part.destination.acting():
                    delivery.write(data)

    # --- putting ------------------------------------------------------------------------------------

    def finish(self) -> Iterator[Answer]:
        """As ``Incoming.finish``."""
        self.looked.finish()
        try:
            for part in self._takers.values():
                self._guard(part, self._end)
            for part in self._parts:
                self._guard(part, self._share)
            done: dict[tuple[int, int], Answer] = {}
            for part in self._parts:
                # Twice the same mailbox: it gets the message once.
                known = None if part.mailbox is None else done.get(part.mailbox.identity)
                if known is None:
                    self._guard(part, self._put)
                elif part.answer is None:
                    part.answer, part.why = known, "put there already"
                self._note(part)
                answer = part.answer or UNAVAILABLE
                if part.mailbox is not None and answer.good:
                    done[part.mailbox.identity] = answer
                yield answer
        finally:
            self.close()

    def _end(self, part: _Part) -> None:
        """Have the file of a group whole, with its date, so that it can have other names."""
        assert part.delivery is not None
        part.delivery.finish()
        if part.delivery.trouble is not None:
            raise part.delivery.trouble
        self._keywords = self._manner.keywords(part.delivery)
        part.delivery.received = self._received
        part.delivery.date(self._received)

    def _share(self, part: _Part) -> None:
        if part.delivery is not None:
            return
        assert part.mailbox is not None
        taker = self._takers[part.destination.owner, part.mailbox.identity[0]]
        if taker.answer is not None:
            part.answer, part.why = taker.answer, taker.why
            return
        assert taker.delivery is not None
        part.delivery = part.mailbox.taking(taker.delivery, share=True)

    def _put(self, part: _Part) -> None:
        assert part.delivery is not None
        assert part.mailbox is not None
        octets = part.delivery.size_disk
        account = part.destination.account()
        account.quota.demand_message(octets, part.mailbox.path)
        for _ in range(_TRIES):
            mailbox, delivery = part.mailbox, part.delivery
            try:
                flags = _flags(mailbox, (*self._manner.flags, *self._keywords))
                uids = mailbox.commit([(delivery, flags, self._received)])
            except MailboxMissing:
                # Another one has the name now, or none has.
                part.mailbox = self._open(part)
                taken = part.mailbox.taking(delivery)
                if taken is not delivery:
                    delivery.abort()
                    part.delivery = taken
                continue
            part.answer = STORED
            self._stored(Stored(part.destination, mailbox, uids[0], octets))
            mailbox.used()
            return
        raise LockTimeout(detail=f"deleted and made anew meanwhile, tried {_TRIES} times")

    def _note(self, part: _Part) -> None:
        answer = part.answer or UNAVAILABLE
        self._answered(answer)
        fields: dict[str, object] = {"user": part.destination.user, "mailbox": part.name, **self._manner.facts}
        fields["message_id"], fields["queue_id"] = self.looked.message_id, self.looked.queue_id
        if part.delivery is not None:
            fields["octets"] = part.delivery.size_disk
        if answer.good:
            log.info("delivered", **fields, note=part.why)
        else:
            log.warning("not delivered", **fields, code=answer.code, status=answer.status, why=part.why)

    def close(self) -> None:
        """As ``Incoming.close``."""
        parts, self._parts = self._parts, []
        self._takers = {}
        for part in parts:
            try:
                with part.destination.acting():
                    if part.delivery is not None:
                        part.delivery.abort()
                    part.destination.left()
            except Exception:
                # The others' files are to go, too.
                log.exception("delivery not ended", user=part.destination.user)
