"""SEARCH and UID SEARCH: what a client asks, and how that is answered; finder.py looks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from maildir_imapd.errors import BadArgument
from maildir_imapd.imap.news import contexts
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit, marks, relevancy, results
from maildir_imapd.imap.search.finder import Finder
from maildir_imapd.imap.session import State
from maildir_imapd.wire import commands as ast
from maildir_imapd.wire import render, search_keys

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session

ANNOUNCES = (b"ESEARCH", b"SEARCHRES", b"WITHIN", b"SEARCH=FUZZY", b"PARTIAL", b"CONTEXT=SEARCH")


@command(b"SEARCH", states=State.SELECTED, uses_numbers=True, announces=ANNOUNCES, refused=results.refused)
@command(b"UID SEARCH", states=State.SELECTED, uses_numbers=results.searches_numbers, refused=results.refused)
def search(session: Session, cmd: ast.Search, reply: Reply) -> Done:
    """Search the open mailbox (RFC 3501 6.4.4; with RETURN: RFC 4731, 5182 and 5267)."""
    contexts.demand_tag(session, cmd)
    demand_one_charset(session, cmd)
    relevancy.demand_fuzzy(cmd)
    if results.uses_modseq(cmd.key):
        session.enable(b"CONDSTORE", reply)
    with results.saving(session, cmd.returning):
        search = Finder(session.selected, session.clock)
        among, beyond = limit.searched(session, search, cmd.key)
        if cmd.returning is None and not session.rev2 and among is None:
            # Nothing but the numbers is wanted, nor kept.
            marked = marks.marks_of(search.view, cmd.key)
            if marked is not None:
                reply.write(render.search_words_line(marks.words(search.view, marked, uid=cmd.uid)))
                return Done("SEARCH completed")
        found = search.run(cmd.key, among)
        results.write(session, reply, cmd, found, search.scores(cmd, found))
    if beyond is None:
        contexts.follow(session, reply, cmd, found, partial(finder, session))
    else:
        contexts.refuse(session, reply, cmd)
    return limit.told(session, reply, Done("SEARCH completed"), beyond)


def finder(session: Session, key: search_keys.SearchKey) -> contexts.Find:
    """Return a function that looks for *key* in the selected view, whenever it is called."""
    search = Finder(session.selected, session.clock)
    return lambda among: search.run(key, among)


def demand_one_charset(session: Session, cmd: ast.Search) -> None:
    """Raise BadArgument where a client that has enabled UTF-8 names another charset (RFC 6855 3)."""
    if cmd.charset is not None and b"UTF8=ACCEPT" in session.enabled:
        raise BadArgument("no CHARSET after ENABLE UTF8=ACCEPT")
