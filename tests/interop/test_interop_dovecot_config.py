"""What import-config makes of a configuration is started, and shows clients what Dovecot shows with the original."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from dovecot import Dovecot, is_24
from migration import look, subscribed

from maildir_imapd.auth import schemes
from maildir_imapd.cli import certificate, main
from maildir_imapd.config import read_file

pytestmark = pytest.mark.interop
CONFIGURATIONS = Path(__file__).parent.parent / "cli" / "configurations"

# How Dovecot runs in a test: on a pipe, without a master.
ALONE = """
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 0
first_valid_gid = 0
stats_writer_socket_path =
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A configuration, who logs in, and where his mail is below the test's directory."""

    name: str
    user: str
    maildir: str
    changes: tuple[tuple[str, str], ...]


KINDS = (
    Kind("home", "ann", "Maildir", (("/home/ann", "{home}"), ("uid=ann gid=ann", "uid={user} gid={group}"))),
    # With the one change that most make, and a passwd-file that our own server needs.
    Kind("debian-12", "ann", "Maildir", (("mbox:~/mail:INBOX=/var/mail/%u", "maildir:~/Maildir"),)),
    Kind(
        "docker-mailserver",
        "ann@example.org",
        "example.org/ann",
        (
            ("/var/mail", "{home}"),
            ("/etc/dovecot/userdb", "{home}/users"),
            ("mail_privileged_group = docker", "mail_privileged_group = {group}"),
            ("docker", "{user}"),
        ),
    ),
)


def original(dovecot: Dovecot, kind: Kind) -> str:
    """The configuration, with the places and the user of the test in it."""
    text = (CONFIGURATIONS / f"{kind.name}.conf").read_text()
    names = {
        "home": str(dovecot.home),
        "user": pwd.getpwuid(dovecot.uid).pw_name,
        "group": grp.getgrgid(dovecot.gid).gr_name,
    }
    for theirs, here in kind.changes:
        assert theirs in text
        text = text.replace(theirs, here.format_map(names))
    return text


def serve(dovecot: Dovecot, kind: Kind, text: str) -> tuple[subprocess.Popen[str], int]:
    """Start our server with what comes of *text*; returns it with its port."""
    base = dovecot.home
    (base / "theirs").write_text(text)
    done = CliRunner().invoke(main, ["import-config", str(base / "theirs")])
    assert done.exit_code == 0, done.output
    (base / "ours.conf").write_text(done.stdout)
    said = read_file(base / "ours.conf")
    users = Path(said.get("passwd_file", base / "users"))
    users.parent.mkdir(parents=True, exist_ok=True)
    entry = pwd.getpwuid(dovecot.uid)
    hashed = schemes.make(b"secret", "SHA512-CRYPT").removeprefix("{SHA512-CRYPT}")
    users.write_text(f"{kind.user}:{hashed}:{entry.pw_uid}:{entry.pw_gid}::{base}::\n")
    dovecot.own()
    cert, key = certificate.ensure(base)
    words = ["--imap=127.0.0.1:0", "--imaps=127.0.0.1:0", f"--tls-cert={cert}", f"--tls-key={key}", "--workers=1"]
    # Nobody of the test is a user of the system.
    words += ["--auth=passwd-file", "--userdb=passwd-file"]
    words += [f"--passwd-file={users}", f"--log-file={base}/ours.log", f"--config={base}/ours.conf"]
    if "mail_user" not in said:
        words.append(f"--mail-user={entry.pw_name}")
    process = subprocess.Popen(
        [sys.executable, "-m", "maildir_imapd", "serve", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    if found is None:
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"it did not start: {line} {(base / 'ours.log').read_text()}")
    return process, int(found[1])


def talk(port: int, user: str, *commands: str) -> list[str]:
    """Log in over the loopback, without TLS, and send commands; returns all lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(
            f"a LOGIN {user} secret\r\n".encode()
            + "".join(f"t{n} {command}\r\n" for n, command in enumerate(commands)).encode()
            + b"bye LOGOUT\r\n"
        )
        data = b""
        while piece := sock.recv(65536):
            data += piece
    lines = data.decode("utf-8", "replace").split("\r\n")
    assert any(line.startswith("a OK") for line in lines), lines
    return lines


def names(lines: list[str]) -> dict[str, tuple[str, frozenset[str]]]:
    """The mailboxes of an answer to LIST: delimiter and uses."""
    found = {}
    for line in lines:
        if match := re.match(r'\* LIST \(([^)]*)\) "(.)" "?([^"]*)"?$', line):
            uses = {
                word for word in match[1].split() if word in ("\\Sent", "\\Drafts", "\\Trash", "\\Junk", "\\Archive")
            }
            found[match[3]] = (match[2], frozenset(uses))
    return found


def namespace(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("* NAMESPACE")]


@pytest.fixture
def _dovecot_23() -> None:
    """Not asked for while tests are collected: then there need be no Dovecot at all."""
    if is_24():
        pytest.skip("these configurations are for Dovecot 2.3")


@pytest.mark.usefixtures("_dovecot_23")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_clients_see_the_same(kind: Kind, tmp_path: Path) -> None:
    dovecot = Dovecot(tmp_path)
    (tmp_path / kind.maildir).parent.mkdir(parents=True, exist_ok=True)
    text = original(dovecot, kind)
    dovecot.config.write_text(text + ALONE.format(home=tmp_path, uid=dovecot.uid, gid=dovecot.gid))
    dovecot.environment["USER"] = kind.user
    letter = "Subject: x\r\n\r\nbody\r\n"
    separator = "/" if "separator = /" in text else "."
    nested = f"Lists{separator}Garden"
    dovecot.talk(
        f"CREATE {nested}",
        "CREATE Sent",
        "SUBSCRIBE Sent",
        *[
            f"APPEND {box} (\\Seen) {{{len(letter)}+}}\r\n{letter}"
            for box in ("INBOX", nested, "Sent")
            for _ in range(2)
        ],
        "SELECT INBOX",
        "STORE 1 +FLAGS.SILENT (\\Deleted work)",
        "EXPUNGE",
        "STORE 1 +FLAGS.SILENT (work)",
    )
    asked = ("NAMESPACE", 'LIST "" "*" RETURN (SPECIAL-USE)', 'LSUB "" "*"')
    theirs = dovecot.talk(*asked)
    boxes = ("INBOX", nested, "Sent")
    state = look(dovecot.talk, boxes)
    process, port = serve(dovecot, kind, text)
    try:
        here = talk(port, kind.user, *asked)
        assert look(lambda *commands: talk(port, kind.user, *commands), boxes) == state
    finally:
        process.terminate()
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()
    assert namespace(here) == namespace(theirs)
    assert names(theirs) == names(here)
    assert subscribed(theirs) == subscribed(here)


@pytest.mark.usefixtures("_dovecot_23")
@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.glob("*.conf")), ids=lambda path: path.stem)
def test_doveconf_prints_what_the_configurations_have(path: Path, tmp_path: Path) -> None:
    """Dovecot itself reads them, and what it prints of them comes to the same.

    But for keys, which it hides, and for protocols and users, which not every machine has.
    """
    text = path.read_text()
    if text.startswith("# 2.4"):
        pytest.skip("for Dovecot 2.4")
    dovecot = Dovecot(tmp_path)
    elsewhere = ("protocols = ", "default_internal_user", "default_login_user")
    lines = [line for line in text.splitlines() if "# hidden" not in line and not line.startswith(elsewhere)]
    dovecot.config.write_text("\n".join(lines) + "\n")
    printed = tmp_path / "printed"
    printed.write_text(dovecot.doveconf())
    done = CliRunner().invoke(main, ["import-config", str(printed)])
    expected = path.with_suffix(".expected").read_text().splitlines()
    # Nor then the heading, where nothing else stands below it.
    not_here = ("#   ssl_key: ", "#   local_name ", "tls_sni = ", "#   protocols: ", "# Not carried over:")

    def compared(lines: list[str]) -> list[str]:
        return sorted(line for line in lines if line and not line.startswith(not_here))

    assert compared(done.stdout.splitlines()) == compared(expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="it is about the configuration of a system")
def test_debian_12_as_it_comes_is_refused(tmp_path: Path) -> None:
    """Dovecot serves mbox with it: we make no empty Maildir beside that, and say what to do."""
    ours = tmp_path / "ours.conf"
    done = CliRunner().invoke(main, ["import-config", str(CONFIGURATIONS / "debian-12.conf")])
    assert done.exit_code == 1
    ours.write_text(done.stdout)
    (tmp_path / "users").write_text("ann:{PLAIN}secret::::::\n")
    done = CliRunner().invoke(main, ["serve", "-c", str(ours), "--passwd-file", str(tmp_path / "users")])
    assert done.exit_code == 78
    assert not (tmp_path / "Maildir").exists()
