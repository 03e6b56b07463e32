"""COMPARATOR: which collation SEARCH, SORT and THREAD compare text by (RFC 5255 4.7)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from maildir_imapd.errors import Refused
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.wire.render import comparator_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Comparator

# The only one: the folded text of every message is kept, and is kept in one form.
ACTIVE = "i;unicode-casemap"
_STARS = re.compile(r"\*+")


class BadComparator(Refused):
    """There is no such comparator here"""

    code = b"BADCOMPARATOR"


@command(b"COMPARATOR", states=LOGGED_IN, mail=False, announces=[b"I18NLEVEL=2"])
def comparator(session: Session, cmd: Comparator, reply: Reply) -> Done:
    """Tell the comparator (RFC 5255 4.7).  With one a choice changes nothing, and more than one never matches."""
    if cmd.comparators and not any(map(_matches, cmd.comparators)):
        raise BadComparator
    reply.write(comparator_line(ACTIVE.encode()))
    return Done("COMPARATOR completed")


def _matches(wanted: bytes) -> bool:
    """Whether a collation specification (RFC 4790 3.2, collation-order) means ours; "-" would be the reverse."""
    pattern = wanted.decode("ascii", "replace").lower().removeprefix("+")
    if pattern == "default":
        return True
    if len(pattern.replace("*", "")) > len(ACTIVE):
        return False
    # The stars are the only wildcards there; a row of them is one.
    pattern = _STARS.sub("*", pattern)
    return "[" not in pattern and "?" not in pattern and fnmatchcase(ACTIVE, pattern)
