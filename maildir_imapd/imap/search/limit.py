"""MESSAGELIMIT and SAVELIMIT: how many messages one command may be about, where the administrator says so (RFC 9738).

Of more messages the highest are dealt with, and the answer says which was the last; what must be done as a whole (COPY,
APPEND), or has no meaning in part (SORT, THREAD), is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import MessageLimit
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search.results import window_size
from maildir_imapd.wire import search_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.search.finder import Finder
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import Positions


def announced(session: Session) -> Iterable[bytes]:
    """The capability; the two limits are never told together."""
    policy = session.policy
    if policy.message_limit:
        return [b"MESSAGELIMIT=%d" % policy.message_limit]
    return [b"SAVELIMIT=%d" % policy.save_limit] if policy.save_limit else []


def code(session: Session, lowest: int | None = None) -> bytes:
    """The response code; *lowest* is the lowest UID that the command was about, None where that is unknown."""
    limit = session.policy.message_limit or session.policy.save_limit
    return b"MESSAGELIMIT %d" % limit if lowest is None else b"MESSAGELIMIT %d %d" % (limit, lowest)


def last_of(session: Session, positions: Positions) -> tuple[Positions, bytes | None]:
    """The highest of *positions* (rising) that one command may be about, and a code where others are left out."""
    limit = session.policy.message_limit
    if not limit or len(positions) <= limit:
        return positions, None
    kept = positions[len(positions) - limit :]
    return kept, code(session, session.selected.snapshot.uids[kept[0]])


def last_uids(session: Session, uids: list[int]) -> tuple[list[int], bytes | None]:
    """As ``last_of``, of UIDs (rising)."""
    limit = session.policy.message_limit
    if not limit or len(uids) <= limit:
        return uids, None
    return uids[-limit:], code(session, uids[-limit])


def searched(session: Session, finder: Finder, key: search_keys.SearchKey) -> tuple[Positions | None, bytes | None]:
    """The messages that a search may look at, None for all of them, and a code where others are left out.

    They are counted whether they match or not, but for those that numbers in the key leave out at once.
    """
    if not session.policy.message_limit:
        return None, None
    named = [
        part
        for part in (key.keys if isinstance(key, search_keys.KeyAnd) else (key,))
        if isinstance(part, search_keys.KeyNumbers)
    ]
    kept, beyond = last_of(session, finder.run(search_keys.KeyAnd(tuple(named)) if named else search_keys.KeyAll()))
    return (None, None) if beyond is None else (kept, beyond)


def demand_whole(session: Session, finder: Finder, key: search_keys.SearchKey) -> None:
    """Raise MessageLimit where a search would look at too many messages for one answer (RFC 9738 3.3)."""
    _, beyond = searched(session, finder, key)
    if beyond is not None:
        raise MessageLimit(code=code(session))


def demand_window(session: Session, asked: tuple[int, int]) -> None:
    """Raise MessageLimit for a PARTIAL that is wider than the limit, however many messages there are (3.1)."""
    limit = session.policy.message_limit
    if limit and window_size(asked) > limit:
        raise MessageLimit(code=code(session))


def demand_saved(session: Session, uids: Sequence[int] | None, count: int) -> None:
    """Raise MessageLimit where COPY or APPEND would store too many; *uids*, rising, where they have some."""
    limit = session.policy.message_limit or session.policy.save_limit
    if limit and count > limit:
        raise MessageLimit(code=code(session, None if uids is None else uids[-limit]))


def told(session: Session, reply: Reply, done: Done, beyond: bytes | None) -> Done:
    """Put a code of ``last_of`` into the end of a command; beside another code it goes out alone (3.1)."""
    if beyond is None:
        return done
    if done.code is None:
        return Done("Done for as many messages as one command may be about", beyond, done.kind)
    session.say(reply, b"NO", "Done for as many messages as one command may be about", beyond)
    return done
