"""STORE and UID STORE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import BadArgument, LimitReached, NoPermission, ReadOnly
from maildir_imapd.imap.mailboxes.rights import flag_mask, settable
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit
from maildir_imapd.imap.session import State
from maildir_imapd.imap.view import NOTHING
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.index.snapshot import SYSTEM_FLAGS
from maildir_imapd.store.mailbox import FlagResult
from maildir_imapd.store.records.acl import ALL
from maildir_imapd.wire.numbers import render_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import View
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.maildir.flags import Flags
    from maildir_imapd.wire.commands import Store

SYSTEM = {name.lower() for name, _ in SYSTEM_FLAGS}
KEYWORD_LIMIT_OCTETS = 255


@command(b"STORE", states=State.SELECTED, changes=True, uses_numbers=True, announces=[b"CONDSTORE"])
@command(b"UID STORE", states=State.SELECTED, changes=True)
def store(session: Session, cmd: Store, reply: Reply) -> Done:
    """Change flags (RFC 3501 6.4.6).

    Every message named answers with its flags, changed or not, unless .SILENT; what other sessions changed
    is told either way.
    """
    view = session.selected
    check_flags(cmd.flags)
    if cmd.unchanged_since is not None:
        session.enable(b"CONDSTORE", reply)
    positions, beyond = limit.last_of(session, view.resolve(cmd.numbers, uid=cmd.uid))
    if view.read_only:
        raise ReadOnly
    flags = settable(view.rights, cmd.flags)
    if (cmd.flags and not flags) or not flag_mask(view.rights):
        # RFC 4314 4: a right to one of them is enough, and those that may not be changed stay as they are.
        raise NoPermission
    before = view.snapshot
    uids = view.uids_at(positions)
    alive = [uid for uid in uids if not view.is_ghost(uid)]
    given = view.mailbox.flags(flags, create=cmd.action != b"-")
    result = _set(view, cmd, alive, given, cmd.unchanged_since)
    if result.modified and cmd.action and cmd.unchanged_since:
        result = _set_others(view, cmd, result, given)
    told = updates.advance(session, expunge=False)
    untouched = set(result.modified) | set(result.gone)
    answered = {uid for uid in alive if uid not in untouched}
    expected = answered
    if cmd.silent:
        # The client knows what it did.  Of what others did to the same messages it knows nothing.
        view.did(answered, _change(cmd, flags, given))
        expected = answered - view.mistaken(answered)
    if told is not NOTHING:
        updates.write(session, reply, before, told, skip=expected)
    _answer(session, cmd, answered, before, reply)
    done = _ended(view, cmd, result, whole=len(alive) == len(uids), answered=bool(answered))
    return limit.told(session, reply, done, beyond)


def _ended(view: View, cmd: Store, result: FlagResult, *, whole: bool, answered: bool) -> Done:
    """Say what has not been done, if anything.  *whole*: all messages that were named were there to begin with."""
    if result.modified:
        sequence = result.modified if cmd.uid else [i + 1 for i in view.snapshot.positions(result.modified) if i >= 0]
        # RFC 7162 3.1.3, example 11: MODIFIED in a NO where it is not all that went wrong.
        kind = b"OK" if cmd.uid or (whole and not result.gone) else b"NO"
        return Done("Some messages were changed by others first", b"MODIFIED " + render_set(sequence), kind)
    if not whole or result.gone:
        # RFC 2180 4.2.1, 4.2.2: what is there is done, and NO is for who wanted an answer about what is gone alone.
        kind = b"NO" if not answered and not cmd.silent and not cmd.uid else b"OK"
        return Done("Some of the messages no longer exist", b"EXPUNGEISSUED", kind)
    return Done("STORE completed")


def check_flags(flags: tuple[bytes, ...]) -> None:
    """Raise BadArgument for a system flag that does not exist, LimitReached for a keyword beyond reason."""
    for flag in flags:
        if flag.startswith(b"\\") and flag.lower() not in SYSTEM:
            raise BadArgument("a flag that this server knows")
        if len(flag) > KEYWORD_LIMIT_OCTETS:
            raise LimitReached(why=Phrase("A keyword may have {limit} octets", limit=KEYWORD_LIMIT_OCTETS))


def _set_others(view: View, cmd: Store, result: FlagResult, given: Flags) -> FlagResult:
    """Try those again that failed the test, but only because of flags that this STORE does not touch (RFC 7162 3.1.12).

    What the view shows of a message stands for what the client knew, if it is no newer than UNCHANGEDSINCE.
    """
    since, before, after = cmd.unchanged_since or 0, view.snapshot, result.snapshot

    def same(uid: int) -> bool:
        old, new = before.position(uid), after.position(uid)
        if old < 0 or new < 0 or before.modseqs[old] > since:
            return False
        return before.flags_at(old) & given == after.flags_at(new) & given

    again = [uid for uid in result.modified if same(uid)]
    if not again:
        return result
    second = _set(view, cmd, again, given, after.modseq)
    left = set(result.modified).difference(again).union(second.modified)
    return FlagResult(sorted(left), [*result.gone, *second.gone], [*result.changed, *second.changed], second.snapshot)


def _set(view: View, cmd: Store, uids: list[int], given: Flags, since: int | None) -> FlagResult:
    mailbox, under = view.mailbox, view.snapshot.uidvalidity
    if cmd.action == b"-":
        return mailbox.set_flags(uids, remove=given, unchanged_since=since, under=under)
    mask = flag_mask(view.rights)
    if not cmd.action and mask != flag_mask(ALL):
        # Those that this user may not change stay.
        rest = mailbox.snapshot.within(mask) - given
        return mailbox.set_flags(uids, add=given, remove=rest, unchanged_since=since, under=under)
    return mailbox.set_flags(uids, add=given, replace=not cmd.action, unchanged_since=since, under=under)


def _answer(session: Session, cmd: Store, answered: set[int], before: Snapshot, reply: Reply) -> None:
    """Say what has become of the messages that were named; with .SILENT only their mod-sequences (RFC 7162 3.1.3)."""
    view, condstore = session.selected, b"CONDSTORE" in session.enabled
    shown = [i for i in view.snapshot.positions(sorted(answered)) if i >= 0]
    if not cmd.silent:
        updates.fetch_flags(session, reply, shown, uid=cmd.uid or condstore)
        return
    # Who does not want to hear of others' flags (RFC 5465) hears of them later.
    mistaken = view.mistaken(answered)
    if not condstore:
        view.heard(answered - mistaken)
        return
    if cmd.unchanged_since is None:
        shown = [i for i in shown if view.snapshot.modseqs[i] > before.modseq]
    # But a mod-sequence stands for all that led to it.
    uids = view.snapshot.uids
    updates.fetch_flags(session, reply, [i for i in shown if uids[i] in mistaken], uid=True)
    updates.fetch_flags(session, reply, [i for i in shown if uids[i] not in mistaken], uid=True, flags=False)


def _change(cmd: Store, flags: Sequence[bytes], given: Flags) -> Callable[[Flags], Flags | None]:
    """Return the flags that the client believes this STORE to leave a message with.

    Of flags that are not kept here, or that the client may not change, nobody knows whether it believes in them.
    """

    def change(known: Flags) -> Flags | None:
        if cmd.action == b"-":
            return known - given
        return known | given if cmd.action == b"+" else given

    kept = len(flags) if cmd.action == b"-" else len(given)
    asked = cmd.flags if cmd.action == b"-" else {flag.lower() for flag in cmd.flags}
    return change if kept == len(asked) else lambda _: None
