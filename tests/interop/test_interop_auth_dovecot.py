"""A real Dovecot's auth process, asked by its two sockets."""

from __future__ import annotations

import hmac
import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from dovecot import is_24
from running import open_to_all, program
from scramp import ScramClient

from maildir_imapd.auth.base import Credential, External, Password, Vouched
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Exchange, Situation
from maildir_imapd.auth.offered import Offered
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, Unavailable
from maildir_imapd.server import settings

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CONFIGURATION = """
protocols = lmtp
log_path = {base}/log
ssl = no
base_dir = {base}/run
state_dir = {base}/state
stats_writer_socket_path =
auth_failure_delay = 0
auth_mechanisms = plain login scram-sha-256 cram-md5
first_valid_uid = 1
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
"""
DATABASES_23 = """
default_vsz_limit = 0
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
}}
"""
DATABASES_24 = """
default_vsz_limit = unlimited
passdb passwd-file {{
  passwd_file_path = {base}/users
}}
userdb passwd-file {{
  passwd_file_path = {base}/users
}}
"""
USERS = """ann@example.org:{PLAIN}secret:1001:1002::/home/ann::userdb_quota_rule=*:bytes=5
ben:{PLAIN}b e:1003:1004::/home/ben::
off:{PLAIN}o:1005:1006::/home/off::nologin=y
near:{PLAIN}n:1007:1008::/home/near::allow_nets=192.0.2.0/24
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    name = program("dovecot")
    if os.geteuid() != 0:
        pytest.skip("only root can start all of Dovecot")
    base = tmp_path_factory.mktemp("dovecot")
    open_to_all(base)
    (base / "users").write_text(USERS)
    head = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" if is_24() else ""
    databases = DATABASES_24 if is_24() else DATABASES_23
    (base / "conf").write_text(head + CONFIGURATION.format(base=base) + databases.format(base=base))
    running = subprocess.Popen([name, "-F", "-c", str(base / "conf")])
    while not (base / "run" / "auth-userdb").exists():
        assert running.poll() is None, (base / "log").read_text()
    yield base
    running.terminate()
    running.wait(60)


def chain(base: Path, **more: Any) -> Chain:
    given = {
        "auth": "dovecot",
        "dovecot_auth_socket": str(base / "run" / "auth-client"),
        "dovecot_userdb_socket": str(base / "run" / "auth-userdb"),
        **more,
    }
    return settings.chain(load(None, given))


def test_right_and_wrong(base: Path) -> None:
    asked = chain(base)
    found = asked.identify(Password("ann@example.org", b"secret"))
    assert (found.user, found.home, found.uid, found.gid) == ("ann@example.org", "/home/ann", 1001, 1002)
    assert asked.identify(Password("ben", b"b e")).home == "/home/ben"
    names = ["ann@example.org", "ben", "nobody", "*", "a\tb", "ann@example.org\n", "a/b", "a%n", "a\0b", ""]
    for name in names:
        with pytest.raises(AuthenticationFailed):
            asked.identify(Password(name, b"wrong"))
    assert asked.find("nobody") is None
    assert {who.user for who in asked.everybody()} == {"ann@example.org", "ben", "off", "near"}


def test_checking_alone_with_homes_from_elsewhere(base: Path) -> None:
    asked = chain(base, dovecot_userdb_socket=None, userdb="static", auth_static=["home=/srv/%d/%n"])
    assert asked.identify(Password("ann@example.org", b"secret")).home == "/srv/example.org/ann"


def test_looking_up_alone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ben:{PLAIN}mine\nnobody:{PLAIN}x\n")
    asked = chain(base, auth="passwd-file", userdb="dovecot", passwd_file=str(tmp_path / "users"))
    assert asked.identify(Password("ben", b"mine")).uid == 1003
    with pytest.raises(AuthenticationFailed):
        asked.identify(Password("nobody", b"x"))


def test_a_dovecot_that_is_away(base: Path) -> None:
    asked = chain(base, dovecot_auth_socket=str(base / "nowhere"))
    with pytest.raises(Unavailable):
        asked.identify(Password("ben", b"b e"))


def test_without_a_password_only_who_is_not_locked_out(base: Path, tmp_path: Path) -> None:
    (tmp_path / "masters").write_text("root:{PLAIN}power\n")
    asked = chain(base, auth_master_file=str(tmp_path / "masters"))
    assert asked.identify(External("ben")).home == "/home/ben"
    assert asked.identify(Password("ann@example.org*root", b"power")).acting == "root"
    for credential in (External("off"), Password("off*root", b"power"), External("nobody"), Password("off", b"o")):
        with pytest.raises(AuthenticationFailed):
            asked.identify(credential)


def test_from_where_somebody_comes_is_said(base: Path, tmp_path: Path) -> None:
    """Dovecot looks at allow_nets by itself, and does not say what stands there."""
    (tmp_path / "masters").write_text("root:{PLAIN}power\n")
    asked = chain(base, auth_master_file=str(tmp_path / "masters"))
    for credential in (Password("near", b"n"), Password("near*root", b"power"), External("near")):
        for host in ("192.0.2.7", "::ffff:192.0.2.7"):
            assert asked.identify(credential, host).home == "/home/near"
        # What was right is remembered, but not for everywhere.
        for elsewhere in ("198.51.100.1", "2001:db8::1", None, "nonsense"):
            with pytest.raises(AuthenticationFailed):
                asked.identify(credential, elsewhere)


def test_mechanisms_of_its_own(base: Path) -> None:
    """SCRAM and CRAM-MD5 between the client and Dovecot; we hand on what each says."""
    asked = chain(base)
    assert Offered(asked, (), Situation).offered(private=True) == (b"SCRAM-SHA-256", b"PLAIN", b"LOGIN", b"CRAM-MD5")
    for mechanism, client in (("SCRAM-SHA-256", scram_client), ("CRAM-MD5", cram_client)):
        for secret, holds in (("b e", True), ("wrong", False)):
            exchange = Offered(asked, (), Situation).begin(mechanism.encode(), private=True)
            credential = led(exchange, client("ben", secret))
            if holds:
                assert asked.identify(credential, "192.0.2.7").home == "/home/ben"
            else:
                with pytest.raises(AuthenticationFailed):
                    asked.identify(credential, "192.0.2.7")
    # Dovecot knows from where somebody comes.
    for host, holds in (("192.0.2.7", True), ("198.51.100.1", False)):
        situation = Situation(host=host)
        exchange = Offered(asked, (), lambda situation=situation: situation).begin(b"SCRAM-SHA-256", private=True)
        credential = led(exchange, scram_client("near", "n"))
        assert isinstance(credential, Vouched) is holds


def led(exchange: Exchange, client: Generator[bytes, bytes, None]) -> Credential:
    """Have a client and an exchange talk until the exchange is over."""
    challenge = next(exchange)
    next(client)
    while True:
        try:
            challenge = exchange.send(client.send(challenge))
        except StopIteration as stop:
            found: Credential = stop.value
            return found


def scram_client(user: str, password: str) -> Generator[bytes, bytes, None]:
    client = ScramClient(["SCRAM-SHA-256"], user, password)
    yield b""
    challenge = yield client.get_client_first().encode()
    client.set_server_first(challenge.decode())
    challenge = yield client.get_client_final().encode()
    client.set_server_final(challenge.decode())
    yield b""


def cram_client(user: str, password: str) -> Generator[bytes, bytes, None]:
    challenge = yield b""
    yield f"{user} {hmac.new(password.encode(), challenge, 'md5').hexdigest()}".encode()
