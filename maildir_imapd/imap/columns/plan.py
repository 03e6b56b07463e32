"""The columns of a FETCH, in the order of the answer; and the three kinds of them, by where their values come from.

A plan is never changed: what a command adds to it makes another one, and the rules of order stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.imap.view import Positions, View, column
from maildir_imapd.store.mailbox import dates
from maildir_imapd.wire.dates import render_date_time, render_date_times

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.fields import Field
    from maildir_imapd.imap.columns.message import Content, Streamed

# What is long is not made part of the row's line (message.py).
MakeOrStream = Callable[["Content"], "bytes | Streamed"]


@dataclass(frozen=True, slots=True)
class FromSnapshot:
    """Values that need no message: *values* gives those of all positions at once.

    *label* is the item's name in the answer; *slot* how its value stands in the template.
    """

    label: bytes
    slot: bytes
    values: Callable[[View, Positions], Sequence[bytes] | Sequence[int]]


@dataclass(frozen=True, slots=True)
class Cached:
    """Finished wire text, made once of a message and kept in the folder's cache."""

    label: bytes
    slot: bytes
    field: Field


@dataclass(frozen=True, slots=True)
class PerMessage:
    """Made anew each time, of the message: it may be large."""

    label: bytes
    slot: bytes
    make: MakeOrStream


Column = FromSnapshot | Cached | PerMessage


def _saved(view: View, positions: Positions) -> Sequence[bytes]:
    snapshot = view.snapshot
    times = dates(view.mailbox, snapshot, positions, saved=True)
    if times is None:
        times = column(snapshot.saved, positions)
    return [render_date_time(seconds) if seconds > 0 else b"NIL" for seconds in times]


def _received(view: View, positions: Positions) -> Sequence[bytes]:
    times = dates(view.mailbox, view.snapshot, positions)
    return render_date_times(column(view.snapshot.received, positions) if times is None else times)


UID: Final = FromSnapshot(b"UID", b"%d", lambda view, positions: column(view.snapshot.uids, positions))
FLAGS: Final = FromSnapshot(b"FLAGS", b"%b", lambda view, positions: view.flag_lists(positions))
MODSEQ: Final = FromSnapshot(b"MODSEQ", b"(%d)", lambda view, positions: column(view.snapshot.modseqs, positions))
SAVEDATE: Final = FromSnapshot(b"SAVEDATE", b"%b", _saved)
INTERNALDATE: Final = FromSnapshot(b"INTERNALDATE", b"%b", _received)
# The one of its kind that may have to read messages, once for each.
SIZE: Final = FromSnapshot(b"RFC822.SIZE", b"%d", lambda view, positions: view.sizes(positions))


@dataclass(frozen=True, slots=True)
class Plan:
    """Columns in the order of the answer; false when there are none."""

    columns: tuple[Column, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __contains__(self, wanted: object) -> bool:
        return wanted in self.columns

    @property
    def labels(self) -> tuple[bytes, ...]:
        """The names of the items; two plans of the same labels are answered alike."""
        return tuple(column.label for column in self.columns)

    def template(self, beginning: bytes) -> bytes:
        """The line of one message, with a slot for each column; *beginning* has one for its number."""
        items = b" ".join(column.label.replace(b"%", b"%%") + b" " + column.slot for column in self.columns)
        return beginning + items + b")\r\n"

    @property
    def has_bodies(self) -> bool:
        """Whether anything is made anew for each message; that alone may be refused."""
        return any(isinstance(column, PerMessage) for column in self.columns)

    def followed_by(self, more: Iterable[Column]) -> Plan:
        """This plan, then those of *more* that it does not name: a message is fetched once for all who asked."""
        labels = set(self.labels)
        return Plan((*self.columns, *(column for column in more if column.label not in labels)))

    def uid_first(self) -> Plan:
        """This plan with the UID in front, whether it was in it or not: old libraries want it before any literal."""
        return Plan((UID, *(column for column in self.columns if column is not UID)))

    def with_news(self, news: Sequence[Column]) -> Plan:
        """This plan with *news* that nobody asked for before the literals, behind the UID."""
        place = 1 if self.columns[:1] == (UID,) else 0
        fresh = [column for column in news if column not in self.columns]
        return Plan((*self.columns[:place], *fresh, *self.columns[place:]))
