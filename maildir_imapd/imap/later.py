"""News that cannot be had now: a command that is done stays done, and they come with a later one."""

from __future__ import annotations

from types import TracebackType

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log

log = Log(__name__)


class later:  # read as a word: with later("annotations")
    """Puts the block off where the store has trouble, with a line in the log; *news* says of what it would tell.

    The block must leave everything so that the next who asks is told.  Passes on whatever is no trouble of the store's:
    a mailbox that is gone, and a transport that broke.  A class and no generator: every command comes by here.
    """

    __slots__ = ("_news", "_user")

    def __init__(self, news: str, user: str | None = None) -> None:
        self._news, self._user = news, user

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if error is None or isinstance(error, ConnectionError | TimeoutError):
            return False
        if not isinstance(error, StoreError | OSError):
            return False
        detail = error.detail if isinstance(error, StoreError) else str(error)
        log.warning("news put off", news=self._news, user=self._user, why=str(error), detail=detail)
        return True
