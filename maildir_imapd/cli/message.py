"""maildir-imapd message: messages by IMAP's search language, shown and changed."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from maildir_imapd.cli import completing
from maildir_imapd.cli.group import DATA, USAGE, CommandFailed
from maildir_imapd.cli.output import Value, json_option, print_rows
from maildir_imapd.cli.whose import Users, demand_consent, dry_run_option, whose, yes_option

if TYPE_CHECKING:
    from maildir_imapd.imap.search.chosen import Chosen, Key, Summary
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox

Row = dict[str, Value]

COLUMNS: Final = ("user", "mailbox", "uid", "date", "size", "flags", "from", "subject")
# As often a change is tried again without the messages that somebody has removed meanwhile.
_TRIES: Final = 5


@click.group("message", short_help="Search, print, flag, move, copy and remove messages.")
def message() -> None:
    """Search, print, flag, move, copy and remove messages, beside a running server or without one.

    SEARCH is what stands behind SEARCH in IMAP, in UTF-8: ALL, UNSEEN, FROM ann, SINCE 1-Feb-2026 LARGER 1000000,
    OR TO ann CC ann, UID 17:30.  Its words are joined by blanks, so one that is quoted needs quotes around all:
    'SUBJECT "two words"'.

    Without --user or --all-users it is the mail of whoever runs it.
    """


mailbox_option = click.option(
    "--mailbox",
    "-m",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    shell_complete=completing.mailboxes,
    help="Mailboxes, with the * and % of IMAP's LIST; may be given several times. Default: all.",
)
demanded_mailbox_option = click.option(
    "--mailbox",
    "-m",
    "patterns",
    multiple=True,
    required=True,
    metavar="PATTERN",
    shell_complete=completing.mailboxes,
    help="Mailboxes, with the * and % of IMAP's LIST; may be given several times.",
)


def _criteria(words: tuple[str, ...]) -> Key:
    from maildir_imapd.errors import ProtocolError, UndefinedFilter
    from maildir_imapd.imap.search.chosen import criteria

    written = " ".join(words) or "ALL"
    try:
        return criteria(written)
    except ProtocolError as error:
        raise CommandFailed(f"this is no search: {written}: {error.text}", DATA) from error
    except UndefinedFilter as error:
        raise CommandFailed(f"this is no search: {written}: a command knows no filters", DATA) from error


def _found(
    users: Users, user: str, account: Account, patterns: Sequence[str], key: Key
) -> Iterator[tuple[str, Chosen]]:
    """Yield each mailbox in which the search has found something; one that cannot be searched is said."""
    from maildir_imapd.errors import ImapdError
    from maildir_imapd.imap.search.chosen import choose

    for name in users.mailboxes(user, account, patterns):
        try:
            with choose(account.mailbox(name), name, key) as chosen:
                if chosen.uids:
                    yield name, chosen
        except ImapdError as error:
            users.failed(error, f"{user}: {name}")


def _row(user: str, mailbox: str, each: Summary) -> Row:
    return {
        "user": user,
        "mailbox": mailbox,
        "uid": each.uid,
        "date": datetime.fromtimestamp(each.received, UTC),
        "size": each.size,
        "flags": each.flags,
        "from": each.sender,
        "subject": each.subject,
        "message_id": each.message_id,
        "readable": each.readable,
    }


@message.command("search", short_help="List the messages that a search finds.")
@click.argument("words", nargs=-1, metavar="[SEARCH]...")
@mailbox_option
@json_option
@whose
def search(users: Users, words: tuple[str, ...], patterns: tuple[str, ...], as_json: bool) -> None:
    """List the messages that a search finds: user, mailbox, UID, date of arrival, octets, flags, From and Subject."""
    key = _criteria(words)

    def rows(user: str, account: Account) -> Iterator[Row]:
        for name, chosen in _found(users, user, account, patterns, key):
            for each in chosen.summaries():
                yield _row(user, name, each)

    print_rows(COLUMNS, users.each(rows), as_json=as_json, empty="no message was found")


@message.command("fetch", short_help="Print messages, or write them to files.")
@click.argument("words", nargs=-1, required=True, metavar="SEARCH...")
@mailbox_option
@click.option(
    "--section",
    "-s",
    metavar="SECTION",
    help="As in BODY[...]: HEADER, TEXT, 1.2, 1.MIME, 'HEADER.FIELDS (From To)'. Default: the file as it is.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False),
    metavar="DIRECTORY",
    help="Write a file for each message there, USER/MAILBOX/UID.eml; none that is there is written over.",
)
@whose
def fetch(
    users: Users, words: tuple[str, ...], patterns: tuple[str, ...], section: str | None, output: str | None
) -> None:
    """Print the one message that a search finds, as it is on the disk, or with --output write all of them to files.

    A section has CRLF line ends, as in IMAP.  No flag is changed.
    """
    from maildir_imapd.errors import ProtocolError
    from maildir_imapd.imap.search.chosen import sections

    key = _criteria(words)
    try:
        wanted = None if section is None else sections(section)
    except ProtocolError as error:
        raise CommandFailed(f"this is no section of a message: {section}: {error.text}", DATA) from error

    def each(user: str, account: Account) -> Iterator[tuple[str, str, int, bytes]]:
        for name, chosen in _found(users, user, account, patterns, key):
            if output is None and len(chosen.uids) > 1:
                raise CommandFailed(
                    f"{len(chosen.uids)} messages in {name}: narrow the search, or give --output", USAGE
                )
            for uid in chosen.uids:
                data = chosen.read(uid, wanted)
                if data is None:
                    users.failed(CommandFailed(f"there is no section {section}"), f"{user}: {name} UID {uid}")
                else:
                    yield user, name, uid, data

    if output is None:
        found = []
        for one in users.each(each):
            found.append(one)
            if len(found) > 1:
                raise CommandFailed("more than one message: narrow the search, or give --output DIRECTORY", USAGE)
        if not found and not users.status:
            raise CommandFailed("no message was found")
        for *_, data in found:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return
    from maildir_imapd.server import owners

    for user, name, uid, data in users.each(each):
        # As whoever runs the command, and not as the owner of the mail: the directory is his.
        with owners.acting_as(owners.own() if owners.supported() else None):
            path = _write(output, user, name, uid, data)
        click.echo(path)


def _write(output: str, user: str, name: str, uid: int, data: bytes) -> str:
    """Write a message to a file of its own, and return the path; raises OSError, FileExistsError too."""
    directory = os.path.join(output, _component(user), _component(name))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, f"{uid}.eml")
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(number, "wb") as file:
        file.write(data)
    return path


def _component(name: str) -> str:
    """Spell a name as one component of a path."""
    spelled = name.replace("%", "%25").replace("/", "%2F")
    return spelled.replace(".", "%2E", 1) if spelled.startswith(".") else spelled


# --- changes ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    """A change of the messages *uids* of one mailbox, which rise."""

    user: str
    mailbox: str
    uidvalidity: int
    uids: Sequence[int]


# Does it with the messages of a plan, and gives the UIDs of those that it was done with, and what to say of each.
Act = Callable[["Account", "Mailbox", _Plan], dict[int, Row]]


def _change(
    users: Users,
    words: tuple[str, ...],
    patterns: tuple[str, ...],
    act: Act,
    *,
    dry_run: bool,
    as_json: bool,
    columns: Sequence[str] = COLUMNS,
    consent: Callable[[str], None] = lambda messages: None,
    check: Callable[[Account], str] = lambda account: "",
    within: Callable[[Account], Account | None] = lambda account: account,
    title: str = "What would be changed",
) -> None:
    """Find messages, and do something with these and no others; print those that it was, or would be, done with.

    *consent* is asked first, with how many, and raises where it is not given.  *check* raises where it cannot be done
    for a user, and gives the name of a mailbox whose messages stay as they are.  *within*: where they are, if not in
    the account itself; None for nowhere.
    """
    key = _criteria(words)

    def plan(user: str, account: Account) -> Iterator[_Plan]:
        left_alone, place = check(account), within(account)
        for name, chosen in _found(users, user, place, patterns, key) if place is not None else ():
            if name != left_alone:
                yield _Plan(user, name, chosen.uidvalidity, array("I", chosen.uids))

    def told(user: str, account: Account) -> Iterator[Row]:
        left_alone, place = check(account), within(account)
        for name, chosen in _found(users, user, place, patterns, key) if place is not None else ():
            if name != left_alone:
                for each in chosen.summaries():
                    yield _row(user, name, each)

    if dry_run:
        rows = users.each(told, look=True)
        print_rows(COLUMNS, rows, as_json=as_json, empty="no message was found", title=title)
        return
    plans = list(users.each(plan))
    count = sum(len(each.uids) for each in plans)
    if count:
        consent(f"{count} message{'s' if count != 1 else ''}")

    def carry_out(user: str, account: Account) -> Iterator[Row]:
        for each in plans:
            if each.user == user:
                users.at(each.mailbox)
                yield from _carried_out(users, account, within(account) or account, each, act)

    print_rows(columns, users.each(carry_out), as_json=as_json, empty="no message was found")


def _carried_out(users: Users, account: Account, place: Account, plan: _Plan, act: Act) -> Iterator[Row]:
    """Do what was planned in one mailbox of *place*, and yield a row for each message that it was done with."""
    from maildir_imapd.errors import ImapdError
    from maildir_imapd.imap.search.chosen import choose

    known: dict[int, Row] = {}
    try:
        mailbox = place.mailbox(plan.mailbox)
        # By their UIDs: what has come meanwhile was not asked for.
        with choose(mailbox, plan.mailbox, _criteria(()), plan.uids) as chosen:
            known = {each.uid: _row(plan.user, plan.mailbox, each) for each in chosen.summaries()}
        done = act(account, mailbox, plan)
    except ImapdError as error:
        users.failed(error, f"{plan.user}: {plan.mailbox}")
        return
    for uid, more in done.items():
        yield {**known.get(uid, {"user": plan.user, "mailbox": plan.mailbox, "uid": uid}), **more}


def _flags(written: tuple[str, ...]) -> list[bytes]:
    from maildir_imapd.errors import BadArgument
    from maildir_imapd.imap.search.chosen import flag_name

    try:
        return [flag_name(each) for each in written]
    except BadArgument as error:
        raise CommandFailed(f"this is no flag: {' '.join(written)}: {error.text}", USAGE) from error


@message.command("flag", short_help="Add and remove flags.")
@click.argument("words", nargs=-1, required=True, metavar="SEARCH...")
@demanded_mailbox_option
@click.option(
    "--add", "-a", multiple=True, metavar="FLAG", help="seen, answered, flagged, deleted, draft or a keyword."
)
@click.option("--remove", "-r", multiple=True, metavar="FLAG", help="Likewise.")
@dry_run_option
@json_option
@whose
def flag(
    users: Users,
    words: tuple[str, ...],
    patterns: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add flags to the messages that a search finds, and remove others.

    Those with nothing to change are not listed.
    """
    if not add and not remove:
        raise CommandFailed("which flags? give --add or --remove", USAGE)
    added, removed = _flags(add), _flags(remove)
    if set(added) & set(removed):
        raise CommandFailed("a flag to add and to remove", USAGE)

    def act(account: Account, mailbox: Mailbox, plan: _Plan) -> dict[int, Row]:
        done = mailbox.set_flags(
            plan.uids,
            add=mailbox.flags(added, create=True),
            remove=mailbox.flags(removed, create=False),
            under=plan.uidvalidity,
        )
        now, changed = mailbox.snapshot, sorted(done.changed)
        names = {
            uid: [name.decode("utf-8", "replace") for name in now.flag_names(now.flags[at], uid)]
            for uid, at in zip(changed, now.positions(changed), strict=True)
            if at >= 0
        }
        return {uid: {"flags": flags} for uid, flags in names.items()}

    _change(users, words, patterns, act, dry_run=dry_run, as_json=as_json)


to_option = click.option(
    "--to",
    required=True,
    metavar="MAILBOX",
    shell_complete=completing.mailboxes,
    help="The mailbox of the same user; it must be there.",
)


def _carry(
    users: Users,
    words: tuple[str, ...],
    patterns: tuple[str, ...],
    to: str,
    *,
    move: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy or move messages; those of the target itself stay."""
    from maildir_imapd.imap.naming import written_name

    def check(account: Account) -> str:
        name = written_name(account, to)
        account.folder_of(name)
        return name

    def act(account: Account, mailbox: Mailbox, plan: _Plan) -> dict[int, Row]:
        from maildir_imapd.errors import MessageGone

        name = written_name(account, to)
        target = account.mailbox(name)
        uids: Sequence[int] = plan.uids
        for _ in range(_TRIES):
            if not move or account.quota.demands_move(mailbox.path, target.path):
                account.quota.demand_copy(target.path, lambda uids=uids: mailbox.amount(uids))  # type: ignore[misc]
            try:
                pairs = target.copy_from(mailbox, uids, move=move, under=plan.uidvalidity)
            except MessageGone:
                # All or none: of what has gone meanwhile nothing is to be done.
                found = mailbox.sync(look=True, keep_new=True).positions(uids)
                uids = [uid for uid, at in zip(uids, found, strict=True) if at >= 0]
            else:
                return {uid: {"to": name, "to_uid": new} for uid, new in pairs}
        raise MessageGone

    _change(
        users,
        words,
        patterns,
        act,
        dry_run=dry_run,
        as_json=as_json,
        columns=(*COLUMNS, "to", "to_uid"),
        check=check,
    )


@message.command("copy", short_help="Copy messages to another mailbox.")
@click.argument("words", nargs=-1, required=True, metavar="SEARCH...")
@demanded_mailbox_option
@to_option
@dry_run_option
@json_option
@whose
def copy(
    users: Users, words: tuple[str, ...], patterns: tuple[str, ...], to: str, dry_run: bool, as_json: bool
) -> None:
    """Copy the messages that a search finds to another mailbox, within the quota; all of one mailbox or none."""
    _carry(users, words, patterns, to, move=False, dry_run=dry_run, as_json=as_json)


@message.command("move", short_help="Move messages to another mailbox.")
@click.argument("words", nargs=-1, required=True, metavar="SEARCH...")
@demanded_mailbox_option
@to_option
@dry_run_option
@json_option
@whose
def move(
    users: Users, words: tuple[str, ...], patterns: tuple[str, ...], to: str, dry_run: bool, as_json: bool
) -> None:
    """Move the messages that a search finds to another mailbox; all of one mailbox or none."""
    _carry(users, words, patterns, to, move=True, dry_run=dry_run, as_json=as_json)


@message.command("expunge", short_help="Remove messages for good.")
@click.argument("words", nargs=-1, required=True, metavar="SEARCH...")
@demanded_mailbox_option
@dry_run_option
@yes_option
@json_option
@whose
def expunge(
    users: Users, words: tuple[str, ...], patterns: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Remove the messages that a search finds for good, whether they are marked as deleted or not.

    It asks first on a terminal; elsewhere --yes is needed.  With DELETED as the search those alone go that are marked.
    """

    def act(account: Account, mailbox: Mailbox, plan: _Plan) -> dict[int, Row]:
        return {uid: {} for uid in mailbox.expunge(plan.uids, under=plan.uidvalidity)}

    def consent(messages: str) -> None:
        demand_consent(f"Remove {messages} for good?", yes=yes)

    _change(users, words, patterns, act, dry_run=dry_run, as_json=as_json, consent=consent)


@message.command("undelete", short_help="Bring expunged messages back.")
@click.argument("words", nargs=-1, metavar="[SEARCH]...")
@mailbox_option
@click.option(
    "--to",
    metavar="MAILBOX",
    shell_complete=completing.mailboxes,
    help="The mailbox of the same user; it must be there. Default: where they were, made if it is not there.",
)
@click.option("--list", "listing", is_flag=True, help="List those that can be brought back, and do nothing.")
@dry_run_option
@json_option
@whose
def undelete(
    users: Users,
    words: tuple[str, ...],
    patterns: tuple[str, ...],
    to: str | None,
    listing: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring messages back that were expunged, or were in a mailbox that was deleted, within the quota.

    They are there for as long as keep_expunged says.  SEARCH and --mailbox are as for search, with the mailboxes that
    they were in; SAVEDSINCE 1-Feb-2026 finds those that were expunged since then.
    """
    if not words and not listing and not dry_run:
        raise CommandFailed("which messages? give a search, ALL for all, or --list", USAGE)

    def check(account: Account) -> str:
        if to is not None:
            from maildir_imapd.imap.naming import written_name

            account.folder_of(written_name(account, to))
        return ""

    def within(account: Account) -> Account | None:
        return account.deleted.account() if account.deleted.there() else None

    def act(account: Account, kept: Mailbox, plan: _Plan) -> dict[int, Row]:
        from maildir_imapd.imap.naming import written_name

        name = plan.mailbox if to is None else written_name(account, to)
        return {uid: {"to": name, "to_uid": new} for uid, new in _brought_back(account, kept, plan, name)}

    _change(
        users,
        words,
        patterns,
        act,
        dry_run=dry_run or listing,
        as_json=as_json,
        columns=(*COLUMNS, "to", "to_uid"),
        check=check,
        within=within,
        title="What can be brought back",
    )


def _brought_back(account: Account, kept: Mailbox, plan: _Plan, name: str) -> list[tuple[int, int]]:
    """Copy messages from where they are kept to a mailbox, and let them go there; return their UIDs, then and now."""
    from maildir_imapd.errors import MailboxExists, MailboxMissing, MessageGone, NotSelectable

    try:
        target = account.mailbox(name)
    except (MailboxMissing, NotSelectable):
        try:
            account.create(name)
        except MailboxExists:
            pass  # somebody was faster
        target = account.mailbox(name)
    uids: Sequence[int] = plan.uids
    for _ in range(_TRIES):
        account.quota.demand_copy(target.path, lambda uids=uids: kept.amount(uids))  # type: ignore[misc]
        try:
            # No move: what is kept does not count for the quota, and what comes back does.
            pairs = list(target.copy_from(kept, uids, under=plan.uidvalidity))
        except MessageGone:
            found = kept.sync(look=True, keep_new=True).positions(uids)
            uids = [uid for uid, at in zip(uids, found, strict=True) if at >= 0]
        else:
            kept.expunge(uids, under=plan.uidvalidity)
            return pairs
    raise MessageGone
