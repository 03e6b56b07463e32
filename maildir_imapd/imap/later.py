"""News that cannot be had now: a command that is done stays done, and they come with a later one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log

log = Log(__name__)


@contextmanager
def later(news: str, user: str | None = None) -> Iterator[None]:
    """Put the block off where the store has trouble, with a line in the log; *news* says of what it would tell.

    The block must leave everything so that the next who asks is told.  Passes on whatever is no trouble of the store's:
    a mailbox that is gone, and a transport that broke.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except (StoreError, OSError) as error:
        detail = error.detail if isinstance(error, StoreError) else str(error)
        log.warning("news put off", news=news, user=user, why=str(error), detail=detail)
