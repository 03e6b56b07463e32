"""Mail servers bring mail: Postfix by LMTP, by mailbox_command and by a pipe; swaks; Dovecot's LDA with Sieve."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import postfix
import pytest
from client import Client
from dovecot import Dovecot, is_24
from postfix import Postfix
from running import Running, give_to, open_to_all, program, start_server, stop_server
from spool import Spool

pytestmark = pytest.mark.interop

REPOSITORY = Path(__file__).parent.parent.parent
TEXT = "Message-ID: <one@example.net>\nSubject: from outside\n\n.\n..dots\nbody\n"
NOBODY = pwd.getpwnam("nobody")


@dataclass
class Site:
    """A server of ours, and a Postfix that brings it mail."""

    server: Running
    mta: Postfix

    def idle(self, user: str, mailbox: str = "INBOX") -> tuple[Client, str]:
        client = Client.to(self.server.port, user=user, timeout=60)
        client.ok(f"SELECT {mailbox}")
        return client, client.idle()

    def send(self, *recipients: str, sender: str = "sender@example.net", text: str = TEXT) -> None:
        with self.mta.smtp() as smtp:
            smtp.sendmail(sender, recipients, text)

    def wait(self, pattern: str, log: Callable[[], str] | None = None) -> re.Match[str]:
        """Wait for a line of Postfix's log, or another one."""
        deadline = time.monotonic() + 60
        read = log or (lambda: self.mta.log)
        while (found := re.search(pattern, read())) is None:
            assert time.monotonic() < deadline, read()
            time.sleep(0.05)
        return found

    def log(self) -> str:
        return (self.server.base / "log").read_text()


def command() -> str:
    """Our command as one without rights can run it: by this interpreter or the system's; "" where he cannot."""
    libraries = sysconfig.get_paths()["purelib"]
    for interpreter in (sys.executable, "/usr/bin/python3"):
        words = f"/usr/bin/env PYTHONPATH={REPOSITORY}:{libraries} {interpreter} -m maildir_imapd"
        tried = [*words.split(), "--version"]
        done = subprocess.run(
            tried, user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[], cwd="/", capture_output=True
        )
        if done.returncode == 0:
            return f"{words} deliver"
    return ""


def demand_command() -> None:
    if not command():
        pytest.skip("who has no rights cannot run an interpreter with our libraries")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    mta = postfix.prepare(base)
    server = start_server(
        base,
        # Not lmtp: that is Postfix's own client.
        f"--lmtp-listen={mta.private}/maildir-lmtp",
        "--lmtp-listen=127.0.0.1:0",
        f"--lookup-socket={mta.private}/users",
        "--socket-group=postfix",
        "--quota-storage=1M",
        "--auth-username-format=%n",
    )
    ours = command()
    open_to_all(base)
    pipe = f"{ours} --passwd-file={base}/piped --mail-location=maildir:{base}/piped-%n/Maildir"
    main = {
        "mydestination": "local.example.org",
        "recipient_delimiter": "+",
        "virtual_mailbox_domains": "mail.example.org",
        "virtual_mailbox_maps": "socketmap:unix:private/users:users",
        "virtual_transport": "lmtp:unix:private/maildir-lmtp",
        "relay_domains": "pipe.example.org",
        "transport_maps": "inline:{pipe.example.org=piped:}",
        "piped_destination_recipient_limit": 1,
        "local_recipient_maps": "",
        "mailbox_command": f'{ours} --mail-location=maildir:{base}/nobody/Maildir -m "$EXTENSION"',
        "smtpd_relay_restrictions": "reject_unauth_destination",
    }
    services = postfix.DELIVERING + (
        f"piped unix - n n - - pipe flags= user=nobody argv={pipe} -f ${{sender}} -d ${{user}} -m ${{extension}}\n"
    )
    try:
        with postfix.running(mta, main, services):
            yield Site(server, mta)
    finally:
        Client.close_all()
        stop_server(server)


def test_lmtp_to_clients_that_wait(site: Site) -> None:
    (ann, inbox), (ben, other) = site.server.user(), site.server.user()
    inbox.folder("Lists")
    waiting = [site.idle(ann) for _ in range(3)]
    in_lists, lists_tag = site.idle(ann, "Lists")
    site.send(f"{ann}@mail.example.org", f"{ben}@mail.example.org")
    for client, tag in waiting:
        client.until(r"\* 1 EXISTS")
        client.done(tag)
    lines = b"\n".join(waiting[0][0].ok("FETCH 1 (BODY[])"))
    assert b"Return-Path: <sender@example.net>\n" in lines
    assert lines.count(b"\nReceived: ") == 2
    assert b"\n.\n..dots\nbody\n" in lines
    states = [next((spool.root / "cur").iterdir()).stat() for spool in (inbox, other)]
    assert states[0].st_ino == states[1].st_ino
    site.send(f"{ann}+lists@mail.example.org")
    in_lists.until(r"\* 1 EXISTS")
    in_lists.done(lists_tag)
    queued = site.wait(r"(\w+): to=<\w+\+lists@mail.example.org>.* status=sent \(250 2.1.5 Stored\)")[1]
    assert re.search(
        rf"delivered user={ann} mailbox=Lists .*message_id=<one@example.net> queue_id={queued} ", site.log()
    )


def test_lmtp_says_whom_there_is_not_and_who_has_no_room(site: Site) -> None:
    user, spool = site.server.user()
    spool.put("INBOX", b"Subject: x\n\n" + b"x" * 1_040_000 + b"\n")
    # More than the grace, too.
    site.send(f"{user}@mail.example.org", text="Subject: much\n\n" + ("x" * 70 + "\n") * 3000)
    site.wait(rf"to=<{user}@mail.example.org>.* dsn=5.2.2, status=bounced")
    assert len(list((spool.root / "cur").iterdir())) + len(list((spool.root / "new").iterdir())) == 1


def test_a_back_end_that_is_down_keeps_the_mail_in_the_queue(site: Site) -> None:
    user, _ = site.server.user()
    users, away = site.server.base / "passwd", site.server.base / "away"
    with site.mta.smtp() as smtp:
        smtp.ehlo()
        smtp.mail("sender@example.net")
        smtp.rcpt(f"{user}@mail.example.org")
        users.rename(away)
        users.mkdir()
        try:
            smtp.data(TEXT)
            site.wait(rf"to=<{user}@mail.example.org>.* dsn=4.3.0, status=deferred")
        finally:
            users.rmdir()
            away.rename(users)


def test_mailbox_command(site: Site) -> None:
    demand_command()
    spool = Spool(site.server.base / "nobody" / "Maildir")
    spool.folder("Lists")
    give_to(site.server.base / "nobody", NOBODY.pw_uid)
    with open(site.server.base / "passwd", "a") as file:
        file.write("nobody:{PLAIN}secret::::::\n")
    client, tag = site.idle("nobody")
    site.send("nobody@local.example.org")
    client.until(r"\* 1 EXISTS")
    client.done(tag)
    (file_,) = (spool.root / "cur").iterdir()
    text = file_.read_bytes()
    # Postfix has put them there, and they stand there once.
    assert text.startswith(b"Return-Path: <sender@example.net>\n")
    assert text.count(b"Delivered-To: nobody@local.example.org\n") == 1
    assert file_.stat().st_uid == NOBODY.pw_uid
    client, tag = site.idle("nobody", "Lists")
    site.send("nobody+lists@local.example.org")
    client.until(r"\* 1 EXISTS")
    client.done(tag)


def test_a_pipe(site: Site) -> None:
    demand_command()
    base = site.server.base
    (base / "piped").write_text("ann:{PLAIN}x\nfull:{PLAIN}x::::::userdb_quota_rule=*:storage=1B\n")
    (base / "piped").chmod(0o644)
    for user in ("ann", "full"):
        spool = Spool(base / f"piped-{user}" / "Maildir")
        give_to(base / f"piped-{user}", NOBODY.pw_uid)
    site.send("ann@pipe.example.org")
    site.wait(r"to=<ann@pipe.example.org>.* status=sent")
    (file,) = (base / "piped-ann" / "Maildir" / "cur").iterdir()
    assert file.read_bytes().startswith(b"Return-Path: <sender@example.net>\nDelivered-To: ann\n")
    site.send("full@pipe.example.org")
    site.wait(r"to=<full@pipe.example.org>.* dsn=5.2.2, status=bounced \(The mailbox is full")
    site.send("nobody@pipe.example.org")
    site.wait(r"to=<nobody@pipe.example.org>.* dsn=5.1.1, status=bounced")
    (base / "piped").chmod(0o600)
    site.send("ann@pipe.example.org")
    site.wait(r"to=<ann@pipe.example.org>.* dsn=4.3.\d, status=deferred")
    assert spool.root.exists()


def test_swaks(site: Site) -> None:
    swaks = program("swaks")
    user, spool = site.server.user()
    words = ["--from", "a@b", "--to", f"{user}@mail.example.org,{user}@x", "--body", "hello", "--add-header", "X: y"]
    for where in (
        ["--socket", f"{site.mta.private}/maildir-lmtp"],
        ["--server", f"127.0.0.1:{site.server.ports['lmtp']}", "--pipeline"],
    ):
        done = subprocess.run([swaks, "--protocol", "LMTP", *where, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("250 2.1.5 Stored") == 2
    assert len(list((spool.root / "cur").iterdir())) == 2


# --- Sieve ------------------------------------------------------------------------------------------------


SIEVE_23 = """
protocol lda {{
  mail_plugins = sieve
}}
plugin {{
  sieve = file:{path}
}}
"""
SIEVE_24 = """
protocol lda {{
  mail_plugins {{
    sieve = yes
  }}
}}
sieve_script personal {{
  type = personal
  path = {path}
}}
"""


def test_sieve_of_dovecots_lda_beside_us(tmp_path: Path) -> None:
    """Pigeonhole files mail; who waits here is told of it, and flags that a script sets are there."""
    lda = program("/usr/lib/dovecot/dovecot-lda")
    if not list(Path("/usr/lib/dovecot/modules").glob("*sieve*")):
        program("sievec")
    dovecot = Dovecot(tmp_path)
    dovecot.talk("CREATE Lists")
    sieve = tmp_path / "home.sieve"
    sieve.write_text(
        'require ["fileinto", "imap4flags"];\n'
        'if header :contains "Subject" "list" { addflag "\\\\Flagged"; fileinto "Lists"; }\n'
    )
    config = Path(dovecot.config)
    config.write_text(
        config.read_text()
        + (SIEVE_24 if is_24() else SIEVE_23).format(path=sieve)
        + "postmaster_address = postmaster@example.org\n"
    )
    dovecot.own()
    root = os.geteuid() == 0
    for subject in (b"a list", b"other"):
        subprocess.run(
            [lda, "-c", str(config), "-f", "sender@example.org"],
            input=b"Subject: %b\n\nbody\n" % subject,
            env=dovecot.environment,
            user=dovecot.uid if root else None,
            group=dovecot.gid if root else None,
            extra_groups=[] if root else None,
            check=True,
        )
    from memory import MemoryWires

    client = MemoryWires(tmp_path / "Maildir").connect(login=True)
    for mailbox, flags in ((b"Lists", b"\\Flagged"), (b"INBOX", b"")):
        said = b"\n".join([*client.command(b"a SELECT " + mailbox), *client.command(b"b FETCH 1:* (FLAGS)")])
        assert said.count(b" FETCH (") == 1, said
        assert flags in said.rpartition(b" FETCH (")[2]
