"""Searches that are kept under a name (RFC 5466): annotations of the server, private ones before shared ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import CannotDo, ProtocolError
from maildir_imapd.wire import abnf
from maildir_imapd.wire.parse_search import check_criteria

if TYPE_CHECKING:
    from maildir_imapd.imap.session import Session

PRIVATE: Final = b"/private/filters/values/"
SHARED: Final = b"/shared/filters/values/"


def stored(session: Session, name: bytes) -> bytes | None:
    """The text of a filter; None where there is none (RFC 5466 3.1)."""
    value = session.account.metadata.entries("").value(PRIVATE + name)
    if value is not None:
        return value
    wanted = (SHARED + name).lower()
    return next((value for entry, value in session.policy.server_metadata if entry.lower() == wanted), None)


def check(entry: bytes, value: bytes | None) -> None:
    """Raise CannotDo for an entry of the server that would be a filter and is no search (RFC 5466 3.2)."""
    if value is None or not entry.lower().startswith(PRIVATE):
        return
    name = entry[len(PRIVATE) :]
    atom = abnf.ATOM(name)
    if b"/" in name or atom is None or atom.end() != len(name):
        raise CannotDo(why="A filter cannot have this name")
    try:
        check_criteria(value)
    except ProtocolError as error:
        raise CannotDo(why="This is not a search") from error
