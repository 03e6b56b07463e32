"""Work that holds locks and takes long, in a thread of its own, so that the connection's can speak meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from maildir_imapd.imap.progress import INTERVAL_SECONDS
from maildir_imapd.store.threads import locks

T = TypeVar("T")


def meanwhile(work: Callable[[], T], word: Callable[[], None], *, interval: float = INTERVAL_SECONDS) -> T:
    """As ``imap.progress.Meanwhile``; *interval* in seconds.

    The thread acts as whoever the caller acts as, for a thread begins with the identity of the one that starts it.
    A client that does not read holds up its own connection, and no lock: *work* goes on to its end.  A *word* that
    raises is the last one, and *work* is waited for all the same; then it is raised in place of the result.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # the caller's to handle, whatever it is
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="work", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return work()  # the system has no thread left: then nothing is said
    trouble: Exception | None = None
    while True:
        locks.waits("work")
        thread.join(interval)
        if not thread.is_alive():
            break
        if trouble is None:
            try:
                word()
            except Exception as error:
                trouble = error
    if trouble is not None:
        raise trouble
    return outcome.result()
