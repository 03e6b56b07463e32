"""Postfix asks: passwords, whom there is, and whose quota is used up."""

from __future__ import annotations

import grp
import re
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import postfix
import pytest
from postfix import Postfix
from running import Running, program, start_server, stop_server

pytestmark = pytest.mark.interop


@dataclass
class Site:
    """A server of ours, and a Postfix that asks it."""

    server: Running
    mta: Postfix
    context: ssl.SSLContext

    def login(self, user: str, password: str, how: str = "PLAIN") -> smtplib.SMTPAuthenticationError | None:
        """SMTP AUTH over TLS; the error where it is one."""
        with self.mta.smtp() as smtp:
            smtp.starttls(context=self.context)
            smtp.ehlo()
            smtp.user, smtp.password = user, password
            begin: Callable[..., str] = smtp.auth_plain if how == "PLAIN" else smtp.auth_login
            try:
                smtp.auth(how, begin)
            except smtplib.SMTPAuthenticationError as error:
                return error
            return None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    mta = postfix.prepare(base)
    server = start_server(
        base,
        f"--auth-socket={mta.private}/auth",
        f"--lookup-socket={mta.private}/users",
        f"--policy-socket={mta.private}/quota",
        "--socket-group=postfix",
        "--quota-storage=1M",
        "--auth-failure-delay=0.2",
        "--auth-username-format=%n",
    )
    try:
        made = (mta.private / "auth").stat()
        assert (made.st_mode & 0o777, made.st_gid) == (0o660, grp.getgrnam("postfix").gr_gid)
        main = {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": "private/auth",
            "smtpd_tls_auth_only": "yes",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": base / "cert.pem",
            "smtpd_tls_key_file": base / "key.pem",
            "virtual_mailbox_domains": "mail.example.org",
            "virtual_mailbox_maps": "socketmap:unix:private/users:users",
            "smtpd_recipient_restrictions": "reject_unauth_destination, check_policy_service unix:private/quota",
            "virtual_transport": "lmtp:[127.0.0.1]:9",
        }
        with postfix.running(mta, main):
            yield Site(server, mta, ssl.create_default_context(cafile=str(base / "cert.pem")))
    finally:
        stop_server(server)
    assert not (mta.private / "auth").exists()


@pytest.fixture
def user(site: Site) -> str:
    return site.server.user()[0]


def log_lines(site: Site, pattern: str) -> list[str]:
    return re.findall(pattern, (site.server.base / "log").read_text())


@pytest.mark.parametrize("how", ["PLAIN", "LOGIN"])
def test_a_password(site: Site, user: str, how: str) -> None:
    assert site.login(user, "secret", how) is None, site.mta.log
    wrong = site.login(user, "wrong", how)
    assert wrong is not None
    assert wrong.smtp_code == 535
    assert log_lines(site, f"authenticated user={user} peer=127.0.0.1:0 service=smtp method={how}")
    assert log_lines(site, f"login failed user={user} peer=127.0.0.1:0 tries=1")


def test_an_unknown_user_is_as_one_with_a_wrong_password(site: Site, user: str) -> None:
    unknown, wrong = site.login("nobody@example.org", "secret"), site.login(user, "wrong")
    assert unknown is not None
    assert wrong is not None
    assert (unknown.smtp_code, unknown.smtp_error) == (wrong.smtp_code, wrong.smtp_error)


def test_no_password_goes_over_a_plain_line(site: Site) -> None:
    with site.mta.smtp() as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")


def test_a_back_end_that_is_down_is_no_wrong_password(site: Site, user: str) -> None:
    users = site.server.base / "passwd"
    away = site.server.base / "away"
    users.rename(away)
    users.mkdir()  # a file that cannot be read
    try:
        down = site.login(user, "secret")
        assert down is not None
        assert down.smtp_code == 454, site.mta.log
    finally:
        users.rmdir()
        away.rename(users)
    assert site.login(user, "secret") is None


# --- who there is, and who has room ---------------------------------------------------------------


def recipient(site: Site, address: str, size: int = 0) -> tuple[int, str]:
    """What Postfix says to a recipient."""
    with site.mta.smtp() as smtp:
        smtp.ehlo()
        smtp.mail("sender@example.net", [f"size={size}"] if size else [])
        code, text = smtp.rcpt(address)
        return code, text.decode()


def test_whom_there_is(site: Site, user: str) -> None:
    assert recipient(site, f"{user}@mail.example.org")[0] == 250, site.mta.log
    code, text = recipient(site, "nobody@mail.example.org")
    assert (code, "User unknown" in text) == (550, True)
    etc = site.mta.base / "etc"
    words = [
        program("postmap"),
        "-c",
        etc,
        "-q",
        f"{user}@mail.example.org",
        f"socketmap:unix:{site.mta.private}/users:users",
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{user}\n"), done.stderr
    words[4] = "nobody@mail.example.org"
    assert subprocess.run(words, capture_output=True).returncode == 1


def test_whose_quota_is_used_up(site: Site) -> None:
    user, spool = site.server.user()
    address = f"{user}@mail.example.org"
    spool.put("INBOX", b"Subject: x\r\n\r\n" + b"x" * 900_000 + b"\r\n")
    assert recipient(site, address, 1000)[0] == 250
    code, text = recipient(site, address, 500_000)
    assert (code, text) == (552, f"5.2.2 <{address}>: Recipient address rejected: The mailbox is full")


def test_what_cannot_be_known_comes_again(site: Site, user: str) -> None:
    users, away = site.server.base / "passwd", site.server.base / "away"
    users.rename(away)
    users.mkdir()
    try:
        assert recipient(site, f"{user}@mail.example.org")[0] == 451, site.mta.log
    finally:
        users.rmdir()
        away.rename(users)
