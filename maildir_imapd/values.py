"""How the value of a setting is written.

Each of these takes it raw, from the file or the command line, and returns the value, or raises ValueError saying what
would be right.  Those that need a range or words return such a function.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def path(value: Any) -> str:
    """A path, with ``~`` filled in."""
    return os.path.expanduser(text(value))


def entry(value: Any) -> str:
    """The name of a file, without a directory."""
    name = text(value)
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError("must be the name of a file, without a directory")
    return name


def number(low: int, high: int) -> Callable[[Any], int]:
    """A whole number in a range."""

    def check(value: Any) -> int:
        try:
            result = int(value)
        except (TypeError, ValueError):
            raise ValueError("must be a whole number") from None
        if isinstance(value, float | bool) or not low <= result <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return result

    return check


def control_socket(value: Any) -> str:
    """auto, none, or an absolute path."""
    written = text(value)
    if written in ("auto", "none", ""):
        return written or "none"
    if not written.startswith("/") or "\0" in written or len(os.fsencode(written)) > 107:
        raise ValueError("must be auto, none, or an absolute path of at most 107 octets")
    return written


def user_or_group(value: Any) -> str:
    """The name of a user, or of a group with @ before it."""
    written = text(value)
    if not written.removeprefix("@"):
        raise ValueError("must be the name of a user, or @ and the name of a group")
    return written


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(low: int, high: int) -> Callable[[Any], int]:
    """Octets, with K, M, G or T for the powers of 1024."""

    def check(value: Any) -> int:
        digits = str(value).strip().upper().removesuffix("B")
        unit = digits[-1:] if digits[-1:] in _UNITS else ""
        try:
            result = int(digits.removesuffix(unit) if unit else digits) * _UNITS[unit]
        except ValueError:
            raise ValueError("must be a size such as 64K or 100M") from None
        if isinstance(value, bool) or not low <= result <= high:
            raise ValueError(f"must be a size from {low} to {high} octets")
        return result

    return check


_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration(low: float, high: float) -> Callable[[Any], float]:
    """Seconds, or a number with s, m, h, d or w."""

    def check(value: Any) -> float:
        written = str(value).strip().lower()
        unit = written[-1:] if written[-1:] in _SPANS else ""
        try:
            result = float(written.removesuffix(unit) if unit else written) * _SPANS.get(unit, 1)
        except ValueError:
            raise ValueError("must be a time such as 90s or 30m") from None
        if isinstance(value, bool) or not low <= result <= high:
            raise ValueError(f"must be a time from {low:g} to {high:g} seconds")
        return result

    return check


def choice(*words: str) -> Callable[[Any], str]:
    """One of some words."""

    def check(value: Any) -> str:
        if value not in words:
            raise ValueError("must be one of " + ", ".join(words))
        return str(value)

    return check


def switch_or_path(value: Any) -> str:
    """``no``, ``yes``, or a path."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value in ("no", "yes") else path(value)


def upper_choice(*words: str) -> Callable[[Any], str]:
    """One of some words in capitals, however it is written."""
    check = choice(*words)
    return lambda value: check(value.upper() if isinstance(value, str) else value)


def prefix(value: Any) -> str:
    """auto, none, or a prefix; "" is none."""
    written = text(value)
    if written in ("auto", "none", ""):
        return "" if written == "none" else written
    if written[-1] not in "./|^" or written[0] in "./|^~":
        raise ValueError("must be auto, none, or a name with the delimiter at its end, for example INBOX.")
    return written


def switch(value: Any) -> bool:
    """yes or no."""
    if value in (True, "yes", "true", "on"):
        return True
    if value in (False, "no", "false", "off"):
        return False
    raise ValueError("must be yes or no")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(value: Any) -> Endpoint:
    """``HOST:PORT``, ``[IPv6]:PORT`` or ``*:PORT``."""
    host, colon, port = text(value).rpartition(":")
    host = host.strip("[]")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65535:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:143 or *:993")
    return Endpoint("::" if host in ("*", "") else host, int(port))


Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(value: Any) -> Network:
    """An address, or a network as ADDRESS/BITS."""
    try:
        return ipaddress.ip_network(text(value).strip(), strict=False)
    except ValueError:
        raise ValueError("must be an address or a network, for example 192.0.2.0/24 or 2001:db8::/32") from None


_HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*").fullmatch


# Of URLs that name none.
IMAP_PORT = 143
_HINTS = ("valkey", "valkeys", "redis", "rediss", "unix")


def hint_url(value: Any) -> str:
    """Where hints go: the URL of a Valkey server."""
    written = text(value)
    found = urlsplit(written)
    where = found.path if found.scheme == "unix" else found.hostname
    if found.scheme not in _HINTS or not where:
        raise ValueError("must be the URL of a Valkey server, for example valkey://192.0.2.1:6379 or unix:/run/valkey")
    return written


_URL_HOST = re.compile(r"(?:([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?|\*)").fullmatch


@dataclass(frozen=True, slots=True)
class UrlHost:
    """A host of IMAP URLs, in small letters, with its port; any where it is ``*``."""

    host: str
    port: int

    def __str__(self) -> str:
        return self.host if self.host == "*" or self.port == IMAP_PORT else f"{self.host}:{self.port}"


def url_host(value: Any) -> UrlHost:
    """``HOST``, ``HOST:PORT`` or ``*``."""
    found = _URL_HOST(text(value).lower())
    port = int(found[2] or IMAP_PORT) if found is not None else 0
    if found is None or not 0 < port < 65536:
        raise ValueError("must be a host, for example mail.example.org or mail.example.org:1143, or *")
    return UrlHost(found[1] or "*", port)


@dataclass(frozen=True, slots=True)
class NamedCertificate:
    """A certificate for those who ask for *name*, in small letters; it may begin with ``*.``."""

    name: str
    cert: str
    key: str | None


def named_certificate(value: Any) -> NamedCertificate:
    """``NAME:CERT`` or ``NAME:CERT:KEY``."""
    name, *paths = text(value).split(":")
    name = name.lower().removesuffix(".")
    if not _HOST_NAME(name) or not 1 <= len(paths) <= 2 or not all(paths):
        raise ValueError("must be NAME:CERT[:KEY], for example mail.example.net:/etc/ssl/net.pem:/etc/ssl/net.key")
    return NamedCertificate(name, path(paths[0]), path(paths[1]) if len(paths) == 2 else None)


@dataclass(frozen=True, slots=True)
class MailHost:
    """One of several hosts: its name, where those in front connect to, and where it says whether it takes clients."""

    name: str
    address: str
    port: int
    ready: str | None = None
    """A URL of HTTP; None: by its greeting."""


def mail_host(value: Any) -> MailHost:
    """``NAME=ADDRESS:PORT``, and perhaps ``,ready=http://ADDRESS:PORT/PATH``; already read, as it is."""
    if isinstance(value, MailHost):
        return value
    place, comma, rest = text(value).partition(",")
    name, _, where = (part.strip() for part in place.partition("="))
    try:
        found = address(where)
        host = ipaddress.ip_address(found.host)
        ready = rest.strip().removeprefix("ready=") if comma else None
        parts = urlsplit(ready or "")
        near = ready is None or (parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0)
        # It goes into a request as it is.
        plain = (ready or "").isascii() and all("!" <= each <= "~" for each in ready or "")
        if re.fullmatch("[A-Za-z0-9._-]+", name) and found.port and not host.is_unspecified and near and plain:
            return MailHost(name, str(host), found.port, ready)
    except ValueError:
        pass
    raise ValueError("must be NAME=ADDRESS:PORT, with ,ready=http://ADDRESS:PORT/ready behind it where there is one")


def probed_at(value: Any) -> str:
    """``auto``, ``no``, or an absolute path."""
    written = text(value)
    if written not in ("auto", "no") and (not written.startswith("/") or "\0" in written):
        raise ValueError("must be auto, no, or an absolute path such as /srv/mail")
    return written


def asked_at(value: Any) -> Endpoint | str:
    """An absolute path, or ``HOST:PORT`` with a loopback address."""
    written = text(value)
    if written.startswith("/") and "\0" not in written:
        return written
    try:
        place = address(written)
        if place.host == "localhost" or ipaddress.ip_address(place.host).is_loopback:
            return place
    except ValueError:
        pass
    raise ValueError("must be an absolute path, or a loopback address such as 127.0.0.1:12345")


def hook(value: Any) -> tuple[str, tuple[str, ...]]:
    """``FOLDER:COMMAND``, the command as a shell would take it apart: its words; already read, as it is."""
    if isinstance(value, tuple):
        return value
    folder, colon, words = text(value).partition(":")
    if not colon or not folder:
        raise ValueError("must be FOLDER:COMMAND, for example Junk:/usr/local/bin/learn")
    return folder, command(words)


@dataclass(frozen=True, slots=True)
class MailboxRule:
    """One item of mailboxes: the mailbox's name, in levels, and what is set up for it."""

    levels: tuple[str, ...]
    use: str | None = None
    """Without a backslash."""
    auto: str = "no"
    autoexpunge: int = 0
    autoexpunge_count: int = 0


SPECIAL_USES = ("Drafts", "Sent", "Trash", "Junk", "Archive")
_RULE = "must be NAME: WORD=VALUE, ..., for example Trash: use=Trash, auto=subscribe, autoexpunge=30d"
# As of mailbox names; a name of 255 octets is what file systems have.
_LEVELS, _NAME_OCTETS = 16, 255


def mailbox_rule(value: Any) -> MailboxRule:
    """``NAME: use=USE, auto=no|create|subscribe, autoexpunge=TIME, autoexpunge_count=N``, of which any may lack."""
    if isinstance(value, MailboxRule):
        return value
    name, colon, written = text(value).rpartition(":")
    if not colon or not written.strip():
        raise ValueError(_RULE)
    levels = mailbox_levels(name.strip())
    said: dict[str, Any] = {}
    for each in written.split(","):
        word, equals, what = (part.strip() for part in each.partition("="))
        if word not in _RULES or not equals:
            raise ValueError(f"has {word!r}, which is none of {', '.join(_RULES)}: it {_RULE}")
        if word in said:
            raise ValueError(f"says {word} twice")
        try:
            said[word] = _RULES[word](what)
        except ValueError as error:
            raise ValueError(f"has {word}={what}, which {error}") from None
    if levels == ("INBOX",) and {"use", "auto"} & set(said):
        raise ValueError("says use or auto of INBOX, which is always there and has no special use")
    return MailboxRule(levels, **said)


def mailbox_levels(name: str) -> tuple[str, ...]:
    """The levels of a mailbox's name, which are joined by ``/``; raises ValueError for what can be no name."""
    levels = tuple(name.split("/"))
    if len(levels) == 1 and name.upper() == "INBOX":
        return ("INBOX",)
    if not all(levels) or len(levels) > _LEVELS or len(name.encode("utf-8", "replace")) > _NAME_OCTETS:
        raise ValueError(f"names a mailbox with an empty level, too many, or too long a name: it {_RULE}")
    if levels[0].upper() == "INBOX":
        raise ValueError("names a mailbox below INBOX: the names are those without the prefix of all")
    for level in levels:
        if level in (".", "..") or level[0] in "~" or any(not c.isprintable() or c in "*%" for c in level):
            raise ValueError(f"names the mailbox {name!r}, which no mailbox can be called")
        try:
            level.encode()
        except UnicodeEncodeError:
            raise ValueError("names a mailbox in letters that are none") from None
    return levels


def _special_use(value: str) -> str:
    found = next((use for use in SPECIAL_USES if use.lower() == value.removeprefix("\\").lower()), None)
    if found is None:
        raise ValueError("must be one of " + ", ".join(SPECIAL_USES))
    return found


_RULES: dict[str, Callable[[Any], Any]] = {
    "use": _special_use,
    "auto": choice("no", "create", "subscribe"),
    "autoexpunge": lambda value: int(duration(0, 100 * 366 * 86400)(value)),
    "autoexpunge_count": number(0, 1 << 32),
}


def mailbox_rules(value: Any) -> tuple[MailboxRule, ...]:
    """Several of them, joined by ``;``, with blanks as %20; ``no`` is none."""
    written = unquote(text(value))
    return () if written in ("no", "") else tuple(mailbox_rule(each) for each in written.split(";") if each.strip())


def listen_at(value: Any) -> Endpoint | str:
    """An absolute path, or ``HOST:PORT``."""
    written = text(value)
    if written.startswith("/") and "\0" not in written:
        return written
    try:
        return address(written)
    except ValueError:
        raise ValueError("must be an absolute path, or HOST:PORT, for example 127.0.0.1:24") from None


def delimiters(value: Any) -> str:
    """Characters of which none is a letter, a digit or a part of an address's grammar; or none."""
    written = text(value)
    if not all(
        each.isascii() and each.isprintable() and not each.isalnum() and each not in ' "@<>\\' for each in written
    ):
        raise ValueError("must be characters such as + or -")
    return written


def mode(value: Any) -> int:
    """Permissions in octal digits; a number of TOML's is read as it is written there, 0o660."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    if isinstance(value, str) and re.fullmatch(r"(0o?)?[0-7]{3}", value):
        return int(value.removeprefix("0o"), 8)
    raise ValueError('must be a mode in octal digits, for example "0660"')


def location(value: Any) -> str:
    """Dovecot's mail_location, as it is written; see location.py."""
    written = text(value)
    from maildir_imapd import location as locations  # as of cli/group.py: for commands without mail it is too much

    locations.parse(written)
    return written


def private_index(value: Any) -> str:
    """Dovecot's INDEXPVT, as it is written; see location.py."""
    written = text(value)
    from maildir_imapd import location as locations

    return locations.private_index(written)


_VARIABLES = re.compile(r"%(L?[und]|%)?")


def template(value: Any) -> str:
    """A text with the variables %u, %n and %d, or %Lu, %Ln and %Ld, in it."""
    written = text(value)
    if any(not found[1] for found in _VARIABLES.finditer(written)):
        raise ValueError("may use the variables %u (user), %n (before the @) and %d (after it)")
    return written


def name_form(value: Any) -> str:
    """How a user name is spelled: a template with %u or %n in it."""
    written = template(value)
    if not re.search("%L?[un]", written):
        raise ValueError("must have %u or %n in it, for example %Lu")
    return written


def users_file(value: Any) -> str:
    """A path with the variables of a template."""
    return template(path(value))


def field_of_all(value: Any) -> tuple[str, str]:
    """``FIELD=VALUE``, the value a template; that of mail is a location."""
    name, equals, written = text(value).partition("=")
    if not equals or not re.fullmatch("[a-z_]+", name):
        raise ValueError("must be FIELD=VALUE, for example home=/srv/mail/%d/%n")
    return name, location(written) if name in ("mail", "userdb_mail") else template(written)


def query(value: Any) -> str:
    """A query with the variables of a template, and %% for a percent sign."""
    return template(value)


def login_query(value: Any) -> str:
    """A statement about a login: with the variables of a query, and %t, %r and %s."""
    written = text(value)
    if not any(found in written for found in ("%u", "%n", "%Lu", "%Ln")):
        raise ValueError("must have %u or %n in it, or it would be about everybody")
    template(re.sub("%%|%[trs]", "", written))
    return written


def uri(value: Any) -> str:
    """Where a directory is."""
    written = text(value)
    if not re.fullmatch(r"ldap[si]?://\S*", written):
        raise ValueError("must be ldap://HOST, ldaps://HOST or ldapi://PATH, the slashes of the path as %2F")
    return written


def attribute(value: Any) -> tuple[str, str, str]:
    """``ATTRIBUTE=FIELD`` or ``ATTRIBUTE=FIELD=TEXT``, in which ``%$`` is the value; already read, as it is."""
    if isinstance(value, tuple):
        return value
    name, _, rest = text(value).partition("=")
    field, equals, written = rest.partition("=")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9;.-]*", name) or not re.fullmatch("[a-z_]+", field):
        raise ValueError("must be ATTRIBUTE=FIELD or ATTRIBUTE=FIELD=TEXT, for example homeDirectory=home")
    return name, field, written if equals else "%$"


def command(value: Any) -> tuple[str, ...]:
    """A command as a shell would take it apart: its words."""
    try:
        words = tuple(shlex.split(text(value)))
    except ValueError:
        words = ()
    if not words:
        raise ValueError("must be a command, for example /usr/local/bin/checkpassword")
    return words


def separator(value: Any) -> str:
    """One character that is in no user name."""
    if not isinstance(value, str) or len(value) != 1 or not value.isprintable() or value.isspace() or _IN_NAME(value):
        raise ValueError("must be one character that no user name can have, for example *")
    return value


_IN_NAME = re.compile(r"[\w.+@=~&'-]").fullmatch


def web_url(value: Any) -> str:
    """A URL of HTTPS, or on this machine of HTTP."""
    written = text(value)
    parts = urlsplit(written)
    near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if (
        not parts.hostname
        or parts.username is not None
        or not (parts.scheme == "https" or (near and parts.scheme == "http"))
    ):
        raise ValueError("must be a URL that begins with https://, or on this machine with http://")
    return written


def web_or_file(value: Any) -> str:
    """A URL as of ``web_url``, or a path."""
    return web_url(value) if "://" in text(value) else path(value)


def delimiter(value: Any) -> str:
    """One character between the levels of a mailbox name, or auto."""
    if value not in ("auto", ".", "/", "|", "^"):
        raise ValueError("must be one of auto . / | ^")
    return str(value)


def extractor(value: Any) -> tuple[bytes, tuple[str, ...]]:
    """``TYPE/SUBTYPE:COMMAND``, the command as a shell would take it apart: its words."""
    kind, colon, command = text(value).partition(":")
    try:
        words = tuple(shlex.split(command))
    except ValueError:
        words = ()
    if not colon or not _MEDIA_TYPE(kind) or not words:
        raise ValueError("must be TYPE/SUBTYPE:COMMAND, for example application/pdf:pdftotext - -")
    return kind.lower().encode(), words


_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+").fullmatch

MOST = 1 << 62
