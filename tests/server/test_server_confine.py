"""What workers and tunnels give up: read from the kernel, in processes of their own."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from running import open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.auth import schemes
from maildir_imapd.config import load
from maildir_imapd.server import confine, owners, settings

needs_root = pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
needs_landlock = pytest.mark.skipif(confine.landlock_version() < 2, reason="this kernel has no landlock")


def apart(work: Callable[[], bool]) -> bool:
    """Do *work* in a process of its own, which it may confine, and say what it says."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except PermissionError:
        return True
    return False


def status(pid: int | str) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def workers(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- capabilities ---------------------------------------------------------------------------------


@needs_root
def test_a_root_that_may_become_others_and_no_more(tmp_path: Path) -> None:
    """As another's file system user it has his rights; back again it has root's without those over others' files."""
    open_to_all(tmp_path)
    for name, uid in (("anns", 54321), ("bens", 54322), ("roots", 0)):
        (tmp_path / name).write_text("x")
        os.chown(tmp_path / name, uid, uid)
        (tmp_path / name).chmod(0o600)

    def work() -> bool:
        def may(name: str) -> bool:
            return not refused((tmp_path / name).read_text)

        confine.drop_capabilities((confine.SETUID, confine.SETGID))
        own = owners.own()
        before = [may(name) for name in ("anns", "bens", "roots")]
        with owners.acting_as(owners.Owner(54321, 54321, (54321,))):
            inside = [may(name) for name in ("anns", "bens", "roots")]
        after = [may(name) for name in ("anns", "bens", "roots")]
        return (
            before == after == [False, False, True]
            and inside == [True, False, False]
            and owners.current() == own
            and refused(lambda: os.chown(tmp_path / "roots", 54321, 54321))
            and refused(lambda: (tmp_path / "anns").chmod(0o666))
        )

    assert apart(work)


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["system users", "mail_user", "root's own", "switched off"])
def test_what_workers_keep(tmp_path: Path, kind: str) -> None:
    open_to_all(tmp_path)
    nobody = pwd.getpwnam("nobody")
    (tmp_path / "mail").mkdir()
    if kind == "mail_user":
        os.chown(tmp_path / "mail", nobody.pw_uid, nobody.pw_gid)
    options = {
        "system users": [],
        "mail_user": ["--mail-user=nobody", f"--mail-location=maildir:{tmp_path}/mail/%n/Maildir"],
        "root's own": [],
        "switched off": ["--drop-capabilities=no", "--no-new-privs=no", "--core-dumps=yes", "--memory-limit=3G"],
    }[kind]
    server = start_server(tmp_path, *options, users=1, system_users=kind == "system users")
    try:
        if kind in ("mail_user", "root's own"):
            with Client.to(server.port, user="u0") as client:
                client.ok("SELECT INBOX")
                client.ok("CREATE Work")
        for pid in workers(server.process.pid):
            found = status(pid)
            kept = {"system users": 1 << 7 | 1 << 6, "mail_user": 0, "root's own": 0}.get(kind)
            if kept is None:
                assert int(found["CapEff"], 16) > 0xFF
                assert found["NoNewPrivs"] == "0"
            else:
                for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                    assert int(found[name], 16) & ~kept == 0, (name, found[name])
                assert int(found["CapEff"], 16) == kept
                assert int(found["CapBnd"], 16) & ~(1 << 7 | 1 << 6) == 0
                assert found["NoNewPrivs"] == "1"
            limits = Path(f"/proc/{pid}/limits").read_text()
            core = re.search(r"^Max core file size +(\S+)", limits, re.MULTILINE)
            data = re.search(r"^Max data size +(\S+)", limits, re.MULTILINE)
            assert core is not None
            assert data is not None
            if kept is None:
                assert data[1] == str(3 << 30)
            else:
                assert core[1] == "0"
    finally:
        Client.close_all()
        stop_server(server)
    assert "Traceback" not in (tmp_path / "log").read_text()


# --- landlock -------------------------------------------------------------------------------------


@needs_landlock
def test_nothing_is_reached_but_what_is_said(tmp_path: Path) -> None:
    for name in ("mail/a", "mail/b", "config", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")

    def work() -> bool:
        confine.no_new_privileges()
        if not confine.landlock([os.fsencode(tmp_path / "config"), b"/no/such"], [os.fsencode(tmp_path / "mail")]):
            return False
        a, b = tmp_path / "mail" / "a", tmp_path / "mail" / "b"
        (a / "file").rename(b / "moved")
        (b / "linked").hardlink_to(b / "moved")
        (b / "moved").write_text("")
        (b / "linked").unlink()
        return (
            (tmp_path / "config" / "file").read_text() == "x"
            and refused(lambda: (tmp_path / "config" / "file").write_text("y"))
            and refused((tmp_path / "other" / "file").read_text)
            and refused(lambda: os.listdir(tmp_path / "other"))
            and refused(lambda: subprocess.run([sys.executable, "-c", ""], check=False))
        )

    assert apart(work)


def test_where_the_mail_of_all_users_is(tmp_path: Path) -> None:
    """Where all begin; the directories homes are in; and where a link leads."""
    for name in ("srv", "index", "disk/cyd", "home/ann", "own/dan"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home" / "cyd").symlink_to(tmp_path / "disk" / "cyd")
    lines = [
        "ben:{PLAIN}x\n",
        f"ann:{{PLAIN}}x::::{tmp_path}/home/ann::userdb_mail=maildir:~/Maildir\n",
        f"cyd:{{PLAIN}}x::::{tmp_path}/home/cyd::userdb_mail=maildir:~/Maildir\n",
        f"dan:{{PLAIN}}x::::::userdb_mail=maildir:{tmp_path}/own/dan/Maildir\n",
        "odd:{PLAIN}x::::::userdb_mail=mbox:x\n",
    ]
    (tmp_path / "passwd").write_text("".join(lines))
    location = f"maildir:{tmp_path}/srv/%d/%n:INDEX={tmp_path}/index/%u"
    config = load(None, {"mail_location": location, "passwd_file": str(tmp_path / "passwd")})
    users = settings.chain(config).everybody()
    found = {Path(os.fsdecode(path)) for path in confine.of_users(settings.mail(config), users)}
    assert found == {tmp_path / name for name in ("srv", "index", "home", "disk/cyd", "own/dan")}


@needs_root
@needs_landlock
@pytest.mark.slow
def test_a_confined_server_goes_on(tmp_path: Path) -> None:
    """Users that come, a passwd-file that is replaced, IDLE, a reload: all within what it may reach, and no more."""
    open_to_all(tmp_path)
    nobody = pwd.getpwnam("nobody")
    for name in ("mail", "secret"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, nobody.pw_uid, nobody.pw_gid)
    Spool(tmp_path / "secret" / "Maildir").simple("INBOX", 1)
    for path in (tmp_path / "secret").rglob("*"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    options = ["--mail-user=nobody", f"--mail-location=maildir:{tmp_path}/mail/%n/Maildir", "--workers=1"]
    # Apart: what lies below the directory of the passwd-file can be read.
    base = tmp_path / "base"
    base.mkdir()
    server = start_server(base, *options, users=1)
    try:
        stored = schemes.make(b"secret", "SSHA")
        (base / "new").write_text(
            f"new:{stored}::::::\nthief:{stored}::::::userdb_mail=maildir:{tmp_path}/secret/Maildir\n"
        )
        (base / "new").rename(base / "passwd")
        with Client.to(server.port, user="new") as client:
            client.ok("SELECT INBOX")
            client.ok("CREATE Work")
            client.send(b"a APPEND Work {12+}\r\nSubject: x\r\n\r\n")
            client.until("a OK")
            client.ok("RENAME Work Play")
            with Client.to(server.port) as thief:
                # Its files can be reached by root, by mail_user, and not by a worker that began before it was told.
                answer = thief.command("LOGIN thief secret")[-1]
                answers = [answer] if b" NO " in answer else thief.command("SELECT INBOX")
                assert b" NO " in answers[-1], answers
        before = workers(server.process.pid)
        server.process.send_signal(signal.SIGHUP)
        while any(pid in workers(server.process.pid) for pid in before):
            pass
        # The reload saw where that user's mail is.
        with Client.to(server.port, user="thief") as client:
            client.ok("SELECT INBOX")
    finally:
        Client.close_all()
        stop_server(server)
    assert "Traceback" not in (base / "log").read_text()


@pytest.mark.slow
@needs_landlock
def test_a_tunnel_reaches_its_mail_and_no_other(tmp_path: Path) -> None:
    Spool(tmp_path / "mail" / "Maildir").simple("INBOX", 1)
    (tmp_path / "mail" / "Maildir" / ".Out").symlink_to(tmp_path)
    words = [sys.executable, "-m", "maildir_imapd", "tunnel", f"--mail-location=maildir:{tmp_path}/mail/Maildir"]
    said = b"a SELECT INBOX\r\nb CREATE Work\r\nc UID COPY 1 Work\r\nd LOGOUT\r\n"
    done = subprocess.run(words, input=said, capture_output=True)
    assert done.returncode == 0, done.stderr
    for tag in (b"a", b"b", b"c", b"d"):
        assert b"\r\n%b OK" % tag in done.stdout, done.stdout
    assert not done.stderr
