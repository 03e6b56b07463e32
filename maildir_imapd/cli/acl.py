"""maildir-imapd acl: who may do what in which mailboxes, and the list of who shares with whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from maildir_imapd.cli import completing
from maildir_imapd.cli.options import SPOOL_SETTINGS, config_option, read_config, setting_options
from maildir_imapd.cli.output import Value, json_option, print_rows
from maildir_imapd.cli.whose import Users, dry_run_option
from maildir_imapd.errors import ImapdError, MailboxMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.records.acl import Acl, Who
    from maildir_imapd.store.records.shares import ShareList

Row = dict[str, Value]

_COLUMNS = ("user", "mailbox", "identifier", "rights", "origin")


@click.group("acl", short_help="Show and change access rights, and the list of shares.")
def acl() -> None:
    """Show and change access rights to mailboxes, and the list of who shares with whom.

    An IDENTIFIER is written as in dovecot-acl: user=NAME, group=NAME, group-override=NAME, owner, authenticated or
    anyone; with - in front its rights are taken.  RIGHTS are the letters of RFC 4314 (lrwstipekxa), or all; with + in
    front they are given as well, with - taken back.
    """


def _of_users(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the configuration, as ``config``."""
    settings = (*SPOOL_SETTINGS, "acl_shared_list", "acl_global")

    def command(*args: Any, config_file: str | None, **others: Any) -> Any:
        from maildir_imapd import log

        given = {name: others.pop(name) for name in settings}
        config = read_config(config_file, given)
        log.set_up("error", None)
        return function(*args, config=config, **others)

    command.__doc__, command.__name__ = function.__doc__, function.__name__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for decorate in (setting_options(settings), config_option):
        command = decorate(command)
    return command


user_argument = click.argument("user", metavar="USER", shell_complete=completing.users)
mailbox_argument = click.argument("name", metavar="MAILBOX", shell_complete=completing.mailboxes)


@acl.command("show", short_help="Show who may do what in mailboxes.")
@user_argument
@click.argument("patterns", nargs=-1, metavar="[MAILBOX]...", shell_complete=completing.mailboxes)
@json_option
@_of_users
def show(user: str, patterns: tuple[str, ...], as_json: bool, config: Config) -> None:
    """Show who may do what in the mailboxes of USER that match, or in all of which something is said.

    The origin is mailbox for what stands in the mailbox's own list, global for what acl_global says, default where
    nothing is said of it; what is "not understood" keeps everybody but the owner out.
    """
    users = Users(config, (user,), everybody=False)

    def rows(user: str, account: Account) -> Iterator[Row]:
        for name in users.mailboxes(user, account, patterns):
            try:
                found = account.acls.read(name)
            except ImapdError as error:
                users.failed(error, f"{user}: {name}")
                continue
            for identifier, rights, origin in () if found is None else _entries(found, all_of=bool(patterns)):
                yield {"user": user, "mailbox": name, "identifier": identifier, "rights": rights, "origin": origin}

    print_rows(_COLUMNS, users.each(rows, look=True), as_json=as_json)
    users.end()


def _entries(found: Acl, *, all_of: bool) -> Iterator[tuple[str, str, str]]:
    from maildir_imapd.store.records.acl import LETTERS, Entry, in_order, read_line, spelled

    for line in found.lines:
        if isinstance(line, Entry):
            yield spelled(line.who, negative=line.negative), in_order(line.rights), "mailbox"
        elif line and not line.startswith(b"#") and read_line(line)[0] is None:
            yield line.decode("utf-8", "backslashreplace"), "", "not understood"
    for entry in found.general:
        yield spelled(entry.who, negative=entry.negative), in_order(entry.rights), "global"
    if all_of and not found.entries and not found.general:
        yield "owner", LETTERS, "default"


def _changed(config: Config, user: str, name: str, work: Callable[[Acl], Acl], *, as_json: bool) -> None:
    """Change the list of one mailbox, and print it."""
    users = Users(config, (user,), everybody=False)

    def rows(user: str, account: Account) -> Iterator[Row]:
        from maildir_imapd.imap.naming import written_name

        mailbox = written_name(account, name)
        account.acls.change(mailbox, work)
        found = account.acls.read(mailbox)
        for identifier, rights, origin in () if found is None else _entries(found, all_of=True):
            yield {"user": user, "mailbox": mailbox, "identifier": identifier, "rights": rights, "origin": origin}

    print_rows(_COLUMNS, users.each(rows), as_json=as_json)
    users.end()


def _identifier(written: str) -> tuple[Who, bool]:
    from maildir_imapd.cli.group import USAGE, CommandFailed
    from maildir_imapd.store.records.acl import identifier

    found = identifier(written)
    if found is None:
        kinds = "user=NAME, group=NAME, group-override=NAME, owner, authenticated or anyone"
        raise CommandFailed(f"{written!r} is no identifier: it is {kinds}", USAGE)
    return found


# RIGHTS may begin with "-", and so may an IDENTIFIER: neither is an option.
_DASHES = {"ignore_unknown_options": True}


@acl.command("set", short_help="Give somebody rights to a mailbox.", context_settings=_DASHES)
@user_argument
@mailbox_argument
@click.argument("identifier", metavar="IDENTIFIER")
@click.argument("rights", metavar="RIGHTS")
@json_option
@_of_users
def set_(user: str, name: str, identifier: str, rights: str, as_json: bool, config: Config) -> None:
    """Give an IDENTIFIER rights to a mailbox of USER, in place of those that it has there."""
    from maildir_imapd.cli.group import USAGE, CommandFailed
    from maildir_imapd.errors import BadArgument
    from maildir_imapd.store.records.acl import ALL, LETTERS, NONE, OWNER, modification

    who, negative = _identifier(identifier)
    try:
        mode, asked = modification(rights.replace("all", LETTERS).encode("utf-8", "replace"))
    except BadArgument:
        raise CommandFailed(f"{rights!r} are no rights: they are letters out of {LETTERS}, or all", USAGE) from None

    def work(found: Acl) -> Acl:
        before = found.of(who, negative=negative)
        if before is None:
            before = ALL if who == OWNER and not negative else NONE
        after = before | asked if mode == "+" else before - asked if mode == "-" else asked
        return found.put(who, after, negative=negative)

    _changed(config, user, name, work, as_json=as_json)


@acl.command("remove", short_help="Take somebody off the list of a mailbox.", context_settings=_DASHES)
@user_argument
@mailbox_argument
@click.argument("identifier", metavar="IDENTIFIER")
@json_option
@_of_users
def remove(user: str, name: str, identifier: str, as_json: bool, config: Config) -> None:
    """Take an IDENTIFIER off the list of a mailbox of USER; one that is not there is no error."""
    who, negative = _identifier(identifier)
    _changed(config, user, name, lambda found: found.put(who, None, negative=negative), as_json=as_json)


class _Sharers(Users):
    """As Users; one who has no mail yet shares nothing, and needs no word."""

    def failed(self, error: ImapdError, about: str) -> None:
        """Say what went wrong, and go on."""
        if not isinstance(error, MailboxMissing):
            super().failed(error, about)


def _share_list(config: Config) -> ShareList:
    """Return the list as whoever runs the command reads and writes it; raises ConfigError."""
    import os

    from maildir_imapd.errors import ConfigError
    from maildir_imapd.store.records.shares import ShareList

    if config.acl_shared_list is None:
        raise ConfigError("there is no list of shares: acl_shared_list says where it is to be")
    return ShareList(os.fsencode(config.acl_shared_list))


@acl.command("shared", short_help="Show what is shared with a user, and by whom.")
@user_argument
@json_option
@_of_users
def shared(user: str, as_json: bool, config: Config) -> None:
    """Show which mailboxes of others USER may see or use, by what the list of shares says and their lists of rights.

    Users who share nothing with him, whatever the list says, are not shown; the list is acl_shared_list.
    """
    from maildir_imapd.server import spools

    listed = _share_list(config)
    (reader,) = spools.chosen(config, (user,), everybody=False)
    users = _Sharers(config, listed.owners(reader.user, reader.groups), everybody=False)

    def rows(owner: str, account: Account) -> Iterator[Row]:
        from maildir_imapd.store.records.acl import in_order

        for row in account.folders():
            if row.path is None:
                continue
            try:
                rights = account.acls.at(row.path).rights(reader.user, reader.groups, owner=False)
            except ImapdError as error:
                users.failed(error, f"{owner}: {row.name}")
                continue
            if rights:
                yield {"owner": owner, "mailbox": row.name, "rights": in_order(rights)}

    def found() -> Iterator[Row]:
        for owner in users.names:
            one = _known(config, owner)
            if one is not None:
                yield from users.each_of([one], rows, look=True)

    print_rows(("owner", "mailbox", "rights"), found(), as_json=as_json)
    users.end()


def _known(config: Config, name: str) -> Identity | None:
    """Return the user of a name that stands in the list, which may be anything; None where there is none."""
    from maildir_imapd.auth.names import valid_user
    from maildir_imapd.errors import NoUser
    from maildir_imapd.server import spools

    try:
        return spools.chosen(config, (name,), everybody=False)[0] if valid_user(name) else None
    except NoUser:
        return None


@acl.command("rebuild", short_help="Make the list of shares anew from all mailboxes.")
@click.argument("names", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@dry_run_option
@json_option
@_of_users
def rebuild(names: tuple[str, ...], dry_run: bool, as_json: bool, config: Config) -> None:
    """Make the list of shares anew from the access rights of all users' mailboxes, or of those USERs.

    Printed is whose entries change, and with whom he shares.  Users who are no more are taken off; of one whose mail
    cannot be looked at the entries stay.  Needed where the list was not there when rights were given, after acl_global
    has changed, and where the log says that the list could not be kept.
    """
    from maildir_imapd.errors import NoUser

    listed = _share_list(config)
    users = _Sharers(config, names, everybody=not names)
    wanted: dict[str, Collection[Who]] = {}

    def look(user: str, account: Account) -> Iterator[None]:
        to, whole = account.acls.shown()
        wanted[user] = to if whole else to | listed.of(user)
        yield

    tried = set()
    for identity in _walked(config, names, listed):
        if isinstance(identity, str):
            wanted[identity] = ()
            if names and not listed.of(identity):
                users.failed(NoUser("there is no such user"), identity)
        elif identity.user not in tried:
            tried.add(identity.user)
            for _ in users.each_of([identity], look, look=True):
                pass
    columns = ("user", "shared_with")
    print_rows(columns, _differences(listed, wanted), as_json=as_json, empty="The list is as it should be.")
    if not dry_run:
        listed.put_all(wanted)
    users.end()


def _walked(config: Config, names: tuple[str, ...], listed: ShareList) -> Iterator[Identity | str]:
    """Yield the users whose mailboxes are to be looked at, and names in the list that are nobody's."""
    from maildir_imapd.server import spools

    if not names:
        yield from spools.chosen(config, (), everybody=True)
    # Not every back end has a list of its users: who stands in ours is asked for by his name.
    for name in names or listed.everybody():
        yield _known(config, name) or name


def _differences(listed: ShareList, wanted: dict[str, Collection[Who]]) -> Iterator[Row]:
    from maildir_imapd.store.records.acl import spelled
    from maildir_imapd.store.records.shares import listed_as

    for user, to in sorted(wanted.items()):
        after = listed_as(to, user)
        if after != listed.of(user):
            yield {"user": user, "shared_with": sorted(spelled(who, negative=False) for who in after)}
