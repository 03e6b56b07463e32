"""The values that go between back ends and the server."""

from __future__ import annotations

import pytest

from maildir_imapd.auth.base import Credential, External, Identity, Password, Registered, Token, address


@pytest.mark.parametrize("credential", [Password("ann", b"secret"), Token("ann", b"secret", "ben"), External("ann")])
def test_a_secret_is_never_shown(credential: Credential) -> None:
    assert "ann" in repr(credential)
    assert "secret" not in repr(credential)
    assert "secret" not in repr(Registered(Identity("ann"), "{PLAIN}secret"))


def test_what_was_right_holds_for_one_version() -> None:
    ann = Identity("ann")
    assert Registered(ann, "one") == Registered(ann, "one")
    assert Registered(ann, "one") != Registered(ann, "two")
    assert Registered(ann, "one") != Registered(Identity("ann", home="/h"), "one")


def test_addresses() -> None:
    assert str(address("fe80::1%eth0")) == "fe80::1"
    assert str(address("::ffff:192.0.2.7")) == "192.0.2.7"
    for host in (None, "", "host.example.org", "192.0.2.7\t", "/run/socket", "192.0.2"):
        assert address(host) is None
