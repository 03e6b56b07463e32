"""How a search result is answered: ``* SEARCH``, or ``* ESEARCH`` with what RETURN asks for; and ``$``.

RFC 4731, RFC 5182, RFC 9394.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from maildir_imapd.errors import ProtocolError
from maildir_imapd.imap.view import column
from maildir_imapd.wire import commands as ast
from maildir_imapd.wire import render, search_keys
from maildir_imapd.wire.numbers import render_in_order, render_set

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import View


Numbers = TypeVar("Numbers", range, list[int], Sequence[int])


@contextmanager
def saving(session: Session, returning: ast.ReturnOptions | None) -> Iterator[None]:
    """RFC 5182 2.1: a search with SAVE that fails leaves ``$`` empty, but for one that is BAD."""
    try:
        yield
    except ProtocolError:
        raise
    except Exception:
        if returning is not None and b"SAVE" in returning.names:
            session.selected.save()
        raise


def refused(session: Session, text: bytes) -> None:
    """The same for a SEARCH that was refused while it was read, for its charset (NO, not BAD)."""
    if session.view is not None and _SAVE(text):
        session.view.save()


_SAVE = re.compile(rb"RETURN +\([^()]*\bSAVE\b", re.IGNORECASE).search


def write(
    session: Session, reply: Reply, cmd: ast.Search, found: Sequence[int], scores: Sequence[int] | None = None
) -> None:
    """Answer a search that found *found* (positions in the view, ascending); *scores*, where RELEVANCY is asked for."""
    view = session.selected
    numbers = list(column(view.snapshot.uids, found)) if cmd.uid else [i + 1 for i in found]
    returning = cmd.returning
    if returning is None and session.rev2:
        # RFC 9051 6.4.4: the SEARCH response is gone; no RETURN means RETURN (ALL).
        returning = ast.ReturnOptions(frozenset({b"ALL"}))
    if returning is None:
        highest = max(column(view.snapshot.modseqs, found)) if found and uses_modseq(cmd.key) else None
        reply.write(render.search_line(numbers, highest))
        return
    _write_esearch(session, reply, cmd, returning, found, render_set, scores)


def write_for_mailbox(
    session: Session,
    reply: Reply,
    cmd: ast.Search,
    found: Sequence[int],
    view: View,
    scores: Sequence[int] | None = None,
) -> None:
    """Answer an ESEARCH for one mailbox, selected or not; it is named with its UIDVALIDITY (RFC 7377 2.1)."""
    assert cmd.returning is not None
    _write_esearch(session, reply, cmd, cmd.returning, found, render_set, scores, view)


def write_sorted(
    session: Session, reply: Reply, cmd: ast.Sort, found: list[int], scores: Sequence[int] | None = None
) -> None:
    """Answer a SORT: *found* are positions in their order (RFC 5256 4; RFC 5267 3 with RETURN)."""
    snapshot = session.selected.snapshot
    numbers = list(column(snapshot.uids, found)) if cmd.uid else [i + 1 for i in found]
    highest = max(column(snapshot.modseqs, found)) if found and uses_modseq(cmd.key) else None
    if cmd.returning is None:
        reply.write(render.search_line(numbers, highest, kind=b"SORT"))
        return
    _write_esearch(session, reply, cmd, cmd.returning, found, render_in_order, scores)


def _write_esearch(
    session: Session,
    reply: Reply,
    cmd: ast.Search | ast.Sort,
    returning: ast.ReturnOptions,
    found: Sequence[int],
    numbers_text: Callable[[Sequence[int]], bytes],
    scores: Sequence[int] | None,
    named: View | None = None,
) -> None:
    """Answer with ESEARCH, and save.  MIN and MAX are the first and the last in the order of *found*.

    *scores*: of *found*, for RELEVANCY.  *named*: the view that was searched, when the answer has to say so.
    """
    snapshot = (named or session.selected).snapshot
    names = returning.names
    if b"SAVE" in names:
        session.selected.save(snapshot.uids[i] for i in _saved(returning, found))
    if names - {b"CONTEXT", b"UPDATE"} == {b"SAVE"}:
        return
    numbers = list(column(snapshot.uids, found)) if cmd.uid else [i + 1 for i in found]
    pairs: list[tuple[bytes, bytes]] = []
    if numbers:
        if b"MIN" in names:
            pairs.append((b"MIN", b"%d" % numbers[0]))
        if b"MAX" in names:
            pairs.append((b"MAX", b"%d" % numbers[-1]))
        if b"ALL" in names:
            pairs.append((b"ALL", numbers_text(numbers)))
    if b"COUNT" in names:
        pairs.append((b"COUNT", b"%d" % len(numbers)))
    if returning.partial is not None:
        part = window(numbers, returning.partial)
        pairs.append((b"PARTIAL", b"(%d:%d %b)" % (*returning.partial, numbers_text(part) if part else b"NIL")))
    if scores:
        # One for each message that is listed (RFC 6203 4).
        shown = scores if returning.partial is None else window(scores, returning.partial)
        pairs.append((b"RELEVANCY", b"(%b)" % b" ".join([b"%d" % score for score in shown])))
    if found and uses_modseq(cmd.key):
        pairs.append((b"MODSEQ", b"%d" % max(snapshot.modseqs[i] for i in _told(names, found))))
    if named is None:
        reply.write(render.esearch_line(cmd.tag, cmd.uid, pairs))
    else:
        name = session.spell(named.name)
        reply.write(
            render.esearch_line(cmd.tag, True, pairs, name=name, uidvalidity=snapshot.uidvalidity, utf8=session.utf8)
        )


def _saved(returning: ast.ReturnOptions, found: Sequence[int]) -> Sequence[int]:
    """RFC 5182 2.4, RFC 9394 3.2: without ALL and COUNT, only what MIN, MAX and PARTIAL name is saved."""
    names = returning.names
    if names & {b"ALL", b"COUNT"} or not names & {b"MIN", b"MAX", b"PARTIAL"} or not found:
        return found
    named = [found[k] for name, k in ((b"MIN", 0), (b"MAX", -1)) if name in names]
    return named if returning.partial is None else [*named, *window(found, returning.partial)]


def _told(names: frozenset[bytes], found: Sequence[int]) -> Sequence[int]:
    """RFC 7162 3.1.5: MODSEQ is the highest of the messages that the answer names."""
    if names & {b"ALL", b"COUNT", b"PARTIAL"}:
        return found
    return [found[k] for name, k in ((b"MIN", 0), (b"MAX", -1)) if name in names] or found


def window(numbers: Numbers, asked: tuple[int, int]) -> Numbers:
    """RFC 9394 3.1: the asked-for part of a list; negative numbers count from its end."""
    low, high = map(abs, asked)
    if asked[0] > 0:
        return numbers[low - 1 : high]
    count = len(numbers)
    return numbers[max(0, count - high) : max(0, count - low + 1)]


def window_size(asked: tuple[int, int]) -> int:
    """How many the asked-for part has at the most."""
    return abs(asked[1] - asked[0]) + 1


def uses_modseq(key: search_keys.SearchKey) -> bool:
    """Whether MODSEQ stands anywhere in a search key (RFC 7162 3.1.5)."""
    return any(isinstance(part, search_keys.KeyModSeq) for part in search_keys.parts(key))


def searches_numbers(cmd: ast.Search | ast.Sort | ast.Thread) -> bool:
    """Whether sequence numbers stand anywhere in the search key of a command (RFC 7162 3.2.10.2)."""
    return any(
        isinstance(part, search_keys.KeyNumbers) and not part.uid and not part.numbers.saved
        for part in search_keys.parts(cmd.key)
    )
