"""What large things may take of memory: shares, and who has to wait for them."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.budget import SAID_SECONDS, Budget, NoRoom, Share

LONG = 20.0  # a test that waits so long has failed


def test_a_share_is_taken_and_given_back() -> None:
    budget = Budget(100)
    first = budget.share(60)
    with pytest.raises(NoRoom):
        budget.share(41)
    second = budget.share(40)
    with pytest.raises(NoRoom):
        second.more(1)
    assert budget.taken == 100
    first.close()
    first.close()
    second.more(10)
    assert (budget.taken, second.octets) == (50, 50)
    second.only(20)
    second.only(30)
    assert (budget.taken, second.octets) == (20, 20)
    second.close()
    assert budget.taken == 0


def test_what_nobody_has_any_more_is_given_back() -> None:
    budget = Budget(100)
    share = budget.share(60)
    share.more(10)
    assert share.octets == 70
    del share
    assert budget.taken == 0


@given(st.lists(st.tuples(st.sampled_from(["share", "more", "only", "close"]), st.integers(0, 60)), max_size=20))
def test_nobody_has_more_than_there_is(acts: list[tuple[str, int]]) -> None:
    budget = Budget(100)
    shares: list[Share] = []
    for act, octets in acts:
        try:
            if act == "share":
                shares.append(budget.share(octets))
            elif act == "more" and shares:
                shares[-1].more(octets)
            elif act == "only" and shares:
                shares[0].only(octets)
            elif shares:
                shares.pop(0).close()
        except NoRoom:
            assert budget.taken + octets > 100
        assert budget.taken == sum(share.octets for share in shares) <= 100
        assert budget.plenty == (budget.taken <= 50)


def test_without_a_limit_there_is_room() -> None:
    budget = Budget()
    assert budget.share(1 << 60).octets == 1 << 60
    assert budget.may_come(1 << 70)
    assert budget.plenty


def test_more_than_there_is_never_comes() -> None:
    budget = Budget(100)
    assert budget.may_come(100)
    assert not budget.may_come(101)


def test_whoever_waits_is_woken_when_somebody_gives_back() -> None:
    budget = Budget(100)
    first = budget.share(100)
    got = threading.Event()

    def want() -> None:
        while True:
            try:
                share = budget.share(50)
            except NoRoom:
                budget.wait(LONG)
                continue
            share.close()
            got.set()
            return

    thread = threading.Thread(target=want)
    thread.start()
    first.close()
    assert got.wait(LONG)
    thread.join()


def test_the_log_says_once_in_a_while_that_there_is_no_room(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    budget = Budget(100, lambda: now[0])
    share = budget.share(70)
    budget.refused(40)
    now[0] = SAID_SECONDS - 1
    budget.refused(41)
    now[0] = SAID_SECONDS
    budget.refused(42)
    assert caplog.text.count("no memory for a large message") == 2
    assert "wanted=40 taken=70 limit=100" in caplog.text
    assert "wanted=42" in caplog.text
    share.close()
