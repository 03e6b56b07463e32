"""Tokens of a small issuer's: good ones, and all that are none."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from issuer import AUDIENCE, Issuer
from joserfc.jwk import OctKey, RSAKey

from maildir_imapd.auth import oauth
from maildir_imapd.auth.base import Password, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.joined import Joined
from maildir_imapd.auth.names import Spelling
from maildir_imapd.auth.oauth import Introspection, Jwts, KeySet, OAuth, Wanted, file_of_keys
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.auth.web import Web
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, ConfigError, Unavailable
from maildir_imapd.setting import oauth as oauth_settings

OTHER = RSAKey.generate_key(2048, {"kid": "first"})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wanted(issuer: Issuer, **more: Any) -> Wanted:
    return Wanted(issuer.url, **{"audiences": (AUDIENCE,), **more})


def by_keys(issuer: Issuer, clock: Seconds | None = None, **more: Any) -> OAuth:
    rules = wanted(issuer, **more)
    keys = KeySet(Web(f"{issuer.url}/keys", most=2, seconds=10).fetch, clock or Seconds())
    return OAuth([Jwts(keys, rules)], rules, Spelling())


def by_asking(issuer: Issuer, remember: float = 300, **more: Any) -> OAuth:
    rules = wanted(issuer, **more)
    web = Web(f"{issuer.url}/introspect", most=2, seconds=10)
    client, _, secret = issuer.secret.partition(":")
    return OAuth([Introspection(web, rules, client=client, secret=secret, remember=remember)], rules, Spelling())


def why(back_end: OAuth, token: bytes) -> str:
    """Why it is not good, as the log has it."""
    with pytest.raises(AuthenticationFailed) as failure:
        back_end.check(Token("ann@example.org", token))
    assert failure.value.text == "User name or password is wrong"
    return failure.value.detail


def part(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


# --- JWT ------------------------------------------------------------------------------------------


def test_a_good_one(issuer: Issuer) -> None:
    back_end = by_keys(issuer)
    assert back_end.check(Token("", issuer.token())).user == "ann@example.org"
    assert back_end.check(Token("", issuer.token({"aud": ["other", AUDIENCE]}))).user == "ann@example.org"
    assert back_end.look_up("ann@example.org") is None
    assert list(back_end.users()) == []
    with pytest.raises(AuthenticationFailed):
        back_end.check(Password("ann@example.org", issuer.token()))


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"exp": 1}, "token-expired"),
        ({"exp": None}, "token-wrong"),
        ({"exp": "soon"}, "token-wrong"),
        ({"nbf": 1 << 40}, "token-wrong"),
        ({"aud": "other"}, "token-for-others"),
        ({"aud": None}, "token-wrong"),
        ({"aud": []}, "token-wrong"),
        ({"iss": "https://evil.example"}, "token-of-another-issuer"),
        ({"iss": None}, "token-wrong"),
        ({"email": None}, "token-without-name"),
        ({"email": ["ann@example.org"]}, "token-without-name"),
        ({"email": ""}, "token-without-name"),
        ({"email_verified": False}, "token-without-name"),
    ],
)
def test_claims_that_are_not_good(issuer: Issuer, claims: dict[str, Any], detail: str) -> None:
    assert why(by_keys(issuer), issuer.token(claims)) == detail


def test_a_little_late(issuer: Issuer) -> None:
    now = int(time.time())
    back_end = by_keys(issuer)
    assert back_end.check(Token("", issuer.token({"exp": now - oauth.LEEWAY_SECONDS // 2})))
    assert why(back_end, issuer.token({"exp": now - oauth.LEEWAY_SECONDS - 5})) == "token-expired"


def test_forged_ones(issuer: Issuer) -> None:
    back_end = by_keys(issuer)
    good = issuer.token()
    head, body, mark = good.split(b".")
    forged = part({"iss": issuer.url, "aud": AUDIENCE, "exp": int(time.time()) + 600, "email": "ben@example.org"})
    assert why(back_end, issuer.token(key=OTHER)) == "token-wrong"
    assert why(back_end, b".".join((head, forged, mark))) == "token-wrong"
    assert why(back_end, b".".join((head, body, b""))) == "token-wrong"
    for algorithm in ("none", "None", "nOnE", "HS256", "", None, ["RS256"], {}):
        header = part({"alg": algorithm, "kid": "first"})
        assert why(back_end, b".".join((header, forged, b""))) in ("token-algorithm", "token-malformed")


def test_the_public_key_is_no_shared_secret(issuer: Issuer) -> None:
    """The old trick: signed by HMAC with what everybody can read, or with a secret that stands in the set."""
    body = issuer.token().split(b".")[1]
    signed = part({"alg": "HS256", "kid": "first"}) + b"." + body
    mark = hmac.digest(issuer.key.as_pem(private=False), signed, "sha256")
    token = signed + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")
    assert why(by_keys(issuer), token) == "token-algorithm"
    secret = OctKey.generate_key(256, {"kid": "shared"})
    issuer.keys.append(secret)
    try:
        token = issuer.token(header={"alg": "HS256", "kid": "shared"}, key=secret)
        assert why(by_keys(issuer), token) == "token-algorithm"
        assert why(by_keys(issuer), issuer.token(header={"kid": "shared"})) == "token-key-unknown"
    finally:
        issuer.keys.remove(secret)


@pytest.mark.parametrize("name", ["../../etc/passwd", "file:///dev/null", "x' OR '1'='1", "first\0", "", "FIRST"])
def test_names_of_keys_that_are_none(issuer: Issuer, name: str) -> None:
    assert why(by_keys(issuer), issuer.token(header={"kid": name}, key=OTHER)) == "token-key-unknown"


def test_keys_that_a_token_brings_along(issuer: Issuer) -> None:
    """Whoever signs says nothing about where the key is."""
    own = OTHER.as_dict(private=False)
    for more in ({"jwk": own}, {"jku": f"{issuer.url}/evil"}, {"x5u": f"{issuer.url}/evil"}):
        assert why(by_keys(issuer), issuer.token(header=more, key=OTHER)) == "token-wrong"
    assert "/evil" not in issuer.asked


def test_a_token_without_the_name_of_its_key(issuer: Issuer) -> None:
    assert by_keys(issuer).check(Token("", issuer.token(header={"kid": None})))
    issuer.keys.append(OTHER)
    try:
        assert why(by_keys(issuer), issuer.token(header={"kid": None})) == "token-key-unknown"
    finally:
        issuer.keys.remove(OTHER)


def test_only_the_algorithms_that_are_named(issuer: Issuer) -> None:
    assert why(by_keys(issuer, algorithms=("ES256",)), issuer.token()) == "token-algorithm"
    assert oauth.ALGORITHMS == oauth_settings.ALGORITHMS


def test_scopes_and_another_claim(issuer: Issuer) -> None:
    back_end = by_keys(issuer, scopes=("mail", "imap"), claim="sub")
    good = {"sub": "ann", "scope": "openid imap mail", "email_verified": False}
    assert back_end.check(Token("", issuer.token(good))).user == "ann"
    assert back_end.check(Token("", issuer.token({**good, "scope": None, "scp": ["imap", "mail"]}))).user == "ann"
    for scope in ("imap", "", None, 7):
        assert why(back_end, issuer.token({**good, "scope": scope})) == "token-without-scope"


# --- keys -----------------------------------------------------------------------------------------


def test_a_new_key(issuer: Issuer) -> None:
    """A name that is not known asks for the keys anew, and many of them do not ask often."""
    clock = Seconds()
    back_end = by_keys(issuer, clock)
    back_end.check(Token("", issuer.token()))
    before, key, keys = len(issuer.asked), issuer.key, issuer.keys[:]
    try:
        issuer.rotate("second", elliptic=True)
        assert why(back_end, issuer.token()) == "token-key-unknown"
        clock.now += oauth.KEYS_AT_MOST_EVERY_SECONDS
        assert back_end.check(Token("", issuer.token())).user == "ann@example.org"
        for n in range(9):
            assert why(back_end, issuer.token(header={"kid": f"none{n}"})) == "token-key-unknown"
        assert len(issuer.asked) == before + 1
        issuer.keys.remove(key)
        assert back_end.check(Token("", issuer.token(header={"kid": "first", "alg": "RS256"}, key=key)))
        clock.now += oauth.KEYS_OLD_SECONDS
        assert why(back_end, issuer.token(header={"kid": "first", "alg": "RS256"}, key=key)) == "token-key-unknown"
    finally:
        issuer.key, issuer.keys = key, keys


def test_an_issuer_that_cannot_be_asked(issuer: Issuer) -> None:
    """Never said as a wrong token; and what is known goes on."""
    clock = Seconds()
    back_end = by_keys(issuer, clock)
    for answer, status in (
        (b"{", 200),
        (b'{"keys": []}', 200),
        (b'{"keys": 7}', 200),
        (b"[]", 200),
        (None, 500),
        (None, 302),
    ):
        issuer.answer, issuer.status = answer, status
        try:
            with pytest.raises(Unavailable):
                back_end.check(Token("", issuer.token()))
        finally:
            issuer.answer, issuer.status = None, 200
        clock.now += oauth.KEYS_AT_MOST_EVERY_SECONDS
    assert back_end.check(Token("", issuer.token()))
    clock.now += oauth.KEYS_OLD_SECONDS
    issuer.status = 500
    try:
        assert back_end.check(Token("", issuer.token()))
        clock.now += oauth.KEYS_AT_MOST_EVERY_SECONDS
        with pytest.raises(Unavailable):
            back_end.check(Token("", issuer.token(header={"kid": "newer"})))
    finally:
        issuer.status = 200


def test_keys_in_a_file(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    rules, clock = wanted(issuer), Seconds()
    back_end = OAuth([Jwts(KeySet(file_of_keys(str(file)), clock), rules)], rules, Spelling())
    with pytest.raises(Unavailable):
        back_end.check(Token("", issuer.token()))
    clock.now += oauth.KEYS_AT_MOST_EVERY_SECONDS
    file.write_bytes(issuer.key_set())
    assert back_end.check(Token("", issuer.token()))


# --- introspection --------------------------------------------------------------------------------


def test_what_the_issuer_says(issuer: Issuer) -> None:
    good = {"active": True, "email": "ann@example.org", "aud": AUDIENCE, "iss": issuer.url, "exp": time.time() + 600}
    issuer.tokens = {
        "good": good,
        "list": {**good, "aud": ["x", AUDIENCE]},
        "ended": {**good, "exp": time.time() - 1},
        "odd": {**good, "exp": "never"},
        "others": {**good, "aud": "other"},
        "nobodys": {**good, "aud": None},
        "else": {**good, "iss": "https://evil.example"},
        "text": {**good, "active": "true"},
        "dead": {**good, "active": False},
    }
    back_end = by_asking(issuer)
    for name in ("good", "list"):
        assert back_end.check(Token("", name.encode())).user == "ann@example.org"
    details = {
        name: why(back_end, name.encode()) for name in [*issuer.tokens, "unknown"] if name not in ("good", "list")
    }
    assert details == {
        "ended": "token-expired",
        "odd": "token-expired",
        "others": "token-for-others",
        "nobodys": "token-for-others",
        "else": "token-of-another-issuer",
        "text": "token-not-active",
        "dead": "token-not-active",
        "unknown": "token-not-active",
    }


def test_what_it_has_said_holds_as_long_as_the_token(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(oauth.time, "time", lambda: now)
    good = {"active": True, "email": "ann@example.org", "aud": AUDIENCE}
    issuer.tokens = {"short": {**good, "exp": now + 100}, "long": good}
    back_end = by_asking(issuer)
    before = len(issuer.asked)
    for _ in range(3):
        back_end.check(Token("", b"short"))
        back_end.check(Token("", b"long"))
    assert len(issuer.asked) == before + 2
    now += 101
    assert why(back_end, b"short") == "token-expired"
    back_end.check(Token("", b"long"))
    assert len(issuer.asked) == before + 3
    now += 300
    issuer.tokens = {}
    assert why(back_end, b"long") == "token-not-active"


def test_an_issuer_that_says_nothing(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    back_end = by_asking(issuer)
    for answer, status in ((b"<html>", 200), (b"[" * 5000, 200), (b"{}", 503), (b"{}", 401)):
        issuer.answer, issuer.status = answer, status
        try:
            with pytest.raises(Unavailable):
                back_end.check(Token("", b"some-token"))
        finally:
            issuer.answer, issuer.status = None, 200
    assert "some-token" not in caplog.text
    assert "top secret" not in caplog.text


def test_both_must_be_good(issuer: Issuer) -> None:
    rules = wanted(issuer)
    keys, asking = by_keys(issuer), by_asking(issuer, remember=0)
    both = OAuth([*keys._checks, *asking._checks], rules, Spelling())
    token = issuer.token()
    issuer.tokens = {token.decode(): {"active": True, "email": "ann@example.org", "aud": AUDIENCE}}
    assert both.check(Token("", token)).user == "ann@example.org"
    issuer.tokens = {}
    assert why(both, token) == "token-not-active"


# --- in a chain -----------------------------------------------------------------------------------


def test_as_whom_one_comes_in(issuer: Issuer, tmp_path: Path) -> None:
    chain = Chain([by_keys(issuer)])
    token = issuer.token()
    for claimed in ("ann@example.org", "Ann@Example.org"):
        assert chain.identify(Token(claimed, token, claimed)).user == "ann@example.org"
    assert chain.identify(Token("", token)).user == "ann@example.org"
    for claimed in ("ben@example.org", "../ann@example.org"):
        with pytest.raises(AuthorizationFailed):
            chain.identify(Token(claimed, token, claimed))
    for name in ("../ann", "an\0n", "", "a/b", "%u"):
        with pytest.raises(AuthenticationFailed):
            chain.identify(Token("", issuer.token({"email": name})))
    # Where another back end says who he is: unknown or locked out there, he stays outside.
    (tmp_path / "passwd").write_text("ann@example.org::7:7::/home/ann::\nben@example.org::::::: nologin\n")
    joined = Chain([Joined(by_keys(issuer), [PasswdFile(str(tmp_path / "passwd"))])])
    assert joined.identify(Token("", token)).home == "/home/ann"
    for name in ("ben@example.org", "cyd@example.org"):
        with pytest.raises(AuthenticationFailed):
            joined.identify(Token("", issuer.token({"email": name})))


def test_a_name_is_spelled_as_others_are(issuer: Issuer) -> None:
    rules = wanted(issuer, claim="sub")
    made = by_keys(issuer, claim="sub")
    back_end = OAuth(made._checks, rules, Spelling("example.org", "%Lu"))
    assert back_end.check(Token("", issuer.token({"sub": "Ann"}))).user == "ann@example.org"


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(st.sampled_from([b".", b"e30", b"eyJhbGciOiJSUzI1NiJ9", b"=", b"_"]), max_size=8).map(b"".join),
    )
)
def test_whatever_comes_is_no_token(issuer: Issuer, octets: bytes) -> None:
    back_end = BACK_ENDS.setdefault(issuer.url, by_keys(issuer))
    with pytest.raises(AuthenticationFailed):
        back_end.check(Token("ann", octets))


BACK_ENDS: dict[str, OAuth] = {}


def test_a_library_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jwt.__version__", "2.10.1")
    with pytest.raises(ConfigError, match=r"PyJWT 2\.12 or newer, and here is 2\.10\.1"):
        oauth.demand_library()
