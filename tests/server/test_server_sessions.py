"""Who is here."""

from __future__ import annotations

import threading

from maildir_imapd.errors import Goodbye, ShuttingDown
from maildir_imapd.server.sessions import Sessions, Visit


def test_who_is_here() -> None:
    sessions = Sessions()
    ann, ben = Visit("192.0.2.1", "192.0.2.1:40000"), Visit("::1", "[::1]:40001", "other")
    sessions.enter(ann)
    sessions.enter(ben)
    assert sessions.here() == [ann, ben]
    assert (ann.host, ann.peer, ann.service, ann.user) == ("192.0.2.1", "192.0.2.1:40000", "imap", None)
    assert ben.service == "other"
    assert ann.thread == threading.get_ident()
    assert 0 < ann.since <= ben.since
    sessions.leave(ann)
    sessions.leave(ann)
    assert sessions.here() == [ben]
    assert len(sessions) == 1


def test_one_is_sent_away() -> None:
    """The first reason is the one that is said, and each wakes the thread."""
    visit = Visit("192.0.2.1", "peer")
    visit.send_away(first := Goodbye("first"))
    rung: list[bool] = []
    visit.ring = lambda: rung.append(True)
    visit.send_away(Goodbye("second"))
    assert visit.goodbye is first
    assert rung == [True]


def test_all_are_sent_away_and_whoever_still_comes() -> None:
    sessions = Sessions()
    here, gone, late = (Visit("192.0.2.1", "peer") for _ in range(3))
    rung: list[Visit] = []
    for visit in (here, gone):
        visit.ring = lambda visit=visit: rung.append(visit)  # type: ignore[misc]
        sessions.enter(visit)
    sessions.leave(gone)
    sessions.say_goodbye(goodbye := ShuttingDown())
    sessions.enter(late)
    assert rung == [here]
    assert here.goodbye is late.goodbye is goodbye
    assert gone.goodbye is None
