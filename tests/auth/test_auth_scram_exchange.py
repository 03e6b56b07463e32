"""SCRAM from its two sides: scramp's client against ours, and clients that keep to nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramClient

from maildir_imapd.auth import schemes, scram
from maildir_imapd.auth.base import Credential, Proven
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.scram_exchange import exchange, usable
from maildir_imapd.errors import AuthenticationFailed, Unavailable

NAMES = ("SCRAM-SHA-1", "SCRAM-SHA-256")
END_POINT = {"tls-server-end-point": b"certificate"}
STORED = {
    "ann": scram.make("SCRAM-SHA-256", b"secret"),
    "one": scram.make("SCRAM-SHA-1", b"secret"),
    "ben": "{PLAIN}secret",
    "bob": "{PLAIN.B64}c2VjcmV0",
    "cyd": "{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E",
    "dan": "{SCRAM-SHA-256}4096,broken",
    "eve": "{PLAIN}",
}


def situation(bindings: dict[str, bytes] | None = None, *offered: str) -> Situation:
    return Situation(
        bindings=bindings or {},
        stored=STORED.get,
        salt=lambda user: b"salt-of-nobody" + user.encode(),
        offered=frozenset(offered),
    )


def converse(
    name: str,
    user: str,
    password: str,
    where: Situation | None = None,
    binding: tuple[str, bytes] | None = None,
    change: Callable[[str], str] = lambda final: final,
) -> tuple[Credential, bool]:
    """Run both sides; what comes of it, and whether the client has been shown that we know the secret."""
    ours = exchange(name, where or situation())
    assert next(ours) == b""
    client = ScramClient([name], user, password, channel_binding=binding)
    client.set_server_first(ours.send(client.get_client_first().encode()).decode())
    try:
        challenge = ours.send(change(client.get_client_final()).encode())
    except StopIteration as stop:
        return stop.value, False
    client.set_server_final(challenge.decode())
    with pytest.raises(StopIteration) as stop:
        ours.send(b"")
    return stop.value.value, True


@pytest.mark.parametrize(
    ("name", "user"),
    [("SCRAM-SHA-256", "ann"), ("SCRAM-SHA-1", "one"), *((name, user) for name in NAMES for user in ("ben", "bob"))],
)
def test_a_right_password(name: str, user: str) -> None:
    assert converse(name, user, "secret") == (Proven(user, name, True, STORED[user]), True)
    assert converse(name, user, "secrets") == (Proven(user, name, False, STORED[user]), False)


@pytest.mark.parametrize(("name", "user"), [("SCRAM-SHA-1", "ann"), ("SCRAM-SHA-256", "one")])
def test_a_secret_is_for_one_mechanism(name: str, user: str) -> None:
    assert converse(name, user, "secret") == (Proven(user, name, False, ""), False)
    assert scram.SCHEMES.keys() == set(NAMES)
    assert usable("SCRAM-SHA-1-PLUS") == schemes.READABLE | {"SCRAM-SHA-1"}


@pytest.mark.parametrize("user", ["nobody", "cyd", "dan", "eve", "x" * 255])
def test_whoever_has_no_secret_is_told_nothing(user: str) -> None:
    """The salt is the same each time, and the answer that of a wrong password."""
    salts = set()
    for _ in range(2):
        ours = exchange("SCRAM-SHA-256", situation())
        next(ours)
        challenge = ours.send(f"n,,n={user},r=nonce".encode()).decode()
        assert challenge.split(",")[2] == "i=4096"
        salts.add(challenge.split(",")[1])
    assert len(salts) == 1
    for password in ("secret", "x"):
        assert converse("SCRAM-SHA-256", user, password) == (Proven(user, "SCRAM-SHA-256", False, ""), False)


@pytest.mark.parametrize("name", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-unique"])
def test_bound(name: str, kind: str) -> None:
    where = situation({"tls-unique": b"finished", **END_POINT}, name)
    right = where.bindings[kind]
    assert converse(name, "ben", "secret", where, (kind, right)) == (Proven("ben", name, True, STORED["ben"]), True)
    assert converse(name, "ben", "secret", where, (kind, b"x")) == (Proven("ben", name, False, STORED["ben"]), False)


def test_a_client_that_was_told_there_is_no_binding() -> None:
    """RFC 5802 6: it can bind, and somebody between has taken -PLUS out of the list."""
    first = b"y,,n=ann,r=nonce"
    here = exchange("SCRAM-SHA-256", situation(END_POINT, "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"))
    next(here)
    with pytest.raises(AuthenticationFailed):
        here.send(first)
    there = exchange("SCRAM-SHA-256", situation(END_POINT, "SCRAM-SHA-256"))
    next(there)
    assert there.send(first).startswith(b"r=nonce")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("SCRAM-SHA-256", b""),
        ("SCRAM-SHA-256", b"\xff"),
        ("SCRAM-SHA-256", b"n,,n=ann,r=" + b"x" * 5000),
        ("SCRAM-SHA-256", b"n,a=ben,n=ann,r=nonce"),
        ("SCRAM-SHA-256", b"n,,n=" + b"x" * 256 + b",r=nonce"),
        ("SCRAM-SHA-256", b"n,,n=an\0n,r=nonce"),
        ("SCRAM-SHA-256", b"n,,n=an=n,r=nonce"),
        ("SCRAM-SHA-256", b"n,,m=x,n=ann,r=nonce"),
        ("SCRAM-SHA-256", b"p=tls-server-end-point,,n=ann,r=nonce"),
        ("SCRAM-SHA-256-PLUS", b"n,,n=ann,r=nonce"),
        ("SCRAM-SHA-256-PLUS", b"y,,n=ann,r=nonce"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=ann,r=nonce"),
    ],
)
def test_first_messages_that_are_none(name: str, first: bytes) -> None:
    ours = exchange(name, situation(END_POINT))
    next(ours)
    with pytest.raises(AuthenticationFailed):
        ours.send(first)


def test_a_back_end_that_cannot_be_asked() -> None:
    def down(user: str) -> str | None:
        raise Unavailable

    ours = exchange("SCRAM-SHA-256", Situation(stored=down))
    next(ours)
    with pytest.raises(Unavailable):
        ours.send(b"n,,n=ann,r=nonce")


@pytest.mark.parametrize(
    "change",
    [
        lambda final: "",
        lambda final: final.replace("r=", "r=x"),
        lambda final: final.rpartition(",")[0],
        lambda final: final + ",x=y",
        lambda final: final.replace("c=biws", "c=eSws"),
        lambda final: final.replace("p=", "p=!"),
    ],
)
def test_final_messages_that_prove_nothing(change: Callable[[str], str]) -> None:
    assert converse("SCRAM-SHA-256", "ann", "secret", change=change)[0] == Proven(
        "ann", "SCRAM-SHA-256", False, STORED["ann"]
    )


WORDS = "n|y|p=tls-unique|p=|,|,,|n=|ann|r=|abc|=2C|=3D|a=ben|m=|c=biws|p=AAAA|\0|%n|/|ß|\ufeff"
PIECES = st.sampled_from(WORDS.split("|"))
MESSAGES = st.one_of(st.binary(max_size=64), st.lists(PIECES, max_size=12).map(lambda parts: "".join(parts).encode()))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*NAMES, "SCRAM-SHA-256-PLUS"]), st.lists(MESSAGES, max_size=3))
def test_whatever_comes_is_wrong(name: str, messages: list[bytes]) -> None:
    """Only AuthenticationFailed or a credential comes out, and none that holds."""
    ours = exchange(name, situation(END_POINT))
    next(ours)
    outcome = None
    try:
        for message in messages:
            ours.send(message)
    except AuthenticationFailed:
        pass
    except StopIteration as stop:
        outcome = stop.value
    assert outcome is None or (isinstance(outcome, Proven) and not outcome.holds)


def test_no_secret_is_shown() -> None:
    assert STORED["ann"] not in repr(Proven("ann", "SCRAM-SHA-256", True, STORED["ann"]))
    assert "certificate" not in repr(situation(END_POINT))
