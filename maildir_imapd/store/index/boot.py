"""Which start of which machine gives out UIDs: what a power failure may have taken is told by it.

A folder's history names every start of a machine that has given out UIDs there. Of a machine that has started anew
since, the end of the journal may be lost, and UIDs with it: it goes on above the reserve. Of another machine on the
same spool that says nothing: it is up, and what it writes is there to be read (architecture, Processes).

A word of the history is ``<boot id>@<machine>``; of versions before this one the boot id alone, which may be any
machine's. The machine is a digest, for machine-id(5) asks that the id itself be told nobody.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection
from functools import cache
from typing import Final

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_MACHINE_ID: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def own() -> bytes:
    """Return the word of this start of this machine."""
    try:
        with open(_BOOT_ID, "rb") as file:
            boot = file.read().strip().replace(b"-", b"")
    except OSError:
        # No such file: each process is a start of its own, which costs a gap in the UIDs and is safe.
        return b"%x-%x" % (os.getpid(), time.time_ns())
    this = machine()
    return boot + b"@" + this if this else boot


@cache
def machine() -> bytes:
    """Return the digest of this machine's id; empty where it has none."""
    for path in _MACHINE_ID:
        try:
            with open(path, "rb") as file:
                found = file.read(256).strip()
        except OSError:
            continue
        if found and found != b"uninitialized":
            return hashlib.sha256(b"maildir-imapd " + found).hexdigest()[:16].encode()
    return b""


def known(word: bytes, history: Collection[bytes]) -> bool:
    """Say whether this start of the machine has given out UIDs already."""
    return word in history or word.partition(b"@")[0] in history


def anew(word: bytes, history: Collection[bytes]) -> bool:
    """Say whether the machine has started anew since it gave out UIDs here, or may have."""
    if known(word, history):
        return False
    ours = word.partition(b"@")[2]
    return not ours or any(other.partition(b"@")[2] in (b"", ours) for other in history)
