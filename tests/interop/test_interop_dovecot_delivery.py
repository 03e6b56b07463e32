"""Dovecot is off and its delivery agents are not: they put messages in, and give them UIDs, beside us."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dovecot import Dovecot
from memory import MemoryClient, MemoryWires
from migration import State, look
from running import program
from talker import ours

pytestmark = pytest.mark.interop

TEXT = b"Subject: delivered %d\n\nbody\n"


def state(client: MemoryClient) -> State:
    def talk(*commands: str) -> list[str]:
        return [line.decode() for command in commands for line in client.command(f"a {command}".encode())]

    return look(talk, ("INBOX",))


def begun(tmp_path: Path) -> Dovecot:
    """A spool that Dovecot has filled, and left."""
    dovecot = Dovecot(tmp_path)
    text = "Subject: first\r\n\r\nbody\r\n"
    dovecot.talk(*[f"APPEND INBOX (\\Seen) {{{len(text)}+}}\r\n{text}"] * 5)
    return dovecot


def test_dovecot_lda_while_we_append(tmp_path: Path) -> None:
    """Both give UIDs at the same time: no message has two, in our eyes and in Dovecot's."""
    lda = program("/usr/lib/dovecot/dovecot-lda")
    dovecot = begun(tmp_path)
    dovecot.own()
    root = os.geteuid() == 0
    owner = [str(dovecot.uid), str(dovecot.gid)] if root else []
    delivered = 0
    with ours("alone", tmp_path, *owner, seed=1, steps=300) as we:
        # As long as we are at it, and some at least.
        while we.at_it or delivered < 20:
            subprocess.run(
                [lda, "-c", str(dovecot.config)],
                input=TEXT % delivered,
                env=dovecot.environment,
                user=dovecot.uid if root else None,
                group=dovecot.gid if root else None,
                extra_groups=[] if root else None,
                check=True,
            )
            delivered += 1
        added = we.added()
    client = MemoryWires(tmp_path / "Maildir").connect(login=True)
    now = state(client)["INBOX"]
    uids = [int(message.split()[0]) for message in now[2]]
    assert len(uids) == len(set(uids)) == sum(len(os.listdir(tmp_path / "Maildir" / sub)) for sub in ("cur", "new"))
    assert int(now[1]) - 1 == 5 + delivered + added, "each was given one UID, and no UID was given twice"
    client.command(b"z LOGOUT")
    assert look(dovecot.talk, ("INBOX",))["INBOX"] == now
    assert "Error" not in dovecot.log()


def answers(path: Path) -> bool:
    """Whether somebody listens there: the socket is made before anybody does."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def lmtp(dovecot: Dovecot) -> Iterator[Path]:
    """Dovecot's master with LMTP alone, on a socket in its own directory."""
    home = dovecot.home
    config = dovecot.write_lmtp()
    process = subprocess.Popen([program("dovecot"), "-F", "-c", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        # -F keeps it in front, so its end would be seen, too.
        path = home / "run" / "lmtp"
        while not answers(path):
            assert process.poll() is None, dovecot.log()
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said + dovecot.log()


def test_lmtp(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Dovecot's master wants to be started by root")
    dovecot = begun(tmp_path)
    client = MemoryWires(tmp_path / "Maildir").connect(login=True)
    before = state(client)["INBOX"][2]
    dovecot.own()
    with lmtp(dovecot) as path:
        for n in range(10):
            with smtplib.LMTP(str(path)) as sender:
                sender.sendmail("ann@example.org", ["witness"], TEXT % n)
            if n % 3 == 0:
                client.command(b"b APPEND INBOX () {15+}\r\nSubject: ours\r\n")
                dovecot.own()
    now = state(client)["INBOX"]
    assert now[2][: len(before)] == before
    assert len(now[2]) == 5 + 10 + 4
    assert int(now[1]) - 1 == len(now[2])
    client.command(b"z LOGOUT")
    assert look(dovecot.talk, ("INBOX",))["INBOX"] == now
