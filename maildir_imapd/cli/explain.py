"""maildir-imapd explain: one message, with all that is on record of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from maildir_imapd.cli.group import USAGE, CommandFailed
from maildir_imapd.cli.output import json_option, plain_text, print_json
from maildir_imapd.cli.whose import Users, whose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox


@click.command(short_help="Say all that is known of a message.")
@click.argument("message", nargs=-1, required=True, metavar="FILE|MAILBOX UID")
@json_option
@whose
def explain(users: Users, message: tuple[str, ...], as_json: bool) -> None:
    """Say all that is known of a message: where its file is, its UID, mod-sequence, flags, dates and sizes.

    And its history as far as the journal has it, and what is kept of it in the cache.  It is named by its FILE, or by
    MAILBOX and UID, also of one that is gone.
    """
    if len(message) > 2 or (len(message) == 2 and not (message[1].isascii() and message[1].isdigit())):
        raise CommandFailed("which message? a FILE, or MAILBOX UID", USAGE)

    def each(user: str, account: Account) -> Iterator[dict[str, Any]]:
        if len(message) == 2:
            from maildir_imapd.imap.naming import written_name

            name = written_name(account, message[0])
            yield _told(user, name, account.mailbox(name), int(message[1]))
        else:
            found = _at(account, os.fsencode(message[0]))
            if found is not None:
                yield _told(user, *found)

    told = list(users.each(each, look=True))
    if not told and not users.status:
        raise CommandFailed(f"no mailbox has this message: {plain_text(message[0])}")
    if as_json:
        print_json(told)
        return
    for one in told:
        for key, value in one.items():
            if isinstance(value, list) and key in ("history", "cache"):
                click.echo(f"{key}:")
                for line in value:
                    click.echo("\t" + "\t".join(plain_text(each) for each in line.values()))
            else:
                click.echo(f"{key}:\t{plain_text(value)}".rstrip())


def _at(account: Account, path: bytes) -> tuple[str, Mailbox, int] | None:
    """Find the message of a file; None where it is in no mailbox of this user. Raises StoreError."""
    from maildir_imapd.store.upkeep import uid_of

    folder = os.path.realpath(os.path.dirname(os.path.dirname(os.path.abspath(path))))
    for row in account.folders():
        if row.path is not None and os.path.realpath(row.path) == folder:
            mailbox = account.mailbox(row.name)
            uid = uid_of(mailbox, os.path.basename(path))
            return None if uid is None else (row.name, mailbox, uid)
    return None


def _told(user: str, name: str, mailbox: Mailbox, uid: int) -> dict[str, Any]:
    from maildir_imapd.store import upkeep

    now = mailbox.sync(look=True, keep_new=True)
    history = [
        {"modseq": each.modseq, "event": each.kind, "words": each.words} for each in upkeep.history(mailbox, uid)
    ]
    at = now.position(uid)
    found: dict[str, Any] = {"user": user, "mailbox": name, "uid": uid, "uidvalidity": now.uidvalidity}
    if at < 0:
        if not history:
            raise CommandFailed(f"{name} has no message with the UID {uid}, and nothing on record of one")
        return {**found, "there": False, "history": history}
    size = mailbox.sizes([at], now)[0]
    kept = mailbox.cache.fields_of(uid)
    return {
        **found,
        "there": True,
        "file": os.fsdecode(upkeep.file_of(mailbox, uid)),
        "modseq": now.modseqs[at],
        "flags": [flag.decode("utf-8", "replace") for flag in now.flag_names(now.flags[at], uid)],
        "received": datetime.fromtimestamp(now.received[at], UTC),
        "saved": datetime.fromtimestamp(now.saved[at], UTC) if now.saved[at] > 0 else None,
        "size": size,
        "octets": upkeep.octets_of(mailbox, uid),
        "history": history,
        "cache": [
            {"field": field.decode("utf-8", "replace"), "octets": octets} for field, octets in sorted(kept.items())
        ],
    }
