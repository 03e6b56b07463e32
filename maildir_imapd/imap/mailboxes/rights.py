"""Access rights (RFC 4314): the commands, and the one door that every other command passes to a mailbox.

Who lacks the right to do something, and the right to see the mailbox, hears that there is none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from passlib.utils import saslprep

from maildir_imapd.errors import (
    BadArgument,
    CannotDo,
    LimitReached,
    MailboxMissing,
    NoPermission,
    NotSelectable,
    StoreError,
    UnknownCommand,
)
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.branch import flag_mask as flag_mask
from maildir_imapd.store.records.acl import ALL, NO_FILE, NONE, OWNER, VIRTUAL, Kind, Who, in_order, modification
from maildir_imapd.store.standing import stamp_of
from maildir_imapd.wire import render
from maildir_imapd.wire.names import ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Set

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Reader, Session
    from maildir_imapd.store.account import Listed
    from maildir_imapd.store.branch import Branch, Located
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.names import Known
    from maildir_imapd.store.records.acl import Acl
    from maildir_imapd.wire.commands import DeleteAcl, GetAcl, ListRights, MyRights, SetAcl

T = TypeVar("T")

NOWHERE: Final[Set[bytes]] = frozenset()

# What SELECT must have one of to be READ-WRITE (RFC 4314 5.2); "s" is there where \\Seen is the reader's own.
WRITING: Final = frozenset("iewst")
# What MOVE and REPLACE need in the mailbox that they take from (RFC 6851 4.2, RFC 8508 4.1).
REMOVING: Final = frozenset("te")
# MYRIGHTS needs one of these (RFC 4314 4).
ANY: Final = frozenset("lrikxa")
# The owner cannot take them from himself, or he could never undo it.
KEPT: Final = frozenset("la")
# Of an identifier, in octets, and of entries in one file: no user needs more, and the file is read at every SELECT.
NAME_LIMIT_CHARACTERS: Final = 255
IDENTIFIERS_LIMIT: Final = 1000
# Identifiers that mean every user.
EVERYBODY: Final = ("anyone", "anonymous", "authenticated")
# Before identifiers whose rights are the administrator's to change, as in Dovecot.
GENERAL: Final = "#"


# --- the door -------------------------------------------------------------------------------------


def rights_of(session: Reader, name: str) -> frozenset[str] | None:
    """Return the rights of the user to a mailbox; None for what is no mailbox.  Raises StoreError."""
    if not session.policy.acl and session.account.single:
        return ALL
    place = session.account.locate(name)
    acl = None if place is None else place.branch.account.acls.read(place.name)
    return None if place is None or acl is None else _rights(session, place.branch, acl)


def _rights(session: Reader, branch: Branch, acl: Acl) -> frozenset[str]:
    """Return the rights of the user to a mailbox of *branch* that has this list."""
    return branch.rights(acl, session.user or "", session.groups, lists=session.policy.acl)


def demand(session: Reader, name: str, *needed: str) -> frozenset[str]:
    """Return the user's rights to a mailbox if all of *needed* are among them.

    Raises NoPermission; MailboxMissing, also for one that he may not see; NotSelectable, StoreError.
    """
    if not session.policy.acl and session.account.single:
        return ALL
    branch, inner = session.account.demanded(name)
    return _demand(session, branch, _folder_of(session, name, branch, inner), needed)


def _folder_of(session: Reader, name: str, branch: Branch, inner: str) -> bytes:
    """As ``Account.folder_of``: of somebody else's names none is there that the user may see nothing below."""
    try:
        return branch.account.folder_of(inner)
    except NotSelectable:
        if not branch.own and not is_parent(session, name):
            raise MailboxMissing from None
        raise


def _demand(session: Reader, branch: Branch, path: bytes, needed: Collection[str]) -> frozenset[str]:
    if not session.policy.acl and branch.own:
        rights = branch.most
    else:
        rights = _rights(session, branch, branch.account.acls.at(path))
    if not rights.issuperset(needed):
        raise NoPermission if "l" in rights else MailboxMissing
    return rights


def open_mailbox(session: Reader, name: str, *needed: str) -> Mailbox:
    """Open a mailbox to do something that takes the rights *needed*; raises as ``demand`` and Account.mailbox do."""
    return open_with_rights(session, name, *needed)[0]


def open_with_rights(session: Reader, name: str, *needed: str) -> tuple[Mailbox, frozenset[str]]:
    """The same, with all of the user's rights to it."""
    branch, inner = session.account.demanded(name)
    account = branch.account
    found = account.ways.unmoved(inner) if branch.free else None
    if found is not None:
        return found[0], ALL
    path = _folder_of(session, name, branch, inner)
    rights = _demand(session, branch, path, needed)
    mailbox = branch.mailbox_at(path, session.progress.during)
    if branch.free:
        account.ways.note(inner, path, mailbox)
    return mailbox, rights


def look_into(session: Session, name: str, *needed: str, look: Callable[[Mailbox, frozenset[str]], T]) -> T:
    """Open a mailbox and return what *look* makes of it and of the user's rights; raises as ``open_mailbox`` does.

    It must be harmless to look twice: the folder that was open may be gone, and another one in its place.
    """
    try:
        return look(*open_with_rights(session, name, *needed))
    except MailboxMissing:
        return look(*open_with_rights(session, name, *needed))


def rights_in(session: Session, name: str, mailbox: Mailbox) -> frozenset[str]:
    """Return the rights of the user to an open mailbox of that name."""
    branch, _ = session.account.demanded(name)
    if branch.free and not session.policy.acl:
        return ALL
    return _rights(session, branch, branch.account.acls.at(mailbox.lies_at))


def demand_new(session: Session, name: str) -> None:
    """Raise NoPermission where the user may not make a mailbox: "k" on the nearest parent there is."""
    place = session.account.locate(name)
    branch = None if place is None else place.branch
    for parent in ancestors(name, session.account.delimiter):
        above = session.account.locate(parent)
        if above is None or above.branch is not branch:
            break
        rights = rights_of(session, parent)
        if rights is not None:
            if "k" not in rights:
                raise NoPermission
            return
    # Beside what there is, and below nothing.
    if branch is not None and "k" not in (branch.most if branch.own else _rights(session, branch, NO_FILE)):
        raise NoPermission


def named_now(session: Session, name: str, *needed: str) -> tuple[Mailbox, Snapshot]:
    """Open a mailbox as ``look_into``, with what is in it now."""
    branch, inner = session.account.demanded(name)
    found = branch.account.ways.unmoved(inner) if branch.free else None
    if found is None:
        return look_into(session, name, *needed, look=lambda box, _: (box, box.sync(keep_new=True)))
    return found


def seen_now(session: Session, path: bytes) -> tuple[Mailbox, Snapshot]:
    """Open the mailbox whose folder is at *path*, to which ``visible_and_limited`` has just said that all may be done.

    With what is in it now. Raises as ``Account.mailbox_at``.
    """
    own = session.account.own
    found = own.ways.unmoved_at(path)
    if found is None:
        before = stamp_of(path)
        mailbox = own.mailbox_at(path, session.progress.during)
        snapshot = mailbox.sync(keep_new=True)
        own.standing.note(path, before, mailbox, snapshot)
        return mailbox, snapshot
    return found


def visible(session: Reader) -> tuple[Listed, ...]:
    """The rows of LIST that the user may see: the account's own object where he may see all.

    What is hidden is not there at all, or as a name that others are below.
    """
    return visible_and_limited(session)[0]


def visible_and_limited(session: Reader) -> tuple[tuple[Listed, ...], Set[bytes]]:
    """The same, with the folders to which the user may not have all rights: those with a list, and not his own."""
    account = session.account
    folders, limited = _visible_own(session)
    if account.single:
        return folders, limited
    limited = set(limited)
    lists = [folders]
    for branch, rows in account.others():
        limited.update(row.path for row in rows if row.path is not None)
        hidden = [row.name for row in rows if row.path is not None and not _seen(session, branch, row.path)]
        lists.append(account.without(branch, rows, frozenset(hidden)))
    return account.joined(lists), limited


def _visible_own(session: Reader) -> tuple[tuple[Listed, ...], Set[bytes]]:
    """The same, of the user's own account alone."""
    account = session.account
    folders = account.own_rows()
    if not session.policy.acl:
        return folders, NOWHERE
    limited = account.own.listing.limited(folders)
    if not limited:
        return folders, limited
    hidden = {
        row.name
        for row in folders
        if row.path is not None and row.path in limited and not _seen(session, account.branch, row.path)
    }
    return (_without(session, folders, hidden) if hidden else folders), limited


def _without(session: Reader, folders: tuple[Listed, ...], hidden: set[str]) -> tuple[Listed, ...]:
    names = [folder.name for folder in folders if folder.selectable and folder.name not in hidden]
    parents = {parent for name in names for parent in ancestors(name, session.account.delimiter)}
    rows = []
    for folder in folders:
        children = folder.name in parents
        if folder.name in hidden:
            # RFC 4314 4: as if it did not exist, whatever is below it.
            if children:
                rows.append(replace(folder, path=None, selectable=False, children=True, marked=None))
        elif folder.selectable or children or not folder.children:
            rows.append(replace(folder, children=children))
    return tuple(rows)


def _seen(session: Reader, branch: Branch, path: bytes) -> bool:
    try:
        return "l" in _rights(session, branch, branch.account.acls.at(path))
    except StoreError as error:
        # LIST itself must succeed (RFC 4314 4).
        session.note("acl-unreadable", why=error.text, detail=error.detail)
        return False


def known_to(session: Session, known: Known) -> Known:
    """Leave of *known* the mailboxes and subscriptions that the user may see: the same object where that is all."""
    if not known.rights or (session.account.single and not session.policy.acl):
        return known
    hidden = {name for name in known.rights if not _named(session, name)}
    if not hidden:
        return known
    mailboxes = {name: key for name, key in known.mailboxes.items() if name not in hidden}
    return replace(known, mailboxes=mailboxes, subscribed=known.subscribed - hidden)


def _named(session: Session, name: str) -> bool:
    try:
        rights = rights_of(session, name)
    except StoreError as error:
        session.note("acl-unreadable", why=error.text, detail=error.detail)
        return False
    # One that has gone since is not there either, and nobody knows whether it was hidden.
    return rights is not None and "l" in rights


def is_parent(session: Reader, name: str) -> bool:
    """Whether a name that is no mailbox is there for others, of which the user may see one."""
    place = session.account.locate(name)
    if place is not None and place.branch.own:
        return place.branch.account.exists(place.name)
    return any(row.name == name for row in visible(session))


def demand_parent(session: Session, name: str) -> None:
    """Raise MailboxMissing where a name that is no mailbox is there for nobody the user may see, else NoPermission."""
    raise NoPermission if is_parent(session, name) else MailboxMissing


def name_there(session: Session, name: str) -> str:
    """Return what a mailbox is called in the account that it is in, "" for what can be none."""
    place = session.account.locate(name)
    return "" if place is None or place.branch.account is not session.account.own else place.name


def is_own(session: Session, name: str) -> bool:
    """Whether a name belongs to the user's own account, for which alone special uses are kept."""
    place = session.account.locate(name)
    return place is not None and place.branch.account is session.account.own


def settable(rights: frozenset[str], flags: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those of *flags* that may be set and taken (RFC 4314 4, STORE)."""
    needs = {b"\\seen": "s", b"\\deleted": "t"}
    return tuple([flag for flag in flags if needs.get(flag.lower(), "w") in rights])


# --- the commands ---------------------------------------------------------------------------------


def _announced(session: Session) -> list[bytes]:
    return [b"ACL", b"RIGHTS=texk", b"LIST-MYRIGHTS"] if session.policy.acl else []


@command(b"GETACL", states=LOGGED_IN, announces=_announced, impersonal=True)
def getacl(session: Session, cmd: GetAcl, reply: Reply) -> Done:
    """List who has which rights (RFC 4314 3.3).  The owner comes first, also where the file does not speak of him."""
    name, place = _mailbox(session, cmd.mailbox, "a")
    acl, owner = _acl(place), place.branch.owner
    pairs: list[tuple[bytes, bytes]] = []
    if owner:
        own = _own(owner, acl)
        given = acl.of(own, negative=False)
        pairs.append((_spelled(owner, own, negative=False), _shown(ALL if given is None else given)))
    for entry in acl.entries:
        pair = (_spelled(owner, entry.who, negative=entry.negative), _shown(entry.rights))
        if entry.negative or not pairs or pair[0] != pairs[0][0]:
            pairs.append(pair)
    for entry in acl.general:
        said = ("-" if entry.negative else "") + GENERAL
        pairs.append((said.encode() + _spelled(owner, entry.who, negative=False), _shown(entry.rights)))
    reply.write(render.acl_line(session.spell(name), pairs, utf8=session.utf8))
    return Done("GETACL completed")


@command(b"SETACL", states=LOGGED_IN, changes=True)
def setacl(session: Session, cmd: SetAcl, reply: Reply) -> Done:
    """Give an identifier rights, or more, or fewer (RFC 4314 3.1)."""
    if len(cmd.identifier) > NAME_LIMIT_CHARACTERS:
        raise LimitReached(why=Phrase("An identifier may have {limit} octets", limit=NAME_LIMIT_CHARACTERS))
    identifier, negative = _identifier(cmd.identifier)
    mode, asked = modification(cmd.rights)
    name, place = _mailbox(session, cmd.mailbox, "a")
    owner = place.branch.owner
    _demand_own(place, identifier)
    if identifier in EVERYBODY and mode != "-" and asked and not negative and not session.policy.acl_anyone:
        raise NoPermission("Rights are given to users and groups here, not to all at once")

    def work(acl: Acl) -> Acl:
        who = _who(owner, acl, identifier)
        mine = bool(owner) and who == _own(owner, acl)
        before = acl.of(who, negative=negative)
        if before is None:
            if len(acl.entries) >= IDENTIFIERS_LIMIT:
                raise LimitReached(
                    why=Phrase("A mailbox may have {limit} identifiers with rights", limit=IDENTIFIERS_LIMIT)
                )
            before = ALL if mine and not negative else NONE
        after = before | asked if mode == "+" else before - asked if mode == "-" else asked
        if mine:
            after = after - KEPT if negative else after | KEPT
        return _not_locked_out(session, place.branch, acl, acl.put(who, after, negative=negative))

    place.branch.account.acls.change(place.name, work)
    session.note("setacl", mailbox=name, identifier=identifier, rights=cmd.rights.decode("ascii", "replace"))
    return Done("SETACL completed")


@command(b"DELETEACL", states=LOGGED_IN, changes=True)
def deleteacl(session: Session, cmd: DeleteAcl, reply: Reply) -> Done:
    """Take an identifier off the list (RFC 4314 3.2): one that is not there is no error."""
    identifier, negative = _identifier(cmd.identifier)
    name, place = _mailbox(session, cmd.mailbox, "a")
    _demand_own(place, identifier)

    def work(acl: Acl) -> Acl:
        without = acl.put(_who(place.branch.owner, acl, identifier), None, negative=negative)
        return _not_locked_out(session, place.branch, acl, without)

    place.branch.account.acls.change(place.name, work)
    session.note("deleteacl", mailbox=name, identifier=identifier)
    return Done("DELETEACL completed")


@command(b"LISTRIGHTS", states=LOGGED_IN)
def listrights(session: Session, cmd: ListRights, reply: Reply) -> Done:
    """Say which rights can be given (RFC 4314 3.4): any by itself, but for those that the owner keeps."""
    identifier, negative = _identifier(cmd.identifier)
    name, place = _mailbox(session, cmd.mailbox, "a")
    acl, owner = _acl(place), place.branch.owner
    mine = bool(owner) and _who(owner, acl, identifier) == _own(owner, acl)
    always = KEPT if mine and not negative else NONE
    optional = list(in_order(ALL - KEPT if mine else ALL) + "cd")
    rights = [in_order(always).encode(), *[right.encode() for right in optional]]
    reply.write(render.listrights_line(session.spell(name), cmd.identifier, rights, utf8=session.utf8))
    return Done("LISTRIGHTS completed")


@command(b"MYRIGHTS", states=LOGGED_IN)
def myrights(session: Session, cmd: MyRights, reply: Reply) -> Done:
    """Say which rights the user has himself (RFC 4314 3.5)."""
    name, _ = _mailbox(session, cmd.mailbox)
    reply.write(myrights_line(session, name, demand(session, name)))
    return Done("MYRIGHTS completed")


def myrights_line(session: Session, name: str, rights: frozenset[str]) -> bytes:
    """Render the MYRIGHTS response; raises MailboxMissing where there is no right to hear of it."""
    if not rights & ANY:
        raise MailboxMissing
    return render.myrights_line(session.spell(name), _shown(rights), utf8=session.utf8)


def _mailbox(session: Session, raw: bytes, *needed: str) -> tuple[str, Located]:
    """Return the name that is meant, and where it leads, to a mailbox to which the user has these rights."""
    if not session.policy.acl:
        raise UnknownCommand
    name = session.lookup_name(raw)
    demand(session, name, *needed)
    return name, session.account.demanded(name)


def _acl(place: Located) -> Acl:
    acl = place.branch.account.acls.read(place.name)
    if acl is None:
        raise MailboxMissing
    return acl


def _shown(rights: frozenset[str]) -> bytes:
    """Rights as a client reads them, with those of RFC 2086 (RFC 4314 2.1.1)."""
    virtual = [letter for letter, members in VIRTUAL.items() if rights & members]
    return (in_order(rights) + "".join(virtual)).encode()


def _identifier(raw: bytes) -> tuple[str, bool]:
    """Prepare an identifier (RFC 4314 3), and say whether its rights are negative; raises BadArgument."""
    try:
        text = saslprep(raw.decode("utf-8"))
    except ValueError:
        raise BadArgument("an identifier in UTF-8") from None
    name = text.removeprefix("-")
    if not name:
        raise BadArgument("an identifier")
    return name, text.startswith("-")


def _demand_own(place: Located, identifier: str) -> None:
    """Raise NoPermission for an entry that is the administrator's, as GETACL shows it."""
    if identifier.startswith(GENERAL) and place.branch.account.acls.rules.general is not None:
        raise NoPermission


def _own(owner: str, acl: Acl) -> Who:
    """Under what the file has the rights of the owner: his name if it stands there, for that one counts."""
    user = Who(Kind.USER, owner)
    return user if acl.of(user, negative=False) is not None else OWNER


def _who(owner: str, acl: Acl, identifier: str) -> Who:
    """Read an identifier of a client as the file has it: groups begin with "$" as in Dovecot.

    *owner* is empty where the mailbox is nobody's.
    """
    if identifier == "owner" or (owner and identifier == owner):
        return _own(owner, acl)
    if identifier in ("anyone", "anonymous"):
        return Who(Kind.ANYONE)
    if identifier == "authenticated":
        return Who(Kind.AUTHENTICATED)
    if identifier.startswith("!$") and len(identifier) > 2:
        return Who(Kind.GROUP_OVERRIDE, identifier[2:])
    if identifier.startswith("$") and len(identifier) > 1:
        return Who(Kind.GROUP, identifier[1:])
    return Who(Kind.USER, identifier)


def _spelled(owner: str, who: Who, *, negative: bool) -> bytes:
    match who.kind:
        case Kind.OWNER:
            name = owner or "owner"
        case Kind.GROUP:
            name = "$" + who.name
        case Kind.GROUP_OVERRIDE:
            name = "!$" + who.name
        case Kind.USER:
            name = who.name
        case _:
            name = who.kind.name.lower()
    return ("-" * negative + name).encode()


def _not_locked_out(session: Session, branch: Branch, before: Acl, after: Acl) -> Acl:
    """Raise CannotDo for a change by which somebody would take from himself what he needs to undo it."""
    if _rights(session, branch, before) & KEPT - _rights(session, branch, after):
        raise CannotDo(why="You would lock yourself out")
    return after
