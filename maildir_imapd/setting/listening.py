"""Listening, and the certificates with which that is done."""

from __future__ import annotations

import os

from maildir_imapd.phrases import TAGS
from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import address, choice, number, path, text

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "imap",
        address,
        (),
        "Listen here for IMAP, with STARTTLS when there is a certificate. A name is all its addresses: localhost is "
        "127.0.0.1 and, where there is IPv6, ::1. May be given several times.",
        "HOST:PORT",
        "Listening",
        many=True,
    ),
    Setting(
        "imaps",
        address,
        (),
        "Listen here for IMAP inside TLS. May be given several times.",
        "HOST:PORT",
        "Listening",
        many=True,
    ),
    Setting(
        "workers",
        number(1, 1024),
        os.cpu_count() or 1,
        "Processes that share the listening sockets. Each uses one core at most.",
        "N",
        "Listening",
        shown="the number of cores",
    ),
    Setting(
        "greeting", text, "maildir-imapd ready", "The text of the greeting that every client sees.", "TEXT", "Listening"
    ),
    Setting(
        "language",
        choice(*TAGS),
        "i-default",
        "The language of error messages and other texts for a client that asks for the one preferred here (LANGUAGE "
        "default). Others name the one they want; who asks for none gets English.",
        "|".join(TAGS),
        "Listening",
    ),
    Setting(
        "tls_cert",
        path,
        None,
        "Certificate chain, PEM. Read again on SIGHUP. Without one the server makes itself one at its first start, in "
        "~/.local/state/maildir-imapd; clients must be told to trust it.",
        "FILE",
        "TLS",
    ),
    Setting(
        "tls_key", path, None, "Private key, PEM. Left out, it is looked for in the certificate's file.", "FILE", "TLS"
    ),
    Setting(
        "tls_client_ca",
        path,
        None,
        "Authorities whose certificates let clients log in (SASL EXTERNAL), PEM; where the file has a list of revoked "
        "ones, it must have one for each. Set, each client is asked for a certificate, at STARTTLS too: one without "
        "goes on as before, one with another authority's is sent away. Read again on SIGHUP.",
        "FILE",
        "TLS",
    ),
    Setting(
        "tls_client_name",
        choice("commonName", "userId", "email"),
        "commonName",
        "Which field of a client's certificate is the user name: commonName or userId of the subject, or the address "
        "in the subject's alternative name. A certificate with two of them is nobody's.",
        "commonName|userId|email",
        "TLS",
    ),
    Setting(
        "plaintext_login",
        choice("never", "loopback"),
        "never",
        "Who may send a password without TLS: nobody, or clients on this machine's loopback addresses. "
        "All others see LOGINDISABLED until TLS is on.",
        "never|loopback",
        "TLS",
    ),
)
