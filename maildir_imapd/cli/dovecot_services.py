"""Dovecot's services: where it listens, TLS, which protocols it speaks, and whom its sockets answer."""

from __future__ import annotations

import re

from maildir_imapd.cli.dovecot_config import HIDDEN, DovecotBlock
from maildir_imapd.cli.dovecot_quota import warning_services
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on
from maildir_imapd.config import BY_NAME

_PROTOCOLS = {
    "lmtp": "set lmtp_listen to take mail here, without Sieve; or Dovecot's LMTP may go on beside this server",
    "pop3": "users of POP3 cannot log in",
    "sieve": "users cannot change their filters (ManageSieve); filters run where mail is delivered",
    "managesieve": "users cannot change their filters (ManageSieve); filters run where mail is delivered",
    "submission": "clients cannot send through this server",
    "doveadm": "doveadm has nothing to ask here",
}
_LOOPBACK = re.compile(r"(127\.[0-9.]+(/\d+)?|\[?::1\]?(/128)?|localhost)")
# Sockets between Dovecot's own processes.
_OWN_SOCKETS = re.compile(r"(auth-(userdb|master|worker|login|legacy)|login/login|token-login/.*|login|auth)")


def services(reading: DovecotReading) -> None:
    """Carry over where clients connect to, and name what else is connected to."""
    _protocols(reading)
    _tls(reading)
    _listening(reading)
    _passwords(reading)
    _delivery(reading)
    for block in reading.root.all("service"):
        _service(reading, block)
    for block in reading.root.all("local_name", "local", "remote"):
        _conditional(reading, block)


def _protocols(reading: DovecotReading) -> None:
    said = reading.take(reading.root, "protocols").split()
    if said and "imap" not in said:
        reading.out.tell("protocols", "Dovecot does not serve IMAP with this configuration")
    for name in said:
        if name in _PROTOCOLS:
            reading.out.tell(f"protocols: {name}", _PROTOCOLS[name])
        elif name != "imap":
            reading.out.tell(f"protocols: {name}", "it is not spoken here")


def _tls(reading: DovecotReading) -> None:
    out = reading.out
    cert = reading.take_imap("ssl_cert", "ssl_server_cert_file")
    key = reading.take_imap("ssl_key", "ssl_server_key_file")
    if cert == HIDDEN:
        out.tell("ssl_cert", "doveconf hides it; set tls_cert to the file")
    elif cert:
        out.settings["tls_cert"] = cert.removeprefix("<").strip()
    if key == HIDDEN:
        out.tell("ssl_key", "doveconf hides it; set tls_key to the file")
    elif key:
        out.settings["tls_key"] = key.removeprefix("<").strip()
    lowest = reading.take_imap("ssl_min_protocol")
    if lowest in ("TLSv1", "TLSv1.1", "SSLv3", "ANY"):
        out.tell(
            "ssl_min_protocol", f"clients that know nothing newer than {lowest} cannot connect: TLSv1.2 is the least"
        )
    elif lowest in ("TLSv1.3", "LATEST"):
        out.settings["tls_min_version"] = "1.3"
    elif lowest not in ("", "TLSv1.2"):
        out.tell("ssl_min_protocol", "TLSv1.2 is the oldest that is taken")


def _passwords(reading: DovecotReading) -> None:
    """Say whose password is taken without TLS: there and here always that of a client on this machine."""
    out = reading.out
    tls = reading.take_imap("ssl")
    disabled = reading.take_imap("disable_plaintext_auth")
    allowed = reading.take_imap("auth_allow_cleartext")
    out.settings["plaintext_login"] = "loopback"
    hosts = {host.rpartition(":")[0] for kind in ("imap", "imaps") for host in out.settings.get(kind, ())}
    elsewhere = not hosts or not all(map(_LOOPBACK.fullmatch, hosts))
    if elsewhere and tls != "required" and (is_on(allowed) or (disabled and not is_on(disabled))):
        name = "auth_allow_cleartext" if allowed else "disable_plaintext_auth"
        out.tell(name, "passwords without TLS are taken from loopback addresses only; other clients must use TLS")
    if tls == "no":
        out.tell("ssl", "there is no TLS in Dovecot; here is, with a certificate that the server makes itself")


def _delivery(reading: DovecotReading) -> None:
    """Carry over what holds for mail that comes in, whoever takes it."""
    delimiter = reading.take(reading.root, "recipient_delimiter")
    try:
        delimiter = BY_NAME["recipient_delimiter"].check(delimiter)
    except ValueError:
        reading.out.tell("recipient_delimiter", f"{delimiter} cannot part addresses here")
    else:
        if delimiter not in ("", BY_NAME["recipient_delimiter"].default):
            reading.out.settings["recipient_delimiter"] = delimiter
    if is_on(reading.take(reading.root, "quota_full_tempfail")):
        reading.out.settings["delivery_over_quota"] = "defer"


def _listening(reading: DovecotReading) -> None:
    """Carry over addresses and ports of IMAP."""
    out = reading.out
    everywhere = [_host(word) for word in re.split(r"[\s,]+", reading.take(reading.root, "listen")) if word]
    found: dict[str, list[str]] = {"imap": [], "imaps": [], "imap_proxy": [], "imaps_proxy": []}
    blocks = [
        each
        for block in reading.root.all("service")
        if block.name == "imap-login"
        for each in block.all("inet_listener")
    ]
    ports = {"imap": "143", "imaps": "993"}
    proxies = _networks(reading, "haproxy_trusted_networks", "proxy_networks")
    _networks(reading, "login_trusted_networks", "login_trusted_networks")
    listeners = {name: DovecotBlock("inet_listener", name) for name in ports} | {block.name: block for block in blocks}
    for name, block in listeners.items():
        port = reading.take(block, "port") or ports.get(name, "0")
        secure = reading.take(block, "ssl")
        hosts = [
            _host(word) for word in re.split(r"[\s,]+", reading.take(block, "address", "listen")) if word
        ] or everywhere
        proxied = is_on(reading.take(block, "haproxy"))
        if proxied and not proxies:
            out.tell(f"inet_listener {name}", f"port {port} is for proxies, and haproxy_trusted_networks names none")
        elif port != "0":
            kind = "imaps" if is_on(secure) or (not secure and name == "imaps") else "imap"
            found[f"{kind}_proxy" if proxied else kind] += [f"{host}:{port}" for host in _merged(hosts)]
    for kind, addresses in found.items():
        if addresses:
            out.settings[kind] = addresses


def _networks(reading: DovecotReading, name: str, ours: str) -> list[str]:
    """Carry over the setting *name* as *ours*, networks; what is none of those is named."""
    found = []
    for word in re.split(r"[\s,]+", reading.take(reading.root, name)):
        try:
            found += [str(BY_NAME[ours].check(word))] if word else []
        except ValueError:
            reading.out.tell(name, f"{word} is no address or network")
    if found:
        reading.out.settings[ours] = found
    return found


def _host(written: str) -> str:
    host = written.strip("[]")
    return f"[{host}]" if ":" in host and host != "::" else host


def _merged(hosts: list[str]) -> list[str]:
    """Every address of both kinds is one ``*`` here; without IPv6 it is 0.0.0.0."""
    if not hosts or {"*", "::"} <= set(hosts):
        return ["*", *(host for host in hosts if host not in ("*", "::"))]
    return [{"*": "0.0.0.0", "::": "*"}.get(host, host) for host in hosts]  # noqa: S104  # as the administrator said


def _service(reading: DovecotReading, block: DovecotBlock) -> None:
    """Name the sockets at which other programs ask, and the programs that are run; all else is Dovecot's own affair."""
    out = reading.out
    program = reading.take(block, "executable")
    words = program.split()
    if block.name in warning_services(reading):
        pass  # what is said of warnings says it
    elif words[:1] == ["script"] or words[:1] == ["script-login"]:
        out.tell(f"service {block.name}", f"{' '.join(words[1:])} is not run")
    elif block.name == "imap" and len(words) > 1:
        out.tell(f"service {block.name}", f"{' '.join(words[1:])} is not run when a user logs in")
    for listener in block.all("unix_listener", "inet_listener"):
        where = listener.name or "inet"
        port = listener.get("port")
        if block.name == "auth" and (port or not _OWN_SOCKETS.fullmatch(where)):
            at = f"port {port}" if port else where
            postfix = "postfix" in where or listener.get("user") == "postfix"
            who = "Postfix asks" if postfix else "other programs ask"
            why = f"{who} Dovecot for passwords at {at}: set auth_socket for that, or nobody can send mail"
            out.tell(f"service auth: {where}", why)
        elif block.name in ("quota-status", "policy"):
            out.tell(f"service {block.name}", "set policy_socket for Postfix's question whether a quota is used up")
        elif block.name == "doveadm" and port:
            out.tell(f"service doveadm: {where}", f"programs that call doveadm over port {port} get no answer here")
    reading.pass_over(block)


def _conditional(reading: DovecotReading, block: DovecotBlock) -> None:
    """Settings for some names or addresses only."""
    out = reading.out
    if block.kind == "local_name":
        cert = reading.take(block, "ssl_cert", "ssl_server_cert_file").removeprefix("<")
        key = reading.take(block, "ssl_key", "ssl_server_key_file").removeprefix("<")
        hidden = HIDDEN in (cert, key)
        for name in block.name.split() if cert else ():
            if hidden:
                out.tell(str(block), f"doveconf hides where its key is: add {name}:{cert.strip()}:KEY to tls_sni")
            else:
                written = ":".join(each.strip() for each in (name, cert, key) if each.strip())
                out.settings["tls_sni"] = [*out.settings.get("tls_sni", ()), written]
        return
    cleartext = block.get("disable_plaintext_auth") == "no" or is_on(block.get("auth_allow_cleartext"))
    if cleartext:
        reading.take(block, "disable_plaintext_auth")
        reading.take(block, "auth_allow_cleartext")
        if not (block.kind == "remote" and _LOOPBACK.fullmatch(block.name)):
            why = f"clients of {block.name} may send no password without TLS here"
            out.tell(str(block), why)
