"""Searches that go on: RETURN (UPDATE), and CANCELUPDATE which ends one (RFC 5267; RFC 5465 7).

A context holds the result its client knows.  Whenever the view moves on (``updates.write``), the messages that
were touched are asked again, and no others.  What leaves is said before the EXPUNGE that takes its number away,
what comes after the EXISTS that gives it one.

CONTEXT itself is a hint (4.2), and needs nothing: columns and cache are kept for all searches alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from maildir_imapd.errors import BadCombination, WrongState
from maildir_imapd.imap.columns.items import plan_of
from maildir_imapd.imap.columns.plan import Plan
from maildir_imapd.imap.later import later
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.session import State
from maildir_imapd.wire import commands as ast
from maildir_imapd.wire import render, search_keys
from maildir_imapd.wire.numbers import NumberSet, render_in_order, render_set

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import Positions, Told, View
    from maildir_imapd.store.index.snapshot import Snapshot

# Contexts of one open mailbox; beyond that NOUPDATE.
CONTEXTS_LIMIT = 16
# New results of a SORT that are put in one by one: beyond that all are sorted anew.
FEW = 8
# Seconds after which OLDER and YOUNGER are asked again (RFC 5032 2 leaves it to us).
PERIOD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class News:
    """Changes of results: ESEARCH lines, and with what to fetch which new messages (by position)."""

    lines: list[bytes]
    plans: dict[int, Plan]


NONE = News([], {})

# Which of some positions match, ascending; the order of those that do.
Find = Callable[["Positions"], "list[int]"]
Rank = Callable[["list[int]"], "list[int]"]


@dataclass(slots=True)
class Context:
    """One search that goes on.

    *known* are the UIDs of its result; for a SORT *order* has them in order.  *plan* is what new messages are
    fetched with (RFC 5465 7).  *star*: its UIDs end in "*", so that another message may be the last one.  *due*: when
    time alone may change the result.  *named*: the mailbox and its UIDVALIDITY, for ESEARCH (RFC 7377 2.1).  *owed*:
    messages could not be asked, so that all are to be asked again.
    """

    tag: bytes
    uid: bool
    find: Find
    rank: Rank | None
    known: set[int]
    order: list[int]
    plan: Plan
    star: bool
    due: float | None
    named: tuple[bytes, int] | None
    owed: bool = False


def demand_tag(session: Session, cmd: ast.Search | ast.Sort) -> None:
    """Raise WrongState when a search with UPDATE has the tag of one that goes on (4.3), or odd FETCH items."""
    if _asked(cmd):
        if session.view is None:
            # RFC 7377 2.2
            raise WrongState(why="UPDATE needs a selected mailbox")
        if cmd.tag in session.view.contexts:
            raise BadCombination(why="Tag reuse: a search with this tag is being updated")
        assert cmd.returning is not None
        plan_of(cmd.returning.update_items, rev2=session.rev2)


def follow(
    session: Session,
    reply: Reply,
    cmd: ast.Search | ast.Sort,
    found: Sequence[int],
    find: Callable[[search_keys.SearchKey], Find],
    rank: Rank | None = None,
    *,
    named: bool = False,
) -> None:
    """Keep the result of a search up to date from here on, if it asked for that; or say NOUPDATE.

    *found*: positions in the selected view, in the order that the client was told.  *find* makes, of a key, what
    looks for it.
    """
    if not _asked(cmd):
        return
    view = session.selected
    assert cmd.returning is not None
    if len(view.contexts) >= CONTEXTS_LIMIT:
        session.say(reply, b"NO", "Too many searches are being updated", b'NOUPDATE "%b"' % cmd.tag)
        return
    key = frozen(cmd.key, view)
    uids = view.snapshot.uids
    order = [uids[i] for i in found]
    view.contexts[cmd.tag] = Context(
        cmd.tag,
        cmd.uid or named,
        find(key),
        rank,
        set(order),
        order if rank is not None else [],
        plan_of(cmd.returning.update_items, rev2=session.rev2),
        any(
            isinstance(part, search_keys.KeyNumbers) and part.numbers.contains_star() for part in search_keys.parts(key)
        ),
        session.clock() + PERIOD_SECONDS
        if any(isinstance(part, search_keys.KeyWithin) for part in search_keys.parts(key))
        else None,
        (session.spell(view.name), view.snapshot.uidvalidity) if named else None,
    )


def refuse(session: Session, reply: Reply, cmd: ast.Search) -> None:
    """Say NOUPDATE to a search that asked for updates and did not see all messages that it is about (RFC 9738)."""
    if _asked(cmd):
        session.say(reply, b"NO", "Only a whole search is updated", b'NOUPDATE "%b"' % cmd.tag)


def _asked(cmd: ast.Search | ast.Sort) -> bool:
    return cmd.returning is not None and b"UPDATE" in cmd.returning.names


@command(b"CANCELUPDATE", states=State.SELECTED)
def cancel_update(session: Session, cmd: ast.CancelUpdate, reply: Reply) -> Done:
    """End the updates of searches (RFC 5267 4.3.5).  Of a tag that stands for no context there are none to cancel."""
    for tag in cmd.tags:
        session.selected.contexts.pop(tag, None)
    return Done("No further updates")


def frozen(key: search_keys.SearchKey, view: View) -> search_keys.SearchKey:
    """The key with its sequence numbers, and ``$``, as the UIDs that they stand for now (4.3)."""
    match key:
        case search_keys.KeyNumbers():
            if key.uid and not key.numbers.saved:
                return key
            uids = view.uids_at(view.resolve(key.numbers, uid=key.uid, strict=False))
            return search_keys.KeyNumbers(NumberSet(tuple(_ranges(uids))), uid=True)
        case search_keys.KeyNot():
            return search_keys.KeyNot(frozen(key.key, view))
        case search_keys.KeyFuzzy():
            return search_keys.KeyFuzzy(frozen(key.key, view))
        case search_keys.KeyAnd():
            return search_keys.KeyAnd(tuple([frozen(part, view) for part in key.keys]))
        case search_keys.KeyOr():
            return search_keys.KeyOr(tuple([frozen(part, view) for part in key.keys]))
        case _:
            return key


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]


# --- moving on ------------------------------------------------------------------------------------


def due(session: Session) -> bool:
    """Whether a result may have changed although nothing has happened: by time alone, or where it was not asked."""
    now = session.clock()
    return any(
        context.owed or (context.due is not None and context.due <= now)
        for context in session.selected.contexts.values()
    )


def tell_lost(session: Session, reply: Reply, old: Snapshot, told: Told) -> None:
    """Say which results are expunged, while their numbers in *old* still hold (4.3.4).

    Also those whose EXPUNGE has to wait (A.3).
    """
    view = session.selected
    lost = {*view.ghosts, *told.expunged_uids}
    for context in view.contexts.values():
        gone = context.known & lost
        if gone:
            reply.write(_line(session, context, [_remove(context, gone, old)]))


def changes(session: Session, old: Snapshot, told: Told) -> News:
    """Ask again what has changed since *old*, and say what that does to the results."""
    view = session.selected
    new = view.snapshot
    first_new = bisect_left(new.uids, old.uidnext)
    touched = {*told.flagged, *told.silent, *range(first_new, len(new))}
    renamed = told.keywords and _renamed(old, new)
    now = session.clock()
    news = News([], {})
    for context in view.contexts.values():
        late = context.due is not None and context.due <= now
        if late:
            context.due = now + PERIOD_SECONDS
        among = set(range(len(new))) if renamed or late or context.owed else set(touched)
        if context.star and len(new):
            last = new.position(old.uids[-1]) if len(old) else -1
            among |= {last, len(new) - 1} - {-1}
        asked = [i for i in sorted(among) if not view.is_ghost(new.uids[i])]
        context.owed = True
        pairs: list[tuple[bytes, bytes]] = []
        come: set[int] = set()
        with later("results of searches", session.user):
            matching = {new.uids[i] for i in context.find(asked)} if asked else set()
            gone = {new.uids[i] for i in asked} & context.known - matching
            if gone:
                pairs.append(_remove(context, gone, new))
            found = matching - context.known
            if found:
                pairs += _add(context, found, new)
            come = found
            context.owed = False
        if pairs:
            news.lines.append(_line(session, context, pairs))
        if context.plan:
            for uid in come - view.mine:
                position = new.position(uid)
                if position >= first_new:
                    news.plans[position] = news.plans.get(position, Plan()).followed_by(context.plan)
    return news


def _renamed(old: Snapshot, new: Snapshot) -> bool:
    """Whether messages that were not touched have other keywords now, for one of theirs has got another name."""
    for number, name in enumerate(new.keywords):
        before = old.keywords[number] if number < len(old.keywords) else b""
        if name != before and 1 in old.keyword_marks(number):
            return True
    return False


def _remove(context: Context, gone: Set[int], snapshot: Snapshot) -> tuple[bytes, bytes]:
    """Take *gone* out of a result; returns the data item, with numbers of *snapshot*."""
    context.known -= gone
    if context.rank is None:
        return b"REMOVEFROM", b"(0 %b)" % render_set(_numbers(context, snapshot, sorted(gone)))
    places = [k for k, uid in enumerate(context.order) if uid in gone]
    words = []
    # From the last to the first: no position shifts before it is used.
    for low, high in reversed(list(_ranges(places))):
        words.append(b"%d %b" % (low + 1, render_in_order(_numbers(context, snapshot, context.order[low : high + 1]))))
    context.order = [uid for uid in context.order if uid not in gone]
    return b"REMOVEFROM", b"(%b)" % b" ".join(words)


def _add(context: Context, come: Set[int], snapshot: Snapshot) -> list[tuple[bytes, bytes]]:
    """Put *come* into a result where its order wants them; returns the data items.  Raised: nothing is put in."""
    if context.rank is None:
        context.known |= come
        return [(b"ADDTO", b"(0 %b)" % render_set(_numbers(context, snapshot, sorted(come))))]
    before = context.order
    if len(come) <= FEW:
        order = list(before)
        for uid in sorted(come):
            order.insert(_place(context, order, uid, snapshot), uid)
        context.order = order
        context.known |= come
        return [(b"ADDTO", _added(context, come, snapshot))]
    everything = [i for i in snapshot.positions(sorted(context.known | come)) if i >= 0]
    context.order = [snapshot.uids[i] for i in context.rank(everything)]
    context.known |= come
    pairs = []
    if before != [uid for uid in context.order if uid not in come]:
        # The keys of messages have changed behind our back (sizes that were counted late): all anew.
        pairs.append((b"REMOVEFROM", b"(1 %b)" % render_in_order(_numbers(context, snapshot, before))))
        come = context.known
    pairs.append((b"ADDTO", _added(context, come, snapshot)))
    return pairs


def _place(context: Context, order: list[int], uid: int, snapshot: Snapshot) -> int:
    """Where a message belongs in the order of a SORT, by comparing it with a few that are there."""
    assert context.rank is not None
    position = snapshot.position(uid)
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        other = snapshot.position(order[middle])
        if context.rank(sorted((position, other)))[0] == other:
            low = middle + 1
        else:
            high = middle
    return low


def _added(context: Context, come: Set[int], snapshot: Snapshot) -> bytes:
    places = [k for k, uid in enumerate(context.order) if uid in come]
    words = [
        b"%d %b" % (low + 1, render_in_order(_numbers(context, snapshot, context.order[low : high + 1])))
        for low, high in _ranges(places)
    ]
    return b"(%b)" % b" ".join(words)


def _numbers(context: Context, snapshot: Snapshot, uids: Sequence[int]) -> list[int]:
    return list(uids) if context.uid else [snapshot.position(uid) + 1 for uid in uids]


def _line(session: Session, context: Context, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    name, uidvalidity = context.named or (None, None)
    return render.esearch_line(context.tag, context.uid, pairs, name=name, uidvalidity=uidvalidity, utf8=session.utf8)
