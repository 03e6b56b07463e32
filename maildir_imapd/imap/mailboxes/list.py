"""LIST, LSUB, XLIST and NAMESPACE: which mailboxes there are.

One walk serves the plain form and RFC 5258's: every name that could be shown gets its attributes, then
the patterns choose.  Patterns and names are compared in their wire encoding, so a pattern is never
decoded and a half-encoded one matches nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from maildir_imapd import mutf7, normal
from maildir_imapd.errors import BadArgument, ImapdError, MailboxMissing, NoPermission, NotSelectable
from maildir_imapd.imap.languages import translated_prefix
from maildir_imapd.imap.mailboxes.metadata import check_entry, metadata_of
from maildir_imapd.imap.mailboxes.rights import demand, myrights_line, visible, visible_and_limited
from maildir_imapd.imap.mailboxes.status import status_line, status_line_at
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.store.branch import SpaceKind
from maildir_imapd.wire import render
from maildir_imapd.wire.names import Pattern, ancestors, encode_mailbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.account import Account, Listed
    from maildir_imapd.store.namespaces import Namespaces
    from maildir_imapd.wire.commands import List, Lsub, Namespace, Xlist


@dataclass(slots=True)
class Row:
    """One name on its way into the answer; *own*: it is listed for its own sake and not for its children's."""

    name: str
    attributes: list[bytes] = field(default_factory=list)
    selectable: bool = True
    own: bool = True
    child_info: bool = False


@dataclass(slots=True)
class _Found:
    """The spool as one LIST sees it."""

    folders: tuple[Listed, ...]
    special: dict[str, tuple[bytes, ...]]
    limited: Set[bytes]
    subscribed: frozenset[str] = frozenset()

    def same(self, other: _Found) -> bool:
        # The account gives the same objects while nothing changes: no thousand rows need be compared.
        return (
            self.folders is other.folders
            and self.special is other.special
            and self.limited == other.limited
            and self.subscribed == other.subscribed
        )


# Each line, and the mailbox if STATUS can be asked of it, with its folder if the user has all rights to it.
Lines = list[tuple[bytes, str | None, bytes | None]]
# The last answer to LIST of each account: a client that asks again, or a second one, gets it as it is.
_last: WeakKeyDictionary[Account | Namespaces, tuple[tuple[object, ...], _Found, Lines]] = WeakKeyDictionary()


@command(
    b"LIST",
    states=LOGGED_IN,
    announces=[b"CHILDREN", b"LIST-EXTENDED", b"LIST-METADATA", b"LIST-STATUS", b"SPECIAL-USE"],
)
def list_(session: Session, cmd: List, reply: Reply) -> Done:
    """List mailboxes (RFC 3501 6.3.8; options: RFC 5258, 6154; with STATUS: 5819; MYRIGHTS: 8440; METADATA: 9590)."""
    if not cmd.extended and cmd.patterns == (b"",):
        _root(session, reply, b"LIST")
        return Done("LIST completed")
    rights = b"MYRIGHTS" in cmd.return_options
    if rights and not session.policy.acl:
        raise BadArgument("a return option")
    for entry in cmd.entries:
        check_entry(entry, shortest=1)
    lines = _listing(session, cmd)
    if not cmd.status_items and not rights and not cmd.entries:
        reply.extend([line for line, *_ in lines])
        return Done("LIST completed")
    for line, selectable, path in lines:
        session.progress.attend()
        status = b""
        if selectable is not None and cmd.status_items:
            status, may_open = _status(session, selectable, path, cmd.status_items)
            if not may_open:
                line = _unselectable(line)
        reply.write(line)
        if selectable is not None and rights:
            _rights(session, reply, selectable)
        if selectable is not None and cmd.entries:
            _metadata(session, reply, selectable, cmd.entries)
        if status:
            reply.write(status)
    if cmd.status_items:
        session.account.own.standing.save()
    return Done("LIST completed")


def _listing(session: Session, cmd: List) -> Lines:
    """The lines of an answer to LIST; those given last for this account, if nothing that shows has changed."""
    account = session.account
    key = account.own if account.single else account
    folders, limited = visible_and_limited(session)
    found = _Found(folders, account.special_use(), limited)
    criteria = cmd.select_options & {b"SUBSCRIBED", b"SPECIAL-USE"}
    if b"SUBSCRIBED" in criteria or b"SUBSCRIBED" in cmd.return_options:
        found.subscribed = frozenset(_subscribed(session, found.folders))
    extended = cmd.extended or session.rev2  # which has all of RFC 5258 in it
    asked = (cmd.reference, cmd.patterns, cmd.select_options, cmd.return_options, extended, session.utf8)
    last = _last.get(key)
    if last is not None and last[0] == asked and last[1].same(found):
        return last[2]
    recursive = b"RECURSIVEMATCH" in cmd.select_options
    rows = _rows(account.delimiter, found, criteria, extended=extended, recursive=recursive)
    matching = _matching(session, rows, cmd.reference, cmd.patterns)
    if recursive:
        matching = _not_redundant(rows, list(matching), account.delimiter)
    lines: Lines = []
    free = {row.name: row.path for row in folders if row.path not in limited}
    for row in matching:
        line = render.list_line(
            b"LIST",
            row.attributes,
            account.delimiter.encode(),
            session.spell(row.name),
            child_info=sorted(criteria) if row.child_info else (),
            utf8=session.utf8,
        )
        # Of a name that is there for its children alone nothing more is said (RFC 5819 3, RFC 8440 4, RFC 9590 4).
        lines.append((line, row.name if row.selectable and row.own else None, free.get(row.name)))
    _last[key] = (asked, found, lines)
    return lines


@command(b"LSUB", states=LOGGED_IN)
def lsub(session: Session, cmd: Lsub, reply: Reply) -> Done:
    """List the subscribed names, existing or not (RFC 3501 6.3.9).

    A ``%`` that stops above a subscribed name shows the parent as \\Noselect, subscribed or not.
    """
    if not cmd.pattern:
        _root(session, reply, b"LSUB")
        return Done("LSUB completed")
    delimiter = session.account.delimiter
    rows_seen = visible(session)
    subscribed = _subscribed(session, rows_seen)
    folders = {folder.name: folder for folder in rows_seen}
    parents = {parent for name in subscribed for parent in ancestors(name, delimiter)}
    rows = []
    for name in sorted(subscribed | parents, key=lambda name: (name != "INBOX", name)):
        folder = folders.get(name)
        row = Row(name, own=name in subscribed)
        if not row.own or (folder is not None and not folder.selectable):
            row.attributes.append(b"\\Noselect")
        rows.append(row)
    chosen = list(_matching(session, rows, cmd.reference, [cmd.pattern]))
    if b"%" in cmd.pattern:
        # A parent is shown in place of children that the pattern does not reach, not beside them.
        chosen = _not_redundant(rows, chosen, delimiter)
    else:
        chosen = [row for row in chosen if row.own]
    for row in chosen:
        reply.write(
            render.list_line(b"LSUB", row.attributes, delimiter.encode(), session.spell(row.name), utf8=session.utf8)
        )
    return Done("LSUB completed")


@command(
    b"XLIST", states=LOGGED_IN, announces=lambda session: [b"XLIST"] if session.policy.xlist else [], impersonal=True
)
def xlist(session: Session, cmd: Xlist, reply: Reply) -> Done:
    """List mailboxes with their special uses, as Gmail did before SPECIAL-USE: some clients send it unasked."""
    special = session.account.special_use()
    delimiter = session.account.delimiter.encode()
    rows = [_row(folder.name, folder.selectable, folder.children) for folder in visible(session)]
    for row in _matching(session, rows, cmd.reference, [cmd.pattern]):
        row.attributes += special.get(row.name, ())
        if row.name == "INBOX":
            row.attributes.append(b"\\Inbox")
        name = session.spell(row.name)
        reply.write(render.list_line(b"XLIST", row.attributes, delimiter, name, utf8=session.utf8))
    return Done("XLIST completed")


@command(b"NAMESPACE", states=LOGGED_IN, mail=False, announces=[b"NAMESPACE"])
def namespace(session: Session, cmd: Namespace, reply: Reply) -> Done:
    """Tell the namespaces (RFC 2342): those that the user has, that others share, and public ones."""
    reply.write(namespaces(session))
    return Done("NAMESPACE completed")


def namespaces(session: Session) -> bytes:
    """Namespace-Response (RFC 2342), with the translations of RFC 5255 3.4."""
    account = session.account
    prefix, delimiter = account.prefix, account.delimiter
    said = translated_prefix(session.language, prefix, delimiter)
    translations = {} if said is None else {prefix.encode(): said}
    kinds: dict[SpaceKind, list[tuple[bytes, bytes]]] = {SpaceKind.PERSONAL: [(prefix.encode(), delimiter.encode())]}
    for space in sorted(account.spaces, key=lambda space: space.prefix):
        if space.listed != "no":
            kinds.setdefault(space.kind, []).append((session.spell(space.prefix), delimiter.encode()))
    return render.namespace_line(
        kinds[SpaceKind.PERSONAL], kinds.get(SpaceKind.OTHERS), kinds.get(SpaceKind.PUBLIC), translations=translations
    )


def _root(session: Session, reply: Reply, kind: bytes) -> None:
    """The answer to an empty pattern: the delimiter and the root's name (RFC 3501 6.3.8)."""
    reply.write(render.list_line(kind, [b"\\Noselect"], session.account.delimiter.encode(), b""))


def _row(name: str, selectable: bool, children: bool, marked: bool | None = None) -> Row:
    row = Row(name, selectable=selectable)
    if not selectable:
        row.attributes.append(b"\\Noselect")
    elif marked:
        # Never \\Unmarked: what STATUS or APPEND put into cur/ is news to whoever selects next.
        row.attributes.append(b"\\Marked")
    row.attributes.append(b"\\HasChildren" if children else b"\\HasNoChildren")
    return row


def _rows(delimiter: str, found: _Found, criteria: frozenset[bytes], *, extended: bool, recursive: bool) -> list[Row]:
    """Every name that meets *criteria* (all there are, without any), and with *recursive* their parents."""
    folders = {folder.name: folder for folder in found.folders}
    special, subscribed = found.special, found.subscribed
    chosen: Set[str] = subscribed if b"SUBSCRIBED" in criteria else set(folders)
    if b"SPECIAL-USE" in criteria:
        chosen = chosen & set(special)
    parents: set[str] = set()
    if recursive:
        parents = {parent for name in chosen for parent in ancestors(name, delimiter)}
    rows = []
    for name in sorted({*chosen, *parents}, key=lambda name: (name != "INBOX", name)):
        row = _described(name, folders.get(name), extended=extended)
        if name in subscribed:
            row.attributes.append(b"\\Subscribed")
        row.attributes += special.get(name, ())
        row.child_info = name in parents
        row.own = name in chosen
        rows.append(row)
    return rows


def attributes(session: Session, names: Iterable[str]) -> dict[str, list[bytes]]:
    """Return the attributes of names in an unasked LIST, also of those that nobody has any more (RFC 5465 5.4, 5.5)."""
    account = session.account
    names = list(names)
    if not names:
        return {}
    rows = visible(session)
    folders = {folder.name: folder for folder in rows}
    subscribed, special = _subscribed(session, rows), account.special_use()
    found = {}
    for name in names:
        row = _described(name, folders.get(name), extended=True)
        if name in subscribed:
            row.attributes.append(b"\\Subscribed")
        found[name] = [*row.attributes, *(special.get(name, ()) if row.selectable else ())]
    return found


def opened_line(session: Session, name: str, raw: bytes) -> bytes:
    """The LIST response for a mailbox that was named as *raw*, with every attribute (RFC 9051 6.3.2).

    One may be allowed to open what LIST does not show him.
    """
    found = attributes(session, [name])[name]
    return _renamed_line(session, name, () if b"\\NonExistent" in found else found, _otherwise(session, name, raw))


def tell_normalized(session: Session, reply: Reply, name: str, raw: bytes, old: bytes | None = None) -> None:
    """Say what a mailbox is called that was named as *raw*, if that is not its name (RFC 9051 6.3.9.7).

    *old* is how the client spelled what was renamed to it.
    """
    if (spelled := _otherwise(session, name, raw)) is not None:
        reply.write(_renamed_line(session, name, attributes(session, [name])[name], old or spelled))


def _otherwise(session: Session, name: str, raw: bytes) -> bytes | None:
    """*raw*, when it is not in the normal form that *name* is in."""
    if not session.rev2 or raw.isascii():
        return None
    return raw if raw.removesuffix(session.account.delimiter.encode()) != session.spell(name) else None


def _renamed_line(session: Session, name: str, words: Iterable[bytes], old: bytes | None) -> bytes:
    delimiter = session.account.delimiter.encode()
    return render.list_line(b"LIST", words, delimiter, session.spell(name), old_name=old, utf8=session.utf8)


def _described(name: str, folder: Listed | None, *, extended: bool) -> Row:
    """A name with what there is behind it; an extended answer says more (RFC 5258 3)."""
    if folder is None:
        return Row(name, [b"\\NonExistent", b"\\HasNoChildren"], selectable=False)
    row = _row(name, folder.selectable, folder.children, folder.marked)
    if extended and not folder.selectable:
        # \NonExistent says more than \Noselect, and implies it.
        row.attributes.insert(0, b"\\NonExistent")
    return row


def _not_redundant(rows: list[Row], matching: list[Row], delimiter: str) -> list[Row]:
    """Leave out names that are there for their children alone, all of which are listed (RFC 5258 3.5)."""
    shown = {row.name for row in matching if row.own}
    hidden = (row.name for row in rows if row.own and row.name not in shown)
    hiding = {parent for name in hidden for parent in ancestors(name, delimiter)}
    return [row for row in matching if row.own or row.name in hiding]


def _matching(session: Session, rows: Iterable[Row], reference: bytes, patterns: Sequence[bytes]) -> Iterable[Row]:
    """The rows that one of the patterns matches, in order, each once."""
    delimiter = session.account.delimiter
    whole = [reference + pattern for pattern in patterns]
    whole += _normalized(whole, utf8=session.utf8)
    compiled = [Pattern(pattern.decode("latin-1"), delimiter) for pattern in whole]
    for row in rows:
        name = encode_mailbox(row.name, utf8=session.utf8).decode("latin-1")
        if any(pattern.matches(name) for pattern in compiled):
            yield row


def _normalized(patterns: Iterable[bytes], *, utf8: bool) -> list[bytes]:
    """Return the patterns in Normalization Form C, if they are something else."""
    found = []
    for pattern in patterns:
        if utf8:
            text = pattern.decode("utf-8", "surrogateescape")
            composed = normal.composed(text).encode("utf-8", "surrogateescape")
        else:
            try:
                composed = mutf7.encode(normal.composed(mutf7.decode(pattern)))
            except ValueError:
                continue  # a pattern that is no name matches what it is alone
        if composed != pattern:
            found.append(composed)
    return found


def _subscribed(session: Session, seen: Sequence[Listed]) -> set[str]:
    """The subscribed names, without mailboxes that the user may not see (RFC 4314 4, LSUB)."""
    names = set(session.account.subscriptions())
    every = session.account.folders()
    if every is not seen:
        known = {folder.name for folder in seen if folder.selectable}
        names -= {folder.name for folder in every if folder.selectable} - known
    return names


def _rights(session: Session, reply: Reply, name: str) -> None:
    """MYRIGHTS of one mailbox; left out where it cannot be had (RFC 8440 3)."""
    try:
        reply.write(myrights_line(session, name, demand(session, name)))
    except ImapdError as error:
        session.note("list-myrights-failed", mailbox=name, why=error.text, detail=error.detail)


def _metadata(session: Session, reply: Reply, name: str, entries: Sequence[bytes]) -> None:
    """METADATA of one mailbox; left out where it cannot be had (RFC 9590 3)."""
    try:
        reply.write(metadata_of(session, name, entries))
    except (NoPermission, MailboxMissing):
        return
    except ImapdError as error:
        session.note("list-metadata-failed", mailbox=name, why=error.text, detail=error.detail)


def _status(session: Session, name: str, path: bytes | None, items: Sequence[bytes]) -> tuple[bytes, bool]:
    """The STATUS response, empty if it cannot be had: LIST itself must still succeed (RFC 5819 2).

    And whether the mailbox can be opened, as far as rights and existence go.  *path*: its folder, if rights need not be
    looked up.
    """
    try:
        if path is not None:
            with suppress(MailboxMissing):
                return status_line_at(session, name, path, items), True
        return status_line(session, name, items), True
    except (NoPermission, NotSelectable, MailboxMissing):
        return b"", False
    except ImapdError as error:
        session.note("list-status-failed", mailbox=name, why=error.text, detail=error.detail)
        return b"", True


def _unselectable(line: bytes) -> bytes:
    """A LIST response with \\Noselect added; it has \\HasChildren or \\HasNoChildren, so there are others."""
    return line.replace(b"(", b"(\\Noselect ", 1)
