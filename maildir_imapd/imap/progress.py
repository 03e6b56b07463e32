"""A sign of life from a command that takes long (INPROGRESS, RFC 9585)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from maildir_imapd.budget import UNLIMITED, NoRoom
from maildir_imapd.errors import NoMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from maildir_imapd.budget import Budget, Share
    from maildir_imapd.imap.reply import Reply

    Say = Callable[[Reply, bytes, str, bytes], None]

T = TypeVar("T")

# Seconds until the first word, and from one to the next: middleboxes and clients that wait for an answer lose
# patience after half a minute, nobody after this.
INTERVAL_SECONDS = 10.0
# Seconds between two looks whether the client is still there.
LOOK_SECONDS = 1.0
# Seconds that a command waits for room for something large: less than what clients wait for a word.
ROOM_SECONDS = 20.0
# Messages from which on COPY and MOVE may take that long; for fewer another thread would be a waste.
MANY = 100


class Client(Protocol):
    """Says of the client's end of the connection what can be known without a word from it."""

    def __call__(self) -> bool:
        """Say whether it has ended what it sends, and may yet read; raises ConnectionError if it has gone."""


def is_there() -> bool:
    """Know nothing of an end: for whoever has no connection to look at."""
    return False


class Meanwhile(Protocol):
    """Does *work*, and calls *word* every ``INTERVAL_SECONDS`` until it is done; returns or raises what *work* does.

    *word* may wait for a client: what *work* holds must not wait for *word*, nor be held by the caller.
    """

    def __call__(self, work: Callable[[], T], word: Callable[[], None]) -> T: ...


def at_once(work: Callable[[], T], word: Callable[[], None]) -> T:
    """Do *work* and say nothing: for whoever has no other thread."""
    return work()


class Progress:
    """How far the command under way has come; one a session, called by whatever works message by message.

    ``report`` costs one look at the clock; once a second it looks whether the client has gone, and raises
    ConnectionError, for the work would be nobody's.  One that has only ended what it sends may still read: it is sent
    a word at once, to which a machine that has closed the connection answers that it has.

    What one message takes in memory, if that is much, is counted here, too (``hold``), and let go of when the next one
    is reported, or the command ends.

    It may send, so it is called between whole lines and while no lock is held, and nowhere else: what works under a
    folder's lock (COPY, MOVE, the first SELECT) cannot, and is done by ``during``.
    """

    __slots__ = (
        "_before",
        "_clock",
        "_counted",
        "_done",
        "_doubted",
        "_goal",
        "_held",
        "_look",
        "_meanwhile",
        "_next",
        "_reply",
        "_say",
        "_speak",
        "_tag",
        "_uncertain",
        "_whole",
        "budget",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        meanwhile: Meanwhile = at_once,
        look: Client = is_there,
        budget: Budget = UNLIMITED,
    ) -> None:
        self.budget = budget
        self._held: list[tuple[Share, Callable[[], None]]] = []
        self._clock = clock
        self._meanwhile = meanwhile
        self._look = look
        # Those of the command under way; let go of at its end, for who speaks has this object, too.
        self._reply: Reply | None = None
        self._say: Say | None = None
        self._tag = b""
        self._next = self._speak = 0.0
        self._doubted = False  # a client that sends no more has been sent a word
        self._done = self._goal = self._before = self._whole = 0
        self._uncertain = False
        self._counted = False  # there is something in these five

    def begin(self, tag: bytes, reply: Reply, say: Say) -> None:
        """Note that a command begins; *say* writes a status response."""
        self._tag = tag
        self._reply, self._say = reply, say
        now = self._clock()
        self._next, self._speak = now + LOOK_SECONDS, now + INTERVAL_SECONDS
        if self._counted:
            self._counted = self._uncertain = False
            self._done = self._goal = self._before = self._whole = 0

    def end(self) -> None:
        """Note that it has had its answer: no word about it after that."""
        self._reply = self._say = None
        self._let_go()

    def part(self, before: int, whole: int) -> None:
        """Note that what is reported from here on is a part of *whole*, of which *before* are done."""
        self._counted = True
        self._before, self._whole = before, whole

    def during(self, work: Callable[[], T]) -> T:
        """Return what *work* does, which takes locks, and say meanwhile that it goes on; raises what either raises.

        *work* may be done in another thread, so it touches neither the session nor its view.
        """
        return self._meanwhile(work, self._go_on)

    def _go_on(self) -> None:
        if self._reply is not None:
            self._tell(b"NIL NIL")

    def report(self, done: int, goal: int) -> None:
        """Say that *done* of *goal* are done, if it is time to say something; raises what sending raises.

        Raises ConnectionError when the client has gone.
        """
        if self._held:
            self._let_go()
        now = self._clock()
        if now < self._next or self._reply is None:
            return
        self._next = now + LOOK_SECONDS
        if not self._doubts() and now < self._speak:
            return
        self._counted = True
        done += self._before
        goal = self._whole or goal
        # A command may go over the messages more than once.  Numbers never go back, so without a common
        # measure there are none.
        if self._goal and (goal != self._goal or done < self._done):
            self._uncertain = True
        self._done, self._goal = done, goal
        known = b"NIL NIL" if self._uncertain or not 0 <= done < goal else b"%d %d" % (done, goal)
        self._speak = now + INTERVAL_SECONDS
        self._tell(known)

    def attend(self) -> None:
        """Look whether the client is there, where nothing can be counted; raises as ``report``."""
        now = self._clock()
        if now < self._next or self._reply is None:
            return
        self._next = now + LOOK_SECONDS
        if self._doubts():
            self._tell(b"NIL NIL")

    # --- memory -----------------------------------------------------------------------------------

    def hold(self, octets: int, forget: Callable[[], None]) -> None:
        """Wait until so many may be held for the message at hand; *forget* is called when that is over.

        Raises NoMemory when there is no room for long, or there never is, and as ``report``; no lock may be held.
        """
        self._held.append((self.share(octets), forget))

    def share(self, octets: int) -> Share:
        """As ``hold``, for who gives it back himself."""
        budget = self.budget
        end: float | None = None
        while True:
            try:
                return budget.share(octets)
            except NoRoom:
                now = self._clock()
                end = now + ROOM_SECONDS if end is None else end
                if now >= end or not budget.may_come(octets):
                    budget.refused(octets)
                    raise NoMemory from None
            budget.wait(min(LOOK_SECONDS, end - now))
            self._wait_on()

    def more(self, share: Share, octets: int) -> None:
        """Have *share* grow, at once; raises NoMemory."""
        try:
            share.more(octets)
        except NoRoom:
            self.budget.refused(octets)
            raise NoMemory from None

    def _wait_on(self) -> None:
        """Look whether the client is there while it waits, and say from time to time that it does."""
        now = self._clock()
        if self._reply is None or now < self._next:
            return
        self._next = now + LOOK_SECONDS
        if self._doubts() or now >= self._speak:
            self._speak = now + INTERVAL_SECONDS
            self._tell(b"NIL NIL")

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for share, forget in held:
            forget()
            share.close()

    def _doubts(self) -> bool:
        """Whether the client has ended what it sends, and has not been sent a word since."""
        if not self._look() or self._doubted:
            return False
        self._doubted = True
        return True

    def _tell(self, known: bytes) -> None:
        assert self._reply is not None
        assert self._say is not None
        self._say(self._reply, b"OK", "Still working", b'INPROGRESS ("%b" %b)' % (self._tag, known))
        self._reply.flush()
