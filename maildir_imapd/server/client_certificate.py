"""Whom a client's certificate names: the field of it that the settings say, and no other."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_SUBJECT: Final = {"commonName": NameOID.COMMON_NAME, "userId": NameOID.USER_ID}


def user(der: bytes, field: str) -> str | None:
    """Read the name in *field* (``tls_client_name``); None where there is none, or more than one."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        if field in _SUBJECT:
            names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(_SUBJECT[field])]
        else:
            names = _addresses(certificate)
    except ValueError:
        return None
    # Of two nobody could say who it is.
    return names[0] if len(names) == 1 else None


def _addresses(certificate: x509.Certificate) -> list[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return alternatives.value.get_values_for_type(x509.RFC822Name)
