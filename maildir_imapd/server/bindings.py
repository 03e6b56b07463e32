"""The bindings that a SASL exchange can have to a connection under TLS (RFC 5929), by the name of the kind.

Of TLS 1.3 that is the certificate alone: Python's ssl does not export keying material (RFC 9266, tls-exporter).
"""

from __future__ import annotations

import hashlib
import ssl
import weakref
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

# The hash of the certificate that a context shows, by context: of a context itself it cannot be asked.
_certificates: Final[weakref.WeakKeyDictionary[ssl.SSLContext, bytes]] = weakref.WeakKeyDictionary()


def note_certificate(context: ssl.SSLContext, pem: bytes) -> None:
    """Note that *context* shows the first certificate of a chain; one that cannot be read binds nothing."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        algorithm = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return
    # RFC 5929 4.1: where it has no single hash, as Ed25519, there is no such binding.
    if algorithm is None:
        return
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    der = certificate.public_bytes(Encoding.DER)
    _certificates[context] = hashlib.new(name, der).digest()


def of(sock: ssl.SSLSocket) -> dict[str, bytes]:
    """Say what this connection can be bound to."""
    found = {}
    context = sock.context
    if context in _certificates:
        found["tls-server-end-point"] = _certificates[context]
    # Not unique in TLS 1.3 (RFC 9266 3).
    if sock.version() in ("TLSv1.2", "TLSv1.1", "TLSv1"):
        unique = sock.get_channel_binding("tls-unique")
        if unique:
            found["tls-unique"] = unique
    return found
