"""An authority that gives clients certificates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """Its certificate stands in a file; what it makes lies beside it, the key in the certificate's file."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._now = dt.datetime.now(dt.UTC)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(self._name, self._key).add_extension(basic, critical=True)
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            self._name,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            self._now - dt.timedelta(hours=1),
            self._now + dt.timedelta(days=30),
        )

    def certificate(self, *common_names: str, user_id: str = "", emails: tuple[str, ...] = ()) -> Path:
        """Make one, and return its file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
        if user_id:
            names.append(x509.NameAttribute(NameOID.USER_ID, user_id))
        builder = self._builder(x509.Name(names), key)
        if emails:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.RFC822Name(email) for email in emails]), critical=False
            )
        made = builder.sign(self._key, hashes.SHA256())
        file = self._directory / f"{made.serial_number}.pem"
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(made.public_bytes(PEM) + private)
        return file

    def revoke(self, file: Path) -> None:
        """Add a list with one certificate to the authority's file."""
        serial = x509.load_pem_x509_certificate(file.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder(serial, self._now).build()
        made = x509.CertificateRevocationListBuilder(
            self._name, self._now, self._now + dt.timedelta(days=30), [], [entry]
        )
        with self.file.open("ab") as out:
            out.write(made.sign(self._key, hashes.SHA256()).public_bytes(PEM))
