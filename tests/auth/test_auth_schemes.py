"""Every scheme against hashes that Dovecot 2.3 made (``doveadm pw``) of one password."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.auth import schemes
from maildir_imapd.errors import Unavailable

PASSWORD = "Grüße 1".encode()

VECTORS = """\
{PLAIN}Grüße 1
{CLEARTEXT}Grüße 1
{PLAIN.B64}R3LDvMOfZSAx
{PLAIN.b64}R3LDvMOfZSAx
{PLAIN.HEX}4772c3bcc39f652031
{SHA256}jASCAVx5eeIvDOybcEQLq2ZLx3QYpFtjlvrr3vgUFUc=
{SHA256.HEX}8c0482015c7979e22f0cec9b70440bab664bc77418a45b6396faebdef8141547
{SHA256}8c0482015c7979e22f0cec9b70440bab664bc77418a45b6396faebdef8141547
{SHA512}ZJzpAHwJV3cV/ubes4Cn7Jc2+cxB1GiByWqtsjyQXbFRXQ60zgcYM0EKChLck6Jm0nsljwagY4Lw3bX3YIpnlw==
{SHA1}BuzMd8Yk21qevVRpkpbc9zXyIAA=
{SHA}BuzMd8Yk21qevVRpkpbc9zXyIAA=
{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E
{SSHA.B64}qf0PyaAgPbUXJEDxqsz/rD0wVLNDAcLC
{SSHA256}nb/cfMe7kuAUmfr0d3ukxc4rp2Zrz1TdYYZDPfyREu/vv8dP
{ssha256.hex}75d5e3df9204627273a7919a3e8441b9d3b12006d2e536f80fe00a57d67dc2a43fdc0406
{SSHA512}rCSTq6YirSlua6LZD9FxLohWNygY3nuGh8ytl0KFn45mZsWnD0LLJpqhReK/cRmPeaybyezeerZ1x6dM8itNNPVzhjs=
{SMD5}ffS3mL2UtfCLyxXJm/EnmgERf8E=
{LDAP-MD5}ZqO5czD32U7YS/m3y2NOLA==
{PLAIN-MD5}66a3b97330f7d94ed84bf9b7cb634e2c
{MD5-CRYPT}$1$aWMhD8tU$aVifCCs50OmTmnPfRD85d0
{MD5}$1$aWMhD8tU$aVifCCs50OmTmnPfRD85d0
{DES-CRYPT}.LL9sJEnGD.5I
{CRYPT}.LL9sJEnGD.5I
{CRYPT}$2y$05$JWkxl.pn.iGsZeiEtFYGium91Qj1L8LNLpSSvS30IYCvUjEaThWFG
$2y$05$JWkxl.pn.iGsZeiEtFYGium91Qj1L8LNLpSSvS30IYCvUjEaThWFG
{BLF-CRYPT}$2y$05$hebCJQyM7jTXgK.x9f0uX.1tWWz2hy6K9b2gy49/OiNswhN/Wpej6
{SHA256-CRYPT}$5$N5EdLzVu9PBi8fIp$5WKFLh1gKK3Pl5bV3df8bd3BXT/0.kUhDur5XqM9Vd4
{SHA512-CRYPT}$6$..ILck2ZEOYRm5uu$H81LJOxm5w32RSQqJka0SXLWn.Xy/13nLbDA4I3IAuTVinWF4gX6ibXyjDYBAYmqx9zVionEdC.OBBbXvTCGR.
{SHA512-CRYPT.B64}JDYkelc4UllIZ1pTaFVDTDZYMyQuOEtaSlpnR1R4MUgzSjN1MzBjdXZqLkVzRGcvcS5ObGpSd1NIU2dZVzFxR0Zpd25ISEtRMEc5UUI5d2REYW9kQlV3NXpyeC5HWGQ0MVZYMmJoN0k4Lg==
{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$+jp+c3rmXqxIO6ARWKQAlA$BBNJhAehm0dv8eFgTAACes0ugtoms9sWztl2898ZmHY
$argon2id$v=19$m=65536,t=3,p=1$+jp+c3rmXqxIO6ARWKQAlA$BBNJhAehm0dv8eFgTAACes0ugtoms9sWztl2898ZmHY
{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$uV/6OTIsZkcw0kNV2qQ1Ig$xo0UsyAbYXXE2ZNRFrtwJ/TXX3MkLRjnrK4/FIh4jKM
{ARGON2}$argon2i$v=19$m=32768,t=4,p=1$uV/6OTIsZkcw0kNV2qQ1Ig$xo0UsyAbYXXE2ZNRFrtwJ/TXX3MkLRjnrK4/FIh4jKM
{PBKDF2}$1$tge80l9oBq2rmlDk$5000$dd1d3197c99827656b3421b258c2a969a6d79bd0
""".splitlines()


@pytest.mark.long
@pytest.mark.parametrize("stored", VECTORS, ids=lambda stored: stored[:24])
def test_dovecots_hash(stored: str) -> None:
    assert schemes.verify(stored, PASSWORD)
    assert not schemes.verify(stored, b"x" + PASSWORD)
    assert not schemes.verify(stored, b"")


@pytest.mark.long
@pytest.mark.parametrize("scheme", schemes.WRITTEN)
@pytest.mark.parametrize("password", [b"secret", "Grüße: 1".encode(), b"\xff\xfe"], ids=["ascii", "utf-8", "octets"])
def test_what_is_written_verifies(scheme: str, password: bytes) -> None:
    if scheme == "SCRAM-SHA-256" and password == b"\xff\xfe":
        with pytest.raises(ValueError, match="UTF-8"):
            schemes.make(password, scheme)
        return
    stored = schemes.make(password, scheme)
    assert ":" not in stored
    assert "\n" not in stored
    assert schemes.verify(stored, password)
    assert not schemes.verify(stored, b"other")


@pytest.mark.parametrize(
    "stored",
    [
        "secret",
        "{PLAIN",
        "{PLAIN.XYZ}secret",
        "{NTLM}0123456789abcdef",
        "{SCRAM-SHA-256}4096,oQiyM1YSYx8+G8haP0cSkw==,x,y",
        "{CRYPT}$y$j9T$abc$def",
        "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8",
        "{SSHA256}short",
        "{SSHA256}!!!!",
        "{SSHA.HEX}xyz",
        "{SHA256}nb/cfMe7kuAUmfr0d3ukxc4rp2Zrz1TdYYZDPfyREu/vv8dP",
        "{PLAIN-MD5}66a3b973",
        "{PBKDF2}$2$salt$5000$00",
        "{PBKDF2}$1$salt$999999999$dd1d3197c99827656b3421b258c2a969a6d79bd0",
        "{SHA512-CRYPT}nonsense",
        "{BLF-CRYPT}$2y$05$short",
        "{ARGON2ID}$argon2id$v=19$m=65536",
        "{PLAIN.B64}***",
    ],
)
def test_what_is_not_understood_is_refused(stored: str) -> None:
    with pytest.raises(ValueError):
        schemes.verify(stored, b"secret")


@pytest.mark.parametrize("torn", ["{my secret", "{my secret}x", "my:secret"])
def test_an_error_never_quotes_the_line(torn: str) -> None:
    with pytest.raises(ValueError) as caught:
        schemes.split(torn)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60), st.binary(max_size=20))
def test_any_line_is_an_answer_or_a_refusal(stored: str, password: bytes) -> None:
    try:
        schemes.verify(stored, password)
    except ValueError:
        pass


def test_bcrypt_beyond_its_limit() -> None:
    stored = "{BLF-CRYPT}$2y$05$hebCJQyM7jTXgK.x9f0uX.1tWWz2hy6K9b2gy49/OiNswhN/Wpej6"
    assert not schemes.verify(stored, b"x" * 100)
    with pytest.raises(ValueError):
        schemes.make(b"x" * 73, "BLF-CRYPT")


def test_what_a_scheme_costs() -> None:
    order = [
        "{PLAIN}x",
        "{MD5-CRYPT}$1$x$y",
        "{SHA512-CRYPT}$6$rounds=8000$x$y",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$x$y",
        "{BLF-CRYPT}$2y$12$x",
        "{PBKDF2}$1$salt$9000000$00",
    ]
    costs = [schemes.cost(stored) for stored in order]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
    assert schemes.cost("{NOSUCH}x") == schemes.cost("{PBKDF2}x") == 0


def test_hashes_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets none in good time is told to come again, and not that his password is wrong."""
    monkeypatch.setattr(schemes, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(schemes, "_HASH_TURN_SECONDS", 0.0)
    with schemes.turn(), pytest.raises(Unavailable), schemes.turn():
        pass
    with pytest.raises(ValueError, match="given back"), schemes.turn():
        raise ValueError("a turn is given back")
    with schemes.turn():
        pass
