"""Certificates by name, versions, ciphers, and when certificates end."""

from __future__ import annotations

import datetime as dt
import signal
import ssl
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from client import Client
from cryptography import x509
from running import start_server, stop_server

from maildir_imapd.cli import certificate
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import tls
from maildir_imapd.server.tls import Ends, Tls

DAY = 86400.0


def make(base: Path, name: str) -> tuple[str, str]:
    """A certificate for *name*, in two files."""
    cert, key = certificate.make([name])
    paths = base / f"{name}.pem".replace("*", "any"), base / f"{name}.key".replace("*", "any")
    paths[0].write_bytes(cert)
    paths[1].write_bytes(key)
    return str(paths[0]), str(paths[1])


def read(base: Path, *names: str, **given: Any) -> Tls:
    cert, key = make(base, "mail.example.org")
    sni = [":".join((name, *make(base, name))) for name in names]
    found = tls.read(load(None, {"tls_cert": cert, "tls_key": key, "tls_sni": sni, **given}))
    assert found is not None
    return found


def shake(server: ssl.SSLContext, name: str | None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[str, Any]:
    """Shake hands in memory; the name in the certificate that the client sees, and the client's end."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode, client.maximum_version = False, ssl.CERT_NONE, newest
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(down, up, server_hostname=name)
    ours = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (theirs, ours):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    der = theirs.getpeercert(binary_form=True)
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.DNSName)[0], theirs


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (None, "mail.example.org"),
        ("mail.example.org", "mail.example.org"),
        ("imap.example.net", "imap.example.net"),
        ("IMAP.Example.Net", "imap.example.net"),
        ("a.example.com", "*.example.com"),
        ("b.a.example.com", "mail.example.org"),
        ("example.com", "mail.example.org"),
        ("own.example.com", "own.example.com"),
        ("net", "mail.example.org"),
    ],
)
def test_the_certificate_of_the_name(tmp_path: Path, asked: str | None, shown: str) -> None:
    found = read(tmp_path, "imap.example.net", "*.example.com", "own.example.com")
    assert shake(found.context, asked)[0] == shown


def test_a_name_that_is_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The handshake fails, and no traceback is written for it."""
    caplog.set_level("DEBUG")
    monkeypatch.setattr("sys.unraisablehook", tls.keep_unraisable)
    found = read(tmp_path, "imap.example.net")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(down, up, server_hostname="imap.example.net")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = up.read()
    assert b"imap.example.net" in hello
    up.write(hello.replace(b"imap.example.net", b"imap.\xff\xfeample.net"))
    with pytest.raises(ssl.SSLError):
        found.context.wrap_bio(up, down, server_side=True).do_handshake()
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("DEBUG", "name of no certificate")
    caplog.clear()

    def broken(_: object) -> None:
        raise ZeroDivisionError

    # What is called when an object goes has nobody who could catch what it raises.
    reference = weakref.ref({1}, broken)
    assert reference() is None
    assert "an error that nobody could catch" in caplog.text


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_ciphers(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    found = read(tmp_path, "imap.example.net", tls_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    for name in ("mail.example.org", "imap.example.net"):
        _, end = shake(found.context, name, newest)
        if newest == ssl.TLSVersion.TLSv1_2:
            assert (end.version(), end.cipher()[0]) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    found = read(tmp_path, tls_min_version="1.3")
    if newest == ssl.TLSVersion.TLSv1_2:
        with pytest.raises(ssl.SSLError):
            shake(found.context, None, newest)
    else:
        assert shake(found.context, None, newest)[1].version() == "TLSv1.3"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert tls.read(load(None, {})) is None
    cert, key = make(tmp_path, "mail.example.org")
    (tmp_path / "none.pem").write_text("x")
    missing, bad = str(tmp_path / "missing"), str(tmp_path / "none.pem")
    for given, why in (
        ({"tls_cert": missing}, r"tls_cert .*No such file"),
        ({"tls_cert": bad}, r"tls_cert .*no certificate chain"),
        ({"tls_cert": cert, "tls_key": missing}, r"tls_key .*No such file"),
        ({"tls_cert": cert, "tls_key": key, "tls_sni": [f"a.b:{missing}"]}, r"tls_sni a\.b: .*No such file"),
        ({"tls_cert": cert, "tls_key": key, "tls_sni": [f"a.b:{cert}:{bad}"]}, r"tls_sni a\.b: .*no certificate chain"),
        ({"tls_cert": cert, "tls_key": key, "tls_ciphers": "NONE-OF-THESE"}, r"tls_ciphers: OpenSSL knows none"),
        ({"tls_sni": [f"a.b:{cert}:{key}"]}, r"tls_sni needs tls_cert"),
    ):
        with pytest.raises(ConfigError, match=why):
            tls.read(load(None, given))


@pytest.mark.parametrize("written", ["a.b", "a.b:", ":c", "a.*.b:c", "*:c", "a b:c", "a.b:c:d:e", "a.b:c:", "ä.b:c"])
def test_what_is_no_certificate_for_a_name(written: str) -> None:
    with pytest.raises(ConfigError, match="must be NAME:CERT"):
        load(None, {"tls_sni": [written]})


def test_a_certificate_that_ends_is_told_once_a_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read(tmp_path, "imap.example.net")
    (one, end), (other, later) = found.ends.items()
    assert abs(end - later) < DAY
    assert abs(end - dt.datetime.now(dt.UTC).timestamp() - certificate.DAYS * DAY) < DAY
    found = Tls(found.context, {one: 100 * DAY, other: 120 * DAY})
    ends = Ends()

    def told(now: float) -> list[str]:
        caplog.clear()
        ends.look(found, now)
        return [record.getMessage() + str(record.fields["file"]) for record in caplog.records]  # type: ignore[attr-defined]

    ends.look(None)
    assert told(85 * DAY) == []
    assert told(86 * DAY + 1) == ["certificate ends soon" + one]
    assert told(86 * DAY + 3600) == []
    assert told(87 * DAY + 1) == ["certificate ends soon" + one]
    assert told(100 * DAY) == ["certificate has ended" + one]
    assert told(107 * DAY) == ["certificate has ended" + one, "certificate ends soon" + other]
    # A new one is in its place.
    found = Tls(found.context, {one: 500 * DAY, other: 500 * DAY})
    assert told(109 * DAY) == []


@pytest.mark.slow
def test_a_reload_reads_all_of_them(tmp_path: Path) -> None:
    net = ":".join(("imap.example.net", *make(tmp_path, "imap.example.net")))
    server = start_server(tmp_path, f"--tls-sni={net}", "--workers=1")

    def seen(name: str) -> bytes | None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with Client(server.connect()) as client:
            client.line()
            client.start_tls(context, name)
            client.ok("NOOP")
            assert isinstance(client.sock, ssl.SSLSocket)
            return client.sock.getpeercert(binary_form=True)

    try:
        old, default = seen("imap.example.net"), seen("localhost")
        assert old != default
        make(tmp_path, "imap.example.net")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while seen("imap.example.net") == old:
            assert time.monotonic() < deadline
        assert seen("imap.example.net") != default
        assert seen("localhost") == default
    finally:
        stop_server(server)
