"""Spools of another server's are taken over, user by user; what is found are values, which cli/ prints."""

from __future__ import annotations

import contextlib
import glob
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd.errors import ImapdError, MailboxMissing
from maildir_imapd.log import render_field
from maildir_imapd.server import settings, spools
from maildir_imapd.store.disk import durable
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL
from maildir_imapd.store.maildir import census, decide
from maildir_imapd.store.maildir.layout import OF_LINKS
from maildir_imapd.store.records import acl_courier
from maildir_imapd.store.records.acl import spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.store.account import Account, Listed
    from maildir_imapd.store.neighbours.takeover import Found

# The kinds of findings, by keys that never change, with what they mean for a person.
KINDS: Final = {
    "no-maildir": "no Maildir where mail_location says; one is made at a login, if what it stands on is there",
    "failed": "not taken over, for an error",
    "folder-unreadable": "the folder cannot be read: it is listed, and refused to clients",
    "uids-unreadable": "what the other server knew cannot be read: not taken over and not served until that is mended",
    "uids-damaged": "the other server's list of UIDs is damaged: some messages get new UIDs",
    "uids-missing": "the other server's list of UIDs is not there: all messages get new UIDs",
    "uidvalidity": "another UIDVALIDITY than the other server's: clients download the folder again",
    "encrypted": "encrypted by Dovecot's mail_crypt: clients hear NO; decrypt them with Dovecot first (doveadm sync "
    "into a location without the plugin)",
    "message-unreadable": "a message's file cannot be read",
    "no-message": "a file among the messages that is none: no client is shown it",
    "rights": "access rights of Courier's of which not all could be taken over: nobody has more than he had",
    "shared-folders": "folders of other Maildirs that Courier's users had among theirs: they are not shown",
    "link": "the folder is a link: not followed and not served",
    "name": "the folder has a name that cannot be served",
}
# Where something could not be done at all.
ERRORS: Final = frozenset({"failed"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that somebody should look at.

    *kind* stands in KINDS. *where*: a mailbox, or a path below the spool; "" for all of the user's mail. *count*: how
    many messages, files or folders it is about. *words* are for people.
    """

    kind: str
    user: str
    where: str
    words: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Adopted:
    """A folder as it is, or would be, taken over; what is not known is None.

    *server*: whose files were found, "" for nobody's. *before*: we had an index of it already.
    """

    user: str
    mailbox: str
    server: str = ""
    messages: int | None = None
    uidvalidity: int | None = None
    uidnext: int | None = None
    before: bool = False
    new_uids: bool = False
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Report:
    """All that is known so far; *interrupted* by a person."""

    dry_run: bool
    folders: list[Adopted] = field(default_factory=list)
    elsewhere: list[Finding] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    interrupted: bool = False

    def findings(self) -> Iterator[Finding]:
        """Yield all findings, those about folders first."""
        for folder in self.folders:
            yield from folder.findings
        yield from self.elsewhere

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Per kind, in the order of KINDS: how many findings, and how many messages, files or folders."""
        findings, counts = Counter[str](), Counter[str]()
        for finding in self.findings():
            findings[finding.kind] += 1
            counts[finding.kind] += finding.count
        return {kind: (findings[kind], counts[kind]) for kind in KINDS if findings[kind]}

    def status(self) -> int:
        """Return the exit status, as the manual has it."""
        if self.interrupted:
            return 130
        kinds = self.kinds().keys()
        return 3 if kinds & ERRORS else 1 if kinds else 0


class Waiting(Protocol):
    """Whoever waits."""

    def user(self, user: str, messages: int) -> None:
        """Begin a user's mail, of so many messages."""
        ...

    def folder(self, mailbox: str) -> None:
        """Begin one of his folders."""
        ...

    def files(self, more: int) -> None:
        """Count so *more* messages that have been looked at."""
        ...


def adopt(config: Config, identity: Identity, report: Report, progress: Waiting) -> None:
    """Take over the mail of one user, or only look; each folder is in *report* as soon as it is done."""
    user, rights = identity.user, settings.mail(config).sharing.rights
    report.users.append(user)
    try:
        with spools.opened(config, identity) as account:
            rows = [row for row in account.folders() if row.path is not None]
            progress.user(user, sum(_files(row) for row in rows))
            for row in rows:
                progress.folder(row.name)
                dry_run = report.dry_run
                report.folders.append(_adopt(account, user, row, progress.files, dry_run=dry_run, acl=rights))
            report.elsewhere += _shared_folders(account, user)
            for path, why in account.passed_over():
                where = render_field(os.path.relpath(path, account.root))
                kind = "link" if why in OF_LINKS else "name"
                report.elsewhere.append(Finding(kind, user, where, f"not shown to clients: {why}"))
    except MailboxMissing as error:
        report.elsewhere.append(Finding("no-maildir", user, "", _said(error)))
    except ImapdError as error:
        report.elsewhere.append(Finding("failed", user, "", _said(error)))


def is_ours(path: bytes) -> bool:
    """Whether we have an index of the folder."""
    return any(os.path.exists(os.path.join(path, entry)) for entry in (CHECKPOINT, JOURNAL))


def _said(error: ImapdError) -> str:
    between = "" if error.text.endswith(":") or not error.detail else ":"
    return f"{error.text}{between} {error.detail}".strip()


def _files(row: Listed) -> int:
    """How many messages there are at a glance; 0 where nobody can see."""
    count = 0
    for sub in (b"cur", b"new"):
        with contextlib.suppress(OSError):
            count += len(os.listdir(os.path.join(row.path or b"", sub)))
    return count


def _adopt(
    account: Account, user: str, row: Listed, report: Callable[[int], None], *, dry_run: bool, acl: bool
) -> Adopted:
    assert row.path is not None
    ours = is_ours(row.path)
    found = account.look(row.path)
    known = found.uids
    folder = Adopted(
        user,
        row.name,
        server=found.server,
        uidvalidity=known.uidvalidity if known is not None else None,
        uidnext=known.uidnext if known is not None else None,
        before=ours,
        new_uids=known is None and not ours and found.closed is None,
    )
    findings = [] if ours else list(_of_uids(found, user, row.name))
    try:
        counted = account.census(row.path, report)
    except ImapdError as error:
        # Whatever else cannot be read there is of the same cause.
        unreadable = Finding("folder-unreadable", user, row.name, _said(error))
        return replace(folder, new_uids=False, findings=(unreadable,))
    if not found.server and counted.messages and not ours and _dovecots(row.path):
        words = "Dovecot has been here and its dovecot-uidlist is not: does mail_location lack CONTROL=?"
        findings.append(Finding("uids-missing", user, row.name, words, counted.messages))
    findings += of_files(counted, user, row.name)
    rights, wrong = _rights(account, user, row, acl=acl, dry_run=dry_run)
    findings += wrong
    notes = (*_notes(account, row.name, found, ours=ours), *rights)
    folder = replace(folder, messages=counted.messages, notes=notes)
    if dry_run or (found.closed is not None and not ours):
        return replace(folder, findings=tuple(findings))
    try:
        snapshot = account.mailbox(row.name).sync(keep_new=True)
    except ImapdError as error:
        findings.append(Finding("failed", user, row.name, _said(error)))
        return replace(folder, findings=tuple(findings))
    if known is not None and snapshot.uidvalidity != known.uidvalidity:
        words = f"UIDVALIDITY is {snapshot.uidvalidity} here"
        findings.append(Finding("uidvalidity", user, row.name, words, len(snapshot)))
    return replace(folder, messages=len(snapshot), findings=tuple(findings))


def _rights(
    account: Account, user: str, row: Listed, *, acl: bool, dry_run: bool
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Take over Courier's access rights, where there are none of ours; return notes and findings."""
    assert row.path is not None
    try:
        data = acl_courier.read(row.path) if acl else None
        if data is None or account.acls.among([row.path]):
            return (), ()
        made, left = acl_courier.converted(data, user)
        if made.entries and not dry_run:
            account.acls.change(row.name, lambda before: before if before.lines else replace(before, lines=made.lines))
    except ImapdError as error:
        return (), (Finding("rights", user, row.name, _said(error)),)
    who = [spelled(entry.who, negative=entry.negative) for entry in made.entries]
    notes = (f"access rights of {', '.join(who)}",) if who else ()
    if not left:
        return notes, ()
    words = f"not understood: {'; '.join(map(render_field, left[:5]))}"
    return notes, (Finding("rights", user, row.name, words, len(left)),)


def _shared_folders(account: Account, user: str) -> Iterator[Finding]:
    """Name the Maildirs whose shared folders Courier shows among the user's, by its file or its directory."""
    found = set()
    try:
        data, _ = durable.read_dated(account.root, b"shared-maildirs")
    except OSError as error:
        yield Finding("shared-folders", user, "shared-maildirs", error.strerror or str(error))
        data = None
    for line in (data or b"").split(b"\n"):
        name, *path = line.split(None, 1)[:2] or (b"",)
        if name and not name.startswith(b"#"):
            found.add(f"{render_field(name)} ({render_field(b''.join(path))})")
    if found:
        words = f"share them with SETACL or maildir-imapd acl: {', '.join(sorted(found)[:5])}"
        yield Finding("shared-folders", user, "shared-maildirs", words, len(found))


def _dovecots(path: bytes) -> bool:
    return bool(glob.glob(os.path.join(glob.escape(path), b"dovecot.index*")))


def _of_uids(found: Found, user: str, mailbox: str) -> Iterator[Finding]:
    if found.problems:
        kind = "uids-damaged" if found.closed is None else "uids-unreadable"
        yield Finding(kind, user, mailbox, "; ".join(found.problems[:3]), len(found.problems))


def of_files(counted: census.Census, user: str, mailbox: str) -> Iterator[Finding]:
    """Say what is odd among the files of a folder."""
    if counted.encrypted:
        count = counted.encrypted
        words = f"{count} message{'s are' if count != 1 else ' is'} encrypted (mail_crypt): decrypt with Dovecot first"
        yield Finding("encrypted", user, mailbox, words, count)
    if counted.closed:
        count = len(counted.closed)
        names = ", ".join(render_field(name) for name in counted.closed[:5])
        words = f"{count} message{'s' if count != 1 else ''} cannot be read: {names}"
        yield Finding("message-unreadable", user, mailbox, words, count)
    if counted.others:
        count = len(counted.others)
        names = ", ".join(f"{render_field(name)} ({why})" for name, why in counted.others[:5])
        words = f"{count} file{'s are no messages' if count != 1 else ' is no message'}: {names}"
        yield Finding("no-message", user, mailbox, words, count)


def _notes(account: Account, mailbox: str, found: Found, *, ours: bool) -> Iterator[str]:
    words = len({word for chosen in found.words.values() for word in chosen}) + len(found.keywords)
    if words:
        yield f"{words} keyword{'s' if words != 1 else ''}"
    if mailbox == "INBOX":
        subscribed = len(account.subscriptions())
        if subscribed:
            yield f"{subscribed} subscription{'s' if subscribed != 1 else ''}"
        if account.prefix:
            yield f"other names begin with {account.prefix}"
        if account.layout.places.kind != decide.FLAT or account.layout.places.inbox is not None:
            yield f"LAYOUT={account.layout.places.kind}: {account.layout.why}"
    if ours:
        yield "adopted before"
