"""Spools are examined for what is wrong, and what of it can be mended: values, by kinds, which cli/ prints."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError
from maildir_imapd.log import render_field
from maildir_imapd.server import adopting
from maildir_imapd.store import upkeep
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.layout import OF_LINKS
from maildir_imapd.store.neighbours.dotlock import DotLock

if TYPE_CHECKING:
    from maildir_imapd.store.account import Account, Listed
    from maildir_imapd.store.mailbox import Mailbox

# The kinds of findings, by keys that never change, with what they mean for a person.
KINDS: Final = {
    "link": "the folder is a link that is not followed: it is not served",
    "name": "the folder has a name that cannot be served",
    "encoding": "the folder's name is in another encoding than the spool's: mutt, Dovecot and others show another name",
    "failed": "it cannot be looked at, for an error",
    "permissions": "its owner may not read or change it: it is refused to clients, or served read-only",
    "owner": "it belongs to somebody else than the mail does",
    "message-unreadable": "a message's file cannot be read",
    "no-message": "a file among the messages that is none: no client is shown it",
    "encrypted": "encrypted by Dovecot's mail_crypt: clients hear NO",
    "linked-twice": "one file is two messages of the folder",
    "index": "the index does not verify, or is not what the folder is: it is made anew, with the UIDs that are known",
    "wrong-size": "the name does not tell the size of the file: S= or W= is wrong",
    "stale-lock": "a lock file whose holder is gone: other programs wait for it",
    "quota": "the quota on record is not what is there",
    "shares": "the list of shares is not what the access rights say",
    "shares-open": "anybody may change the list of shares",
    "shared-closed": "a mailbox is shared with somebody whose system user may not come in, or change what he may",
}

_LOCKS: Final = (b"dovecot-uidlist.lock", b"subscriptions.lock", b"dovecot-acl.lock", b"dovecot-keywords.lock")
_DIRECTORY: Final = 0o700
_FILE: Final = 0o400


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong.

    *kind* stands in KINDS. *where*: a mailbox, or a path below the spool. *words* are for people. *plan*: what would be
    done about it; "" where that is for a person to do. *mend* does it, as the owner of the mail.
    """

    kind: str
    where: str
    words: str
    plan: str = ""
    count: int = 1
    mend: Callable[[], None] | None = None


def examine(account: Account, *, deep: bool, at: Callable[[str], None] = lambda where: None) -> Iterator[Trouble]:
    """Yield all that is wrong with a user's mail; nothing is changed. *deep*: messages are read for their sizes.

    *at* is told what is looked at. Raises StoreError where nothing can be seen at all.
    """
    for path, why in account.passed_over():
        kind = "link" if why in OF_LINKS else "name"
        yield Trouble(kind, _below(account, path), f"not shown to clients: {why}")
    yield from _locks(account, account.root)
    for row in account.folders():
        if row.path is None:
            continue
        at(row.name)
        yield from _encoding(account, row)
        closed = list(_permissions(account, row.path))
        yield from closed
        try:
            yield from _files(account, row)
            yield from _linked(row)
            if row.path != account.root:
                yield from _locks(account, row.path)
            yield from _index(account.mailbox(row.name), row.name, deep=deep)
        except ImapdError as error:
            if not closed:
                yield Trouble("failed", row.name, f"{error.text} {error.detail}".strip())
    yield from _quota(account)


def _below(account: Account, path: bytes) -> str:
    return render_field(os.path.relpath(path, account.root))


# --- names, links, locks --------------------------------------------------------------------------------


def _encoding(account: Account, row: Listed) -> Iterator[Trouble]:
    """Find names in UTF-8 where the spool has modified UTF-7; of the other way no name shows."""
    assert row.path is not None
    entry = os.path.relpath(row.path, account.root)
    if not account.layout.places.utf8 and not entry.isascii():
        words = f"{render_field(entry)} is UTF-8, and the spool's names are modified UTF-7: rename it, and back again"
        yield Trouble("encoding", row.name, words)


def _locks(account: Account, directory: bytes) -> Iterator[Trouble]:
    for name in _LOCKS:
        path = os.path.join(directory, name)
        if os.path.lexists(path) and _stale(directory, name):
            where = _below(account, path)
            yield Trouble(
                "stale-lock",
                where,
                "its holder is gone",
                "remove it",
                mend=lambda name=name: _unlock(directory, name),  # type: ignore[misc]
            )


def _stale(directory: bytes, name: bytes) -> bool:
    try:
        number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return DotLock(name, number).is_stale()
        finally:
            os.close(number)
    except OSError:
        return False


def _unlock(directory: bytes, name: bytes) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with durable.as_store_error(directory):
            DotLock(name, number).take_away()
    finally:
        os.close(number)


# --- files ----------------------------------------------------------------------------------------------


def _permissions(account: Account, folder: bytes) -> Iterator[Trouble]:
    """Find directories and messages that whoever owns the spool may not read or change."""
    owner = os.stat(account.root).st_uid
    for sub in (b"", b"cur", b"new", b"tmp"):
        path = os.path.join(folder, sub) if sub else folder
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from _one(account, path, found, owner, _DIRECTORY)
        if sub in (b"cur", b"new"):
            yield from _messages(account, path, owner)


def _messages(account: Account, directory: bytes, owner: int) -> Iterator[Trouble]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith(b".") and entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    yield from _one(account, entry.path, found, owner, _FILE)
    except OSError:
        pass  # of the directory itself it has been said


def _one(account: Account, path: bytes, found: os.stat_result, owner: int, needed: int) -> Iterator[Trouble]:
    lacking = needed & ~found.st_mode
    if found.st_uid != owner:
        if not os.access(path, os.R_OK, effective_ids=True):
            words = f"it is user {found.st_uid}'s, and the mail is user {owner}'s: chown it"
            yield Trouble("owner", _below(account, path), words)
    elif lacking:
        mode = stat.S_IMODE(found.st_mode)
        plan = f"mode {mode:04o} to {mode | needed:04o}"
        words = f"its mode is {mode:04o}"
        yield Trouble("permissions", _below(account, path), words, plan, mend=lambda: _allow(path, needed))


def _allow(path: bytes, needed: int) -> None:
    with durable.as_store_error(path):
        durable.allow(path, needed)


def _files(account: Account, row: Listed) -> Iterator[Trouble]:
    assert row.path is not None
    for each in adopting.of_files(account.census(row.path), "", row.name):
        yield Trouble(each.kind, row.name, each.words, count=each.count)


def _linked(row: Listed) -> Iterator[Trouble]:
    """Find files that are two messages of one folder: a link that somebody has made, or a name before and after."""
    assert row.path is not None
    seen: dict[tuple[int, int], bytes] = {}
    for sub in (b"cur", b"new"):
        try:
            with os.scandir(os.path.join(row.path, sub)) as entries:
                for entry in entries:
                    if entry.name.startswith(b".") or not entry.is_file(follow_symlinks=False):
                        continue
                    found = entry.stat(follow_symlinks=False)
                    key = found.st_dev, found.st_ino
                    if found.st_nlink > 1 and key in seen:
                        words = f"{render_field(seen[key])} and {render_field(entry.name)}"
                        yield Trouble("linked-twice", row.name, words)
                    seen[key] = entry.name
        except OSError:
            continue


# --- index, sizes, quota --------------------------------------------------------------------------------


def _index(mailbox: Mailbox, name: str, *, deep: bool) -> Iterator[Trouble]:
    wrong = [each for each in upkeep.faults(mailbox) if not each.pending]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        plan = "make it anew"
        yield Trouble("index", name, wrong[0].words + more, plan, len(wrong), lambda: _again(mailbox))
    sizes = upkeep.wrong_sizes(mailbox, deep=deep)
    if sizes:
        words = f"{len(sizes)} of {len(mailbox.snapshot)} messages, the first is {render_field(sizes[0].base)}"
        plan = "rename them, with their UIDs"
        yield Trouble("wrong-size", name, words, plan, len(sizes), lambda: _resize(mailbox, sizes))


def _again(mailbox: Mailbox) -> None:
    upkeep.rebuild(mailbox)


def _resize(mailbox: Mailbox, sizes: list[upkeep.Size]) -> None:
    upkeep.correct_sizes(mailbox, sizes)


def _quota(account: Account) -> Iterator[Trouble]:
    said = account.quota.said()
    if said is None:
        return
    usage = account.quota.recount()
    if usage is not None and usage.used != said:
        words = f"{said.storage} octets in {said.messages} messages on record, {usage.used.storage} in "
        words += f"{usage.used.messages} are there"
        yield Trouble("quota", "", words, "count anew", mend=lambda: _recount(account))


def _recount(account: Account) -> None:
    account.quota.recount()
