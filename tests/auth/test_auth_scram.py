"""Secrets of SCRAM, and passwords that are checked with them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from fake_back_end import Fake

from maildir_imapd.auth import schemes, scram
from maildir_imapd.auth.base import Password, Proven
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import Offered

# Made by ``gsasl --mkpasswd --password pencil --iteration-count 4096 --mechanism`` and their names.
MADE = {
    "SCRAM-SHA-256": (
        "{SCRAM-SHA-256}4096,NDLr9XTyGHtrLvdw,Kf5o2dcr18BY3hGeGuwLUeIpuB"
        "Fi9GyXGfWHT7Yl9Ao=,JXXlGohQagpfMmKoDNct33TeZofA/o8hjDgPmWq/7Fc="
    ),
    "SCRAM-SHA-1": "{SCRAM-SHA-1}4096,WpQrX1eo108m1JlV,TmiXjB9zgjMAiwXgWXR6YOow+1g=,crIXjw21lNZ/FHDfzyKwy6gRj1A=",
}


@pytest.mark.parametrize("stored", MADE.values())
def test_secrets_that_another_program_has_made(stored: str) -> None:
    assert schemes.verify(stored, b"pencil")
    assert not schemes.verify(stored, b"pencils")
    assert not schemes.verify(stored, b"\xff")
    assert not schemes.verify(stored, b"pen\x07cil")
    assert schemes.cost(stored) > 1000


def test_as_they_are_written() -> None:
    stored = schemes.make("pä\u00a0ss".encode(), "SCRAM-SHA-256")
    assert stored.startswith("{SCRAM-SHA-256}4096,")
    # SASLprep makes one of both blanks.
    assert schemes.verify(stored, "pä ss".encode())
    assert not schemes.verify(stored, b"pa ss")
    assert ":" not in stored
    for password in (b"\xff", b"\x07"):
        with pytest.raises(ValueError, match="password"):
            schemes.make(password, "SCRAM-SHA-256")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "4096",
        "4095,{salt},{key},{key}",
        "10000001,{salt},{key},{key}",
        "99999999999999999999,{salt},{key},{key}",
        "4096,{salt},{key}",
        "4096,{salt},{key},{key},{key}",
        "4096,!,{key},{key}",
        "4096,{salt},é,{key}",
        "4096,QUJD,{key},{key}",
        "4096,{salt},QUJD,{key}",
        "4096,{salt},{key},QUJD",
    ],
)
def test_what_is_no_secret(data: str) -> None:
    _, salt, key, _ = MADE["SCRAM-SHA-256"].split(",")
    with pytest.raises(ValueError, match=r"form|iterations|base64|length") as failure:
        schemes.verify("{SCRAM-SHA-256}" + data.format(salt=salt, key=key), b"pencil")
    assert key not in str(failure.value)
    assert schemes.cost("{SCRAM-SHA-256}" + data.format(salt=salt, key=key)) >= 0


def test_nothing_of_it_is_shown() -> None:
    scheme, _, data = schemes.split(MADE["SCRAM-SHA-256"])
    shown = repr(scram.parse(scheme, data))
    assert "4096" in shown
    assert "key" not in shown


def test_passwords_that_can_be_read() -> None:
    assert schemes.readable("{PLAIN}secret") == schemes.readable("{CLEARTEXT.B64}c2VjcmV0") == b"secret"
    for stored in ("{PLAIN.B64}!", "{NONE}x", "", MADE["SCRAM-SHA-256"], "{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E"):
        assert schemes.readable(stored) is None


@pytest.mark.parametrize("version", [None, "1.4.5", "x"])
def test_without_a_library_that_will_do(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(name: str) -> str:
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr("importlib.metadata.version", known)
    scram.available.cache_clear()
    try:
        assert not scram.available()
        with pytest.raises(ValueError, match=r"SCRAM needs the library scramp, 1\.5 or newer"):
            scram.make("SCRAM-SHA-256", b"secret")
        assert "SCRAM-SHA-256" in dict(schemes.load())
        chain = Chain([Fake({"ann": b"secret"}, takes=(Password, Proven))])
        named = Offered(chain, ("SCRAM-SHA-256", "PLAIN"), Situation)
        assert named.offered(private=True) == (b"PLAIN",)
    finally:
        scram.available.cache_clear()
