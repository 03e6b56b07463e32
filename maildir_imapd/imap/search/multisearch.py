"""ESEARCH: one search over many mailboxes (RFC 7377)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from maildir_imapd.errors import BadCombination, Goodbye, ImapdError, WrongState
from maildir_imapd.imap.mailboxes.rights import look_into, visible
from maildir_imapd.imap.news import contexts
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import results
from maildir_imapd.imap.search.finder import Finder
from maildir_imapd.imap.search.relevancy import demand_fuzzy
from maildir_imapd.imap.search.search import demand_one_charset, finder
from maildir_imapd.imap.view import View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire import commands as ast
from maildir_imapd.wire.names import in_subtree


# "UID ESEARCH" stands in an example of RFC 7377 2, though not in its grammar; UIDs it answers with anyway.
@command(
    b"ESEARCH",
    b"UID ESEARCH",
    states=LOGGED_IN,
    uses_numbers=results.searches_numbers,
    announces=[b"MULTISEARCH"],
    refused=results.refused,
)
def esearch(session: Session, cmd: ast.Search, reply: Reply) -> Done:
    """Search many mailboxes (RFC 7377 2): a response for each that has matches, and none for the others."""
    demand_one_charset(session, cmd)
    demand_fuzzy(cmd)
    names = _sources(session, cmd.sources)
    selected = session.view.name if session.view is not None else None
    returning = cmd.returning
    assert returning is not None  # the parser sees to it
    if b"SAVE" in returning.names and any(source.scope != b"SELECTED" for source in cmd.sources):
        raise BadCombination(why="SAVE goes with the selected mailbox alone")
    contexts.demand_tag(session, cmd)
    if results.uses_modseq(cmd.key):
        session.enable(b"CONDSTORE", reply)
    for name in names:
        session.progress.attend()
        if name == selected:
            with results.saving(session, returning):
                found = _search(session, session.selected, cmd, reply)
            contexts.follow(session, reply, cmd, found, partial(finder, session), named=True)
            continue
        try:
            view = _opened(session, name)
        except ImapdError as error:
            # One that cannot be opened is passed over, as one would be that we may not see.
            session.note("esearch-failed", mailbox=name, why=error.text, detail=error.detail)
            continue
        try:
            _search(session, view, cmd, reply)
        except Goodbye as error:
            # It has gone, or is numbered anew: of this one no more than if it had come later.
            session.note("esearch-failed", mailbox=name, why=error.text, detail=error.detail)
        finally:
            view.close()
    return Done("ESEARCH completed")


def _opened(session: Session, name: str) -> View:
    """Open a mailbox for a search and nothing else."""

    def look(mailbox: Mailbox, _: frozenset[str]) -> View:
        return View(mailbox, name, read_only=True, wake=lambda: None, progress=session.progress, rev2=True)

    return look_into(session, name, "r", look=look)


def _search(session: Session, view: View, cmd: ast.Search, reply: Reply) -> list[int]:
    search = Finder(view, session.clock)
    found = search.run(cmd.key)
    if found:
        results.write_for_mailbox(session, reply, cmd, found, view, search.scores(cmd, found))
    elif cmd.returning is not None and b"SAVE" in cmd.returning.names:
        session.selected.save()
    return found


def _sources(session: Session, sources: tuple[ast.SearchSource, ...]) -> list[str]:
    """The selectable mailboxes that are meant, each once; raises WrongState for "selected" without one."""
    account = session.account
    folders = [folder.name for folder in visible(session) if folder.selectable]
    known = {folder.name for folder in account.folders() if folder.selectable}
    seen = set(folders)
    found: dict[str, None] = {}

    def add(names: Iterable[str]) -> None:
        found.update(dict.fromkeys(name for name in names if name in known))

    for source in sources:
        match source.scope:
            case b"SELECTED":
                if session.view is None:
                    raise WrongState(why="No mailbox is selected")
                add([session.view.name])
            case b"PERSONAL" | b"INBOXES":
                # RFC 5465 6.3: nobody knows where a delivery agent's rules put mail.
                add(filter(account.is_personal, folders))
            case b"SUBSCRIBED":
                add(name for name in account.subscriptions() if name in seen)
            case b"SUBTREE" | b"SUBTREE-ONE":
                one = source.scope == b"SUBTREE-ONE"
                for root in map(session.lookup_name, source.mailboxes):
                    add([root] if root in seen else [])
                    add(name for name in folders if in_subtree(name, root, account.delimiter, one=one))
            case b"MAILBOXES":
                add(map(session.lookup_name, source.mailboxes))
            case _:
                raise AssertionError(source.scope)
    return list(found)
