"""The mailboxes that the administrator sets up for users, and those that are being made for one of them.

Before any of them is made a file says which, the **intent**, and behind the last one it is gone: so that who dies in
between leaves none unsubscribed, and a new user has all that new users have. For him it is written before there is an
INBOX, by which whoever comes next would take him for an old one. A line of it is ``create`` or ``subscribe``, TAB, and
the name, its levels joined by ``/``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from maildir_imapd.store.disk import descriptors, durable

if TYPE_CHECKING:
    from maildir_imapd.store.records.account_lock import AccountLock

INTENT: Final = b"maildir-imapd.making"

Auto = Literal["no", "create", "subscribe"]


@dataclass(frozen=True, slots=True)
class UsualMailbox:
    """A mailbox of everybody's, and how it is set up."""

    levels: tuple[str, ...]
    """Its name, without the prefix of all names."""
    use: bytes | None = None
    """Its special use."""
    auto: Auto = "no"
    """Whether it is made where it is not there, and subscribed then."""
    expunge_after: int = 0
    """Messages go for good so many seconds after they came here; 0: never."""
    expunge_beyond: int = 0
    """The oldest go where there are more than this; 0: never."""

    @property
    def expires(self) -> bool:
        """Whether messages go by themselves."""
        return bool(self.expunge_after or self.expunge_beyond)

    def name(self, prefix: str, delimiter: str) -> str:
        """Its name for clients."""
        if self.levels == ("INBOX",):
            return "INBOX"
        return prefix + delimiter.join(self.levels)


FOR_NEW_USERS: Final = tuple(
    UsualMailbox((use,), b"\\" + use.encode("ascii"), "subscribe") for use in ("Drafts", "Sent", "Junk", "Trash")
)


def parse(data: bytes) -> tuple[UsualMailbox, ...]:
    """Read an intent; what is no line of one is passed over."""
    found = []
    for line in data.decode("utf-8", "replace").split("\n"):
        auto, tab, name = line.partition("\t")
        if tab and name and auto in ("create", "subscribe"):
            found.append(UsualMailbox(tuple(name.split("/")), auto=cast("Auto", auto)))
    return tuple(found)


def render(mailboxes: Iterable[UsualMailbox]) -> bytes:
    """Write what ``parse`` reads."""
    return b"".join(f"{each.auto}\t{'/'.join(each.levels)}\n".encode() for each in mailboxes)


def begin(root: bytes, mailboxes: Iterable[UsualMailbox]) -> None:
    """Write the intent where there is no INBOX yet, and so no lock: whoever does so at once writes the same."""
    opened = descriptors.open_directory(root)
    try:
        temporary = INTENT + b"." + secrets.token_hex(8).encode()
        durable.put(INTENT, render(mailboxes), opened, durable=True, temporary=temporary)
        durable.sync(opened)
    finally:
        os.close(opened)


class Making:
    """One account's intent, under the account's lock. Raises StoreError."""

    def __init__(self, root: bytes, changing: AccountLock) -> None:
        self._root = root
        self._changing = changing

    def wanted(self) -> tuple[UsualMailbox, ...]:
        """Those that are being made, by us or by who has died."""
        with durable.as_store_error(self._root):
            data, _ = durable.read_dated(self._root, INTENT)
        return () if data is None else parse(data)

    def add(self, mailboxes: Iterable[UsualMailbox]) -> None:
        """Write down that these are made, too."""
        with self._changing() as root:
            both = dict.fromkeys((*self.wanted(), *mailboxes))
            durable.put(INTENT, render(both), root, durable=True)
            durable.sync(root)

    def done(self, mailboxes: Iterable[UsualMailbox]) -> None:
        """Write down that these are made."""
        with self._changing() as root:
            before = self.wanted()
            done = {render([each]) for each in mailboxes}
            left = [each for each in before if render([each]) not in done]
            if left:
                durable.put(INTENT, render(left), root, durable=True)
            elif before:
                durable.unlink(INTENT, root)
            durable.sync(root)
