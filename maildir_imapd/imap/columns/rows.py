"""FETCH responses, rows by the hundred, from a plan of columns.

A closure per item and message would be three times slower (architecture D8).  Nothing in the loop over a
snapshot's columns calls out of the interpreter; what must read files reads those alone that the cache
does not know.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from maildir_imapd.errors import LimitReached, MessageGone, MessageUnreadable
from maildir_imapd.imap.columns.cached import MANY, PIECE_MESSAGES, add_values, hurry, keep
from maildir_imapd.imap.columns.message import Streamed, read, report
from maildir_imapd.imap.columns.plan import FLAGS, MODSEQ, SIZE, Cached, FromSnapshot
from maildir_imapd.store.mailbox import nearby, see

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maildir_imapd.errors import StoreError
    from maildir_imapd.imap.columns.fields import Field
    from maildir_imapd.imap.columns.message import Content
    from maildir_imapd.imap.columns.plan import Column, MakeOrStream, Plan
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import Positions, View

    # Is told of which messages the rows are written.
    Hear = Callable[[Iterable[int]], None]
    _Sources = list[tuple[Sequence[int] | Sequence[bytes] | None, MakeOrStream | None]]
    _Row = list[int | bytes | Streamed]

# Rows that are made together: enough to make the loops long, few enough to keep memory flat.
CHUNK_ROWS = 500
# Values that are made together: a line has room for more columns than anybody asks for.
CHUNK_VALUES = 50_000
# What one message's row may hold: so many times the message, for its parts and they again in others, and a little
# more.  A piece is asked for with 20 octets, and may be the whole of a message.
ROW_LIMIT_TIMES = 8
ROW_LIMIT_OCTETS = 1024 * 1024


@dataclass(slots=True)
class Missing:
    """Messages that could not be sent: *gone* were expunged by somebody, *broken* cannot be read."""

    gone: int = 0
    broken: int = 0
    # Why, of the last one of which more can be said than that.
    reason: MessageUnreadable | None = None


@dataclass(frozen=True, slots=True)
class _Lines:
    """How the rows of a chunk look: *begin* has a slot for the number alone, *template* one for each column, too."""

    begin: bytes
    template: bytes
    numbers: Sequence[int]


def beginning(session: Session) -> bytes:
    """Return what each row begins with, with a slot for what ``numbers`` gives (RFC 3501 7.4.2, RFC 9586 3.3)."""
    return b"* %d UIDFETCH (" if session.uid_only else b"* %d FETCH ("


def numbers(session: Session, positions: Positions) -> Sequence[int]:
    """Return what the client calls the messages at *positions*: their numbers, or their UIDs where UIDONLY is on."""
    return session.selected.uids_at(positions) if session.uid_only else [i + 1 for i in positions]


def send(session: Session, plan: Plan, positions: Positions, reply: Reply) -> Missing:
    """Write one FETCH response per position; what cannot be read is left out and counted.

    Raises LimitReached before a row that would be much larger than its message.
    """
    view = session.selected
    session.tally.fetched += len(positions)
    missing = Missing()
    begin = beginning(session)
    template = plan.template(begin)
    work = _send_bodies if plan.has_bodies else _send_columns
    hear = _hearing(session, plan)
    size = max(1, min(CHUNK_ROWS, CHUNK_VALUES // len(plan)))
    cached = [c.field for c in plan if isinstance(c, Cached)]
    if cached and not plan.has_bodies:
        see(view.mailbox, len(positions))
        if hurry(view, cached, positions):
            size = min(size, PIECE_MESSAGES)
    for start in range(0, len(positions), size):
        view.progress.part(start, len(positions))
        chunk = positions[start : start + size]
        work(view, plan, _Lines(begin, template, numbers(session, chunk)), chunk, reply, missing, hear)
    return missing


def _hearing(session: Session, plan: Plan) -> Hear:
    """Return the function to call with the UIDs of messages whose rows are written."""
    if FLAGS not in plan:
        return lambda uids: None
    modseqs = MODSEQ in plan or b"CONDSTORE" not in session.enabled
    return partial(session.selected.heard, modseqs=modseqs)


def _send_columns(
    view: View, plan: Plan, lines: _Lines, chunk: Positions, reply: Reply, missing: Missing, hear: Hear
) -> None:
    cached = [c for c in plan if isinstance(c, Cached)]
    lost: set[int] = set()
    values: dict[bytes, list[bytes | None]] = {}
    if cached:
        values, lost = _fill(view, [c.field for c in cached], chunk, missing)
    made: dict[bytes, Sequence[object]] = {
        c.label: c.values(view, chunk) for c in plan if isinstance(c, FromSnapshot) and c is not SIZE
    }
    if SIZE in plan:
        failures: dict[int, StoreError] = {}
        made[SIZE.label] = view.sizes(chunk, failures)
        for k in failures.keys() - lost:
            _miss(view, failures[k], missing)
            lost.add(k)
    rows = zip(
        lines.numbers,
        *(values[c.field.key] if isinstance(c, Cached) else made[c.label] for c in plan),
        strict=True,
    )
    template = lines.template
    if lost:
        reply.extend([template % row for k, row in enumerate(rows) if k not in lost])
        hear([uid for k, uid in enumerate(view.uids_at(chunk)) if k not in lost])
    else:
        reply.extend([template % row for row in rows])
        hear(view.uids_at(chunk))


def _fill(
    view: View, fields: Sequence[Field], chunk: Positions, missing: Missing
) -> tuple[dict[bytes, list[bytes | None]], set[int]]:
    """The cached columns of a chunk, and the indexes in it of messages that cannot be had.

    What the cache lacks is made from the message, and kept: each file is read once for all columns.
    """
    uids = view.uids_at(chunk)
    cache = view.cache
    values = {field.key: cache.get_many(uids, field.key) for field in fields}
    wanting = sorted({k for found in values.values() for k, blob in enumerate(found) if blob is None})
    lost: set[int] = set()
    made: dict[bytes, list[tuple[int, bytes]]] = {field: [] for field in values}
    read_as: dict[int, int] = {}
    whole = not all(field.header_only for field in fields)
    with nearby(view.mailbox) if len(wanting) >= MANY else nullcontext() as near:
        for n, k in enumerate(wanting):
            view.progress.report(n, len(chunk))
            try:
                content = read(view, uids[k], whole=whole, near=near)
            except (MessageGone, MessageUnreadable) as error:
                _miss(view, error, missing)
                lost.add(k)
                continue
            try:
                add_values(content, fields, values, k, made)
            except (MessageGone, MessageUnreadable) as error:
                # A large one is read when it is needed.
                _miss(view, error, missing)
                lost.add(k)
                continue
            finally:
                content.release()
            if content.settled:
                read_as[uids[k]] = content.fingerprint
    keep(view.mailbox, cache, made, read_as)
    return values, lost


def _miss(view: View, error: StoreError, missing: Missing) -> None:
    """Count a message whose row is left out."""
    if isinstance(error, MessageUnreadable):
        report(view, error)
        missing.broken += 1
        if type(error) is not MessageUnreadable:
            missing.reason = error
    else:
        missing.gone += 1


def _send_bodies(
    view: View, plan: Plan, lines: _Lines, chunk: Positions, reply: Reply, missing: Missing, hear: Hear
) -> None:
    """Row by row: a body may be large, and is on its way before the next one is read."""
    columns = tuple(plan)
    size_at = next((n for n, c in enumerate(plan, 1) if c is SIZE), 0)
    # Of each column what is there already, or else what makes it.
    sources: _Sources = [
        (c.values(view, chunk), None)
        if isinstance(c, FromSnapshot)
        else (None, c.field.make if isinstance(c, Cached) else c.make)
        for c in plan
    ]
    uids, report = view.snapshot.uids, view.progress.report
    with nearby(view.mailbox) if len(chunk) >= MANY else nullcontext() as near:
        for k, position in enumerate(chunk):
            report(k, len(chunk))
            uid = uids[position]
            try:
                content = read(view, uid, near=near)
                if not content.large:
                    row, streamed = _row(content, sources, k, lines.numbers[k], size_at)
                    if streamed:
                        _write_streamed(reply, lines.begin, columns, row)
                    else:
                        reply.write(lines.template % tuple(row))
                else:
                    with content.opened():
                        row, _ = _row(content, sources, k, lines.numbers[k], size_at)
                        content.release()
                        _write_streamed(reply, lines.begin, columns, row)
            except (MessageGone, MessageUnreadable) as error:
                _miss(view, error, missing)
                continue
            hear((uid,))


def _row(content: Content, sources: _Sources, k: int, number: int, size_at: int) -> tuple[_Row, bool]:
    """The values of a message that is number *k* of its chunk, and whether one of them is to be streamed."""
    row: _Row = [number]
    streamed = False
    left = ROW_LIMIT_TIMES * content.octets + ROW_LIMIT_OCTETS
    for ready, make in sources:
        if make is None:
            assert ready is not None
            row.append(ready[k])
            continue
        value = make(content)
        if isinstance(value, bytes):
            left -= len(value)
        else:
            left -= value.octets
            streamed = True
        if left < 0:
            raise LimitReached(why="That is too much of one message for one answer")
        row.append(value)
    if size_at and content.size is not None:
        # The one that goes with the octets, whatever was known before.
        row[size_at] = content.size
    return row, streamed


def _write_streamed(reply: Reply, begin: bytes, columns: Sequence[Column], row: _Row) -> None:
    """Write a row piece by piece: what is long is not copied, and of a large message no more held than a piece."""
    before = begin % row[0]
    for column, value in zip(columns, row[1:], strict=True):
        if isinstance(value, int | bytes):
            before += column.label + b" " + column.slot % value + b" "
            continue
        reply.write(before + column.label + b" " + value.begin)
        for piece in value.pieces():
            reply.write(piece)
        before = b" "
    reply.write(before[:-1] + b")\r\n")
