"""Sums of all workers: they never fall, whatever becomes of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from maildir_imapd.server.figures import Sums
from maildir_imapd.server.past import Past
from maildir_imapd.server.troubles import EventCount


def said(logins: int, events: int = 0) -> dict[str, Any]:
    troubles = [EventCount("warning", "folder busy", events, 5.0, "").as_json()] if events else []
    row = (logins, 10 * logins, logins, *[0] * 14)
    return {"figures": Sums(logins=logins, kinds={"LOGIN": row}).as_json(), "troubles": troubles}


def test_the_last_word_of_each_counts_once() -> None:
    past = Past()
    past.note(1, said(2))
    past.note(2, said(3, 1))
    past.note(1, said(5, 4))
    assert past.sums().logins == 8
    assert past.sums().kinds["LOGIN"][:2] == (8, 80)
    assert [each.count for each in past.events()] == [5]


def test_a_worker_that_ends_or_is_killed_stays_counted_and_its_number_is_free() -> None:
    past = Past()
    past.note(1, said(5, 2))
    past.end(1)
    past.end(1)
    past.end(7)
    past.note(1, said(1, 1))
    assert past.sums().logins == 6
    assert [each.count for each in past.events()] == [3]


def test_nonsense_changes_nothing() -> None:
    past = Past()
    past.note(1, said(5))
    with pytest.raises(KeyError):
        past.note(1, {"figures": {}, "troubles": []})
    assert past.sums().logins == 5
