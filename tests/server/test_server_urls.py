"""URLs that let others read (URLAUTH), over real sockets: two workers, system users, a tunnel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client import Client
from running import Running, give_to, open_to_all, start_server, stop_server

from maildir_imapd.auth.base import Identity
from maildir_imapd.config import Config, load
from maildir_imapd.errors import ConfigError, Goodbye, MailboxMissing
from maildir_imapd.imap.policy import UrlRules
from maildir_imapd.server import owners, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.reach import Reach

OPTIONS = ("--urlauth-host=mail.example.org", "--urlauth-submit-user=u5", "--delimiter=/")
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    spaces = ("--namespaces=shared/%u/: type=others", "--namespaces=Virtual/: type=virtual")
    running = start_server(tmp_path_factory.mktemp("urls"), *OPTIONS, *spaces, users=6)
    yield running
    stop_server(running)


def client(running: Running, user: str) -> Client:
    return Client.to(running.port, user=user)


def append(talker: Client, mailbox: str, body: bytes) -> str:
    """Put a message into a mailbox, and return its UID."""
    line = talker.append(mailbox, body)
    assert line.startswith("OK [APPENDUID"), line
    return line.partition("]")[0].split()[-1]


def authorized(talker: Client, user: str, message: str, access: str = "submit+x") -> str:
    lines = talker.command(f'GENURLAUTH "imap://{user}@mail.example.org/{message};urlauth={access}" INTERNAL')
    assert lines[-1].partition(b" ")[2].startswith(b"OK"), lines
    return lines[0].split(b'"')[1].decode()


def told(talker: Client, url: str) -> bytes | None:
    talker.send(b'u URLFETCH "%b"\r\n' % url.encode())
    line = talker.line()
    assert line.startswith(b'* URLFETCH "%b" ' % url.encode()), line
    found = None
    if not line.endswith(b" NIL"):
        size = re.search(rb" \{(\d+)\}$", line)
        assert size is not None, line
        found = talker.octets(int(size[1]))
        assert talker.line() == b""
    assert talker.line() == b"u OK URLFETCH completed"
    return found


@pytest.mark.slow
def test_whichever_worker(running: Running) -> None:
    """Made in one process, read and taken back in another."""
    owners_sessions = [client(running, "u0") for _ in range(4)]
    submitters = [client(running, "u5") for _ in range(4)]
    uid = append(owners_sessions[0], "INBOX", b"Subject: x\r\n\r\nof u0\r\n")
    urls = [authorized(each, "u0", f"INBOX/;uid={uid}/;section=TEXT") for each in owners_sessions]
    assert len(set(urls)) == 1
    for submitter in submitters:
        assert told(submitter, urls[0]) == b"of u0\r\n"
    assert told(client(running, "u1"), urls[0]) is None
    assert owners_sessions[1].said("RESETKEY INBOX").startswith("OK No URL")
    for submitter in submitters:
        assert told(submitter, urls[0]) is None
    again = authorized(owners_sessions[2], "u0", f"INBOX/;uid={uid}/;section=TEXT")
    for submitter in submitters:
        assert told(submitter, again) == b"of u0\r\n"
    assert owners_sessions[3].said("RESETKEY").startswith("OK")
    assert told(submitters[0], again) is None
    assert (running.base / "u5" / "Maildir" / "cur").is_dir()
    for name in ("u1", "u5"):
        assert not (running.base / name / "Maildir" / "maildir-imapd.urlauth").exists()


def test_what_has_just_come(running: Running) -> None:
    """A message of which the reader's process has not heard yet."""
    owner, submitters = client(running, "u1"), [client(running, "u5") for _ in range(4)]
    for n in range(3):
        uid = append(owner, "INBOX", b"Subject: x\r\n\r\n%d\r\n" % n)
        url = authorized(owner, "u1", f"INBOX/;uid={uid}/;section=TEXT")
        for submitter in submitters:
            assert told(submitter, url) == b"%d\r\n" % n
    assert b"* 3 EXISTS" in owner.command("EXAMINE INBOX")
    assert all(b"\\Seen" not in line for line in owner.command("FETCH 1:* FLAGS"))


def test_a_large_one(running: Running) -> None:
    owner, submitter = client(running, "u2"), client(running, "u5")
    uid = append(owner, "INBOX", LARGE)
    assert told(submitter, authorized(owner, "u2", f"INBOX/;uid={uid}")) == LARGE
    part = authorized(owner, "u2", f"INBOX/;uid={uid}/;section=TEXT/;partial=100000.500000")
    assert told(submitter, part) == LARGE.partition(b"\r\n\r\n")[2][100000:600000]


def test_shared_mail_as_long_as_it_is_shared(running: Running) -> None:
    owner, reader, submitter = client(running, "u3"), client(running, "u4"), client(running, "u5")
    owner.command("CREATE Work")
    uid = append(owner, "Work", b"Subject: x\r\n\r\nshared\r\n")
    owner.command("SETACL Work u4 lr")
    url = authorized(reader, "u4", f"shared/u3/Work/;uid={uid}/;section=TEXT")
    assert told(submitter, url) == b"shared\r\n"
    owner.command("DELETEACL Work u4")
    assert told(submitter, url) is None
    owner.command("SETACL Work u4 lr")
    assert told(submitter, url) == b"shared\r\n"


def test_a_message_in_a_virtual_mailbox(running: Running) -> None:
    """As long as it is in it."""
    owner, submitters = client(running, "u4"), [client(running, "u5") for _ in range(3)]
    append(owner, "INBOX", b"Subject: x\r\n\r\nvirtual\r\n")
    owner.command('SELECT "Virtual/Unread"')
    uid = owner.command("UID SEARCH TEXT virtual")[0].split()[-1].decode()
    url = authorized(owner, "u4", f"Virtual/Unread/;uid={uid}/;section=TEXT")
    for submitter in submitters:
        assert told(submitter, url) == b"virtual\r\n"
    owner.command(f"UID STORE {uid} +FLAGS \\Seen")
    owner.command("UNSELECT")
    for submitter in submitters:
        assert told(submitter, url) is None


def test_a_user_whose_mail_is_not_there_is_nobody(running: Running) -> None:
    owner, submitter = client(running, "u2"), client(running, "u5")
    url = authorized(owner, "u2", "INBOX/;uid=1")
    for name in ("n3", "nobody", "..", "%00"):
        assert told(submitter, url.replace("u2@", f"{name}@")) is None
    assert not (running.base / "n3").exists()


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_users_of_the_system(tmp_path: Path) -> None:
    """The kernel lets nobody read another's files: the thread is their owner for the read, and itself again then."""
    uids = {"u0": 54410, "u1": 54411, "u5": 54415}
    running = start_server(tmp_path, *OPTIONS, users=0, system_users=True)
    try:
        open_to_all(tmp_path)
        lines = [f"{user}:{{PLAIN}}secret:{uid}:{uid}::::\n" for user, uid in uids.items()]
        (tmp_path / "passwd").write_text("".join(lines))
        for user, uid in uids.items():
            home = tmp_path / user
            (home / "Maildir").mkdir(parents=True)
            give_to(home, uid)
            home.chmod(0o700)
        owner = client(running, "u0")
        uid = append(owner, "INBOX", b"Subject: x\r\n\r\nof u0\r\n")
        url = authorized(owner, "u0", f"INBOX/;uid={uid}/;section=TEXT")
        keys = tmp_path / "u0" / "Maildir" / "maildir-imapd.urlauth"
        assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (54410, 0o600)
        for submitter in [client(running, "u5") for _ in range(3)]:
            assert told(submitter, url) == b"of u0\r\n"
            assert told(submitter, url[:-1] + ("0" if url[-1] != "0" else "1")) is None
            assert told(submitter, url.replace("u0@", "u1@")) is None
            # Afterwards it is who it was: what it makes is its own.
            append(submitter, "INBOX", b"Subject: x\r\n\r\nof u5\r\n")
            submitter.command("EXAMINE INBOX")
            assert any(b"of u5" in line for line in submitter.command("UID FETCH 1 BODY.PEEK[TEXT]"))
        for user, number in uids.items():
            for directory, _, files in os.walk(tmp_path / user / "Maildir"):
                assert {os.lstat(os.path.join(directory, name)).st_uid for name in ("", *files)} == {number}
        # Where the owner himself may not read, nobody does.
        (tmp_path / "u0").chmod(0)
        assert told(client(running, "u5"), url) is None
    finally:
        stop_server(running)


@pytest.mark.slow
def test_in_a_tunnel_there_is_one_s_own_mail(tmp_path: Path) -> None:
    """No thread is another user there."""
    config = tmp_path / "imapd.toml"
    config.write_text(
        f'mail_location = "maildir:{tmp_path}/Maildir"\nurlauth_host = "*"\nlandlock = false\nfsync = "never"\n'
        'namespaces = ["shared/%u/: type=others"]\n'
    )

    def spoken(*lines: bytes) -> bytes:
        command = [sys.executable, "-m", "maildir_imapd", "tunnel", "-c", str(config)]
        done = subprocess.run(command, input=b"\r\n".join(lines) + b"\r\n", capture_output=True, check=True, timeout=60)
        return done.stdout

    greeting = spoken(b"a APPEND INBOX {16+}\r\nSubject: x\r\n\r\nx\r", b"b LOGOUT")
    found = re.search(rb"Logged in as (\S+)", greeting)
    assert found is not None, greeting
    user = found[1]
    rump = b"imap://%b@localhost/INBOX/;uid=1/;section=TEXT;urlauth=" % user
    url = spoken(b"a GENURLAUTH %bauthuser internal" % rump, b"b LOGOUT").partition(b"GENURLAUTH ")[2].split(b'"')[1]
    answer = spoken(b'a URLFETCH "%b" "%b"' % (url, url.replace(user + b"@", b"nobody@")), b"b LOGOUT")
    assert b'* URLFETCH "%b" {2}\r\nx\r\r\n' % url in answer or b'* URLFETCH "%b" {' % url in answer
    assert b'* URLFETCH "%b" NIL\r\n' % url.replace(user + b"@", b"nobody@") in answer


def test_a_thread_that_cannot_be_itself_again_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on with another user's rights."""
    u0, u5 = owners.Owner(54410, 54410, ()), owners.Owner(54415, 54415, ())
    acts = [u5]

    @contextmanager
    def stuck(who: owners.Owner | None) -> Iterator[None]:
        acts[0] = acts[0] if who is None else who
        yield

    accounts = Accounts(settings.mail(load(None, {})), None)
    monkeypatch.setattr(owners, "current", lambda: acts[0])
    monkeypatch.setattr(owners, "acting_as", stuck)
    monkeypatch.setattr(accounts, "own", None)
    monkeypatch.setattr(accounts, "owner", lambda identity: u0)
    reach = Reach((), accounts, lambda name: Identity(name, "/nowhere"))
    with pytest.raises(Goodbye), reach.reading("u0"):
        pytest.fail("there is no mail")
    assert acts == [u0]


def test_trouble_with_the_owner_says_no_more_than_that_he_is_not_there() -> None:
    accounts = Accounts(settings.mail(load(None, {})), None, acts=False)
    for found in (None, Identity("u0", "/nowhere"), Identity("u0", "/nowhere", uid=0), Identity("u0", "/", uid=54410)):
        reach = Reach((), accounts, lambda name, found=found: found)
        for name in ("u0", "", "..", "a/b"):
            with pytest.raises(MailboxMissing), reach.reading(name):
                pytest.fail("there is no mail")
    with pytest.raises(MailboxMissing), Reach((), accounts).reading("u0"):
        pytest.fail("nobody is found")


# --- settings ---------------------------------------------------------------------------------------


def rules(**given: object) -> UrlRules | None:
    config: Config = load(None, given)
    return settings.policy(config, tls=False, loopback=False).urls


def test_what_the_settings_mean() -> None:
    assert rules() is None
    assert rules(urlauth_submit_user=["post"]) is None
    found = rules(
        urlauth_host=["Mail.example.org", "mail:1143", "[::1]"],
        urlauth_submit_user=["post", "other"],
        auth_anonymous_user="guest",
    )
    assert found == UrlRules(
        frozenset({("mail.example.org", 143), ("mail", 1143), ("[::1]", 143)}),
        anywhere=False,
        submitters=frozenset({"post", "other"}),
        anonymous="guest",
    )
    assert found.means_us("mail", 1143)
    assert not found.means_us("mail", 143)
    anywhere = rules(urlauth_host="*")
    assert anywhere is not None
    assert anywhere.means_us("what.ever", 7)


@pytest.mark.parametrize("host", ["", "a b", "imap://mail/", "mail:", "mail:0", "mail:65536", "mail:imap", "*:143"])
def test_no_host(host: str) -> None:
    with pytest.raises(ConfigError, match="urlauth"):
        rules(urlauth_host=[host])
