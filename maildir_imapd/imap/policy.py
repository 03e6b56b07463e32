"""The settings that sessions go by, as plain values: ``imap`` knows no configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maildir_imapd import __version__
from maildir_imapd.wire.buffer import AFTER_LOGIN, BEFORE_LOGIN, Limits


@dataclass(frozen=True, slots=True)
class UrlRules:
    """How URLs carry the right to read what they name (RFC 4467)."""

    hosts: frozenset[tuple[str, int]] = frozenset()
    """Names and ports by which URLs mean this server, in small letters."""
    anywhere: bool = False
    """Whether any do."""
    submitters: frozenset[str] = frozenset()
    """The users who are submission servers."""
    anonymous: str | None = None
    """The user whom anybody may be; None for none."""

    def means_us(self, host: str, port: int) -> bool:
        """Whether a URL of that host and port is one of this server."""
        return self.anywhere or (host, port) in self.hosts


@dataclass(frozen=True, slots=True)
class Policy:
    """Sizes in octets, times in seconds."""

    greeting: str = "maildir-imapd ready"
    server_id: tuple[tuple[bytes, bytes], ...] = ((b"name", b"maildir-imapd"), (b"version", __version__.encode()))
    tls_available: bool = False
    plaintext_login: bool = False
    compress: bool = False
    login_timeout: float = 180.0
    idle_timeout: float = 1800.0
    idle_keepalive: float = 120.0
    """After so much silence a client in IDLE is told that we are there; 0: never."""
    append_limit: int = 100 * 1024 * 1024
    message_limit: int = 0
    """How many messages a command may be about (RFC 9738); 0: any."""
    save_limit: int = 0
    """How many COPY and APPEND may store; 0: any."""
    attachment_keywords: bool = False
    """Whether messages that come in get a keyword that says whether they have attachments."""
    utf8: Literal["lenient", "strict", "no"] = "lenient"
    """Whether UTF8=ACCEPT is there, and refuses UTF-8 headers of others (RFC 6855 4)."""
    server_metadata: tuple[tuple[bytes, bytes], ...] = ()
    acl: bool = True
    acl_anyone: bool = True
    """Whether SETACL may give rights to all users."""
    xlist: bool = False
    """Whether XLIST is announced; answered it is in any case."""
    language: str = "i-default"
    """The tag of the language that LANGUAGE default chooses."""
    urls: UrlRules | None = None
    """None: no URL carries a right."""
    quota_set: bool = False
    """Whether users may set the limits of their quota, where no setting has one."""
    slow_command: float = 0.0
    """Seconds from which on a command has a line in the log of its own; 0: never."""
    nonsense_before_login: int = 3
    """Lines that are no command of IMAP at all: an HTTP request ends here."""
    errors_in_a_row: int = 20
    before_login: Limits = BEFORE_LOGIN
    after_login: Limits = AFTER_LOGIN
