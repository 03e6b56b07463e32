"""What a back end has said holds for a while."""

from __future__ import annotations

import pytest
from fake_back_end import Clock, Fake

from maildir_imapd.auth import lookups
from maildir_imapd.auth.base import Password
from maildir_imapd.auth.lookups import LookUps
from maildir_imapd.errors import AuthenticationFailed, Unavailable


class Counting(Fake):
    """Notes who is looked up."""

    def __init__(self, secrets: dict[str, bytes]) -> None:
        super().__init__(secrets)
        self.looked_up: list[str] = []

    def look_up(self, user: str):  # type: ignore[no-untyped-def]
        self.looked_up.append(user)
        return super().look_up(user)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("maildir_imapd.auth.lookups.time", clock)
    return clock


def test_answers_hold_and_end(clock: Clock) -> None:
    asked = Counting({"ann": b"a"})
    users = LookUps(asked, seconds=300, nobody_seconds=5)
    for _ in range(3):
        assert users.look_up("ann")
        assert users.look_up("nobody") is None
    assert asked.looked_up == ["ann", "nobody"]
    clock.now += 6
    asked.secrets["nobody"] = b"n"
    assert users.look_up("nobody")
    asked.down = True
    assert users.look_up("ann")
    clock.now += 300
    with pytest.raises(Unavailable):
        users.look_up("ann")
    assert (users.name, users.takes, list(users.users())) == ("fake", (Password,), ["ann", "nobody"])


def test_a_check_has_the_next_question_asked_anew(clock: Clock) -> None:
    asked = Counting({"ann": b"old"})
    users = LookUps(asked, seconds=300, nobody_seconds=5)
    before = users.look_up("ann")
    asked.secrets["ann"] = b"new"
    assert users.look_up("ann") == before
    with pytest.raises(AuthenticationFailed):
        users.check(Password("ann", b"old"))
    after = users.look_up("ann")
    assert after != before
    asked.secrets["ann"] = b"newer"
    assert users.check(Password("ann", b"newer")).user == "ann"
    assert users.look_up("ann") != after


def test_no_more_are_remembered_than_there_is_room_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_SIZE", 2)
    asked = Counting({})
    users = LookUps(asked, seconds=300, nobody_seconds=5)
    for name in ("a", "b", "c", "a"):
        users.look_up(name)
    assert asked.looked_up == ["a", "b", "c", "a"]
    never = LookUps(asked, seconds=0, nobody_seconds=0)
    for _ in range(2):
        never.look_up("d")
    assert asked.looked_up[-2:] == ["d", "d"]
