"""From Courier's imapd, imapd-ssl and authdaemonrc to a configuration of ours."""

from __future__ import annotations

import re

from maildir_imapd.cli.imported import Imported

# How it runs its processes, and what we announce and do by ourselves.
COURIER_HARMLESS = re.compile(
    r"(ADDRESS|SSLADDRESS|MAXDAEMONS|PIDFILE|SSLPIDFILE|LOGGEROPTS|SSLLOGGEROPTS|IMAPDSTART|IMAPDSSLSTART|"
    r"IMAPDSTARTTLS|IMAP_CAPABILITY\w*|IMAP_KEYWORDS|IMAP_IDLE_TIMEOUT|IMAP_CHECK_ALL_FOLDERS|IMAP_OBSOLETE_CLIENT|"
    r"IMAP_ULIMITD|IMAP_USELOCKS|IMAP_ENHANCEDIDLE|IMAP_TRASHFOLDERNAME|SENDMAIL|COURIERTLS|"
    r"TLS_(PROTOCOL|STARTTLS_PROTOCOL|CIPHER_LIST|CIPHERS|CACHEFILE|CACHESIZE|DHPARAMS|DHCERTFILE|TIMEOUT|"
    r"COMPRESSION|PRIORITY|MIN_DH_BITS|KX_LIST|MACS|CERTS)|PATH|SHELL|PRERUN|AUTH_MKHOMEDIR_SKEL|"
    r"authmodulelistorig|daemons|authdaemonvar|DEBUG_LOGIN|DEFAULTOPTIONS|LOGGEROPTS)"
).fullmatch

# Settings of Courier's that mean something to its users, and that we have nothing for.
COURIER_MISSING = {
    "IMAP_UMASK": "new files are as open as the directory they are made in",
    "IMAP_SHAREDINDEXFILE": "who shares with whom is in the file that acl_shared_list names: after adopt, which takes "
    "access rights over, make it with maildir-imapd acl rebuild",
    "IMAP_MAILBOX_SANITY_CHECK": "owners of directories are not compared",
    "IMAP_PROXY": "there is no proxy",
    "IMAP_PROXY_FOREIGN": "there is no proxy",
    "IMAP_LOG_DELETIONS": "expunges are not logged one by one",
    "IMAP_DISABLETHREADSORT": "SORT and THREAD cannot be switched off",
    "TLS_TRUSTCERTS": "clients are not asked for certificates",
    "TLS_VERIFYPEER": "clients are not asked for certificates",
    "TLS_EXTERNAL": "clients are not asked for certificates",
}


def from_courier(text: str) -> Imported:
    """Carry over Courier's imapd, imapd-ssl and authdaemonrc: NAME=VALUE lines of a shell."""
    out = Imported()
    for line in text.splitlines():
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if match is None:
            continue
        name, value = match[1], match[2].strip().strip("\"'")
        match name:
            case "MAILDIRPATH":
                out.settings["mail_location"] = f"maildir:~/{value}"
            case "PORT" | "SSLPORT":
                ports = [port.strip().rpartition(".")[2] for port in value.split(",")]
                wrong = [port for port in ports if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)]
                if wrong:
                    out.tell(name, f"{wrong[0]} is no port")
                else:
                    out.settings["imap" if name == "PORT" else "imaps"] = [f"*:{port}" for port in ports]
            case "IMAP_ACL" if value in ("0", "1"):
                out.settings["acl"] = value == "1"
            case "TLS_CERTFILE":
                out.settings["tls_cert"] = value
            case "TLS_PRIVATE_KEYFILE" if value:
                out.settings["tls_key"] = value
            case "MAXPERIP" if not (value.isascii() and value.isdecimal()):
                out.tell(name, f"{value} is no number")
            case "MAXPERIP":
                out.settings["connections_per_user_and_address"] = int(value)
            case "IMAP_TLS_REQUIRED":
                out.settings["plaintext_login"] = "never" if value == "1" else "loopback"
            case "authmodulelist":
                out.tell(name, "users come from a passwd-file")
            case "IMAP_EMPTYTRASH" | "IMAP_MOVE_EXPUNGE_TO_TRASH" | "OUTBOX":
                if value not in ("", "0"):
                    out.tell(name, "there is no such feature here")
            case "TLS_PRIVATE_KEYFILE":
                pass  # the key is in TLS_CERTFILE's file, as with us
            case _ if name in COURIER_MISSING:
                if value not in ("", "0", "NONE"):
                    out.tell(name, COURIER_MISSING[name])
            case _ if not COURIER_HARMLESS(name):
                out.tell(name, "unknown to us")
            case _:
                pass
    if "mail_location" not in out.settings:
        out.settings["mail_location"] = "maildir:~/Maildir"
    out.settings["prefix"] = "INBOX."
    return out
