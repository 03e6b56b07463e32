"""Networks that are trusted with something: whether an address is in one of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maildir_imapd.values import Network


def among(host: str, networks: Iterable[Network]) -> bool:
    """Say whether the address *host*, which may carry a zone, is in one of *networks*; what is no address is not."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address.version == network.version and address in network for network in networks)
