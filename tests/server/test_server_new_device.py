"""A message to a user who has come from a new device."""

from __future__ import annotations

import email
import email.policy
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from client import Client
from running import Running, open_to_all, start_server, stop_server

from maildir_imapd.auth.base import Password
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.door import Door
from maildir_imapd.server.new_device import DeviceMessage, surroundings
from maildir_imapd.server.sessions import Visit


def make(tmp_path: Path, message: str = "yes", **given: Any) -> Door:
    (tmp_path / "passwd").write_text("ann@example.org:{PLAIN}secret\n")
    (tmp_path / "devices").write_text("ann@example.org:{PLAIN}dddd:::phone:::made=1\n")
    (tmp_path / "masters").write_text("root:{PLAIN}power\n")
    config = load(
        None,
        {
            "passwd_file": str(tmp_path / "passwd"),
            "mail_location": f"maildir:{tmp_path}/Maildir",
            "mail_user": "root",
            "fsync": "never",
            "new_device_message": message,
            "auth_device_file": str(tmp_path / "devices"),
            "auth_master_file": str(tmp_path / "masters"),
            **given,
        },
    )
    return Door(
        settings.chain(config),
        Accounts(settings.mail(config), None),
        settings.room(config),
        new_device=settings.new_device(config),
    )


def session(door: Door, host: str, *programs: str, secret: bytes = b"secret", user: str = "ann@example.org") -> None:
    """Log in, say programs, and leave."""
    visit = Visit(host, "peer")
    door.arrive(visit)
    access = door.gate(visit)(Password(user, secret))
    for program in ("", *programs):
        access.used(program)
    door.leave(visit)


def inbox(tmp_path: Path) -> list[email.message.EmailMessage]:
    files = sorted((tmp_path / "Maildir").glob("[cn]*/*"))
    return [email.message_from_bytes(each.read_bytes(), policy=email.policy.default) for each in files]


def test_the_first_is_not_told_and_the_next_one_is(tmp_path: Path) -> None:
    door = make(tmp_path)
    session(door, "192.0.2.1", "Thunderbird 115.2")
    session(door, "192.0.77.8", "Thunderbird 128.0")
    assert inbox(tmp_path) == []
    session(door, "192.0.2.1", "curl/8.1")
    (message,) = inbox(tmp_path)
    assert message["Subject"] == "New device: curl/8.1 at 192.0.2.1"
    assert message["To"] == "ann@example.org"
    assert message["From"] == "postmaster@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"]
    assert message["Message-ID"]
    assert "Address: 192.0.2.1\n" in message.get_content()
    session(door, "192.0.2.1", "curl/8.2", "curl/8.2")
    assert len(inbox(tmp_path)) == 1
    session(door, "198.51.100.1", "curl/8.2")
    assert len(inbox(tmp_path)) == 2


def test_one_that_does_not_say_its_program_is_told_at_its_end(tmp_path: Path) -> None:
    door = make(tmp_path)
    session(door, "192.0.2.1", "Mail")
    session(door, "2001:db8::1")
    (message,) = inbox(tmp_path)
    assert message["Subject"] == "New device: unknown at 2001:db8::1"
    session(door, "2001:db8:ffff::1")
    assert len(inbox(tmp_path)) == 1


def test_the_password_of_a_device_says_which_it_is(tmp_path: Path) -> None:
    door = make(tmp_path)
    session(door, "192.0.2.1", "Mail")
    session(door, "192.0.2.1", "Mail", secret=b"dddd")
    session(door, "198.51.100.1", "Other", secret=b"dddd")
    assert len(inbox(tmp_path)) == 1


def test_who_is_not_told_of(tmp_path: Path) -> None:
    door = make(tmp_path)
    session(door, "192.0.2.1", "Mail")
    session(door, "127.0.0.1", "Other")
    session(door, "::1", "Other")
    session(door, "198.51.100.1", "Other", user="ann@example.org*root", secret=b"power")
    assert inbox(tmp_path) == []
    door = make(tmp_path, "no")
    session(door, "198.51.100.1", "Other")
    assert inbox(tmp_path) == []


def test_what_a_client_says_is_no_header(tmp_path: Path) -> None:
    door = make(tmp_path)
    session(door, "192.0.2.1", "Mail")
    session(door, "192.0.2.1", "x\r\nBcc: ben@example.org\r\n\r\n$user ${address}" + "y" * 5000)
    (message,) = inbox(tmp_path)
    assert "Bcc" not in message
    assert message["Subject"].startswith("New device: x Bcc: ben@example.org $user ${address}yyy")


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("Subject: Neues Gerät: $program\nFrom: Post <post@example.org>\n\nHallo $user, $time, $server.\n")
    door = make(tmp_path, str(file))
    session(door, "192.0.2.1", "Mail")
    session(door, "192.0.2.1", "Ölmail")
    (message,) = inbox(tmp_path)
    assert message["Subject"] == "Neues Gerät: Ölmail"
    assert message["From"] == "Post <post@example.org>"
    assert message.get_content().startswith("Hallo ann@example.org, ")


def test_trouble_keeps_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = make(tmp_path)
    session(door, "192.0.2.1", "Mail")
    (tmp_path / "Maildir" / "maildir-imapd.seen").unlink()
    (tmp_path / "Maildir" / "maildir-imapd.seen").mkdir()
    session(door, "192.0.2.1", "Other")
    assert inbox(tmp_path) == []
    assert "new device is not told" in caplog.text


@pytest.mark.parametrize("text", ["Subject: $nobody\n\n", "Subject: $\n\n", "no header\n\nx", "Subject: x\n\n$what"])
def test_a_text_that_cannot_be_filled_in(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="new_device_message"):
        DeviceMessage(text)
    with pytest.raises(ConfigError, match="new_device_message"):
        make(tmp_path, str(tmp_path / "nowhere"))


def test_surroundings() -> None:
    assert surroundings("192.0.2.1") == "192.0.0.0/16"
    assert surroundings("::ffff:192.0.2.1") == "192.0.0.0/16"
    assert surroundings("2001:db8:1::1") == "2001:db8::/32"
    assert surroundings("127.0.0.1") is surroundings("") is surroundings("nonsense") is None


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_system_users_who_come_and_go_on_two_workers(tmp_path: Path) -> None:
    """What is noted and told is the user's own, whichever worker he comes to, and told once."""
    open_to_all(tmp_path)
    options = ("--imap-proxy=127.0.0.1:0", "--proxy-networks=127.0.0.1", "--new-device-message=yes")
    (tmp_path / "users").write_text(
        "".join(f"s{n}:{{PLAIN}}secret:{54321 + n}:{54321 + n}::{tmp_path}/s{n}::\n" for n in range(2))
    )
    mail = ("--mail-location=maildir:~/Maildir", f"--passwd-file={tmp_path}/users", "--workers=2")
    for n in range(2):
        (tmp_path / f"s{n}").mkdir()
        os.chown(tmp_path / f"s{n}", 54321 + n, 54321 + n)
    server = start_server(tmp_path, *options, *mail, system_users=True, users=1)
    try:
        for turn in range(12):
            # The first comes from one place, then all at once from another.
            host = "198.51.100.7" if turn else "192.0.2.1"
            clients = [_proxied(server, host, f"s{n}") for n in range(2) for _ in range(1 if turn == 0 else 4)]
            for at, client in enumerate(clients):
                if at % 2:
                    client.ok("LOGOUT")  # the others break off
                client.close()
    finally:
        stop_server(server)
    for n in range(2):
        root = tmp_path / f"s{n}" / "Maildir"
        assert (root / "maildir-imapd.seen").stat().st_uid == 54321 + n
        told = list(root.glob("[cn]*/*"))
        assert [path.stat().st_uid for path in told] == [54321 + n]
        assert b"198.51.100.7" in told[0].read_bytes()


def _proxied(server: Running, host: str, user: str) -> Client:
    client = Client(socket.create_connection(("127.0.0.1", server.ports["imap_proxy"]), timeout=30))
    client.send(f"PROXY TCP4 {host} 192.0.2.250 4711 143\r\n".encode())
    assert client.line().startswith(b"* OK")
    context = ssl.create_default_context(cafile=str(server.base / "cert.pem"))
    client.start_tls(context)
    client.ok(f"LOGIN {user} secret")
    client.ok('ID ("name" "Mail")')
    return client
