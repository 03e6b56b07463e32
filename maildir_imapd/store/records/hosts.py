"""Which hosts serve a shared spool: a file above all users' mail, so that no two of them have one name or one id.

    maildir-imapd hosts 1
    mail1 91aa... 3e1c... 77b0...      name, digest of the machine id (index/boot.py), starts of the machine, last first

Names of messages, and locks of other servers, have the host's name in them; UIDs are told lost or not by machine and
start. Written under its own lock, and never replaced.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.index import boot
from maildir_imapd.store.maildir import filename
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

NAME: Final = b".maildir-imapd.hosts"
_HEADER: Final = b"maildir-imapd hosts 1\n"
# Starts that are remembered of each machine.
_STARTS: Final = 16


@dataclass(frozen=True, slots=True)
class Host:
    """One line."""

    name: bytes
    machine: bytes
    starts: tuple[bytes, ...]


def own() -> Host:
    """This host, with its present start; without a machine id *machine* is empty."""
    return Host(filename.host(), boot.machine(), (boot.own().partition(b"@")[0],))


def note(directory: bytes, this: Host) -> str | None:
    """Put this host on record in a directory; return why it may not serve there, None where it may.

    Raises OSError, LockTimeout.
    """
    if not this.machine:
        return None
    path = os.path.join(directory, NAME)
    number = descriptors.open_directory(directory)
    try:
        file = durable.open_lasting(NAME, number, 0o600)
    finally:
        os.close(number)
    try:
        locks.flock(file, path, rank=Rank.COUNTER)
        try:
            known = _parse(durable.read_on(file, 0, NAME, durable.SMALL_OCTETS))
            why = _conflict(known, this, os.fsdecode(path))
            if why is None:
                data = _HEADER + b"".join(map(_render, _with(known, this)))
                durable.write_at(file, data, 0)
                durable.truncate(file, len(data))
                durable.sync(file)
        finally:
            locks.unlock(file, rank=Rank.COUNTER)
    finally:
        os.close(file)
    return why


def _conflict(known: list[Host], this: Host, path: str) -> str | None:
    start, name = this.starts[0], os.fsdecode(this.name)
    for each in known:
        other = os.fsdecode(each.name)
        if each.name == this.name and each.machine != this.machine:
            return (
                f"another machine that is called {name} serves this spool: give one of them another name, or take the "
                f"line of {name} out of {path} if that machine is gone"
            )
        if each.machine == this.machine and start in each.starts[1:]:
            return (
                f"a machine with the machine id of this one serves this spool, as copies of one image have it: make "
                f"another (systemd-machine-id-setup), and take the line of {other} out of {path}"
            )
        if each.machine == this.machine and each.name != this.name and start != each.starts[0]:
            return (
                f"{other} has the machine id of this one, as copies of one image have it: make another "
                f"(systemd-machine-id-setup), or take the line of {other} out of {path} if that was this one's name"
            )
    return None


def _with(known: list[Host], this: Host) -> list[Host]:
    before = next((each.starts for each in known if each.machine == this.machine), ())
    starts = before if this.starts[0] in before[:1] else (this.starts[0], *before)[:_STARTS]
    return [*(each for each in known if each.machine != this.machine), Host(this.name, this.machine, starts)]


def _parse(data: bytes) -> list[Host]:
    """Read what was written; lines that are none are passed over, and go with the next write."""
    found = []
    for line in data.removeprefix(_HEADER).split(b"\n"):
        words = line.split()
        if len(words) >= 3:
            found.append(Host(words[0], words[1], tuple(words[2:])))
    return found


def _render(host: Host) -> bytes:
    return b" ".join([host.name, host.machine, *host.starts]) + b"\n"
