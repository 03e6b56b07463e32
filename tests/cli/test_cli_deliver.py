"""maildir-imapd deliver, as mail servers run it: a process for each message."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from client import Client
from running import give_to, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.server import owners

MESSAGE = b"From sender@example.org Mon Nov 30 10:00:00 2026\nMessage-ID: <a@b>\nSubject: hello\n\nFrom here\n"
BARE = MESSAGE.partition(b"\n")[2]
USERS = "ann:{PLAIN}secret\nben:{PLAIN}secret::::::userdb_quota_rule=*:storage=1K\n"


class Site:
    """A directory with users, and the command."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "passwd").write_text(USERS)
        root = {"mail_user": "root"} if os.geteuid() == 0 else {}
        settings = {"mail_location": f"maildir:{base}/%n/Maildir", "passwd_file": str(base / "passwd"), **root}
        self.config = base / "conf"
        self.config.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))

    def deliver(self, *words: str, said: bytes = MESSAGE, **other: object) -> tuple[int, str]:
        """Run it; its exit status, and what it says."""
        command = [sys.executable, "-m", "maildir_imapd", "deliver", "-c", str(self.config), *words]
        done = subprocess.run(command, input=said, capture_output=True, **other)  # type: ignore[call-overload]
        assert not done.stdout
        return done.returncode, done.stderr.decode()

    def files(self, user: str, folder: str = "") -> list[Path]:
        path = self.base / user / "Maildir" / folder
        return sorted(each for sub in ("cur", "new", "tmp") if path.exists() for each in (path / sub).iterdir())

    def texts(self, user: str, folder: str = "") -> list[bytes]:
        return [each.read_bytes() for each in self.files(user, folder)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.long
def test_a_users_mail(site: Site) -> None:
    assert site.deliver("-d", "ANN", "-f", "<sender@example.org>") == (0, "")
    assert site.texts("ann") == [b"Return-Path: <sender@example.org>\nDelivered-To: ANN\n" + BARE]
    (file,) = site.files("ann")
    size = file.stat().st_size
    assert f",S={size},W={size + 6}:2," in file.name
    assert file.parent.name == "cur"


@pytest.mark.long
def test_fields_that_the_mail_server_has_put_there(site: Site) -> None:
    said = b"From x y\nReturn-Path: <other@x>\nDelivered-To: ann\n" + BARE
    assert site.deliver("-d", "ann", "-f", "sender@example.org", said=said) == (0, "")
    assert site.deliver("-d", "ann", "-a", "ann@example.org", "-f", "<>", said=BARE) == (0, "")
    first, second = sorted(site.texts("ann"), key=len)[::-1][:1], site.texts("ann")
    assert said.partition(b"\n")[2] in second
    assert b"Return-Path: <>\nDelivered-To: ann@example.org\n" + BARE in second
    assert first


@pytest.mark.long
def test_folders_and_flags(site: Site) -> None:
    Spool(site.base / "ann" / "Maildir").folder("Lists")
    words = ["--flag", "\\Seen", "--flag", "\\flagged", "--keyword", "$Label1"]
    assert site.deliver("-d", "ann", "-m", "lists", *words) == (0, "")
    assert site.deliver("-d", "ann+Lists") == (0, "")
    assert site.deliver("-d", "ann", "-m", "nothing") == (0, "")
    assert site.deliver("-d", "ann", "-m", "Wörk", "--create") == (0, "")
    assert sorted(each.name.rpartition(":2,")[2] for each in site.files("ann", ".Lists")) == ["", "FSa"]
    assert len(site.files("ann")) == 1
    assert len(site.files("ann", ".W&APY-rk")) == 1
    assert "Work" not in (site.base / "ann" / "Maildir" / "subscriptions").read_text()


@pytest.mark.long
def test_whether_it_has_attachments(site: Site) -> None:
    with site.config.open("a") as config:
        config.write("attachment_keywords = true\n")
    assert site.deliver("-d", "ann", said=b"Content-Type: application/pdf\n\nx\n") == (0, "")
    assert site.deliver("-d", "ann") == (0, "")
    folder = site.base / "ann" / "Maildir"
    words = dict(line.split(" ", 1) for line in (folder / "dovecot-keywords").read_text().splitlines())
    letters = {word: "abcdefghij"[int(number)] for number, word in words.items()}
    found = {
        text.partition(b"Content-Type")[1]: each.name[-1] for each in site.files("ann") for text in [each.read_bytes()]
    }
    assert found == {b"Content-Type": letters["$HasAttachment"], b"": letters["$HasNoAttachment"]}


@pytest.mark.long
def test_ones_own_mail(site: Site) -> None:
    home = site.base / "home"
    Spool(home / "Maildir")
    (site.base / "own.conf").write_text('mail_location = "maildir:~/Maildir"\n')
    site.config = site.base / "own.conf"
    if os.geteuid() == 0:
        give_to(home, 54321)
    open_to_all(site.base)
    environment = {**os.environ, "HOME": str(home)}
    assert site.deliver(env=environment) == (0, "")
    (file,) = (home / "Maildir" / "cur").iterdir()
    assert file.read_bytes() == BARE
    if os.geteuid() == 0:
        # Root does nothing in a directory that another may change.
        assert file.stat().st_uid == 54321


@pytest.mark.long
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_a_system_users_mail_is_his(site: Site) -> None:
    Spool(site.base / "ann" / "Maildir")
    give_to(site.base / "ann", 54321)
    open_to_all(site.base)
    (site.base / "passwd").write_text("ann:{PLAIN}secret:54321:54321::::\n")
    site.config.write_text(site.config.read_text().replace('mail_user = "root"\n', ""))
    assert site.deliver("-d", "ann") == (0, "")
    (file,) = site.files("ann")
    assert (file.stat().st_uid, file.stat().st_gid) == (54321, 54321)
    # He has no rights in another's mail, wherever that is said to be.
    Spool(site.base / "other" / "Maildir")
    (site.base / "other").chmod(0o700)
    (site.base / "passwd").write_text(f"ann:{{PLAIN}}x:54321:54321::::userdb_mail=maildir:{site.base}/other/Maildir\n")
    assert site.deliver("-d", "ann")[0] == os.EX_TEMPFAIL
    assert site.files("other") == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["-d", "nobody"], os.EX_NOUSER, "5.1.1 "),
        (["-d", "../ann"], os.EX_NOUSER, "5.1.1 "),
        (["-d", "ann", "--delivery-limit", "1K"], os.EX_DATAERR, "5.3.4 "),
        (["-d", "ben"], os.EX_NOPERM, "5.2.2 "),
        (["-d", "ben", "--delivery-over-quota", "defer"], os.EX_TEMPFAIL, "4.2.2 "),
        (["-d", "ann", "--passwd-file", "/nonexistent"], os.EX_TEMPFAIL, "4.3."),
        (["-d", "ann", "--fsync", "perhaps"], os.EX_TEMPFAIL, "4.3.5 "),
        (["-d", "ann", "--mail-location", "maildir:/nonexistent/%n/Maildir"], os.EX_TEMPFAIL, "4.3."),
        (["--nonsense"], os.EX_USAGE, "Usage: "),
        (["-d", "ann", "--flag", "Seen"], os.EX_USAGE, "Usage: "),
        (["-d", "ann", "--keyword", "a b"], os.EX_USAGE, "Usage: "),
        (["-d", "ann", "-f", "a\nb"], os.EX_USAGE, "Usage: "),
    ],
)
def test_what_goes_wrong(site: Site, words: list[str], status: int, said: str) -> None:
    found = site.deliver(*words, said=b"Subject: x\n\n" + b"x" * 3000 + b"\n")
    assert found[0] == status, found
    assert found[1].startswith(said)
    assert site.files("ann") == site.files("ben") == []


@pytest.mark.long
def test_no_message_is_none(site: Site) -> None:
    assert site.deliver("-d", "ann", said=b"")[0] == os.EX_DATAERR
    assert site.deliver("-d", "ann", said=b"From x y\n")[0] == os.EX_DATAERR
    assert site.files("ann") == []


@pytest.mark.long
def test_a_full_disk_leaves_nothing(site: Site) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    said = b"Subject: x\n\n" + b"x" * 200_000
    status, words = site.deliver("-d", "ann", said=said, preexec_fn=full)
    assert (status, words[:6]) == (os.EX_TEMPFAIL, "4.3.1 ")
    assert site.files("ann") == []
    assert site.deliver("-d", "ann", said=said)[0] == 0


@pytest.mark.long
def test_a_line_in_the_log(site: Site) -> None:
    log = site.base / "log"
    assert site.deliver("-d", "ann", "-f", "s@x", "--log-file", str(log))[0] == 0
    assert site.deliver("-d", "ben", "--log-file", str(log), said=b"x" * 3000)[0] == os.EX_NOPERM
    lines = log.read_text().splitlines()
    first, second = [line for line in lines if " mailboxes made " not in line]
    assert len(lines) == 4  # both are new users
    assert " delivered user=ann mailbox=INBOX service=deliver sender=<s@x> message_id=<a@b> octets=" in first
    assert " not delivered user=ben mailbox=INBOX service=deliver octets=" in second
    assert "code=552 status=5.2.2" in second


@pytest.mark.long
def test_beside_a_server_its_clients_are_told(tmp_path: Path) -> None:
    running = start_server(tmp_path)
    try:
        user, _ = running.user()
        clients = [Client.to(running.port, user=user) for _ in range(4)]
        for client in clients:
            client.ok("SELECT INBOX")
        tags = [client.idle() for client in clients]
        words = [f"--passwd-file={tmp_path}/passwd", f"--mail-location=maildir:{tmp_path}/%n/Maildir"]
        words += ["--mail-user=root"] if os.geteuid() == 0 else []
        command = [sys.executable, "-m", "maildir_imapd", "deliver", "-d", user, *words]
        subprocess.run(command, input=MESSAGE, check=True)
        for client, tag in zip(clients, tags, strict=True):
            client.until(r"\* 1 EXISTS")
            client.done(tag)
            assert b"UID 1" in client.ok("FETCH 1 (UID)")[0]
    finally:
        Client.close_all()
        stop_server(running)
