"""SORT and THREAD (RFC 5256, 5957, 5267).

Keys are derived once per message and kept in the cache, so that a second SORT reads no file.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from maildir_imapd.errors import BadArgument
from maildir_imapd.imap.columns.cached import LastAnswer, column_of
from maildir_imapd.imap.columns.fields import Field, alone, family
from maildir_imapd.imap.columns.message import Content
from maildir_imapd.imap.news import contexts
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit, relevancy, results
from maildir_imapd.imap.search.finder import Finder
from maildir_imapd.imap.search.search import finder
from maildir_imapd.imap.session import State
from maildir_imapd.imap.view import Positions, View, column
from maildir_imapd.message import order, thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire import commands as ast

# A date that no message has: it stands for "none" between sent_date and the cache.
_NO_DATE = -(2**62)

Keys = Sequence[bytes] | Sequence[int]

ANNOUNCES = (b"SORT", b"SORT=DISPLAY", b"ESORT", b"CONTEXT=SORT")
ALGORITHMS: dict[bytes, Callable[[Sequence[thread.ThreadEntry]], list[thread.ThreadNode]]] = {
    b"ORDEREDSUBJECT": thread.ordered_subject,
    b"REFERENCES": thread.references,
    b"REFS": thread.refs,
}

_last_order: LastAnswer[array[int]] = LastAnswer()
_last_threads: LastAnswer[bytes] = LastAnswer()


@command(b"SORT", states=State.SELECTED, uses_numbers=True, announces=ANNOUNCES, refused=results.refused)
@command(b"UID SORT", states=State.SELECTED, uses_numbers=results.searches_numbers, refused=results.refused)
def sort(session: Session, cmd: ast.Sort, reply: Reply) -> Done:
    """Search, and sort what is found (RFC 5256 3, BASE.6.4.SORT; with RETURN: RFC 5267 3, 4)."""
    contexts.demand_tag(session, cmd)
    relevancy.demand_fuzzy(cmd)
    if results.uses_modseq(cmd.key):
        session.enable(b"CONDSTORE", reply)
    view = session.selected
    search = Finder(view, session.clock)
    limit.demand_whole(session, search, cmd.key)
    by_score = any(name == relevancy.RELEVANCY for name, _ in cmd.criteria)
    # What its numbers stand for now, however much later *rank* is called.
    key = contexts.frozen(cmd.key, view) if by_score else cmd.key

    def rank(found: list[int]) -> list[int]:
        scores = relevancy.scores(search.run, key, found) if by_score else None
        return [found[k] for k in _ranked(view, cmd.criteria, found, scores)]

    with results.saving(session, cmd.returning):
        ordered = rank(search.run(cmd.key))
        results.write_sorted(session, reply, cmd, ordered, search.scores(cmd, ordered))
    contexts.follow(session, reply, cmd, ordered, partial(finder, session), rank)
    return Done("SORT completed")


def _ranked(
    view: View, criteria: Sequence[tuple[bytes, bool]], found: Positions, scores: list[int] | None
) -> Sequence[int]:
    """The order of the messages at the positions *found*; *scores*, if RELEVANCY is among the criteria."""
    asked = (criteria, scores, _messages(view, found))
    ranked: Sequence[int] | None = _last_order.get(view.mailbox, asked)
    if ranked is None:
        unread: list[int] = []
        # Sorted by the last criterion first: Python's sort is stable, so the first one wins in the end,
        # and equals stay in the order of their numbers.
        ranked = list(range(len(found)))
        for name, reverse in reversed(criteria):
            if name == relevancy.RELEVANCY:
                # RFC 6203 6: the highest score comes first.
                keys: Keys = [-score for score in scores or ()]
            else:
                keys = _keys(view, name, found, unread)
            ranked.sort(key=keys.__getitem__, reverse=reverse)
        # A pair is a comparison of one that is put into its place: the last whole order is worth more.
        if not unread and len(ranked) > 2:
            _last_order.keep(view.mailbox, asked, array("I", ranked))
    return ranked


def _messages(view: View, positions: Positions) -> tuple[int, array[int]]:
    return view.snapshot.uidvalidity, array("I", view.uids_at(positions))


@command(
    b"THREAD",
    states=State.SELECTED,
    uses_numbers=True,
    announces=[b"THREAD=" + name for name in ALGORITHMS],
    refused=results.refused,
)
@command(b"UID THREAD", states=State.SELECTED, uses_numbers=results.searches_numbers, refused=results.refused)
def thread_(session: Session, cmd: ast.Thread, reply: Reply) -> Done:
    """Search, and thread what is found (RFC 5256 3, BASE.6.4.THREAD; REFS as Dovecot and Roundcube know it)."""
    algorithm = ALGORITHMS.get(cmd.algorithm)
    if algorithm is None:
        raise BadArgument("a thread algorithm that this server knows")
    if results.uses_modseq(cmd.key):
        session.enable(b"CONDSTORE", reply)
    view = session.selected
    search = Finder(view, session.clock)
    limit.demand_whole(session, search, cmd.key)
    found = search.run(cmd.key)
    numbers = array("I", view.uids_at(found) if cmd.uid else [i + 1 for i in found])
    asked = (cmd.algorithm, numbers, _messages(view, found))
    threads = _last_threads.get(view.mailbox, asked)
    if threads is None:
        unread: list[int] = []
        threads = thread.render_threads(algorithm(_entries(view, found, numbers, unread)))
        if not unread:
            _last_threads.keep(view.mailbox, asked, threads)
    reply.untagged(b"THREAD " + threads if threads else b"THREAD")
    return Done("THREAD completed")


def _keys(view: View, name: bytes, positions: Positions, unread: list[int]) -> Keys:
    snapshot = view.snapshot
    match name:
        case b"ARRIVAL":
            return column(snapshot.received, positions)
        case b"SIZE":
            return view.sizes(positions)
        case b"DATE":
            received = column(snapshot.received, positions)
            blobs = column_of(view, positions, _sort_key(name), unread)
            return [struct.unpack("<q", b)[0] if b else t for b, t in zip(blobs, received, strict=True)]
        case _:
            try:
                field = _sort_key(name)
            except ValueError:
                raise BadArgument("a sort criterion that this server knows") from None
            return column_of(view, positions, field, unread)


@family(b"sort:")
def _sort_key(name: bytes) -> Field:
    """The key of a message for a criterion that looks at its header; raises ValueError for any other."""

    def made(key: Callable[[bytes], str]) -> Field:
        return Field(b"sort:" + name, lambda c: key(c.header).encode("utf-8", "surrogatepass"))

    match name:
        case b"DATE":
            return Field(b"sort:DATE", _date_blob)
        case b"SUBJECT":
            return made(order.subject_key)
        case b"FROM" | b"TO" | b"CC":
            return made(lambda header: order.mailbox_key(header, name))
        case b"DISPLAYFROM" | b"DISPLAYTO":
            return made(lambda header: order.display_key(header, name.removeprefix(b"DISPLAY")))
        case _:
            raise ValueError


def _date_blob(content: Content) -> bytes:
    date = order.sent_date(content.header, _NO_DATE)
    return b"" if date == _NO_DATE else struct.pack("<q", date)


def _entries(view: View, positions: Positions, numbers: Sequence[int], unread: list[int]) -> list[thread.ThreadEntry]:
    blobs = column_of(view, positions, _THREAD, unread)
    received = column(view.snapshot.received, positions)
    return [_unpack(n, blob, t) for n, blob, t in zip(numbers, blobs, received, strict=True)]


def _thread_blob(content: Content) -> bytes:
    """An ``Entry`` as lines: Message-ID, references, "1" for a reply, date, base subject."""
    one = thread.entry(0, content.header, _NO_DATE)
    return b"\n".join(
        (
            one.message_id or b"",
            b" ".join(one.references),
            b"1" if one.reply else b"",
            b"" if one.date == _NO_DATE else b"%d" % one.date,
            one.subject.encode("utf-8", "surrogatepass"),
        )
    )


_THREAD = alone(Field(b"thread", _thread_blob))


def _unpack(number: int, blob: bytes, received: int) -> thread.ThreadEntry:
    if not blob:
        return thread.ThreadEntry(number, None, (), "", False, received)
    message_id, references, reply, date, subject = blob.split(b"\n", 4)
    return thread.ThreadEntry(
        number,
        message_id or None,
        tuple(references.split(b" ")) if references else (),
        subject.decode("utf-8", "surrogatepass"),
        bool(reply),
        int(date) if date else received,
    )
