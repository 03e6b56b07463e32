from __future__ import annotations

import logging
import time

from maildir_imapd.events import Log
from maildir_imapd.server import troubles
from maildir_imapd.server.troubles import EventCount, Troubles, joined, wrong

log = Log("maildir_imapd.test_troubles")


def told(*events: tuple[str, str]) -> Troubles:
    found = Troubles()
    logger = logging.getLogger("maildir_imapd.test_troubles")
    logger.addHandler(found)
    try:
        for level, event in events:
            getattr(log, level)(event, user="ann", password="x")
    finally:
        logger.removeHandler(found)
    return found


def test_warnings_and_errors_are_counted_by_event() -> None:
    found = told(("warning", "a"), ("error", "b"), ("warning", "a"), ("info", "c"))
    seen = {each.event: each for each in found.seen()}
    assert {name: (each.level, each.count) for name, each in seen.items()} == {"a": ("warning", 2), "b": ("error", 1)}
    assert seen["a"].facts == "user=ann password=***"
    assert (found.count("a"), found.count("z")) == (2, 0)
    found.forget()
    assert found.seen() == []


def test_a_defect_that_makes_events_up_takes_no_memory() -> None:
    found = told(*(("warning", f"event {n}") for n in range(troubles.EVENTS + 50)))
    assert len(found.seen()) == troubles.EVENTS


def test_what_is_wrong_now() -> None:
    now = time.time()
    each = [
        EventCount("error", "something new", 3, now - 10, "a=1"),
        EventCount("error", "long ago", 1, now - 2 * troubles.LATELY_SECONDS, ""),
        EventCount("warning", "login failed", 9, now, "user=ann"),
        EventCount("warning", "index in memory only", 1, now - 60, "path=/x"),
        EventCount("error", "back end cannot be asked", 1, now - troubles.SOON_SECONDS - 1, "name=ldap"),
    ]
    assert [(one["what"], one["text"]) for one in wrong(each, now)] == [
        ("error", "something new (a=1)"),
        ("index-in-memory", "index in memory only (path=/x)"),
    ]


def test_several_processes_are_added_up() -> None:
    one, other = EventCount("warning", "a", 2, 10.0, "old"), EventCount("error", "a", 3, 20.0, "new")
    (found,) = joined([one, other])
    assert (found.level, found.count, found.last, found.facts) == ("error", 5, 20.0, "new")
    assert one.count == 2
