"""A Postfix of its own for a test: its configuration, queue and log in a temporary directory, one smtpd on loopback."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import open_to_all, program

MASTER = """\
{smtp}   inet  n - n - - smtpd
rewrite  unix  - - n - - trivial-rewrite
cleanup  unix  n - n - 0 cleanup
bounce   unix  - - n - 0 bounce
defer    unix  - - n - 0 bounce
error    unix  - - n - - error
proxymap unix  - - n - - proxymap
anvil    unix  - - n - 1 anvil
tlsmgr   unix  - - n 1000? 1 tlsmgr
postlog  unix-dgram n - n - 1 postlogd
"""


# What takes mail to where it goes, beside MASTER.
DELIVERING = """\
qmgr     unix  n - n 300 1 qmgr
retry    unix  - - n - - error
lmtp     unix  - - n - - lmtp
local    unix  - n n - - local
"""


@dataclass
class Postfix:
    """One that runs, or its directories before."""

    base: Path
    port: int = 0

    @property
    def queue(self) -> Path:
        return self.base / "queue"

    @property
    def private(self) -> Path:
        """The directory for sockets that smtpd asks at."""
        return self.queue / "private"

    @property
    def log(self) -> str:
        path = self.base / "maillog"
        return path.read_text() if path.exists() else ""

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example.org", timeout=60)


def prepare(base: Path) -> Postfix:
    """Make the directories; skips where there is no Postfix, or no right to run one."""
    program("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix's master runs as root only")
    found = Postfix(base / "postfix")
    owner = pwd.getpwnam("postfix").pw_uid
    for path in (found.base, found.queue, found.base / "etc"):
        path.mkdir()
    for path in (found.base / "data", found.private):
        path.mkdir()
        os.chown(path, owner, 0)
        path.chmod(0o700)
    open_to_all(found.base)
    return found


@contextmanager
def running(found: Postfix, main: Mapping[str, object], services: str = "") -> Iterator[Postfix]:
    """Start it with these settings beside its own, and *services* of master.cf, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        found.port = free.getsockname()[1]
    etc = found.base / "etc"
    settings = {
        "compatibility_level": "3.6",
        "queue_directory": found.queue,
        "data_directory": found.base / "data",
        "maillog_file": found.base / "maillog",
        "maillog_file_prefixes": found.base,
        "myhostname": "mail.example.org",
        "mydestination": "",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "mynetworks": "",
        "alias_maps": "",
        "alias_database": "",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
        "smtpd_peername_lookup": "no",
        "smtpd_error_sleep_time": "0",
        "setgid_group": grp.getgrnam("postdrop").gr_name,
        **main,
    }
    (etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    (etc / "master.cf").write_text(MASTER.format(smtp=f"127.0.0.1:{found.port}") + services)
    daemons = Path(shutil.which("postconf", path="/usr/sbin:/usr/bin") or "postconf")
    where = subprocess.run([daemons, "-c", etc, "-h", "daemon_directory"], capture_output=True, text=True, check=True)
    subprocess.run([program("postfix"), "-c", etc, "check"], check=True, capture_output=True)
    process = subprocess.Popen(
        [f"{where.stdout.strip()}/master", "-c", etc, "-d"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", found.port), timeout=5).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, found.log
                assert time.monotonic() < deadline, found.log
                time.sleep(0.05)
        yield found
    finally:
        # Master and all that it has started are a group of their own.
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # all have gone with it
