"""Shared mail is examined: whether the list of shares is right, and whether the kernel lets others in."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.names import valid_user
from maildir_imapd.errors import ImapdError, StoreError
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.doctoring import Trouble
from maildir_imapd.store.records.acl import Kind, shown_to, spelled
from maildir_imapd.store.records.shares import ShareList, listed_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.config import Config
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.records.acl import Acl, Who

# With one of these rights files are made, renamed or removed.
_WRITING: Final = frozenset("iwstekx")
_COMING_IN: Final = frozenset("lr")
_NAMED: Final = 5
_READ, _WRITE, _PASS = 4, 2, 1


class ShareDoctor:
    """One command's, for all users that it is about."""

    def __init__(self, config: Config) -> None:
        self._own = owners.own() if owners.supported() else None
        acting = partial(owners.acting_as, self._own)
        mail = settings.mail(config)
        path = mail.sharing.shared_list
        self._list = None if path is None else ShareList(os.fsencode(path), acting)
        self._config = config
        self._accounts = Accounts(mail, None)
        self._chain: Chain | None = None
        self._everybody: list[Identity] | None = None
        self._owners: dict[str, Owner | None] = {}
        self._said = False

    def examine(self, user: str, account: Account) -> Iterator[Trouble]:
        """Yield what is wrong with what *user* shares; the thread acts as his owner, and nothing is changed."""
        if not self._accounts.mail.sharing.rights:
            return
        to, whole = account.acls.shown()
        shown = [(name, path, acl) for name, path, acl in self._lists(account) if shown_to([acl])]
        with owners.acting_as(self._own):
            if self._list is not None:
                yield from self._listed(self._list, user, to, whole=whole)
            if shown:
                yield from self._closed(user, account.root, shown)

    @staticmethod
    def _lists(account: Account) -> Iterator[tuple[str, bytes, Acl]]:
        for row in account.folders():
            if row.path is None:
                continue
            try:
                yield row.name, row.path, account.acls.at(row.path)
            except StoreError:
                continue  # that is another finding

    # --- the list -----------------------------------------------------------------------------------

    def _listed(self, shares: ShareList, user: str, to: frozenset[Who], *, whole: bool) -> Iterator[Trouble]:
        if not self._said:
            self._said = True
            yield from _open_to_others(shares.path)
        there, wanted = shares.of(user), listed_as(to, user)
        missing, more = wanted - there, there - wanted if whole else frozenset()
        if missing or more:
            words = [f"{what}: {_names(found)}" for what, found in (("missing", missing), ("too many", more)) if found]
            plan = "write what the access rights say"
            mend = partial(shares.put, user, wanted if whole else wanted | there)
            yield Trouble("shares", "", f"the list of shares, {'; '.join(words)}", plan, len(missing | more), mend)

    # --- the kernel ---------------------------------------------------------------------------------

    def _closed(self, user: str, root: bytes, shown: list[tuple[str, bytes, Acl]]) -> Iterator[Trouble]:
        """Find mailboxes that are shared with users who act as another system user, who may not come in."""
        owner = os.stat(root).st_uid
        for name, path, acl in shown:
            closed: dict[str, list[str]] = {}
            for reader in self._readers(acl, user):
                who = self._acts_as(reader)
                if who is None or who.uid in (owner, 0):
                    continue
                rights = acl.rights(reader.user, reader.groups, owner=False)
                if not rights & _COMING_IN:
                    continue
                why = obstacle(path, who, writing=bool(rights & _WRITING)) or refused(root, who) or refused(path, who)
                if why is not None:
                    closed.setdefault(why, []).append(f"{reader.user} ({who.uid})")
            for why, readers in closed.items():
                more = f" and {len(readers) - _NAMED} more" if len(readers) > _NAMED else ""
                words = f"shared with {', '.join(readers[:_NAMED])}{more}: {why}"
                yield Trouble("shared-closed", name, words, count=len(readers))

    def _readers(self, acl: Acl, user: str) -> Iterator[Identity]:
        """Yield the users whom a list shows the mailbox, each once; of groups those whom the back ends list."""
        found: dict[str, Identity] = {}
        for who in shown_to([acl]):
            if who.kind is Kind.USER:
                one = self._find(who.name)
                if one is not None:
                    found[one.user] = one
            else:
                found |= {each.user: each for each in self._all() if who.means(each.user, each.groups)}
        found.pop(user, None)
        yield from found.values()

    def _find(self, name: str) -> Identity | None:
        if not valid_user(name):
            return None
        try:
            return self._back_ends().find(name)
        except ImapdError:
            return None

    def _back_ends(self) -> Chain:
        if self._chain is None:
            self._chain = settings.chain(self._config)
        return self._chain

    def _all(self) -> list[Identity]:
        if self._everybody is None:
            try:
                self._everybody = list(self._back_ends().everybody())
            except ImapdError:
                self._everybody = []
        return self._everybody

    def _acts_as(self, reader: Identity) -> Owner | None:
        """Return whom a thread is that serves *reader*; None where it is the process itself, or he is not served."""
        if reader.user not in self._owners:
            try:
                self._owners[reader.user] = self._accounts.owner(reader)
            except ImapdError:
                self._owners[reader.user] = None
        return self._owners[reader.user]


def obstacle(folder: bytes, who: Owner, *, writing: bool) -> str | None:
    """Say what keeps the system user *who* out of a folder, or from changing what is in it; None where nothing does.

    By owners, groups and modes; where a directory has a list of the kernel's own (setfacl), nobody can say so.
    """
    real = os.path.realpath(folder)
    way = [real]
    while way[-1] != b"/":
        way.append(os.path.dirname(way[-1]))
    inner = [os.path.join(real, each) for each in (b"cur", b"new", b"tmp")]
    for path in reversed(way[1:]):
        if (lacking := _lacking(path, who, _PASS)) is not None:
            return lacking
    needed = _READ | _PASS | (_WRITE if writing else 0)
    for path in [real, *inner]:
        if (lacking := _lacking(path, who, needed if path != inner[-1] or writing else _PASS)) is not None:
            return lacking
        if writing and path != real and _is_sticky(path, who):
            return f"{os.fsdecode(path)} is sticky: who is not its owner cannot change names in it"
    return _unreadable_message(inner[0], who)


def refused(directory: bytes, who: Owner) -> str | None:
    """Say why the server opens a directory for nobody who acts as *who*, though the kernel would; None: it does.

    As descriptors.demand_owner: what anybody may read is not enough to be somebody's mail.
    """
    try:
        state = os.stat(directory)
    except OSError:
        return None
    if state.st_uid in (who.uid, 0) or (state.st_mode & 0o020 and state.st_gid in (who.gid, *who.groups)):
        return None
    where = f"{os.fsdecode(directory)} is of user {state.st_uid} and group {state.st_gid}"
    return f"{where}, mode {stat.S_IMODE(state.st_mode):04o}: a group that both are in must be able to write to it"


def _lacking(path: bytes, who: Owner, needed: int) -> str | None:
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{os.fsdecode(path)}: {error.strerror}"
    if who.uid == state.st_uid:
        given = state.st_mode >> 6
    elif state.st_gid in (who.gid, *who.groups):
        given = state.st_mode >> 3
    else:
        given = state.st_mode
    if not needed & ~given or _has_own_list(path):
        return None
    mode = stat.S_IMODE(state.st_mode)
    return f"{os.fsdecode(path)} is of user {state.st_uid} and group {state.st_gid}, mode {mode:04o}"


def _has_own_list(path: bytes) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def _is_sticky(path: bytes, who: Owner) -> bool:
    try:
        state = os.stat(path)
    except OSError:
        return False
    return bool(state.st_mode & stat.S_ISVTX) and state.st_uid != who.uid


def _unreadable_message(directory: bytes, who: Owner) -> str | None:
    """Look at one message: the others are as whoever delivers makes them."""
    try:
        with os.scandir(directory) as entries:
            first = next((entry.path for entry in entries if not entry.name.startswith(b".")), None)
    except OSError:
        return None
    return None if first is None else _lacking(first, who, _READ)


def _open_to_others(path: bytes) -> Iterator[Trouble]:
    """Say whether others than whose the list is may write to it, or put another in its place."""
    for each in (path, os.path.dirname(os.path.abspath(path))):
        try:
            state = os.stat(each)
        except OSError:
            continue
        if state.st_mode & 0o002 and not (stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_ISVTX):
            words = f"mode {stat.S_IMODE(state.st_mode):04o}: anybody may take others' shares off the list"
            yield Trouble("shares-open", os.fsdecode(each), words)


def _names(found: frozenset[Who]) -> str:
    names = sorted(spelled(who, negative=False) for who in found)
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
