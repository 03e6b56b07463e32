"""Asking hosts whether they take clients: the life of a process (``lookout.py``), a thread for each host.

By HTTP where a host has a place for that (``/ready``), else by its greeting.  Every question is bounded in time and
octets, and nobody who logs in waits for one.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from maildir_imapd import log as logs
from maildir_imapd.events import Log

if TYPE_CHECKING:
    from maildir_imapd.server.affinity import HostHealth
    from maildir_imapd.server.lookout import Wait
    from maildir_imapd.values import MailHost

log = Log(__name__)

ASK_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 2.0
ANSWER_OCTETS: Final = 4096


def takes_clients(host: MailHost) -> bool:
    """Ask a host; whatever goes wrong is a no."""
    try:
        if host.ready is None:
            return _first_line(host.address, host.port, b"").startswith(b"* OK")
        parts = urlsplit(host.ready)
        where = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode("ascii")
        words = _first_line(parts.hostname or "", parts.port or 80, request).split(None, 2)
        return len(words) >= 2 and words[0].startswith(b"HTTP/1.") and words[1] == b"200"
    except (OSError, ValueError):
        return False


def _first_line(address: str, port: int, request: bytes) -> bytes:
    """Connect, say *request*, and return the first line of the answer, or what of it comes in time."""
    deadline = time.monotonic() + ANSWER_SECONDS
    with socket.create_connection((address, port), timeout=ANSWER_SECONDS) as sock:
        if request:
            sock.sendall(request)
        heard = b""
        while b"\n" not in heard and len(heard) < ANSWER_OCTETS:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = sock.recv(ANSWER_OCTETS)
            if not data:
                break
            heard += data
        return heard.partition(b"\n")[0]


def watch(health: HostHealth, wait: Wait) -> None:
    """Be the process: ask each host again and again, until the supervisor has gone."""
    for place in range(len(health.hosts)):
        threading.Thread(target=_watch_one, args=(health, place), daemon=True).start()
    while wait(ASK_SECONDS):
        logs.reopen()


def _watch_one(health: HostHealth, place: int) -> None:
    host, before = health.hosts[place], None
    while True:
        healthy = takes_clients(host)
        health.note(place, healthy=healthy)
        if healthy is not before:
            if healthy:
                log.info("host takes clients", host=host.name)
            else:
                log.warning("host takes no clients", host=host.name)
            before = healthy
        time.sleep(ASK_SECONDS)
