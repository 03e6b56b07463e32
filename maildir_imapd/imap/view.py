"""The open mailbox as one client knows it.

A view is the last snapshot its client knows.  ``advance`` moves it on; only there do sequence numbers
change.  While a command runs that counts by number no EXPUNGE may be told (RFC 3501 7.4.1): then the
vanished rows stay in place as *ghosts*, the one case in which a session owns a snapshot of its own.

A UID below the view's UIDNEXT that the client does not know can only be a message that was told as
expunged and came back to the folder (another program moved its file away and back).  It would have to
appear in the middle of the numbers, which IMAP has no words for; so this view hides it, and the next
SELECT shows it.

What the mailbox is and what the client was told of it are two things.  ``snapshot`` is the one; where they differ,
``_known`` has the flags that the client knows, until ``heard`` says that it was told the others.  Nothing else takes a
message out of there: what was looked at, answered in part or refused was not told.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from maildir_imapd.errors import BadArgument, Goodbye, MailboxMissing, SelectedGone
from maildir_imapd.imap.advance import Change, diff, shown, withhold
from maildir_imapd.imap.later import later
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.index.chunks import Chunked, left
from maildir_imapd.store.index.snapshot import FLAG_SETS, Snapshot
from maildir_imapd.store.mailbox import at_rest, looked_at
from maildir_imapd.store.maildir.filename import RECENT
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.records.acl import ALL
from maildir_imapd.wire.render import render_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from maildir_imapd.errors import StoreError
    from maildir_imapd.imap.progress import Progress
    from maildir_imapd.store.index.cache import Cache
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.numbers import NumberSet


# Positions in a snapshot: sequence number - 1, ascending.
Positions = range | list[int]


@dataclass(frozen=True, slots=True)
class Told:
    """The news that ``advance`` moved over: *expunged* are positions in the old view, *flagged* in the new one.

    *flagged* may have other flags than the client knows, some of them since long ago; *silent*: positions of messages
    that changed likewise, of which the client is not to be told now.  *fewer_recent*: some of what is gone was
    \\Recent.
    """

    expunged: Sequence[int] = ()
    expunged_uids: Sequence[int] = ()
    arrived: bool = False
    flagged: Sequence[int] = ()
    keywords: bool = False
    silent: Sequence[int] = ()
    fewer_recent: bool = False


NOTHING = Told()
_NOBODY: Final[Set[int]] = frozenset()


class _FlagLists(dict[int, bytes]):
    """Flag bits to the rendered list, made once per distinct integer."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.keywords = snapshot.keywords
        self._snapshot = snapshot

    def of(self, snapshot: Snapshot) -> None:
        """Take flags by the names that *snapshot* has for them, which are the same: the one of before may go."""
        self._snapshot = snapshot

    def __missing__(self, bits: int) -> bytes:
        if len(self) >= FLAG_SETS:
            self.clear()
        text = self[bits] = render_flags(self._snapshot.flag_names(bits))
        return text


class Nobody:
    """A listener that is none."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: int | None = None

    def close(self) -> None:
        """Nothing is to be ended."""


class View:
    """The open mailbox of one session.  Not shared between threads; ``mailbox`` is.

    *moment*: one moment alone is looked at, by whoever tells no client of it; then nothing is listened to.
    """

    __slots__ = (
        "_flag_lists",
        "_ghosts",
        "_held",
        "_hidden",
        "_known",
        "_listener",
        "_seen",
        "_told_modseq",
        "content",
        "contexts",
        "fresh",
        "mailbox",
        "mine",
        "name",
        "opening",
        "progress",
        "read_only",
        "recent",
        "removed",
        "rights",
        "saved",
        "snapshot",
        "wants_recent",
    )

    def __init__(
        self,
        mailbox: Mailbox,
        name: str,
        *,
        read_only: bool,
        wake: Callable[[], None],
        progress: Progress,
        rev2: bool = False,
        rights: frozenset[str] = ALL,
        moment: Snapshot | None = None,
    ) -> None:
        self.mailbox = mailbox
        self.name = name
        # Told by whatever works on many messages of this view.
        self.progress = progress
        self.read_only = read_only or mailbox.read_only
        # As they were at SELECT (RFC 4314 5.1.1).
        self.rights = rights
        # What has no \\Recent to show leaves it for others to claim (RFC 9051 has none).
        self.wants_recent = not rev2
        self.recent: set[int] = set()
        with ExitStack() as undo:
            # Listen first: what changes after this is announced, what changed before is in the snapshot.
            self._listener = mailbox.listen(wake, keep_new=self.read_only) if moment is None else Nobody()
            undo.callback(self._listener.close)
            if moment is None:
                mailbox.sync(keep_new=self.read_only)
                self.claim_recent()
            undo.pop_all()
        self.snapshot: Snapshot = mailbox.snapshot if moment is None else moment
        self._listener.told = self.snapshot.modseq
        self._seen = self.snapshot
        # With anything untold: the mod-sequence up to which the client knows everything.
        self._told_modseq = self.snapshot.modseq
        self._ghosts: set[int] = set()
        # That there are arrivals, of which the client (RFC 5465) wants no news.
        self._held = False
        # By UID, the flags that the client knows, of messages that may have others; None: we cannot know what it knows.
        self._known: dict[int, Flags | None] = {}
        # UIDs that this client put here itself, and that it removed, until it is told.
        self.mine: set[int] = set()
        self.removed: set[int] = set()
        # Searches that go on, by tag (RFC 5267): news/contexts.py keeps them here, and knows what they are.
        self.contexts: dict[bytes, Any] = {}
        self._hidden: set[int] = set()
        self._flag_lists = _FlagLists(self.snapshot)
        self.fresh = True
        # The answer to SELECT is on its way; what can wait comes when the client is silent (``settle_in``).
        self.opening = True
        # The UIDs that "$" stands for (RFC 5182).
        self.saved: frozenset[int] = frozenset()
        # The large message that was read last: columns/message.py keeps it here, and knows what it is.
        self.content: object = None

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
        self.content = None

    # --- what others have it keep --------------------------------------------------------------------

    def look_again(self) -> None:
        """Have the next ``sync`` look at the folder: octets have come from the client."""
        self.fresh = False

    def forget_recent(self) -> None:
        """Claim and show no \\Recent from here on (RFC 9051 has none)."""
        self.wants_recent = False
        self.recent.clear()

    def note_own(self, *, made: Iterable[int], removed: Iterable[int]) -> None:
        """Note UIDs that this client has put here, or removed, itself."""
        self.mine.update(made)
        self.removed.update(removed)

    def forget_own(self) -> None:
        """Note that this client has been told of what it has put here itself."""
        self.mine.clear()

    def save(self, uids: Iterable[int] = ()) -> None:
        """Let "$" stand for these messages (RFC 5182)."""
        self.saved = frozenset(uids)

    def keep(self, content: object) -> None:
        """Keep the large message that was read last (columns/message.py)."""
        self.content = content

    # --- moving on --------------------------------------------------------------------------------

    def sync(self) -> None:
        """Look at the folder, once per packet from the client: what arrives later may be told later.

        Where it cannot be looked at now, the next who asks looks.
        """
        if not self.fresh or self.mailbox.stirred:
            if at_rest(self.mailbox, keep_new=self.read_only):
                self.fresh = True
                return
            with later("open mailbox"), _GOODBYE_IF_GONE:
                self.mailbox.sync(keep_new=self.read_only)
                self.fresh = True

    def settle_in(self) -> None:
        """Do what the answer to SELECT need not wait for: look at the files of a folder new to us; raises Goodbye."""
        self.opening = False
        if looked_at(self.mailbox):
            return
        with later("files"), _GOODBYE_IF_GONE:
            now = self.mailbox.sync(keep_new=self.read_only, files=True)
            if self._seen is self.snapshot and (now.modseq, now.uidnext) == (
                self.snapshot.modseq,
                self.snapshot.uidnext,
            ):
                # The same moment, whose columns may lie in the checkpoint by now: let go of those in memory.
                self.snapshot = self._seen = now
                self._flag_lists.of(now)

    def claim_recent(self) -> None:
        """Take what no session has seen yet as this session's \\Recent (RFC 3501 2.3.2)."""
        if not self.wants_recent:
            return
        if self.read_only:
            snapshot = self.mailbox.snapshot
            if snapshot.recent:
                self.recent.update(snapshot.uids_with(RECENT))
        elif self.mailbox.snapshot.recent:
            self.recent.update(self.mailbox.claim_recent())

    def advance(self, *, expunge: bool, hold: bool = False, quiet: bool = False) -> Told:
        """Move on to the mailbox's present snapshot, and say what that changes for the client; raises Goodbye.

        *hold*: it hears of no arrival, and of no expunge but its own; *quiet*: nor of flags.  All of that is kept
        for the first call without; flags until ``heard``.
        """
        new = self.mailbox.snapshot
        if self.mailbox.gone:
            raise SelectedGone
        overdue = (expunge and self._ghosts) or (self._held and not hold) or (self._known and not quiet)
        if new is self._seen and not overdue:
            return NOTHING
        with later("\\Recent"), _GOODBYE_IF_GONE:
            self.claim_recent()
        # Again, for the claim has made a new one; what is compared below is this one and no other.
        new = self._seen = self.mailbox.snapshot
        self.check_numbering()
        old = self.snapshot
        change = diff(old, new)
        return self._settle(old, new, change, expunge=expunge, hold=hold, quiet=quiet)

    def _settle(self, old: Snapshot, new: Snapshot, change: Change, *, expunge: bool, hold: bool, quiet: bool) -> Told:
        """Make *new*, as far as the client may hear of *change*, what it sees; the fields of this view change here."""
        up_to_date = not self.has_untold
        allowed = withhold(old, new, change, expunge=expunge, hold=hold, own=self.removed)
        keywords = new.keywords != self._flag_lists.keywords
        if keywords:
            self._flag_lists = _FlagLists(new)
        self._flag_lists.of(new)
        # Once hidden, hidden for good: it would have to come in the middle of the numbers.
        self._hidden.update(change.strangers)
        self.snapshot = shown(old, new, allowed, self._hidden)
        self._held = allowed.held
        ghosts, self._ghosts = self._ghosts, {old.uids[i] for i in allowed.ghosts}
        # What was taken for gone is there again, and may have other flags by now.
        back = ghosts.difference(self._ghosts).intersection(self.snapshot.uids) if ghosts else _NOBODY
        gone = [old.uids[i] for i in allowed.expunged]
        claimed = len(self.recent)
        if gone:
            self.recent.difference_update(gone)
            self.removed.difference_update(gone)
            for uid in gone:
                self._known.pop(uid, None)
        touched = self._touched(old, back, keywords=keywords)
        if up_to_date and self.has_untold:
            self._told_modseq = old.modseq
        if not self._ghosts:
            self._listener.told = new.modseq
            if gone:
                self.mailbox.showing.told()
        return Told(
            allowed.expunged,
            gone,
            change.arrived and not allowed.held,
            self._positions(_NOBODY if quiet else self._known.keys()),
            keywords,
            self._positions(touched if quiet else _NOBODY),
            len(self.recent) < claimed,
        )

    def _touched(self, old: Snapshot, back: Set[int], *, keywords: bool) -> Set[int]:
        """The UIDs of messages that may have other flags than in *old*, of each of which we keep what the client knows.

        *back*: UIDs whose flags changed while nobody looked; *keywords*: some are called otherwise now.
        """
        touched = {*back, *column(self.snapshot.uids, self._changed_flags(old, self.snapshot))}
        fresh = sorted(touched.difference(self._known))
        self._known.update(zip(fresh, old.flags_of(fresh), strict=True))
        if keywords:
            # The flags are the same, and called otherwise.
            self._known.update(dict.fromkeys(_renamed(old, self.snapshot)))
        return touched

    def _positions(self, uids: Set[int]) -> list[int]:
        return [i for i in self.snapshot.positions(sorted(uids)) if i >= 0]

    # --- what the client knows ----------------------------------------------------------------------

    def heard(self, uids: Iterable[int], *, modseqs: bool = True) -> None:
        """Note that the client has been told these messages' flags.

        Without *modseqs* it has not been told their mod-sequences, for which it waits.
        """
        if not self._known:
            return
        if modseqs:
            for uid in uids:
                self._known.pop(uid, None)
            return
        some = sorted(self._known.keys() & uids)
        self._known.update(zip(some, self.snapshot.flags_of(some), strict=True))

    def did(self, uids: Iterable[int], change: Callable[[Flags], Flags | None]) -> None:
        """Note that the client takes for granted what it has done to these messages' flags itself (.SILENT)."""
        some = sorted(uids)
        for uid, true in zip(some, self.snapshot.flags_of(some), strict=True):
            known = self._known.get(uid, true)
            believed = None if known is None else change(known)
            if uid in self._known or believed != true:
                self._known[uid] = believed

    def mistaken(self, uids: Iterable[int]) -> set[int]:
        """Those of *uids* of which the client knows other flags than there are."""
        if not self._known:
            return set()
        some, known = sorted(self._known.keys() & uids), self._known
        return {uid for uid, true in zip(some, self.snapshot.flags_of(some), strict=True) if known[uid] != true}

    def _changed_flags(self, old: Snapshot, new: Snapshot) -> list[int]:
        """Positions in *new* of messages that *old* has with an older mod-sequence."""
        if new.modseq == old.modseq:
            return []
        since = old.modseq
        end = left(new.uids, old.uidnext)
        delta = self.mailbox.since(since)
        if delta is not None:
            return [i for i in new.positions(delta.changed) if 0 <= i < end]
        return [i for i, modseq in enumerate(new.modseqs[:end]) if modseq > since]

    # --- numbers ----------------------------------------------------------------------------------

    def resolve(self, numbers: NumberSet, *, uid: bool, strict: bool = True) -> Positions:
        """Turn a set from the client into positions, ascending, each once; raises Goodbye.

        UIDs that do not exist are left out (RFC 3501 6.4.8).  With *strict* a sequence number beyond the
        last one raises BadArgument ("*" in an empty mailbox is one, RFC 3501 section 9, seq-number).
        """
        self.check_numbering()
        snapshot = self.snapshot
        count = len(snapshot)
        spans: list[range] = []
        if numbers.saved:
            return [i for i in map(snapshot.position, sorted(self.saved)) if i >= 0]
        if uid:
            uids = snapshot.uids
            for low, high in numbers.resolve(uids[-1] if count else 0):
                span = range(left(uids, low), left(uids, high + 1))
                if span:
                    spans.append(span)
        else:
            if strict and not count:
                raise BadArgument("no sequence number, for the mailbox is empty")
            for low, high in numbers.resolve(count):
                if high > count:
                    if strict:
                        raise BadArgument(Phrase("sequence numbers up to {count}", count=count))
                    high = count
                if low <= high:
                    spans.append(range(low - 1, high))
        if not spans:
            return range(0)
        if len(spans) == 1:
            return spans[0]
        return [i for span in spans for i in span]

    def check_numbering(self) -> None:
        """Raise Goodbye if the UIDs of this view no longer name what they named: the mailbox is numbered anew.

        So it is if nobody knows any more what this view was of, for that part of the index was found damaged.
        """
        now, then = self.mailbox.snapshot, self.snapshot
        if now.uidvalidity != then.uidvalidity:
            raise Goodbye("UIDVALIDITY of the selected mailbox changed")
        if then.damaged and now is not then:
            raise Goodbye("Please connect again")

    @property
    def cache(self) -> Cache:
        """The cache of the messages that the UIDs of this view name; raises Goodbye."""
        found = self.mailbox.cache
        if found.uidvalidity != self.snapshot.uidvalidity:
            self.check_numbering()
        return found

    def uids_at(self, positions: Positions) -> list[int]:
        """The UIDs at *positions*."""
        return list(column(self.snapshot.uids, positions))

    def sizes(self, positions: Positions, failures: dict[int, StoreError] | None = None) -> list[int]:
        """The CRLF sizes of the messages at *positions*; those not known yet are counted.

        0 for one that cannot be had; *failures* says why, by index in *positions*.
        """
        return self.mailbox.sizes(positions, self.snapshot, self.progress.report, failures, self.progress)

    @property
    def ghosts(self) -> Set[int]:
        """The UIDs of messages that are gone and that only this client does not know of yet."""
        return self._ghosts

    @property
    def has_untold(self) -> bool:
        """Whether anything is waiting to be told."""
        return bool(self._ghosts or self._held or self._known)

    @property
    def safe_modseq(self) -> int:
        """The highest mod-sequence with nothing untold below it."""
        return self._told_modseq if self.has_untold else self.snapshot.modseq

    def is_ghost(self, uid: int) -> bool:
        """Whether the message is gone and only this client does not know yet."""
        return uid in self._ghosts

    # --- flags ------------------------------------------------------------------------------------

    def flag_lists(self, positions: Positions) -> list[bytes]:
        """The rendered flag list of each position, ``\\Recent`` included."""
        snapshot = self.snapshot
        lists = self._flag_lists
        texts = [lists[bits] for bits in column(snapshot.flags, positions)]
        if snapshot.extra or self.recent:
            for k, i in enumerate(positions):
                uid = snapshot.uids[i]
                if uid in self.recent or uid in snapshot.extra:
                    names = snapshot.flag_names(snapshot.flags[i], uid)
                    texts[k] = render_flags((*names, b"\\Recent") if uid in self.recent else names)
        return texts


class _GoodbyeIfGone:
    """Says goodbye where the folder has gone: without it there is no mailbox to go on with."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, MailboxMissing):
            raise SelectedGone from None


_GOODBYE_IF_GONE: Final = _GoodbyeIfGone()


def column(values: Sequence[int], positions: Sequence[int]) -> Sequence[int]:
    """Pick *positions* out of a column, as fast as its shape allows."""
    if isinstance(positions, range):
        return values[positions.start : positions.stop]
    if isinstance(values, Chunked) and len(positions) > len(values) >> 6:
        values = values[:]  # by far quicker to pick from, once there are many
    if len(positions) > 1:
        return operator.itemgetter(*positions)(values)  # type: ignore[no-any-return]  # typed as Any
    return [values[i] for i in positions]


def _renamed(old: Snapshot, new: Snapshot) -> Iterator[int]:
    """The UIDs of messages with a keyword that has another name now, if they are still there."""
    for number, name in enumerate(old.keywords):
        if number < len(new.keywords) and name == new.keywords[number]:
            continue
        marks = old.keyword_marks(number)
        yield from (uid for uid, mark in zip(old.uids, marks, strict=True) if mark and new.position(uid) >= 0)
