"""A mailbox at one moment: immutable columns, shared by all threads, sorted by UID.

A position in the columns is the sequence number less one. The next moment is made in builder.py.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

from maildir_imapd.store.index.chunks import Names, Numbers, left
from maildir_imapd.store.index.columns import COLUMNS, Columns, ColumnSource
from maildir_imapd.store.index.journal import SIZE_UNKNOWN
from maildir_imapd.store.maildir.filename import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    IN_BITS,
    IN_NEW,
    KEYWORD_BITS,
    RECENT,
    SEEN,
    VISIBLE_BITS,
    keyword_bit,
)
from maildir_imapd.store.maildir.flags import Flags

__all__ = ["COLUMNS", "SIZE_UNKNOWN", "SYSTEM_FLAGS", "ColumnSource", "Delta", "Snapshot", "empty"]


# In the order Dovecot lists them.
SYSTEM_FLAGS: Final = (
    (b"\\Answered", ANSWERED),
    (b"\\Flagged", FLAGGED),
    (b"\\Deleted", DELETED),
    (b"\\Seen", SEEN),
    (b"\\Draft", DRAFT),
)

# What the keywords of a message take in memory that have no bit.
_EXTRA_OCTETS: Final = 400
# What the flags of one take in their column, and how many are looked at together for one flag.
_OCTETS: Final = array("Q").itemsize
_STRETCH: Final = 1 << 12
_NO_WORDS: Final[frozenset[int]] = frozenset()
# Sets of flags whose names are remembered: clients may make up as many as they like.
FLAG_SETS: Final = 1024
COUNTED: Final = {"seen": SEEN, "recent": RECENT, "in_new": IN_NEW, "deleted": DELETED}
_COUNTED_AS: Final = {bit: key for key, bit in COUNTED.items()}
# For each bit of an octet the table that makes the octet 1 where it has the bit, and the one that makes it 0.
_TAKE: Final = tuple(bytes(octet >> bit & 1 for octet in range(256)) for bit in range(8))
_LACK: Final = tuple(bytes(1 - mark for mark in table) for table in _TAKE)


@dataclass(frozen=True, slots=True)
class Delta:
    """The difference between two moments, each list rising: a message is in one of them at most."""

    added: Sequence[int]
    changed: Sequence[int]
    expunged: Sequence[int]
    # Messages that came back under a UID lower than others already known; also in ``added``.
    revived: Sequence[int] = ()


def _marks(flags: Numbers, bit: int, *, present: bool = True) -> bytes:
    number = bit.bit_length() - 1
    table = (_TAKE if present else _LACK)[number % 8]
    lane = number // 8 if sys.byteorder == "little" else _OCTETS - 1 - number // 8
    return flags.tobytes()[lane::_OCTETS].translate(table)


def at_with(flags: Numbers, bit: int, count: int | None) -> list[int]:
    """Return the positions of messages that have *bit*, rising.

    *count*: how many there are, None if nobody knows. They are looked for from the end, where they mostly are.
    """
    found: list[int] = []
    stop, left_over = len(flags), len(flags) if count is None else count
    while stop and left_over > 0:
        start = max(0, stop - _STRETCH)
        some = flags[start:stop]
        assert isinstance(some, array)
        marks = _marks(some, bit)
        at = marks.rfind(1)
        while at >= 0:
            found.append(start + at)
            at = marks.rfind(1, 0, at)
        left_over -= marks.count(1)
        stop = start
    found.reverse()
    return found


class _Made(dict[int, Flags]):
    """Bits to Flags as clients see them, made once for all messages that have them."""

    def __missing__(self, bits: int) -> Flags:
        made = self[bits] = Flags(bits & VISIBLE_BITS)
        return made


class Snapshot(Columns):
    """The columns of one mailbox at one mod-sequence."""

    __slots__ = (
        "_counts",
        "_words",
        "extra",
        "keywords",
        "modseq",
        "revivals",
        "rewrites",
        "uidnext",
        "uidvalidity",
    )

    extra: dict[int, frozenset[int]]  # UID -> numbers of its keywords that have no bit
    keywords: tuple[bytes, ...]  # by number; b"" for a number without a name
    uidvalidity: int
    uidnext: int
    modseq: int
    revivals: int  # how often a message has come back under an old UID since this was loaded
    rewrites: int  # another number each time when another program has written to a message's file

    def __init__(
        self,
        columns: Mapping[str, Numbers],
        names: Names | bytes | None,
        *,
        uidvalidity: int,
        uidnext: int,
        modseq: int,
        keywords: tuple[bytes, ...] = (),
        extra: dict[int, frozenset[int]] | None = None,
        revivals: int = 0,
        rewrites: int = 0,
        counts: dict[str, int] | None = None,
        source: ColumnSource | None = None,
    ) -> None:
        """Make one of *columns*, by name, and *names*; what is not given (None) is fetched from *source*.

        *names*: the bases, in a list or joined by LF, as the checkpoint has them. *counts*: what is known already of
        how many messages have which flags (``counts``).
        """
        super().__init__(columns, names, source)
        self.extra = {} if extra is None else extra
        self.keywords = keywords
        self.uidvalidity = uidvalidity
        self.uidnext = uidnext
        self.modseq = modseq
        self.revivals = revivals
        self.rewrites = rewrites
        self._counts: dict[str, int] = {} if counts is None else counts
        # Bits -> flag names; shared by all snapshots with the same keywords.
        self._words: dict[int, tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        return f"<Snapshot {len(self)} messages, uidnext {self.uidnext}, modseq {self.modseq}>"

    @property
    def octets(self) -> int:
        """An estimate of what it takes in memory, without the columns that are not there yet."""
        return super().octets + _EXTRA_OCTETS * len(self.extra)

    # --- find ----------------------------------------------------------------------------------

    def position(self, uid: int) -> int:
        """Return where *uid* stands, -1 if it does not."""
        uids = self.uids
        at = left(uids, uid) if 0 < uid <= 0xFFFFFFFF else len(uids)
        return at if at < len(uids) and uids[at] == uid else -1

    def span(self, lo: int, hi: int) -> tuple[int, int]:
        """Return the positions [start, stop) of the UIDs from *lo* to *hi*."""
        return left(self.uids, lo), left(self.uids, hi + 1)

    def positions(self, uids: Sequence[int]) -> list[int]:
        """Return the position of each of *uids* (rising), -1 for those that are not here."""
        if not uids:
            return []
        mine = self.uids
        start, stop = self.span(uids[0], uids[-1])
        if stop - start == len(uids) and mine[start:stop] == array("I", uids):
            return list(range(start, stop))  # a whole stretch of the mailbox, the usual case
        if len(uids) * 8 > stop - start:
            where = {uid: at for at, uid in enumerate(mine[start:stop], start)}
            return [where.get(uid, -1) for uid in uids]
        return [self.position(uid) for uid in uids]

    # --- counts --------------------------------------------------------------------------------

    def _count(self, key: str) -> int:
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = self.marks(COUNTED[key]).count(1)
        return found

    def marks(self, bit: int, *, present: bool = True) -> bytes:
        """Return an octet for each message: 1 where its flags have *bit* (or lack it), else 0.

        The octet of every integer that holds the bit, and a table that takes the bit out: no loop in Python.
        """
        return _marks(self.flags, bit, present=present)

    def uids_with(self, bit: int) -> Iterator[int]:
        """The UIDs of messages whose flags have *bit*, ascending."""
        key = _COUNTED_AS.get(bit)
        if key is None or (count := self._count(key)) > len(self) >> 4:
            return compress(self.uids, self.marks(bit))
        return map(self.uids.__getitem__, at_with(self.flags, bit, count))

    def counts(self) -> dict[str, int]:
        """Count whatever a client hears at SELECT and STATUS, so that nobody need count it again."""
        return {**{key: self._count(key) for key in COUNTED}, "first_unseen": self.first_unseen}

    @property
    def unseen(self) -> int:
        """How many messages lack \\Seen."""
        return len(self) - self._count("seen")

    @property
    def recent(self) -> int:
        """How many messages have a \\Recent that no session has claimed."""
        return self._count("recent")

    @property
    def in_new(self) -> int:
        """How many messages still lie in new/."""
        return self._count("in_new")

    @property
    def deleted(self) -> int:
        """How many messages have \\Deleted."""
        return self._count("deleted")

    @property
    def first_unseen(self) -> int:
        """Position of the first message without \\Seen, -1 if there is none."""
        found = self._counts.get("first_unseen")
        if found is None:
            found = self._counts["first_unseen"] = self.marks(SEEN).find(0)
        return found

    # --- flags ---------------------------------------------------------------------------------

    def keyword_number(self, name: bytes) -> int:
        """Return the number of a keyword, -1 if the folder has none of that name (case does not count)."""
        wanted = name.lower()
        for number, known in enumerate(self.keywords):
            if known.lower() == wanted:
                return number
        return -1

    def keyword_bit(self, name: bytes) -> int:
        """Return the bit of a keyword, 0 if it has none or is unknown."""
        number = self.keyword_number(name)
        return keyword_bit(number) if number >= 0 else 0

    def flag_names(self, bits: int, uid: int = 0) -> tuple[bytes, ...]:
        """Return the flags of a message by name, \\Recent excepted: whose that is, only a session knows."""
        found = self._words.get(bits)
        if found is None:
            names = [name for name, bit in SYSTEM_FLAGS if bits & bit]
            left = bits & KEYWORD_BITS
            for number, name in enumerate(self.keywords[:IN_BITS]):
                if left & keyword_bit(number) and name:
                    names.append(name)
            if len(self._words) >= FLAG_SETS:
                self._words.clear()
            found = self._words[bits] = tuple(names)
        if self.extra and uid in self.extra:
            found += tuple(self.keywords[n] for n in sorted(self.extra[uid]) if n < len(self.keywords))
        return found

    def flags_at(self, at: int) -> Flags:
        """Return all that the message at position *at* has."""
        return Flags(self.flags[at], self.extra.get(self.uids[at], _NO_WORDS) if self.extra else _NO_WORDS)

    def flags_of(self, uids: Sequence[int]) -> list[Flags | None]:
        """Return what messages (UIDs rising) have, as far as clients see it; None for one that is not there."""
        flags, extra = self.flags, self.extra
        made = _Made()  # so that messages with the same flags share one object
        if not extra:
            return [None if at < 0 else made[flags[at]] for at in self.positions(uids)]
        found = zip(uids, self.positions(uids), strict=True)
        return [
            None if at < 0 else Flags(flags[at] & VISIBLE_BITS, extra[uid]) if uid in extra else made[flags[at]]
            for uid, at in found
        ]

    def within(self, mask: int) -> Flags:
        """Return the flags in *mask*; where it has keywords, those without a bit are among them."""
        return Flags(mask, frozenset(range(IN_BITS, len(self.keywords)) if mask & KEYWORD_BITS else ()))

    def keyword_marks(self, number: int, *, present: bool = True) -> bytes:
        """Return an octet for each message: 1 where it has that keyword (or lacks it), else 0."""
        bit = keyword_bit(number)
        if bit:
            return self.marks(bit, present=present)
        marks = bytearray([not present]) * len(self)
        for uid, numbers in self.extra.items():
            if number in numbers:
                marks[self.position(uid)] = present
        return bytes(marks)

    def all_flag_names(self) -> tuple[bytes, ...]:
        """Return the flags a message of this folder can have: system flags, then the keywords."""
        return tuple(name for name, _ in SYSTEM_FLAGS) + tuple(name for name in self.keywords if name)

    # --- change --------------------------------------------------------------------------------

    def copy(self) -> Snapshot:
        """Return one with the same columns, for whoever makes the next of it."""
        new = Snapshot(
            {},
            None,
            uidvalidity=self.uidvalidity,
            uidnext=self.uidnext,
            modseq=self.modseq,
            keywords=self.keywords,
            extra=self.extra,
            revivals=self.revivals,
            rewrites=self.rewrites,
        )
        new._words = self._words
        new.share(self)
        return new

    def evolve(self, *, uidnext: int | None = None, modseq: int | None = None) -> Snapshot:
        """Return the same messages under another UIDNEXT or HIGHESTMODSEQ."""
        new = self.copy()
        new.uidnext = self.uidnext if uidnext is None else uidnext
        new.modseq = self.modseq if modseq is None else modseq
        return new

    def since(self, old: Snapshot) -> Delta:
        """Compare with an earlier snapshot of the same mailbox, by the columns."""
        if old.uids is self.uids:
            added: list[int] = []
            expunged: list[int] = []
            pairs = zip(self.uids, self.modseqs, old.modseqs, strict=True)
            changed = [uid for uid, now, then in pairs if now != then]
        else:
            before = dict(zip(old.uids, old.modseqs, strict=True))
            added, changed = [], []
            for uid, modseq in zip(self.uids, self.modseqs, strict=True):
                then = before.pop(uid, None)
                if then is None:
                    added.append(uid)
                elif then != modseq:
                    changed.append(uid)
            expunged = list(before)
        last = old.uids[-1] if old.uids else 0
        return Delta(added, changed, expunged, [uid for uid in added if uid <= last])


def empty(uidvalidity: int = 0, uidnext: int = 1, modseq: int = 1) -> Snapshot:
    """Return a mailbox without messages."""
    columns: dict[str, Numbers] = {column: array(code) for column, code in COLUMNS}
    return Snapshot(columns, [], uidvalidity=uidvalidity, uidnext=uidnext, modseq=modseq)
