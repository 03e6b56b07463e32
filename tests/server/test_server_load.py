"""Hours of the worst that can happen, in some two minutes: ``scripts/stress`` with a few plans (tests/stress.py).

To look for more than a run of the suite can: MAILDIR_IMAPD_LOAD_SEED=7 takes another seed,
MAILDIR_IMAPD_LOAD_SECONDS=600 has each plan take longer; ``scripts/stress --help`` can do all of it without pytest.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from stress import Plan, World

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("MAILDIR_IMAPD_LOAD_SEED", "1"))
SECONDS = float(os.environ.get("MAILDIR_IMAPD_LOAD_SECONDS", "18"))

NOWHERE = Path()
PLANS = {
    "as-it-comes": Plan(NOWHERE, users=8, clients=60),
    "many-folders": Plan(NOWHERE, users=2, clients=24, folders=300, kept=16, restless=True),
    "few-kept": Plan(NOWHERE, users=3, clients=48, folders=3, kept=4, restless=True, check_locks=True),
    "watched": Plan(NOWHERE, users=3, clients=30, folders=4, kept=4, restless=True, sanitize=True, check_locks=True),
    "many-users": Plan(NOWHERE, users=15, clients=100, options=("--watch=poll", "--poll-interval=0.2")),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_nothing_is_corrupted_killed_or_lost(plan: Plan, tmp_path: Path) -> None:
    world = World(replace(plan, base=tmp_path, seed=SEED, seconds=SECONDS))
    assert not world.run(), world.summary()
    done = world.counts.keys()
    assert {"APPEND", "UID COPY", "UID MOVE", "UID EXPUNGE", "DELETE", "CREATE", "RENAME", "IDLE", "NOTIFY"} <= done
    assert {"SELECT", "EXAMINE", "STATUS", "LIST", "FETCH", "UID FETCH", "UID STORE", "EXPUNGE", "COMPRESS"} <= done
