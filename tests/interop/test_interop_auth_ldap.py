"""A real directory: OpenLDAP's slapd, started for the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from running import program

from maildir_imapd.auth.base import External, Password
from maildir_imapd.auth.chain import Chain
from maildir_imapd.cli import certificate
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.server import settings

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile {base}/pid
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
sizelimit size.soft=500 size.prtotal=unlimited
database mdb
maxsize 10485760
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw over-all
directory {base}/data
overlay ppolicy
ppolicy_default "cn=policy,dc=example,dc=org"
access to attrs=userPassword by anonymous auth by * none
access to * by dn="cn=reader,dc=example,dc=org" read by * none
"""

ENTRIES = """
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=reader,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: let me in

dn: cn=policy,dc=example,dc=org
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people
"""

PERSON = """
dn: uid={uid},ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: {uid}
cn: {uid}
sn: {uid}
mail: {mail}
employeeNumber: 1048576
uidNumber: {number}
gidNumber: 100
homeDirectory: /home/{uid}
userPassword: {password}
"""


@dataclass
class Slapd:
    """A server at *port* without TLS and at *tls_port* with it."""

    base: Path
    port: int
    tls_port: int
    ca: Path
    words: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(self.words, stdout=log, stderr=log)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), timeout=30).close()
                return
            except ConnectionRefusedError:
                assert self.process.poll() is None, (self.base / "log").read_text()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    name = program("slapd")
    try:
        import ldap  # noqa: F401
    except ImportError:
        if os.environ.get("MAILDIR_IMAPD_REQUIRE_PROGRAMS"):
            pytest.fail("python-ldap is not installed")
        pytest.skip("python-ldap is not installed")
    base = tmp_path_factory.mktemp("slapd")
    cert, key = certificate.ensure(base)
    (base / "data").mkdir()
    (base / "slapd.conf").write_text(CONFIGURATION.format(base=base, cert=cert, key=key))
    people = [("ann", "ann@example.org", 1001, "secret"), ("Ben", "ben@example.org", 1002, "b")]
    people += [("twin1", "twin@example.org", 1003, "t"), ("twin2", "twin@example.org", 1004, "t")]
    people += [(f"many{n}", f"many{n}@example.org", 2000 + n, "x") for n in range(600)]
    entries = [PERSON.format(uid=uid, mail=mail, number=number, password=word) for uid, mail, number, word in people]
    # As the server notes it of somebody whose account it has closed.
    entries.append(PERSON.format(uid="locked", mail="l@example.org", number=1005, password="l"))
    entries.append("pwdAccountLockedTime: 000001010000Z\n")
    (base / "entries").write_text(ENTRIES + "".join(entries))
    subprocess.run([program("slapadd"), "-q", "-f", base / "slapd.conf", "-l", base / "entries"], check=True)
    port, tls_port = free_port(), free_port()
    uris = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"
    running = Slapd(base, port, tls_port, cert, [name, "-d", "0", "-f", str(base / "slapd.conf"), "-h", uris])
    running.start()
    yield running
    running.stop()


def chain(slapd: Slapd, **more: Any) -> Chain:
    secret = slapd.base / "let-me-in"
    secret.write_text("let me in\n")
    given = {
        "auth": "ldap",
        "auth_timeout": "5s",
        "auth_cache_time": 0,
        "auth_cache_negative_time": 0,
        "ldap_uri": f"ldap://localhost:{slapd.port}",
        "ldap_starttls": True,
        "ldap_ca": str(slapd.ca),
        "ldap_base": "ou=people,dc=example,dc=org",
        "ldap_bind_dn": "cn=reader,dc=example,dc=org",
        "ldap_bind_password_file": str(secret),
        **more,
    }
    return settings.chain(load(None, given))


NAMES = ["*", "ann)(uid=*", "a*", "ann\\", "(|(uid=*))", "ann\0", "ann,ou=people", "a/b", "a%n", "", "ann\n", " ann"]


def test_right_and_wrong(slapd: Slapd) -> None:
    asked = chain(slapd)
    found = asked.identify(Password("ann", b"secret"))
    assert (found.user, found.home, found.uid, found.gid) == ("ann", "/home/ann", 1001, 100)
    # In any spelling it is one user.
    for name in ("ANN", "Ann"):
        assert asked.identify(Password(name, b"secret")).user == "ann"
    for name in ("ben", "Ben"):
        assert asked.identify(Password(name, b"b")).user == "Ben"
    for name, word in [("ann", b"wrong"), ("ann", b""), ("nobody", b"secret"), ("ben", b"secret")]:
        with pytest.raises(AuthenticationFailed):
            asked.identify(Password(name, word))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_never_part_of_the_filter(slapd: Slapd, name: str) -> None:
    asked = chain(slapd)
    assert asked.find(name) is None
    with pytest.raises(AuthenticationFailed):
        asked.identify(Password(name, b"secret"))


def test_what_attributes_say(slapd: Slapd) -> None:
    asked = chain(
        slapd,
        ldap_filter="(mail=%u)",
        ldap_name_attribute="mail",
        ldap_user_attributes=["employeeNumber=quota_rule=*:bytes=%$", "HOMEDIRECTORY=home", "uid=mail=maildir:/m/%$"],
    )
    found = asked.identify(Password("ANN@example.org", b"secret"))
    assert (found.user, found.home, found.uid, found.mail) == ("ann@example.org", "/home/ann", None, "maildir:/m/ann")
    assert found.quota is not None
    assert found.quota.octets == 1 << 20
    with pytest.raises(Unavailable):
        asked.identify(Password("twin@example.org", b"t"))


def test_all_users(slapd: Slapd) -> None:
    names = list(chain(slapd).back_ends[0].users())
    assert len(names) == 605
    assert {"ann", "Ben", "many599"} <= set(names)


def test_by_tls_from_the_start_and_with_a_server_that_is_away(slapd: Slapd) -> None:
    uris = [f"ldaps://localhost:{free_port()}", f"ldaps://localhost:{slapd.tls_port}"]
    asked = chain(slapd, ldap_uri=uris, ldap_starttls=False)
    assert asked.identify(Password("ann", b"secret")).user == "ann"


def test_a_certificate_by_nobody_we_know(slapd: Slapd) -> None:
    other = slapd.base / "other"
    other.mkdir()
    ca, _ = certificate.ensure(other)
    for more in ({}, {"ldap_starttls": False, "ldap_uri": f"ldaps://localhost:{slapd.tls_port}"}):
        with pytest.raises(Unavailable):
            chain(slapd, ldap_ca=str(ca), **more).identify(Password("ann", b"secret"))


def test_what_is_wrong_with_the_settings_is_no_wrong_password(slapd: Slapd) -> None:
    wrong = slapd.base / "wrong"
    wrong.write_text("wrong\n")
    for more in ({"ldap_bind_password_file": str(wrong)}, {"ldap_filter": "(uid=%u"}):
        with pytest.raises(Unavailable):
            chain(slapd, **more).identify(Password("ann", b"secret"))
    for more in ({"ldap_uri": []}, {"ldap_base": None}, {"ldap_bind_password_file": "/nowhere/secret"}):
        with pytest.raises(ConfigError, match="ldap"):
            chain(slapd, **more)


@pytest.mark.parametrize("way", ["starttls", "ldaps"])
def test_a_server_that_stands_still_or_starts_anew(slapd: Slapd, way: str) -> None:
    more = {} if way == "starttls" else {"ldap_uri": f"ldaps://localhost:{slapd.tls_port}", "ldap_starttls": False}
    asked = chain(slapd, auth_timeout="2s", **more)
    fresh = chain(slapd, auth_timeout="2s", **more)
    assert asked.identify(Password("ann", b"secret"))
    assert slapd.process is not None
    slapd.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, slapd.process.pid, os.WSTOPPED)
    try:
        for each in (asked, fresh):
            with pytest.raises(Unavailable):
                each.identify(Password("ann", b"secret"))
    finally:
        slapd.process.send_signal(signal.SIGCONT)
    assert asked.identify(Password("ann", b"secret"))
    slapd.stop()
    with pytest.raises(Unavailable):
        asked.identify(Password("ann", b"secret"))
    slapd.start()
    assert asked.identify(Password("ann", b"secret"))


def test_without_a_password_only_who_is_not_locked_out(slapd: Slapd, tmp_path: Path) -> None:
    (tmp_path / "masters").write_text("root:{PLAIN}power\n")
    (tmp_path / "devices").write_text("ann:{PLAIN}phone:::phone:::\nlocked:{PLAIN}phone:::phone:::\n")
    more = {"auth_master_file": str(tmp_path / "masters"), "auth_device_file": str(tmp_path / "devices")}
    asked = chain(slapd, **more)
    assert asked.identify(External("ANN")).user == "ann"
    assert asked.identify(Password("ann*root", b"power")).acting == "root"
    assert asked.identify(Password("ann", b"phone")).device == "phone"
    assert asked.identify(Password("ann", b"secret")).device is None
    found = asked.back_ends[0].look_up("locked")
    assert found is not None
    assert not found.may_log_in
    by_field = chain(slapd, ldap_user_attributes=["employeeNumber=nologin"], **more)
    outside = [chain(slapd, ldap_filter="(&(uid=%u)(uidNumber=1002))", **more), by_field]
    shown = [External("{}"), Password("{}*root", b"power"), Password("{}", b"phone")]
    for users, name in [(asked, "locked"), (asked, "nobody"), *((each, "ann") for each in outside)]:
        for each in shown:
            with pytest.raises(AuthenticationFailed):
                users.identify(replace(each, user=each.user.format(name)))
    for credential in (Password("locked", b"l"), External("ann)(uid=*"), External("*")):
        with pytest.raises(AuthenticationFailed):
            asked.identify(credential)
    with pytest.raises(Unavailable):
        chain(slapd, ldap_filter="(mail=%u)").identify(External("twin@example.org"))
