"""TLS beyond the one certificate."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, named_certificate, text

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "tls_sni",
        named_certificate,
        (),
        "A certificate for clients that connect to a certain name: the name, or *.DOMAIN for every name directly below "
        "DOMAIN, the file with the chain, and the file with the key unless it is in the same one. Whoever names none "
        "of these names, or no name, gets tls_cert. Read again on SIGHUP. May be given several times.",
        "NAME:CERT[:KEY]",
        "TLS",
        many=True,
    ),
    Setting(
        "tls_min_version",
        choice("1.2", "1.3"),
        "1.2",
        "The oldest version of TLS that clients may speak, unless the system's configuration of OpenSSL asks for a "
        "newer one.",
        "1.2|1.3",
        "TLS",
    ),
    Setting(
        "tls_ciphers",
        text,
        None,
        "Ciphers of TLS 1.2, as OpenSSL's ciphers(1) writes them; PROFILE=SYSTEM is the system's policy where it has "
        "one (Fedora and its like). Without it they are those of the installed Python and OpenSSL: no old ones. Those "
        "of TLS 1.3 are OpenSSL's.",
        "CIPHERS",
        "TLS",
        shown="what Python and OpenSSL hold for safe",
    ),
)
