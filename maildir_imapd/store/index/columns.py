"""The columns of a mailbox at one moment, be they in memory or elsewhere still.

A column that nobody has asked for lies where its ``ColumnSource`` finds it: in the checkpoint, or in the files.
It is fetched whole by the first who reads the attribute, from any thread and without a lock; two who fetch it at the
same time get the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd.store.index.chunks import Names, Numbers

# All that have a value for each message, with the type of their array; the names, which have none, come behind. Those
# of files are not known while nobody has looked at these (folder/unseen.py).
OF_FILES: Final = (("received", "q"), ("saved", "q"), ("sizes", "Q"), ("fingerprints", "Q"))
COLUMNS: Final = (("uids", "I"), ("flags", "Q"), ("modseqs", "Q"), *OF_FILES)
NAMES: Final = "_names"
FILE_COLUMNS: Final = frozenset(column for column, _ in OF_FILES)
_FETCHED: Final = (*(column for column, _ in COLUMNS), NAMES)


class ColumnSource(Protocol):
    """Where the columns of one moment lie until they are asked for; safe from any thread, and takes no lock."""

    @property
    def messages(self) -> int:
        """How many there are."""

    @property
    def damaged(self) -> bool:
        """Whether a column was found damaged: then there is no more of this moment to be had."""

    def has(self, column: str) -> bool:
        """Whether the column can be fetched without a look at each message's file."""

    def fetch(self, column: str) -> array[int] | bytes | list[bytes]:
        """Return a column, or the names ("_names") in a list or joined by LF; raises StoreError."""

    def some_names(self, start: int, stop: int) -> list[bytes] | None:
        """Return the names from one position to another without the others; None where it costs less to fetch all.

        Raises StoreError.
        """


class Columns:
    """The columns, all of the same messages, in the order of their UIDs."""

    __slots__ = (
        "_names",
        "_source",
        "fingerprints",
        "flags",
        "modseqs",
        "received",
        "saved",
        "sizes",
        "uids",
    )

    uids: Numbers
    flags: Numbers
    modseqs: Numbers
    received: Numbers
    saved: Numbers
    sizes: Numbers
    fingerprints: Numbers  # see scan.py, 0 for a message that has none

    def __init__(
        self, columns: Mapping[str, Numbers], names: Names | bytes | None, source: ColumnSource | None
    ) -> None:
        self._source = source
        for column, values in columns.items():
            setattr(self, column, values)
        if names is not None:
            self._names = names  # joined by LF, as the checkpoint has them, until somebody asks

    if not TYPE_CHECKING:  # where every attribute is known by its name

        def __getattr__(self, name: str) -> object:
            """Fetch a column that is not here yet: the interpreter asks here for what it does not find."""
            if name not in _FETCHED:
                raise AttributeError(name)
            source = self._source
            if source is None:
                # Race: another thread has fetched it, as the last one, since it was not found.
                return object.__getattribute__(self, name)
            value = source.fetch(name)
            setattr(self, name, value)
            if all(map(self.here, _FETCHED)):
                self._source = None
            return value

    def __len__(self) -> int:
        source = self._source
        return len(self.uids) if source is None else source.messages

    @property
    def names(self) -> Names:
        """The base of each message's file name."""
        found = self._names
        if isinstance(found, bytes):
            # Two threads may both do it; the lists are equal.
            found = self._names = found.split(b"\n")
        return found

    @names.setter
    def names(self, names: Names) -> None:
        self._names = names

    def name(self, at: int) -> bytes:
        """Return the base of the file name at a position: of a few messages, so that the others are not needed."""
        return self.some_names(at, at + 1)[0]

    def some_names(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the bases from one position to another, as ``name`` does."""
        source = self._source
        if source is not None and not self.here(NAMES):
            found = source.some_names(start, stop)
            if found is not None:
                return found
        return self.names[start:stop]

    def here(self, column: str) -> bool:
        """Whether a column is in memory."""
        try:
            object.__getattribute__(self, column)
        except AttributeError:
            return False
        return True

    @property
    def octets(self) -> int:
        """An estimate of what those take that are in memory."""
        octets = sum([array(code).itemsize * len(self) for column, code in COLUMNS if self.here(column)])
        names = self._names if self.here(NAMES) else b""
        if isinstance(names, bytes):
            return octets + len(names)
        # All are about as long as the first; each has 33 octets of its own, and its place in the list.
        return octets + (len(names[0]) + 48) * len(names) if names else octets

    @property
    def stored(self) -> bool:
        """Whether some lie elsewhere still, in a file that is open for them."""
        return self._source is not None

    def has(self, column: str) -> bool:
        """Whether a column is in memory, or is fetched without a look at each message's file."""
        source = self._source
        # In this order: to find that one is not here takes an exception.
        return source is None or source.has(column) or self.here(column)

    @property
    def seen(self) -> bool:
        """Whether somebody has looked at the messages' files."""
        return all(map(self.has, FILE_COLUMNS))

    @property
    def source(self) -> ColumnSource | None:
        """Where the columns come from that are not here."""
        return self._source

    @property
    def damaged(self) -> bool:
        """Whether what is not here yet cannot be had any more."""
        return self._source is not None and self._source.damaged

    def share(self, other: Columns) -> None:
        """Have the columns of *other*, and its source for the rest."""
        # The source first: should another thread fetch the last column meanwhile, it is among those that follow.
        self._source = other._source
        for column in _FETCHED:
            try:
                setattr(self, column, object.__getattribute__(other, column))
            except AttributeError:
                continue

    def draw(self, source: ColumnSource) -> None:
        """Fetch from *source* what is not here: for whoever makes a moment."""
        self._source = source

    def see(self) -> None:
        """Have what only the messages' files tell; raises StoreError."""
        for column in FILE_COLUMNS:
            getattr(self, column)

    def detach(self) -> None:
        """Be all in memory: whoever makes a moment says so when he has set every column."""
        self._source = None
