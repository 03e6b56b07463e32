"""Passwords of devices: beside the users' own, never instead of being allowed in."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_back_end import Fake

from maildir_imapd.auth import schemes
from maildir_imapd.auth.base import Password
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.devices import Device, Devices, line, new_password, parse, valid_name
from maildir_imapd.auth.masters import Masters
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, ConfigError, Unavailable

USERS = "ann:{PLAIN}own\nben:{PLAIN}x:::::: nologin\ncyd:{PLAIN}x:::::: allow_nets=192.0.2.0/24\n"
MADE = (
    Device("ann", "phone", "{PLAIN}pppp", 1796032440),
    Device("ann", "e-reader (old)", schemes.make(b"rrrr", "SSHA512"), 1796032441, read_only=True),
    Device("ben", "phone", "{PLAIN}bbbb"),
    Device("cyd", "phone", "{PLAIN}cccc"),
    Device("dan", "phone", "{PLAIN}dddd"),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "users").write_text(USERS)
    path = tmp_path / "devices"
    path.write_text("# devices\n" + "".join(map(line, MADE)))
    return path


def chain(file: Path, **more: object) -> Chain:
    users = PasswdFile(str(file.parent / "users"))
    return Chain([users], devices=[Devices(str(file))], remember=300, **more)  # type: ignore[arg-type]


def test_lines() -> None:
    for device in MADE:
        assert parse(line(device)) == device
        assert device.stored not in repr(device)
    # What a later version may narrow a device to is not widened here.
    assert parse("ann:{PLAIN}x:::phone:::scope=send").read_only


@pytest.mark.parametrize(
    "written",
    ["", "ann", "ann:{PLAIN}x:::phone::", ":{PLAIN}x:::phone:::", "../a:{PLAIN}x:::phone:::", "ann:{NONE}x:::phone:::",
     "ann:{PLAIN}x::::::", "ann:{PLAIN}x:::ph\tone:::", "ann:{PLAIN}x:::phone:::made=x",
     "ann:{PLAIN}x:::phone:::made=9999999999999"],
)  # fmt: skip
def test_lines_that_are_none(written: str) -> None:
    with pytest.raises(ValueError, match=r"form|scheme|made") as failure:
        parse(written)
    assert "{PLAIN}x" not in str(failure.value)


def test_passwords_and_names() -> None:
    made = {new_password() for _ in range(20)}
    assert len(made) == 20
    assert all(len(password) == 24 and password.count("-") == 4 for password in made)
    assert valid_name("Ann's phone (new)")
    assert not any(map(valid_name, ["", " x", "x ", "a:b", "a\nb", "a\tb", "a/b", "x" * 65]))


def test_a_device_comes_in(file: Path) -> None:
    users = chain(file)
    phone, reader = users.identify(Password("ann", b"pppp")), users.identify(Password("Ann", b"rrrr", "ann"))
    assert (phone.user, phone.device, phone.read_only) == ("ann", "phone", False)
    assert (reader.user, reader.device, reader.read_only) == ("ann", "e-reader (old)", True)
    own = users.identify(Password("ann", b"own"))
    assert (own.device, own.read_only) == (None, False)
    # Revoked: at once, whatever is remembered.
    file.write_text(line(MADE[0]))
    assert users.identify(Password("ann", b"pppp")).device == "phone"
    with pytest.raises(AuthenticationFailed):
        users.identify(Password("ann", b"rrrr"))


@pytest.mark.parametrize(
    ("user", "password"),
    [("ann", b""), ("ann", b"bbbb"), ("ann", b"{PLAIN}pppp"), ("ben", b"bbbb"), ("cyd", b"cccc"), ("dan", b"dddd"),
     ("", b"pppp")],
)  # fmt: skip
def test_who_does_not(file: Path, user: str, password: bytes) -> None:
    """Locked out, from elsewhere, or unknown: then a device is none either."""
    with pytest.raises(AuthenticationFailed):
        chain(file).identify(Password(user, password), "198.51.100.1")


def test_a_device_acts_for_nobody(file: Path) -> None:
    (file.parent / "masters").write_text("root:{PLAIN}power\nann:{PLAIN}power\n")
    users = chain(file, masters=Masters(PasswdFile(str(file.parent / "masters")), "*"))
    for credential in (Password("ann", b"pppp", "cyd"), Password("cyd*ann", b"pppp")):
        with pytest.raises(AuthenticationFailed):
            users.identify(credential)
    with pytest.raises(AuthorizationFailed):
        chain(file).identify(Password("ann", b"pppp", "cyd"))


def test_a_back_end_that_cannot_say_who_is_locked_out(file: Path) -> None:
    with pytest.raises(AuthenticationFailed):
        Chain([Fake({"ann": b"own"})], devices=[Devices(str(file))]).identify(Password("ann", b"pppp"))


def test_a_file_that_cannot_be_read(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError):
        Devices(str(file.parent / "none"))
    file.write_text("torn:{PLAIN}sec\n" + line(MADE[0]) + line(Device("ann", "odd", "{SSHA512}!")))
    users = chain(file)
    assert users.identify(Password("ann", b"pppp")).device == "phone"
    assert "device line passed over" in caplog.text
    assert "sec" not in caplog.text
    file.unlink()
    with pytest.raises(Unavailable):
        users.identify(Password("ann", b"pppp"))
