"""Which host a user comes to: the model of rendezvous hashing, and which hosts count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import settings
from maildir_imapd.server.affinity import FRESH_SECONDS, Affinity, HostHealth, weight
from maildir_imapd.values import MailHost, mail_host

USERS = [f"user{number}@example.org" for number in range(3000)]


def hosts(names: list[str]) -> list[MailHost]:
    return [MailHost(name, f"192.0.2.{number}", 143) for number, name in enumerate(names)]


def chosen(names: list[str], users: list[str]) -> dict[str, str]:
    health = HostHealth(hosts(names), lambda: 100.0)
    for place in range(len(names)):
        health.note(place, healthy=True)
    affinity = Affinity(health)
    return {user: affinity.choose(user).name for user in users}


@given(
    st.lists(st.text("abcdefgh-.", min_size=1), min_size=2, max_size=8, unique=True),
    st.lists(st.text(max_size=12), max_size=40, unique=True),
    st.data(),
)
def test_a_host_that_goes_takes_only_its_own_users_along(
    names: list[str], users: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(names))
    before = chosen(names, users)
    after = chosen([name for name in names if name != gone], users)
    for user in users:
        assert after[user] != gone
        if before[user] != gone:
            assert after[user] == before[user]
    # The order of the list says nothing.
    assert chosen(data.draw(st.permutations(names)), users) == before


def test_users_are_spread_evenly() -> None:
    names = ["one", "two", "three"]
    found = chosen(names, USERS)
    counts = {name: list(found.values()).count(name) for name in names}
    assert all(900 < count < 1100 for count in counts.values()), counts
    # And those of a host that goes over all that are left.
    after = chosen(["one", "two"], USERS)
    moved = [after[user] for user in USERS if found[user] == "three"]
    assert 0.4 < moved.count("one") / len(moved) < 0.6


def test_the_choice_is_the_same_in_every_version() -> None:
    """What stands in front of another host is another process, and perhaps another release."""
    assert weight("one", "ann").hex()[:16] == "f8702e4f0ebc4021"
    assert weight("a", "bc") != weight("ab", "c")


def test_who_is_healthy() -> None:
    now = 100.0
    health = HostHealth(hosts(["one", "two", "three"]), lambda: now)
    affinity = Affinity(health)
    # Before the first answer all count: a wrong choice costs time and nothing else.
    assert {affinity.choose(user).name for user in USERS} == {"one", "two", "three"}
    health.note(0, healthy=True)
    health.note(1, healthy=True)
    assert {affinity.choose(user).name for user in USERS} == {"one", "two"}
    health.note(0, healthy=False)
    assert {affinity.choose(user).name for user in USERS} == {"two"}
    now += FRESH_SECONDS + 1
    assert not health.healthy()
    assert {affinity.choose(user).name for user in USERS} == {"one", "two", "three"}


def test_without_hosts_there_is_nothing_to_choose() -> None:
    assert not Affinity(HostHealth([]))
    assert Affinity(HostHealth(hosts(["one"])))


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("one=192.0.2.1:143", MailHost("one", "192.0.2.1", 143)),
        ("m-1.example=[2001:db8::1]:993", MailHost("m-1.example", "2001:db8::1", 993)),
        (
            "one=192.0.2.1:143,ready=http://192.0.2.1:9798/ready",
            MailHost("one", "192.0.2.1", 143, "http://192.0.2.1:9798/ready"),
        ),
        ("one = 192.0.2.1:143, ready=http://a/ready", MailHost("one", "192.0.2.1", 143, "http://a/ready")),
    ],
)
def test_how_a_host_is_written(written: str, host: MailHost) -> None:
    assert mail_host(written) == host
    assert mail_host(host) is host


@pytest.mark.parametrize(
    "written",
    [
        "",
        "one",
        "=192.0.2.1:143",
        "one=192.0.2.1",
        "one=192.0.2.1:0",
        "one=mail.example.org:143",
        "one=*:143",
        "o ne=192.0.2.1:143",
        "one=192.0.2.1:143,",
        "one=192.0.2.1:143,ready=https://a/",
        "one=192.0.2.1:143,ready=http://a:x/",
        "one=192.0.2.1:143,ready=http://a/ b",
        "one=192.0.2.1:143,weight=3",
    ],
)
def test_what_is_no_host(written: str) -> None:
    with pytest.raises(ValueError, match="must be NAME=ADDRESS:PORT"):
        mail_host(written)


def test_settings() -> None:
    two = {"imap": "127.0.0.1:0", "hosts": ["one=192.0.2.1:143", "one=192.0.2.2:143"]}
    with pytest.raises(ConfigError, match="one name twice"):
        settings.demand_listening(load(None, two))
    with pytest.raises(ConfigError, match="auth_http_listen needs hosts"):
        settings.demand_listening(load(None, {"auth_http_listen": "127.0.0.1:0"}))
    config = load(None, {"auth_http_listen": "127.0.0.1:0", "hosts": "one=192.0.2.1:143"})
    settings.demand_listening(config)
    assert [place.service for place in settings.listening(config)] == ["auth_http"]
