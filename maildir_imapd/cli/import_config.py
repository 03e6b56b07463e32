"""maildir-imapd import-config"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import click

from maildir_imapd import location as locations
from maildir_imapd.errors import ConfigError
from maildir_imapd.store.maildir.layouts import KINDS


@dataclass
class Imported:
    """Our settings, and what could not be carried over with the reason."""

    settings: dict[str, Any] = field(default_factory=dict)
    left: list[tuple[str, str]] = field(default_factory=list)


# Settings that say nothing to us, or that we do by ourselves.
HARMLESS = re.compile(
    r"(dovecot_(config|storage)_version|base_dir|instance_name|log_|info_log|debug_log|mail_debug|auth_(verbose|debug)|"
    r"ssl_dh|ssl_server/dh|ssl_cipher|ssl_prefer|ssl_min|first_valid|last_valid|service|protocols|plugin|mail_plugins|"
    r"login_(greeting|log|trusted)|mmap_disable|mail_nfs|dotlock|lock_method|maildir_|mail_cache|mail_index|"
    r"mailbox_(idle|list_index)|imap_(id|idle|capability|logout)|pop3|lmtp|lda|postmaster|hostname|submission|"
    r"managesieve|sieve|stats|verbose_proctitle|shutdown_clients|version_ignore|protocol)"
).match

# The same of Courier: how it runs its processes, and what we announce and do by ourselves.
COURIER_HARMLESS = re.compile(
    r"(ADDRESS|SSLADDRESS|MAXDAEMONS|PIDFILE|SSLPIDFILE|LOGGEROPTS|SSLLOGGEROPTS|IMAPDSTART|IMAPDSSLSTART|"
    r"IMAPDSTARTTLS|IMAP_CAPABILITY\w*|IMAP_KEYWORDS|IMAP_IDLE_TIMEOUT|IMAP_CHECK_ALL_FOLDERS|IMAP_OBSOLETE_CLIENT|"
    r"IMAP_ULIMITD|IMAP_USELOCKS|IMAP_ENHANCEDIDLE|IMAP_SHAREDINDEXFILE|IMAP_TRASHFOLDERNAME|SENDMAIL|COURIERTLS|"
    r"TLS_(PROTOCOL|STARTTLS_PROTOCOL|CIPHER_LIST|CIPHERS|CACHEFILE|CACHESIZE|DHPARAMS|DHCERTFILE|TIMEOUT|"
    r"COMPRESSION|PRIORITY|MIN_DH_BITS|KX_LIST|MACS|CERTS)|PATH|SHELL|PRERUN|AUTH_MKHOMEDIR_SKEL|"
    r"authmodulelistorig|daemons|authdaemonvar|DEBUG_LOGIN|DEFAULTOPTIONS|LOGGEROPTS)"
).fullmatch

# Settings of Courier's that mean something to its users, and that we have nothing for.
COURIER_MISSING = {
    "IMAP_UMASK": "new files are as open as the directory they are made in",
    "IMAP_ACL": "access rights are kept in Dovecot's form only",
    "IMAP_MAILBOX_SANITY_CHECK": "owners of directories are not compared",
    "IMAP_PROXY": "there is no proxy",
    "IMAP_PROXY_FOREIGN": "there is no proxy",
    "IMAP_LOG_DELETIONS": "expunges are not logged one by one",
    "IMAP_DISABLETHREADSORT": "SORT and THREAD cannot be switched off",
    "TLS_TRUSTCERTS": "clients are not asked for certificates",
    "TLS_VERIFYPEER": "clients are not asked for certificates",
    "TLS_EXTERNAL": "clients are not asked for certificates",
}

DOVECOT_VARIABLES = {
    "%u": "%u", "%n": "%n", "%d": "%d", "%h": "%h", "%Lu": "%u", "%Ln": "%n", "%Ld": "%d",
    "%{user}": "%u", "%{user | username}": "%n", "%{user|username}": "%n", "%{user | domain}": "%d",
    "%{user|domain}": "%d", "%{home}": "%h", "%{username}": "%n", "%{domain}": "%d",
}  # fmt: skip


def parse_dovecot(text: str) -> list[tuple[str, str]]:
    """Read what ``doveconf -n`` prints: settings with the path of the blocks they stand in."""
    found: list[tuple[str, str]] = []
    blocks: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line == "}":
            if not blocks:
                raise ConfigError(f"line {number}: a block ends that never began")
            name = "/".join([*blocks, "driver"])
            # 2.4 has a name for each of these, and leaves the driver out where that is its name.
            if (database := re.match(r"(?:passdb|userdb) (.+)", blocks.pop())) and name not in dict(found):
                found.append((name, database[1]))
        elif line.endswith("{"):
            blocks.append(" ".join(line[:-1].split()))
        else:
            name, equals, value = line.partition("=")
            if not equals:
                continue
            found.append(("/".join([*blocks, name.strip()]), value.strip()))
    return found


def from_dovecot(pairs: list[tuple[str, str]]) -> Imported:
    """Carry Dovecot's settings over, of 2.3 and of 2.4."""
    out = Imported()
    mail = MailSettings()
    for name, value in pairs:
        # What belongs together 2.4 shows as a block.
        last = name.replace("ssl_server/", "ssl_server_").rpartition("/")[2]
        match last:
            case "mail_location":
                mail.location(out, name, value)
            case "location" if name.startswith("namespace") and value:
                # That of the namespace with INBOX goes before mail_location.
                mail.location(out, name, value)
            case "mail_driver" if value != "maildir":
                out.left.append((name, f"only Maildir is served, this is {value}"))
                mail.served &= name != "mail_driver"  # but in a namespace
            case "mail_driver":
                mail.hides_fs = True
            case _ if last in MAIL_2_4:
                mail.said[MAIL_2_4[last]] = value
            case "ssl_cert" | "ssl_server_cert_file":
                out.settings["tls_cert"] = value.removeprefix("<")
            case "ssl_key" | "ssl_server_key_file" if value.startswith("#"):
                out.left.append((name, "doveconf hides it; set tls_key to the file"))
            case "ssl_key" | "ssl_server_key_file":
                out.settings["tls_key"] = value.removeprefix("<")
            case "disable_plaintext_auth" | "auth_allow_cleartext":
                allowed = value == ("no" if last.startswith("disable") else "yes")
                out.settings["plaintext_login"] = "loopback" if allowed else "never"
                if allowed:
                    out.left.append((name, "passwords without TLS are taken from loopback addresses only"))
            case "ssl":
                if value == "no":
                    out.left.append((name, "without tls_cert there is no TLS"))
            case "separator" if name.startswith("namespace"):
                out.settings["delimiter"] = value.strip('"')
            case "prefix" if name.startswith("namespace"):
                if value.strip('"'):
                    out.settings["prefix"] = value.strip('"')
            case "auth_mechanisms":
                pass  # PLAIN and LOGIN
            case "location":
                pass
            case "inbox" | "type" | "list" | "subscriptions" | "hidden" if name.startswith("namespace"):
                pass
            case "special_use" | "auto":
                pass  # by well-known names, or as clients choose
            case "args" if "passdb" in name or "userdb" in name:
                path = next((word for word in value.split() if word.startswith("/")), "")
                if path:
                    out.settings["passwd_file"] = path
                else:
                    out.left.append((name, "only a passwd-file can be read"))
            case "passwd_file_path":
                out.settings["passwd_file"] = value
            case "driver" if "passdb" in name or "userdb" in name:
                if value != "passwd-file":
                    out.left.append((name, f"the user database {value} is not supported; make a passwd-file"))
            case "mail_fsync":
                out.settings["fsync"] = {"always": "always", "never": "never"}.get(value, "delivery")
            case "mail_max_userip_connections":
                out.settings["connections_per_user"] = int(value)
            case "listen" | "port" | "address":
                out.left.append((name, "set imap and imaps"))
            case "mail_uid":
                out.settings["mail_user"] = value
            case "acl" if name.startswith("plugin/") and ":/" in value:
                out.left.append((name, "access rights are read from dovecot-acl in each mailbox alone: put them there"))
            case "acl_globals_only" | "acl_global_path":
                out.left.append((name, "access rights are read from dovecot-acl in each mailbox alone: put them there"))
            case "mail_gid" | "mail_privileged_group":
                pass  # that of mail_user
            case _:
                if not HARMLESS(name):
                    out.left.append((name, "there is no such setting here"))
    mail.finish(out)
    return out


# Settings of 2.4 that are options of mail_location in 2.3.
MAIL_2_4 = {
    "mail_path": "",
    "mailbox_list_layout": "LAYOUT",
    "mail_inbox_path": "INBOX",
    "mail_control_path": "CONTROL",
    "mail_index_path": "INDEX",
    "mailbox_list_utf8": "UTF-8",
    "mailbox_directory_name": "DIRNAME",
    "mailbox_subscriptions_filename": "SUBSCRIPTIONS",
    "mail_alt_path": "ALT",
    "mail_index_private_path": "INDEXPVT",
    "mailbox_list_storage_escape_char": "BROKENCHAR",
}
# What these would mean; the others have no effect here.
NOT_SERVED = {
    "DIRNAME": "messages are looked for in cur, new and tmp of each folder itself: do not serve this spool",
    "MAILBOXDIR": "folders are looked for in the root itself: do not serve this spool",
    "SUBSCRIPTIONS": "the file of subscriptions is called subscriptions: rename it",
    "INDEXPVT": "there are no private flags",
    "ALT": "there is no second storage",
    "BROKENCHAR": "names are shown as they are on the disk",
}


@dataclass
class MailSettings:
    """Where mail is: *said* has the path under "" and options by Dovecot's 2.3 names.

    It is *served* if it is a Maildir. *hides_fs*: Dovecot shows no layout where it is that of its other formats.
    """

    said: dict[str, str] = field(default_factory=dict)
    served: bool = True
    hides_fs: bool = False

    def location(self, out: Imported, name: str, value: str) -> None:
        """Read a mail_location of 2.3."""
        kind, _, rest = value.partition(":")
        if kind != "maildir":
            out.left.append((name, f"only Maildir is served, this is {kind}"))
            return
        path, *options = locations.split(rest)
        self.said = {"": path}
        for option in options:
            word, _, of = option.partition("=")
            self.said[word.upper()] = of

    def finish(self, out: Imported) -> None:
        """Make our mail_location of it."""
        said = {name: value.strip('"') for name, value in self.said.items()}
        path = _translated(said.pop("", ""))
        layout = said.pop("LAYOUT", "").lower()
        if not self.served:
            return
        if layout not in ("", *KINDS):
            out.left.append(("LAYOUT", f"there are {' and '.join(KINDS)}, this is {layout}: do not serve this spool"))
        for name, value in list(said.items()):
            if name in NOT_SERVED and value:
                out.left.append((f"{name}={value}", NOT_SERVED[name]))
        if not path:
            return
        places = {}
        for name in ("INBOX", "CONTROL", "INDEX"):
            value = _translated(said.get(name, ""))
            if value in ("", ".") or value.upper() == "MEMORY":
                continue
            places[name.lower()] = value if value.startswith(("/", "~", "%h")) else f"{path}/{value}"
        utf8 = "UTF-8" in said and said["UTF-8"] in ("", "yes")
        if layout not in KINDS:
            # What is not said is Maildir++; but 2.4 does not show fs: there the spool itself does.
            layout = locations.AUTO if self.hides_fs else "maildir++"
        where = locations.Location(path, layout, utf8=utf8, **places)
        try:
            locations.parse(str(where))
        except ValueError as error:
            out.left.append(("mail_location", f"{where} {error}"))
        else:
            out.settings["mail_location"] = str(where)


def _translated(path: str) -> str:
    for theirs, ours in sorted(DOVECOT_VARIABLES.items(), key=lambda pair: -len(pair[0])):
        path = path.replace(theirs, ours)
    return path


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
                    out.left.append((name, f"{wrong[0]} is no port"))
                else:
                    out.settings["imap" if name == "PORT" else "imaps"] = [f"*:{port}" for port in ports]
            case "TLS_CERTFILE":
                out.settings["tls_cert"] = value
            case "TLS_PRIVATE_KEYFILE" if value:
                out.settings["tls_key"] = value
            case "MAXPERIP" if not (value.isascii() and value.isdecimal()):
                out.left.append((name, f"{value} is no number"))
            case "MAXPERIP":
                out.settings["connections_per_address"] = int(value)
            case "IMAP_TLS_REQUIRED":
                out.settings["plaintext_login"] = "never" if value == "1" else "loopback"
            case "authmodulelist":
                out.left.append((name, "users come from a passwd-file"))
            case "IMAP_EMPTYTRASH" | "IMAP_MOVE_EXPUNGE_TO_TRASH" | "OUTBOX":
                if value not in ("", "0"):
                    out.left.append((name, "there is no such feature here"))
            case "TLS_PRIVATE_KEYFILE":
                pass  # the key is in TLS_CERTFILE's file, as with us
            case _ if name in COURIER_MISSING:
                if value not in ("", "0", "NONE"):
                    out.left.append((name, COURIER_MISSING[name]))
            case _ if not COURIER_HARMLESS(name):
                out.left.append((name, "unknown to us"))
            case _:
                pass
    if "mail_location" not in out.settings:
        out.settings["mail_location"] = "maildir:~/Maildir"
    out.settings["prefix"] = "INBOX."
    return out


def render(found: Imported) -> str:
    """Our configuration file, with what is missing as comments."""
    lines = []
    for name, value in found.settings.items():
        if isinstance(value, list):
            lines.append(f"{name} = [{', '.join(_string(item) for item in value)}]")
        else:
            lines.append(f"{name} = {value if isinstance(value, int) else _string(value)}")
    if "imap" not in found.settings and "imaps" not in found.settings:
        lines += ['imap = ["*:143"]', 'imaps = ["*:993"]']
    if found.left:
        lines += ["", "# Not carried over:"]
        lines += [f"#   {name}: {why}" for name, why in found.left]
    return "\n".join(lines) + "\n"


def _string(value: str) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@click.command("import-config", short_help="Make a configuration from another server's.")
@click.argument("files", nargs=-1, required=True, type=click.File("r", encoding="utf-8", errors="replace"))
def import_config(files: tuple[Any, ...]) -> None:
    """Print our configuration made from another server's.

    FILES are the output of 'doveconf -n' (Dovecot 2.3 or 2.4; - for standard input), or Courier's imapd,
    imapd-ssl and authdaemonrc.  What cannot be carried over is named, with the reason, in comments.
    """
    text = "\n".join(file.read() for file in files)
    if re.search(r"^\s*(MAILDIRPATH|TLS_CERTFILE|IMAP_CAPABILITY|authmodulelist)=", text, re.MULTILINE):
        found = from_courier(text)
    else:
        found = from_dovecot(parse_dovecot(text))
        if not found.settings and not found.left:
            raise ConfigError("this is neither the output of 'doveconf -n' nor a file of Courier's")
    click.echo(render(found), nl=False)
