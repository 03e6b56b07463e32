"""TLS as the settings have it: contexts with certificates by name, read anew at each reload, and when these end."""

from __future__ import annotations

import datetime as dt
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server import bindings

if TYPE_CHECKING:
    from maildir_imapd.config import Config

log = Log(__name__)

WARN_SECONDS: Final = 14 * 86400.0
# Seconds between two lines about the same certificate.
AGAIN_SECONDS: Final = 86400.0
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates as they were at one reading."""

    context: ssl.SSLContext
    """Of the certificate for everybody; it hands connections on to those of the others by the name they ask for."""
    ends: Mapping[str, float]
    """When each certificate ends, by its file; seconds since the epoch."""


def read(config: Config) -> Tls | None:
    """Read all certificates; None when none is set.  Raises ConfigError."""
    if not wanted(config):
        if config.tls_sni:
            raise ConfigError("tls_sni needs tls_cert, for clients that name no name")
        return None
    context = _context(config, config.tls_cert, config.tls_key, ("tls_cert", "tls_key"))
    ends = {config.tls_cert: _end(config.tls_cert)}
    named: dict[str, ssl.SSLContext] = {}
    for each in config.tls_sni:
        setting = f"tls_sni {each.name}:"
        named[each.name] = _context(config, each.cert, each.key, (setting, setting))
        ends[each.cert] = _end(each.cert)
    if named:
        context.sni_callback = _Choice(named)
    return Tls(context, ends)


def wanted(config: Config) -> bool:
    """Say whether there is a certificate at all."""
    return config.tls_cert is not None


class _Choice:
    """Hands a connection on to the context of the name that its client asks for.

    The contexts differ in nothing but the certificate.
    """

    def __init__(self, named: Mapping[str, ssl.SSLContext]) -> None:
        self._named = named

    def __call__(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """As ``SSLContext.sni_callback``; whoever names what is not known gets the certificate for everybody."""
        found = self.of(name or "")
        if found is not None:
            connection.context = found

    def of(self, name: str) -> ssl.SSLContext | None:
        """The context for *name*: its own, or that of all names beside it."""
        name = name.lower().removesuffix(".")
        return self._named.get(name) or self._named.get("*." + name.partition(".")[2])


def keep_unraisable(found: sys.UnraisableHookArgs) -> None:
    """As ``sys.unraisablehook``: into the log, and no traceback for a client who asks for a name that is not ASCII.

    The interpreter reads that name before it calls ``sni_callback``, and can raise to nobody; the handshake fails.
    """
    if isinstance(found.exc_value, UnicodeDecodeError) and isinstance(found.object, bytes):
        log.debug("name of no certificate", name=found.object)
        return
    log.error("an error that nobody could catch", failure=found.exc_value, at=found.err_msg or repr(found.object))


def _context(config: Config, cert: str, key: str | None, settings: tuple[str, str]) -> ssl.SSLContext:
    """Make a context; *settings*: the names of those for *cert* and *key*, for errors.  Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # What the system's configuration asks for beyond ours stays.
    context.minimum_version = max(context.minimum_version, _VERSIONS[config.tls_min_version])
    context.options |= ssl.OP_NO_RENEGOTIATION
    if config.tls_ciphers is not None:
        try:
            context.set_ciphers(config.tls_ciphers)
        except ssl.SSLError as error:
            raise ConfigError(f"tls_ciphers: OpenSSL knows none of {config.tls_ciphers}") from error
    for name, path in zip(settings, (cert, key), strict=True):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass  # OpenSSL would not say which of the two files it is
            except OSError as error:
                raise ConfigError(f"{name} {path}: {error.strerror}") from error
    try:
        # A key with a passphrase would have a daemon ask on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        what = "no certificate chain and key without a passphrase that fit each other"
        raise ConfigError(f"{settings[0]} {cert}: {what} ({reason})") from error
    with open(cert, "rb") as file:
        bindings.note_certificate(context, file.read())
    if config.tls_client_ca is not None:
        _ask_for_certificates(context, config.tls_client_ca)
    return context


def _ask_for_certificates(context: ssl.SSLContext, path: str) -> None:
    """Have clients asked for a certificate of these authorities; who has none may go on, who has another may not.

    Raises ConfigError.  Where the file has lists of what was revoked, they are kept to.
    """
    try:
        context.load_verify_locations(cafile=path)
        with open(path, "rb") as file:
            revoked = b"-----BEGIN X509 CRL-----" in file.read()
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise ConfigError(f"tls_client_ca {path}: no certificates of authorities ({reason})") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    if revoked:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def end_of(certificate: x509.Certificate) -> dt.datetime:
    """Return the moment after which *certificate* is good for nothing."""
    # Before cryptography 42, which is not in Debian 12, the moment does not say that it is of UTC.
    moment = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(tzinfo=dt.UTC)
    assert isinstance(moment, dt.datetime)
    return moment


def _end(path: str) -> float:
    """When the first certificate in a file ends, which is the server's own; never where that cannot be read."""
    try:
        with open(path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (OSError, ValueError):
        return float("inf")  # OpenSSL has taken it: it knows better
    return end_of(certificate).timestamp()


class Ends:
    """Tells the log of certificates that end soon, once a day; for one process of all."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def look(self, tls: Tls | None, now: float | None = None) -> None:
        """Tell what is to be told at *now*, seconds since the epoch."""
        if tls is None:
            return
        now = time.time() if now is None else now
        for path, end in tls.ends.items():
            if end - now > WARN_SECONDS or abs(now - self._told.get(path, float("-inf"))) < AGAIN_SECONDS:
                continue
            self._told[path] = now
            day = dt.datetime.fromtimestamp(end, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if end <= now:
                log.error("certificate has ended", file=path, end=day)
            else:
                log.warning("certificate ends soon", file=path, end=day, days=int((end - now) // 86400))
