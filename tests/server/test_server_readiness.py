"""Whether clients are taken, by the beats of workers."""

from __future__ import annotations

import pytest

from maildir_imapd.server.entrance import Shut
from maildir_imapd.server.readiness import BEATS_SECONDS, Readiness


@pytest.mark.parametrize(
    ("beats", "started", "ending", "beating", "why"),
    [
        ([99.0, 98.0], True, False, 2, ""),
        ([99.0, 100.0 - BEATS_SECONDS - 1], True, False, 1, ""),
        ([100.0 - BEATS_SECONDS - 1], True, False, 0, "no worker is alive"),
        ([0.0], True, False, 0, "no worker is alive"),
        ([], True, False, 0, "no worker is alive"),
        ([99.0], False, False, 1, "the server starts"),
        ([99.0], True, True, 1, "the server ends"),
    ],
)
def test_ready(beats: list[float], started: bool, ending: bool, beating: int, why: str) -> None:
    found = Readiness.of(beats, 100.0, started=started, ending=ending)
    assert found.as_json() == {"ready": not why, "why": why, "beating": beating}


def test_the_entrance_is_shut() -> None:
    for shut, why in ((Shut.DRAINING, "draining"), (Shut.SPOOL, "the spool does not answer")):
        found = Readiness.of([99.0], 100.0, started=True, ending=False, shut=shut)
        # The process is well all the same: to start it anew would mend nothing.
        assert found.as_json() == {"ready": False, "why": why, "beating": 1}
        assert Readiness.of([], 100.0, started=True, ending=False, shut=shut).why == "no worker is alive"
