"""A real PAM, with the system's users, in a mount namespace that has files of /etc of its own."""

from __future__ import annotations

import imaplib
import os
from pathlib import Path

import pytest
from running import Running, give_to, open_to_all, program, start_server, stop_server

pytestmark = [pytest.mark.interop, pytest.mark.slow]

# Of "Grüße 1", as Linux writes it: yescrypt.
YESCRYPT = "$y$j9T$FVaGqvPFgoVGjzZ1$.248ku3K32Va.n3t8ICJjjS/MwdqwXqrREgtTX3wN07"
PASSWORD = "Grüße 1"
SERVICE = """
auth required pam_unix.so nodelay
account required pam_unix.so
account required pam_exec.so quiet /bin/sh {base}/note
session required pam_exec.so quiet seteuid /usr/bin/touch {base}/session
"""
# Over the files of /etc, for the server and its children alone.
COVER = 'for name in passwd shadow group pam.d; do mount --bind "$0/etc/$name" "/etc/$name" || exit 9; done; exec "$@"'


def prepare(base: Path) -> tuple[str, ...]:
    """Write what lies over /etc, and return what the server is to be started in."""
    if os.geteuid() != 0:
        pytest.skip("only root has a mount namespace of its own")
    unshare = program("unshare")
    open_to_all(base)
    etc = base / "etc"
    (etc / "pam.d").mkdir(parents=True)
    (etc / "pam.d" / "maildir-imapd").write_text(SERVICE.format(base=base))
    (etc / "pam.d" / "broken").write_text("auth required pam_no_such_module.so\n")
    (base / "note").write_text(f'echo "$PAM_RHOST" > {base}/rhost')
    users = [("ann", 2001, ""), ("old", 2002, "1"), ("sys", 202, "")]
    lines = [f"{name}:x:{uid}:{uid}::{base}/{name}:/bin/sh\n" for name, uid, _ in users]
    (etc / "passwd").write_text(Path("/etc/passwd").read_text() + "".join(lines) + "vmail:x:2003:2003::/:/bin/false\n")
    (etc / "group").write_text(
        Path("/etc/group").read_text() + "".join(f"{name}:x:{uid}:\n" for name, uid, _ in users) + "vmail:x:2003:\n"
    )
    # root's password is a user's, too: he must not get in by it.
    shadow = [f"{name}:{YESCRYPT}:19000:0:99999:7::{ends}:\n" for name, _, ends in [*users, ("root", 0, "")]]
    (etc / "shadow").write_text("".join(shadow))
    (etc / "shadow").chmod(0o600)
    for name, uid, _ in users:
        (base / name / "Maildir" / "cur").mkdir(parents=True)
        give_to(base / name, uid)
    return (unshare, "--mount", "sh", "-c", COVER, str(base))


def start(base: Path, *options: str, system_users: bool = True) -> Running:
    return start_server(
        base, "--auth=pam", "--auth-cache-time=0", *options, before=prepare(base), system_users=system_users, users=1
    )


def login(running: Running, user: str, password: str = PASSWORD) -> str:
    """Try to log in, and return the answer."""
    with imaplib.IMAP4("127.0.0.1", running.port) as client:
        try:
            client.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        except imaplib.IMAP4.error as error:
            return str(error)
        client.select()
        return client.state


def test_users_of_the_system(tmp_path: Path) -> None:
    running = start(tmp_path)
    try:
        assert login(running, "ann") == "SELECTED"
        assert (tmp_path / "rhost").read_text() == "127.0.0.1\n"
        assert (tmp_path / "ann" / "Maildir" / ".uidvalidity").parent.stat().st_uid == 2001
        for user, password in [
            ("ann", "wrong"),
            ("ann", ""),
            ("nobody-here", PASSWORD),
            ("old", PASSWORD),
            ("sys", PASSWORD),
            ("root", PASSWORD),
            ("../ann", PASSWORD),
            ("ann%n", PASSWORD),
        ]:
            assert "AUTHENTICATIONFAILED" in login(running, user, password), user
        assert not (tmp_path / "session").exists()
        assert "account-expired" in (tmp_path / "log").read_text()
        assert PASSWORD not in (tmp_path / "log").read_text()
        # Logins at once, from two workers: each is answered.
        assert [login(running, "ann") for _ in range(4)] == ["SELECTED"] * 4
    finally:
        stop_server(running)


def test_a_server_that_has_given_all_up_still_asks(tmp_path: Path) -> None:
    """The workers are mail_user's, confined, and can read no /etc/shadow: who asks for them can."""
    options = ("--mail-user=vmail", "--userdb=static", f"--auth-static=home={tmp_path}/%n", "--pam-session=true")
    running = start(tmp_path, *options, system_users=True)
    try:
        give_to(tmp_path / "ann", 2003)
        assert login(running, "ann") == "SELECTED"
        assert "AUTHENTICATIONFAILED" in login(running, "ann", "wrong")
        assert (tmp_path / "session").exists()
    finally:
        stop_server(running)


def test_a_service_that_does_not_work_is_no_wrong_password(tmp_path: Path) -> None:
    running = start(tmp_path, "--pam-service=broken")
    try:
        assert "UNAVAILABLE" in login(running, "ann")
    finally:
        stop_server(running)
