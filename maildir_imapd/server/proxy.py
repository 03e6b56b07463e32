"""The PROXY protocol, versions 1 and 2: by it a proxy says for which client it has opened a connection.

``parse`` is pure; ``receive`` reads one header from a socket and no octet behind it, for what follows is the client's.
Our own parser, for the library that there is (proxy-protocol) goes with asyncio, and does not bound what it reads.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import Final

# Seconds from the connection to the end of the header.
HEADER_SECONDS: Final = 5.0
# Octets of a header: the specification's for version 1; in version 2 there is room for what certificates have in them.
V1_OCTETS: Final = 107
V2_OCTETS: Final = 4096
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = len(SIGNATURE) + 4
_V1: Final = b"PROXY "
# The shortest line of version 1 is longer than this, so that so much can be read before the version is known.
_FIRST: Final = 15
_ADDRESSES: Final = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}
# Families that say nothing which could stand for a client's address: none, and sockets of a machine.
_WITHOUT_ADDRESS: Final = (0x00, 0x31)


class BadProxyHeader(ValueError):
    """It is no header; the text says why, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """One header."""

    source: tuple[str, int] | None
    """Address and port of the client; None: the proxy speaks for itself, or does not know."""


def parse(data: bytes) -> ProxyHeader | int:
    """Read a header, or say how many octets may be read without reading beyond its end; raises BadProxyHeader."""
    if len(data) < _FIRST:
        if not (SIGNATURE.startswith(data[: len(SIGNATURE)]) or _V1.startswith(data[: len(_V1)])):
            raise BadProxyHeader("it does not begin with a header")
        return _FIRST - len(data)
    if data.startswith(SIGNATURE):
        return _second(data)
    if data.startswith(_V1):
        return _first(data)
    raise BadProxyHeader("it does not begin with a header")


def _first(data: bytes) -> ProxyHeader | int:
    if not data.endswith(b"\r\n"):
        left = V1_OCTETS - len(data)
        if left <= 0 or b"\n" in data:
            raise BadProxyHeader("a line of version 1 that has no end")
        return 1 if data.endswith(b"\r") or left == 1 else 2
    words = data[:-2].split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(None)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader("a line of version 1 that cannot be read")
    version = 4 if words[1] == b"TCP4" else 6
    source, _ = (_address(word, version) for word in words[2:4])
    port, _ = (_port(word) for word in words[4:6])
    return ProxyHeader((source, port))


def _address(word: bytes, version: int) -> str:
    try:
        if b"%" in word:
            raise ValueError
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise BadProxyHeader("an address that is none") from None
    if address.version != version:
        raise BadProxyHeader("an address of another family")
    return str(address)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535 or word != b"%d" % int(word):
        raise BadProxyHeader("a port that is none")
    return int(word)


def _second(data: bytes) -> ProxyHeader | int:
    if len(data) < _FIXED:
        return _FIXED - len(data)
    command, family = data[12], data[13]
    if command not in (0x20, 0x21):
        raise BadProxyHeader("another version, or a command that is not known")
    end = _FIXED + int.from_bytes(data[14:16], "big")
    if end > V2_OCTETS:
        raise BadProxyHeader("a header of version 2 that is too long")
    if len(data) < end:
        return end - len(data)
    if command == 0x20 or family in _WITHOUT_ADDRESS:
        return ProxyHeader(None)
    if family not in _ADDRESSES:
        raise BadProxyHeader("a family of addresses that is not TCP")
    kind, octets = _ADDRESSES[family]
    # What follows the addresses, its TLVs, is passed over.
    if end - _FIXED < 2 * octets + 4:
        raise BadProxyHeader("a header of version 2 without room for its addresses")
    source = socket.inet_ntop(kind, data[_FIXED : _FIXED + octets])
    port = data[_FIXED + 2 * octets : _FIXED + 2 * octets + 2]
    return ProxyHeader((source, int.from_bytes(port, "big")))


def receive(sock: socket.socket, seconds: float = HEADER_SECONDS) -> ProxyHeader | None:
    """Read a header from *sock* within *seconds*; None when it was closed before the first octet, as by a health check.

    Raises BadProxyHeader, and OSError.  The socket's time-out is not what it was.
    """
    deadline = time.monotonic() + seconds
    data = b""
    while True:
        found = parse(data)
        if isinstance(found, ProxyHeader):
            return found
        left = deadline - time.monotonic()
        if left <= 0:
            raise BadProxyHeader("it does not come in time")
        sock.settimeout(left)
        try:
            more = sock.recv(found)
        except TimeoutError:
            raise BadProxyHeader("it does not come in time") from None
        if not more:
            if not data:
                return None
            raise BadProxyHeader("the connection ends in the middle of it")
        data += more
