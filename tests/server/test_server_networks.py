"""Whether an address is in a network."""

from __future__ import annotations

import pytest

from maildir_imapd.server.networks import among
from maildir_imapd.values import network


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("", False),
        ("unix", False),
    ],
)
def test_among(host: str, inside: bool) -> None:
    assert among(host, [network("192.0.2.0/24"), network("2001:db8::/32"), network("fe80::1")]) is inside


@pytest.mark.parametrize("written", ["example.org", "192.0.2.0/33", "", 7])
def test_what_is_no_network(written: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        network(written)
