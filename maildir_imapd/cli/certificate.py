"""A self-signed certificate, for trying things out and for who has no other yet."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from maildir_imapd.server.tls import end_of

DAYS = 825
CERT = "cert.pem"
KEY = "key.pem"


def state_dir() -> Path:
    """Where what is made at a first start is kept: where the service manager says, or else where a user's state is."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "maildir-imapd"


def ensure(directory: Path) -> tuple[Path, Path]:
    """Return certificate and key in *directory*, made if they are not there or about to expire."""
    cert, key = directory / CERT, directory / KEY
    try:
        loaded = x509.load_pem_x509_certificate(cert.read_bytes())
        if key.exists() and end_of(loaded) > dt.datetime.now(dt.UTC) + dt.timedelta(days=1):
            return cert, key
    except (OSError, ValueError):
        pass  # not there, or not a certificate: a new one is made
    made, private = make(["localhost", socket.gethostname()])
    fd = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "wb") as file:
        file.write(private)
    cert.write_bytes(made)
    return cert, key


def make(names: list[str]) -> tuple[bytes, bytes]:
    """Make a certificate for *names* and the loopback addresses; returns both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
