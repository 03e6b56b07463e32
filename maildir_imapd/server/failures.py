"""How often a login has failed of late, counted by all workers together: by address, by network and by user.

A table of a fixed size in memory that the supervisor makes before it forks (``shared``). It has no lock, so of two
workers that count in the same place at the same moment one may be lost. What is counted stands there as a keyed
digest, so that nothing of it can be read; it fades, and of a full row the one that has faded most gives way.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import time
from collections.abc import Callable
from typing import Final

from maildir_imapd.server import shared

ROWS: Final = 1 << 14
WAYS: Final = 4
# Seconds after which a count is worth half.
HALF_LIFE_SECONDS: Final = 300.0
# Failures of each kind that cost nothing beside the pause of the connection itself; then each two double the pause.
FREE: Final = {b"address": 4, b"network": 8, b"user": 8}
STEPS: Final = 2
DOUBLINGS: Final = 5
_FINE: Final = 1000  # a count is kept in thousandths
_MASK: Final = 0xFFFFFFFF


def network(host: str) -> str:
    """Whom an address stands for: an IPv4 address for itself, an IPv6 address for its /64, which is one customer."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


class Failures:
    """One of a supervisor and its workers; safe from any thread and process."""

    def __init__(self, rows: int = ROWS, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self._clock = clock
        self._key = os.urandom(32)
        self._tags, self._counts = shared.words(WAYS * rows), shared.words(WAYS * rows)

    def add(self, user: str, host: str) -> None:
        """Count a failure; *host* "": by no address."""
        for kind, value in _keys(user, host):
            tag, ways = self._row(kind, value)
            now = int(self._clock())
            way = next((way for way in ways if self._tags[way] == tag), None)
            if way is None:
                way = min(ways, key=lambda each: self._faded(each, now))
                self._counts[way] = 0
                self._tags[way] = tag
            count = min(self._faded(way, now) + 1, _MASK // _FINE - 1)
            self._counts[way] = (now & _MASK) << 32 | int(count * _FINE)

    def doublings(self, user: str, host: str) -> int:
        """How often the pause after a failure of *user* from *host* is to be doubled."""
        most = 0.0
        for kind, value in _keys(user, host):
            tag, ways = self._row(kind, value)
            now = int(self._clock())
            count = max((self._faded(way, now) for way in ways if self._tags[way] == tag), default=0.0)
            most = max(most, (count - FREE[kind]) / STEPS)
        return min(DOUBLINGS, int(most))

    def _row(self, kind: bytes, value: str) -> tuple[int, range]:
        text = kind + b"\0" + value.encode("utf-8", "backslashreplace")
        digest = int.from_bytes(hashlib.blake2b(text, key=self._key, digest_size=16).digest(), "big")
        first = (digest >> 64) % self._rows * WAYS
        return (digest & (1 << 64) - 1) or 1, range(first, first + WAYS)

    def _faded(self, way: int, now: int) -> float:
        cell = self._counts[way]
        age = max(0, (now & _MASK) - (cell >> 32))
        return float((cell & _MASK) / _FINE * 0.5 ** (age / HALF_LIFE_SECONDS))


def _keys(user: str, host: str) -> list[tuple[bytes, str]]:
    keys = [(b"user", user.lower())]
    if host:
        keys.append((b"address", host))
    around = network(host)
    if "/" in around:
        keys.append((b"network", around))
    return keys
