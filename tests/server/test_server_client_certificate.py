"""Clients that show a certificate: who they are, at both kinds of ports, and who they are not."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from client import Client
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from running import Running, start_server, stop_server

from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import client_certificate, tls


def der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def test_whom_a_certificate_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one = der(authority.certificate("ann", user_id="a1", emails=("ann@example.org",)))
    assert client_certificate.user(one, "commonName") == "ann"
    assert client_certificate.user(one, "userId") == "a1"
    assert client_certificate.user(one, "email") == "ann@example.org"
    two = der(authority.certificate("ann", "ben", emails=("ann@example.org", "ben@example.org")))
    for field in ("commonName", "userId", "email"):
        assert client_certificate.user(two, field) is None
        assert client_certificate.user(b"none", field) is None
    assert client_certificate.user(der(authority.certificate("ann")), "email") is None


def test_a_file_without_authorities(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert = str(authority.certificate("localhost"))
    (tmp_path / "empty").write_text("")
    for name in ("empty", "missing"):
        with pytest.raises(ConfigError, match="tls_client_ca"):
            tls.read(load(None, {"tls_cert": cert, "tls_client_ca": str(tmp_path / name)}))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def revoked(authority: Authority) -> Path:
    file = authority.certificate("u0")
    authority.revoke(file)
    return file


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, authority: Authority, revoked: Path) -> Iterator[Running]:
    running = start_server(tmp_path_factory.mktemp("server"), f"--tls-client-ca={authority.file}", users=2)
    with (running.base / "passwd").open("a") as file:
        file.write("locked:{PLAIN}x:::::: nologin\n")
    yield running
    stop_server(running)


def context(running: Running, file: Path | None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(running.base / "cert.pem"))
    if file is not None:
        made.load_cert_chain(file)
    return made


def connect(running: Running, file: Path | None, *, start_tls: bool = False) -> Client:
    port = running.port if start_tls else running.tls_port
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    if start_tls:
        client = Client(sock)
        client.line()
        client.start_tls(context(running, file))
        return client
    client = Client(context(running, file).wrap_socket(sock, server_hostname="localhost"))
    client.line()
    return client


def external(authzid: str = "") -> str:
    return "AUTHENTICATE EXTERNAL " + (base64.b64encode(authzid.encode()).decode() or "=")


@pytest.mark.slow
@pytest.mark.parametrize("start_tls", [False, True])
def test_a_certificate_logs_in(running: Running, authority: Authority, start_tls: bool) -> None:
    client = connect(running, authority.certificate("u0"), start_tls=start_tls)
    assert b"AUTH=EXTERNAL" in client.ok("CAPABILITY")[0]
    assert b"Logged in" in client.ok(external())[-1]
    with connect(running, authority.certificate("u0"), start_tls=start_tls) as again:
        again.ok(external("u0"))
    with connect(running, authority.certificate("u0"), start_tls=start_tls) as other:
        assert b"NO [AUTHORIZATIONFAILED]" in other.command(external("u1"))[-1]
        assert b"NO [AUTHENTICATIONFAILED]" in other.command("AUTHENTICATE EXTERNAL /w==")[-1]
        other.ok("LOGIN u1 secret")
    client.close()


@pytest.mark.slow
def test_without_one_there_is_no_such_mechanism(running: Running) -> None:
    with connect(running, None) as client:
        assert b"AUTH=EXTERNAL" not in client.ok("CAPABILITY")[0]
        assert b" NO " in client.command(external("u0"))[-1]
        client.ok("LOGIN u0 secret")
    with Client.to(running.port) as plain:
        assert b"AUTH=EXTERNAL" not in plain.greeting
        assert b" NO " in plain.command(external("u0"))[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nobody", "locked", "../u0", "u0\u0000", "%u", "*"])
def test_names_that_are_nobodys(running: Running, authority: Authority, name: str) -> None:
    with connect(running, authority.certificate(name)) as client:
        assert b"NO [AUTHENTICATIONFAILED]" in client.command(external())[-1]


@pytest.mark.slow
def test_another_authoritys_and_revoked_ones(running: Running, revoked: Path, tmp_path: Path) -> None:
    """TLS 1.3 tells the client after its side of the handshake is done."""
    for file in (Authority(tmp_path, "other").certificate("u0"), revoked):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            connect(running, file).ok("NOOP")
