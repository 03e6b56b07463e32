"""NOTIFY (RFC 5465)."""

from __future__ import annotations

from maildir_imapd.wire.commands import FetchItem, Notify, NotifyEvent, NotifyGroup
from maildir_imapd.wire.cursor import Cursor
from maildir_imapd.wire.parse_fetch import parse_items
from maildir_imapd.wire.parse_search import parse_mailbox_filter

# event = message-event / mailbox-event / user-event, as RFC 5465 section 8 spells them
EVENTS = {
    name.upper(): name
    for name in (
        b"MessageNew MessageExpunge FlagChange AnnotationChange MailboxName SubscriptionChange "
        b"MailboxMetadataChange ServerMetadataChange"
    ).split()
}
_SELECTED = frozenset([b"SELECTED", b"SELECTED-DELAYED"])


def parse_notify(at: Cursor, tag: bytes, _uid: bool) -> Notify:
    """notify = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-groups / "NONE")"""
    at.space()
    if at.one_of(frozenset([b"SET", b"NONE"]), '"SET" or "NONE"') == b"NONE":
        at.end()
        return Notify(tag, None)
    at.space()
    status = False
    if not at.at(b"("):
        at.one_of(frozenset([b"STATUS"]), '"STATUS" or "("')
        status = True
        at.space()
    groups = [_group(at)]
    while not at.at_end():
        at.space()
        start = at.pos
        groups.append(_group(at))
        if groups[-1].scope in _SELECTED and any(group.scope in _SELECTED for group in groups[:-1]):
            # filter-mailboxes-selected: only one of them can be specified
            at.fail("one group for the selected mailbox", start)
    return Notify(tag, tuple(groups), status)


def _group(at: Cursor) -> NotifyGroup:
    """event-group = "(" filter-mailboxes SP events ")" """
    at.open()
    start = at.pos
    source = parse_mailbox_filter(at)
    at.space()
    events: tuple[NotifyEvent, ...] = ()
    if at.at(b"("):
        start = at.pos
        events = _events(at, source.scope in _SELECTED)
    else:
        at.one_of(frozenset([b"NONE"]), '"(" or "NONE"')
    at.close()
    names = {event.name for event in events}
    messages = names & {b"MessageNew", b"MessageExpunge"}
    # RFC 5465 section 5
    if len(messages) == 1 or (not messages and names & {b"FlagChange", b"AnnotationChange"}):
        at.fail("MessageNew and MessageExpunge together", start)
    return NotifyGroup(source.scope, source.mailboxes, events)


def _events(at: Cursor, selected: bool) -> tuple[NotifyEvent, ...]:
    """ "(" event *(SP event) ")"; an event that is not known is kept, for [BADEVENT]"""
    at.open()
    events = []
    while True:
        start = at.pos
        word = at.atom()
        name = EVENTS.get(word.upper(), word)
        items: tuple[FetchItem, ...] = ()
        if name == b"MessageNew" and at.at_list():
            if not selected:
                at.fail("FETCH items only for the selected mailbox", start)
            at.space()
            items = parse_items(at)
        events.append(NotifyEvent(name, items))
        if not at.more():
            return tuple(events)
