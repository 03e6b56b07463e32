"""Which mailbox serves which purpose (RFC 6154): by the names that clients and servers have given them."""

from __future__ import annotations

from collections.abc import Iterable

# The first name of a row that exists has the attribute.  Compared without case, at the top or below INBOX.
WELL_KNOWN: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"\\Drafts", ("Drafts", "Draft")),
    (b"\\Sent", ("Sent", "Sent Messages", "Sent Items", "Sent Mail")),
    (b"\\Trash", ("Trash", "Deleted Messages", "Deleted Items", "Deleted")),
    (b"\\Junk", ("Junk", "Spam", "Junk E-mail", "Junk Email", "Bulk Mail")),
    (b"\\Archive", ("Archive", "Archives")),
)


def by_name(names: Iterable[str], delimiter: str) -> dict[str, tuple[bytes, ...]]:
    """The attribute of each mailbox of *names* that has one."""
    found: dict[str, str] = {}
    prefix = f"inbox{delimiter}"
    for name in names:
        plain = name.lower().removeprefix(prefix)
        found.setdefault(plain, name)
    uses: dict[str, tuple[bytes, ...]] = {}
    for attribute, candidates in WELL_KNOWN:
        for candidate in candidates:
            holder = found.get(candidate.lower())
            if holder is not None:
                uses[holder] = (attribute,)
                break
    return uses
