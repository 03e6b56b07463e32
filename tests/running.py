"""A server of ours, started for a test, and the outside programs that talk to it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.auth import schemes
from maildir_imapd.cli import certificate

USERS = 400


@dataclass
class Running:
    """A server with two workers; each test takes a user of its own."""

    base: Path
    port: int
    tls_port: int
    process: subprocess.Popen[str]
    names: Iterator[int]
    # Of all listeners, by what the line that says it is ready calls them.
    ports: dict[str, int] = field(default_factory=dict)

    def user(self, *, nested: bool = False) -> tuple[str, Spool]:
        """A user nobody has used yet, with an empty spool; the password is ``secret``."""
        name = f"{'n' if nested else 'u'}{next(self.names)}"
        return name, Spool(self.base / name / "Maildir", nested=nested)

    def connect(self, *, tls: bool = False) -> socket.socket:
        """Open a connection."""
        sock = socket.create_connection(("127.0.0.1", self.tls_port if tls else self.port), timeout=20)
        if tls:
            context = ssl.create_default_context(cafile=str(self.base / "cert.pem"))
            return context.wrap_socket(sock, server_hostname="localhost")
        return sock


def open_to_all(path: Path) -> None:
    """Let every user come to *path*, which lies below a directory that pytest keeps for itself."""
    for parent in (path, *path.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)


def give_to(path: Path, uid: int) -> None:
    """Make all that lies below *path*, and it, a user's own."""
    for directory, _, files in os.walk(path):
        for each in (directory, *(os.path.join(directory, name) for name in files)):
            os.chown(each, uid, uid)


def control_place(base: Path, log: str = "log") -> str:
    """Where a test's server has its control socket: a path that no directory makes too long.

    Of several servers in *base* each has a log of its own.
    """
    return f"{tempfile.gettempdir()}/imapd-{zlib.crc32(os.fsencode(base / log)):08x}.{os.getpid()}"


def start_server(
    base: Path,
    *options: str,
    users: int = USERS,
    program: Sequence[str] = ("-m", "maildir_imapd"),
    before: Sequence[str] = (),
    log: str = "log",
    system_users: bool = False,
) -> Running:
    """Start ``maildir-imapd serve`` on free ports and wait until it is ready.

    *program*: what the interpreter is to run, another than the server itself; *before*: a command that becomes the
    interpreter; *log*: the name of its log in *base*; *system_users*: as root, serve those of the passwd-file and no
    mail of root's own.
    """
    cert, key = certificate.ensure(base)
    stored = schemes.make(b"secret", "SSHA")
    passwd = base / "passwd"
    nested = f"userdb_mail=maildir:{base}/%n/Maildir:LAYOUT=fs"
    lines = [f"u{n}:{stored}::::::\nn{n}:{stored}::::::{nested}\n" for n in range(users)]
    passwd.write_text("".join(lines))
    process = subprocess.Popen(
        [
            *before,
            sys.executable,
            *program,
            "serve",
            "--imap=127.0.0.1:0",
            "--imaps=127.0.0.1:0",
            f"--mail-location=maildir:{base}/%n/Maildir",
            f"--passwd-file={passwd}",
            "--plaintext-login=loopback",
            f"--tls-cert={cert}",
            f"--tls-key={key}",
            "--workers=2",
            # The spools of tests are those of whoever runs them; a server of root's must be told so.
            *(["--mail-user=root"] if os.geteuid() == 0 and not system_users else []),
            "--fsync=never",
            "--auth-failure-delay=0",
            f"--log-file={base}/{log}",
            # A process more beside the workers, which tests of these need not know of.
            *([] if any(option.startswith("--spool-probe") for option in options) else ["--spool-probe=no"]),
            # Not where the machine's own server, or another test, may have one.
            f"--control-socket={control_place(base, log)}",
            *options,
        ],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    ports = {kind: int(port) for kind, port in re.findall(r"(\w+) 127\.0\.0\.1:(\d+)", line)}
    if not {"imap", "imaps"} <= set(ports):
        process.kill()
        process.wait()
        process.stdout.close()
        said = base / log
        raise AssertionError(f"the server did not start: {line!r} {said.read_text() if said.exists() else ''}")
    return Running(base, ports["imap"], ports["imaps"], process, itertools.count(), ports)


def stop_server(running: Running) -> None:
    """SIGTERM; it must end by itself, in good time."""
    running.process.send_signal(signal.SIGTERM)
    try:
        assert running.process.wait(30) == 0
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        if running.process.stdout is not None:
            running.process.stdout.close()


def program(name: str) -> str:
    """The path of an outside program, or a skip that says so; in CI none may be missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/lib/dovecot")
    if found is None:
        if os.environ.get("MAILDIR_IMAPD_REQUIRE_PROGRAMS"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found
