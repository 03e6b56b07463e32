"""Derived blobs of a virtual mailbox's messages: they are kept where these lie, and nowhere twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.store.index.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maildir_imapd.store.mailbox import Mailbox


class VirtualCache(Cache):
    """The caches of all mailboxes as one; *sort* says where messages lie, passing over those that lie nowhere."""

    def __init__(
        self, uidvalidity: int, sort: Callable[[Sequence[int]], Iterable[tuple[Mailbox, list[int], list[int]]]]
    ) -> None:
        super().__init__(b"", uidvalidity, b"")
        self._sort = sort

    @property
    def octets(self) -> int:
        """Nothing of its own."""
        return 0

    @property
    def fields(self) -> tuple[bytes, ...]:
        """None: whoever asks works ahead, which is done for the mailboxes themselves."""
        return ()

    def get_many(self, uids: Sequence[int], field: bytes) -> list[bytes | None]:
        """As ``Cache.get_many``."""
        found: list[bytes | None] = [None] * len(uids)
        for box, indices, theirs in self._sort(uids):
            order = sorted(range(len(theirs)), key=theirs.__getitem__)
            values = box.cache.get_many([theirs[k] for k in order], field)
            for k, value in zip(order, values, strict=True):
                found[indices[k]] = value
        return found

    def put_many(self, field: bytes, blobs: Iterable[tuple[int, bytes]]) -> None:
        """As ``Cache.put_many``."""
        pairs = list(blobs)
        for box, indices, theirs in self._sort([uid for uid, _ in pairs]):
            box.cache.put_many(field, sorted((uid, pairs[k][1]) for k, uid in zip(indices, theirs, strict=True)))

    def forget(self, uids: Sequence[int]) -> None:
        """As ``Cache.forget``."""
        for box, _, theirs in self._sort(uids):
            box.cache.forget(sorted(theirs))

    def trim(self, uids: Sequence[int]) -> None:
        """Nothing: the mailboxes see to that."""

    def fields_of(self, uid: int) -> dict[bytes, int]:
        """As ``Cache.fields_of``."""
        return next((box.cache.fields_of(theirs[0]) for box, _, theirs in self._sort([uid])), {})

    def remove(self) -> None:
        """Nothing: it is the mailboxes' own."""
