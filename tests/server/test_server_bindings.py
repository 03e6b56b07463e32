"""What an exchange is bound to, seen from both ends of a connection."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from maildir_imapd.cli import certificate
from maildir_imapd.config import load
from maildir_imapd.server import bindings, tls
from maildir_imapd.server.transport import Transport


def ends(tmp_path: Path, version: ssl.TLSVersion) -> tuple[Transport, ssl.SSLSocket]:
    cert, key = certificate.ensure(tmp_path)
    read = tls.read(load(None, {"tls_cert": str(cert), "tls_key": str(key)}))
    assert read is not None
    context = read.context
    ours, theirs = socket.socketpair()
    transport = Transport(ours, tls=context)
    assert transport.bindings == {}
    client = ssl.create_default_context(cafile=str(cert))
    client.maximum_version = version
    thread = threading.Thread(target=transport.start_tls, args=(30,))
    thread.start()
    theirs.settimeout(30)
    sock = client.wrap_socket(theirs, server_hostname="localhost")
    thread.join(30)
    return transport, sock


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_ends_have_the_same(tmp_path: Path, version: ssl.TLSVersion) -> None:
    transport, client = ends(tmp_path, version)
    try:
        found = transport.bindings
        der = client.getpeercert(binary_form=True)
        assert der is not None
        assert found.pop("tls-server-end-point") == hashlib.sha256(der).digest()
        if version is ssl.TLSVersion.TLSv1_2:
            assert found.pop("tls-unique") == client.get_channel_binding("tls-unique")
        assert not found
    finally:
        client.close()
        transport.close()


def test_a_certificate_without_a_hash_of_its_own_binds_nothing() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2026, 1, 1), datetime(2036, 1, 1))
        .sign(key, None)
        .public_bytes(bindings.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for pem in (made, b"none"):
        bindings.note_certificate(context, pem)
    assert context not in bindings._certificates
