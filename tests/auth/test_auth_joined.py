"""Who checks and who knows, apart."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from fake_back_end import Fake

from maildir_imapd.auth.base import External, Identity, Password, QuotaLimits, Registered
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.joined import Joined, merged
from maildir_imapd.errors import AuthenticationFailed, Unavailable


class Users:
    """Homes and nothing else; *down*: cannot be asked."""

    def __init__(self, *known: Identity) -> None:
        self.known = {identity.user: identity for identity in known}
        self.down = False
        self.locked: set[str] = set()

    def look_up(self, user: str) -> Registered | None:
        if self.down:
            raise Unavailable
        if user not in self.known:
            return None
        return Registered(self.known[user], self.known[user].home, user not in self.locked)

    def users(self) -> list[str]:
        return list(self.known)


def test_the_checker_goes_before_and_the_first_who_knows_decides() -> None:
    checks = Fake({"ann": b"a", "ben": b"b", "carl": b"c"})
    checks.identities = {"ann": Identity("ann", home="/checked")}
    first = Users(Identity("ann", home="/first", uid=5, gid=6))
    second = Users(Identity("ann", home="/second"), Identity("ben", home="/second/ben"))
    joined = Joined(checks, [first, second])
    chain = Chain([joined])
    assert chain.identify(Password("ann", b"a")) == Identity("ann", home="/checked", uid=5, gid=6)
    assert chain.find("ben") == Identity("ben", home="/second/ben")
    assert chain.identify(Password("ben", b"b")).home == "/second/ben"
    assert chain.find("carl") is None
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("carl", b"c"))
    with pytest.raises(AuthenticationFailed) as unknown:
        joined.check(Password("carl", b"c"))
    assert unknown.value.detail == "not-in-userdb"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ben", b"wrong"))
    assert list(joined.users()) == ["ann", "ben", "carl"]


def test_what_the_source_says_is_part_of_the_version() -> None:
    """So what is remembered of a password ends when the home is another one."""
    source = Users(Identity("ann", home="/one"))
    joined = Joined(Fake({"ann": b"a"}), [source])
    before = joined.look_up("ann")
    assert before == joined.look_up("ann")
    source.known["ann"] = Identity("ann", home="/two")
    assert joined.look_up("ann") != before


def test_a_source_that_cannot_be_asked_is_no_wrong_password() -> None:
    source = Users(Identity("ann"))
    source.down = True
    joined = Joined(Fake({"ann": b"a"}), [source])
    with pytest.raises(Unavailable):
        joined.look_up("ann")
    with pytest.raises(Unavailable):
        joined.check(Password("ann", b"a"))


def test_what_is_merged() -> None:
    whole = Identity(
        "ann",
        home="/h",
        uid=1,
        gid=2,
        mail="maildir:/m",
        groups=frozenset({"g"}),
        quota=QuotaLimits(1, 2),
        nets=(ip_network("192.0.2.0/24"),),
        search_index=True,
        connections=3,
    )
    assert merged(Identity("ann"), whole) == whole
    assert merged(whole, Identity("ann", home="/other", uid=9, gid=9, nets=())) == whole
    assert merged(Identity("ANN"), Identity("ann")).user == "ann"
    assert merged(Identity("ann"), Identity("other")).user == "ann"
    # A uid goes with its own group.
    assert merged(Identity("ann", uid=7), Identity("ann", uid=1, gid=2)).gid is None


def test_without_a_password_both_must_let_him_in() -> None:
    checks = Fake({"ann": b"a", "ben": b"b"}, takes=(Password, External))
    source = Users(Identity("ann", home="/ann"), Identity("cyd", home="/cyd"))
    joined = Joined(checks, [source])
    assert External in joined.takes
    assert joined.check(External("ann")) == Identity("ann", home="/ann")
    for name in ("ben", "cyd"):
        with pytest.raises(AuthenticationFailed):
            joined.check(External(name))
    source.locked.add("ann")
    found = joined.look_up("ann")
    assert found is not None
    assert not found.may_log_in
    for credential in (External("ann"), Password("ann", b"a")):
        with pytest.raises(AuthenticationFailed):
            joined.check(credential)
    # Nobody asks a source alone: who checks may lock out whom it does not.
    assert External not in Joined(Fake({"ann": b"a"}), [source]).takes
