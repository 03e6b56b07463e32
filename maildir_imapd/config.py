"""Every setting, written once: the configuration file, the command line and the manual come from here.

The file is TOML, flat: ``name = value``.  What stands on the command line wins over the file, and the file
over the default.  Nothing below ``server`` reads this; settings go down as plain values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maildir_imapd import toml_lines
from maildir_imapd.errors import ConfigError
from maildir_imapd.phrases import TAGS
from maildir_imapd.values import (
    MOST,
    address,
    choice,
    delimiter,
    duration,
    entry,
    extractor,
    location,
    number,
    path,
    prefix,
    size,
    switch,
    text,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry.  *check* makes the value of what is written, see values.py.  *shown*: the default for the manual."""

    name: str
    check: Callable[[Any], Any]
    default: Any
    help: str
    metavar: str
    group: str
    many: bool = False
    shown: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default for a reader."""
        if self.shown:
            return self.shown
        if self.default is None or self.default == ():
            return "none"
        return str(self.default)


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
        "plaintext_login",
        choice("never", "loopback"),
        "never",
        "Who may send a password without TLS: nobody, or clients on this machine's loopback addresses. "
        "All others see LOGINDISABLED until TLS is on.",
        "never|loopback",
        "TLS",
    ),
    Setting(
        "passwd_file",
        path,
        None,
        "Users, in Dovecot's passwd-file format: user:{SCHEME}hash:uid:gid::home::extra. Read again when it changes.",
        "FILE",
        "Users",
    ),
    Setting(
        "mail_location",
        location,
        "maildir:~/Maildir",
        "Where a user's mail is, as in Dovecot. Variables: %u user name, %n the part before @, %d the part after it, "
        "%h home directory; a leading ~/ is the home too. Options behind the path: LAYOUT=maildir++ for flat folders "
        "(.a.b), fs for nested ones (a/b), auto (the default) for what the spool shows at first contact; INBOX=PATH if "
        "INBOX is not the path itself, CONTROL=PATH where Dovecot's dovecot-uidlist, dovecot-keywords and "
        "subscriptions lie apart, INDEX=PATH for our cache (MEMORY: beside the mail), UTF-8 if folders are named in "
        "UTF-8 on the disk. A colon in a path is written twice.",
        "maildir:PATH[:OPTION...]",
        "Users",
    ),
    Setting(
        "spool_marker",
        entry,
        None,
        "A file of this name, made by hand, lies in a directory above the mail on the same file system, best in its "
        "topmost directory. Where it is not, the file system is not mounted: logins are answered NO [UNAVAILABLE], "
        "nothing is made, and what lies there is not served. Without this setting a Maildir is made where the part of "
        "mail_location before the first variable is a directory; of a path in the home the home must be there, of one "
        "without variables the directory that it lies in. See MAIL THAT IS NOT THERE in maildir-imapd(8).",
        "NAME",
        "Users",
    ),
    Setting(
        "mail_user",
        text,
        None,
        "System user that owns all spools; the server becomes it once its ports are bound. Needs root.",
        "NAME",
        "Users",
    ),
    Setting(
        "auth_cache_time",
        duration(0, 86400),
        300.0,
        "How long a password that was right is remembered (as a keyed digest, in memory), so that a client "
        "with many connections does not pay for the slow hash each time. 0 switches it off.",
        "TIME",
        "Users",
        shown="5m",
    ),
    Setting(
        "auth_failure_delay",
        duration(0, 60),
        2.0,
        "Time from a wrong password to its answer; doubled at each further one of the connection, and as failures of "
        "all connections from that address, from its /64 or for that user mount up; a minute at most.",
        "TIME",
        "Users",
        shown="2s",
    ),
    Setting(
        "delimiter",
        delimiter,
        "auto",
        "The hierarchy delimiter that clients see, whatever is on the disk. auto: . for Maildir++, / for LAYOUT=fs.",
        "auto|CHAR",
        "Mailboxes",
    ),
    Setting(
        "prefix",
        prefix,
        "auto",
        "What clients see before the name of every mailbox but INBOX, the delimiter at its end; it is no folder. "
        "Dovecot's namespace prefix. auto: INBOX. where Courier's files are, which shows all folders so, and none "
        "elsewhere.",
        "auto|none|PREFIX",
        "Mailboxes",
    ),
    Setting(
        "fsync",
        choice("delivery", "always", "never"),
        "delivery",
        "What is on disk before OK is said: new messages and their UIDs; all, flags too; or nothing "
        "(for tests and for spools that can be made again).",
        "delivery|always|never",
        "Mailboxes",
    ),
    Setting(
        "compress_mail",
        choice("none", "gz", "zstd"),
        "none",
        "How new messages lie on the disk, as with Dovecot's mail_compress: their names say what they measure unpacked "
        "(S=). Messages that are compressed already (gzip, bzip2, xz; zstd and lz4 with maildir-imapd[compress]) are "
        "read whatever this says; other programs on the spool may not be able to.",
        "none|gz|zstd",
        "Mailboxes",
    ),
    Setting(
        "follow_links",
        choice("no", "owner"),
        "owner",
        "Whether symbolic links in a spool are followed: to a folder, to a folder's cur/ or new/, and to a message, if "
        "what they lead to is a directory or a regular file of the user whose the Maildir is. Links to what is "
        "somebody else's are never followed, nor such as lead beyond what landlock allows; those that are not are "
        "named in the log and by adopt. The Maildir itself may be a link in any case.",
        "no|owner",
        "Mailboxes",
    ),
    Setting(
        "watch",
        choice("auto", "inotify", "poll"),
        "auto",
        "How changes by other programs are noticed. auto takes inotify where the kernel offers it, and polls as well "
        "where it hears not all: on network file systems, FUSE and overlays.",
        "auto|inotify|poll",
        "Mailboxes",
    ),
    Setting(
        "poll_interval",
        duration(0.1, 3600),
        1.0,
        "Pause between two looks where a folder is polled.",
        "TIME",
        "Mailboxes",
        shown="1s",
    ),
    Setting(
        "mirror",
        choice("auto", "dovecot", "courier", "none"),
        "auto",
        "Keep another server's list of UIDs true beside our index, so that going back is to stop this server and "
        "start that one: Dovecot's dovecot-uidlist, Courier's courierimapuiddb. auto does so for the server whose "
        "files are in the spool.",
        "auto|dovecot|courier|none",
        "Mailboxes",
    ),
    Setting(
        "coexist",
        switch,
        False,
        "The server that is mirrored runs on the same spool at the same time: take its locks around every look at a "
        "folder and every change, as it does.",
        "yes|no",
        "Mailboxes",
        shown="no",
    ),
    Setting(
        "acl",
        switch,
        True,
        "Keep to the file dovecot-acl of each mailbox, in which Dovecot says who may do what there, and let clients "
        "read and change it (ACL). Where there is no such file the owner may do everything.",
        "yes|no",
        "Mailboxes",
        shown="yes",
    ),
    Setting(
        "utf8",
        choice("lenient", "strict", "no"),
        "lenient",
        "Whether clients may switch to UTF-8 (UTF8=ACCEPT, RFC 6855). With strict, as the RFC wants it, a message "
        "whose header is not ASCII is refused from a client that has not: most programs could then not copy old mail "
        "of that kind here. lenient takes it.",
        "lenient|strict|no",
        "Mailboxes",
    ),
    Setting(
        "server_metadata",
        path,
        None,
        "What the server tells all users of itself (METADATA): a line an entry, its name, a blank and its value, for "
        "example /shared/admin mailto:postmaster@example.org, /shared/comment, or /shared/filters/values/NAME with a "
        "search that all may use as FILTER NAME. Lines that begin with # are passed over. Read again on SIGHUP.",
        "FILE",
        "Mailboxes",
    ),
    Setting(
        "search_index",
        switch,
        False,
        "Keep an index of what messages say, so that SEARCH BODY and TEXT read those messages alone that may have the "
        "string: the files maildir-imapd.texts and maildir-imapd.texts.lock beside INBOX, or where INDEX= says. "
        "Answers are the same with and without. It is filled in the background, after deliveries and after the first "
        "search of a folder. The passwd-file's field userdb_search_index=yes or =no goes before this; for the first "
        "who has it there while nobody else has an index, SIGHUP is needed. See SEARCHING in maildir-imapd(8).",
        "yes|no",
        "Mailboxes",
        shown="no",
    ),
    Setting(
        "search_extract",
        extractor,
        (),
        "With search_index: a command that makes a text of attachments of this media type, from its standard input to "
        "its standard output, for example application/pdf:pdftotext - - (quoted as for a shell, which there is none). "
        "Such texts are found by SEARCH BODY and TEXT. May be given several times.",
        "TYPE/SUBTYPE:COMMAND",
        "Mailboxes",
        many=True,
    ),
    Setting(
        "append_limit",
        size(1 << 10, 1 << 40),
        100 << 20,
        "The largest message that APPEND takes.",
        "SIZE",
        "Limits",
        shown="100M",
    ),
    Setting(
        "quota_storage",
        size(1, MOST),
        None,
        "What all mailboxes of a user may take up on the disk. The passwd-file's field "
        "userdb_quota_rule=*:storage=1G:messages=1000 goes before this and the next, and where none of them is, the "
        "first line of the file maildirsize in the spool decides.",
        "SIZE",
        "Limits",
    ),
    Setting(
        "quota_messages", number(1, MOST), None, "How many messages a user may have in all mailboxes.", "N", "Limits"
    ),
    Setting(
        "quota_mailboxes",
        number(1, MOST),
        None,
        "How many mailboxes a user may have, INBOX and the parents of others counted. CREATE and RENAME keep to it.",
        "N",
        "Limits",
    ),
    Setting(
        "quota_set",
        switch,
        False,
        "Let clients change the limits in the first line of maildirsize (SETQUOTA), for users to whom neither the "
        "settings nor the passwd-file give any: a limit of the administrator's is never theirs to change.",
        "yes|no",
        "Limits",
        shown="no",
    ),
    Setting(
        "login_timeout",
        duration(1, 3600),
        180.0,
        "A client that has not logged in after this time is sent away, however busy it is.",
        "TIME",
        "Limits",
        shown="3m",
    ),
    Setting(
        "idle_timeout",
        duration(1800, 86400 * 7),
        1800.0,
        "Autologout after this much silence. RFC 3501 asks for 30 minutes at least.",
        "TIME",
        "Limits",
        shown="30m",
    ),
    Setting(
        "idle_keepalive",
        duration(0, 86400),
        120.0,
        "A client in IDLE is told OK after this much silence, so that no router on the way forgets the connection. "
        "0: never.",
        "TIME",
        "Limits",
        shown="2m",
    ),
    Setting(
        "line_limit",
        size(1 << 10, 1 << 30),
        1 << 20,
        "The longest command line after login.",
        "SIZE",
        "Limits",
        shown="1M",
    ),
    Setting(
        "literal_limit",
        size(1 << 10, 1 << 30),
        64 << 10,
        "The largest literal after login, messages in APPEND apart.",
        "SIZE",
        "Limits",
        shown="64K",
    ),
    Setting(
        "connections_per_address",
        number(1, 1_000_000),
        100,
        "Connections one address (of IPv6 a /64) may have in one worker that have not logged in; for a further one the "
        "longest of them is sent away.",
        "N",
        "Limits",
    ),
    Setting(
        "connections_per_user",
        number(0, 1_000_000),
        50,
        "Connections of one user in all workers; 0: any.",
        "N",
        "Limits",
    ),
    Setting(
        "connections_per_user_and_address",
        number(0, 1_000_000),
        0,
        "Connections of one user from one address, in all workers; 0: any that connections_per_user leaves him.",
        "N",
        "Limits",
    ),
    Setting(
        "connections",
        number(1, 1_000_000),
        10_000,
        "Connections of one worker. For a further one the longest that has not logged in is sent away; where all have, "
        "it is told to come back.",
        "N",
        "Limits",
    ),
    Setting(
        "connections_before_login",
        number(1, 1_000_000),
        1000,
        "Connections of one worker that have not logged in. For a further one the longest of them is sent away.",
        "N",
        "Limits",
    ),
    Setting(
        "shutdown_timeout",
        duration(0, 3600),
        10.0,
        "After SIGTERM busy clients have this long to finish their command.",
        "TIME",
        "Running",
        shown="10s",
    ),
    Setting(
        "log_level",
        choice("debug", "info", "warning", "error"),
        "info",
        "The least important lines that are logged.",
        "LEVEL",
        "Running",
    ),
    Setting(
        "drop_capabilities",
        switch,
        True,
        "Workers of a server that root started keep no capability but those to act as its system users (CAP_SETUID, "
        "CAP_SETGID), and none with mail_user. Then the files that root opens are root's own: the passwd_file must be "
        "root's, or its group's.",
        "yes|no",
        "Running",
        shown="yes",
    ),
    Setting(
        "no_new_privs",
        switch,
        True,
        "Workers and tunnels can get no right that they have not.",
        "yes|no",
        "Running",
        shown="yes",
    ),
    Setting(
        "landlock",
        switch,
        True,
        "With mail_user, and in a tunnel: have the kernel let the process reach nothing but the mail, the system's own "
        "files and the directory of passwd_file, where it can (Linux 5.19). Where a new user's directory is a link to "
        "another disk, SIGHUP lets the server see it.",
        "yes|no",
        "Running",
        shown="yes",
    ),
    Setting(
        "core_dumps",
        switch,
        False,
        "Let a process that crashes leave its memory behind, with everybody's mail in it.",
        "yes|no",
        "Running",
        shown="no",
    ),
    Setting(
        "memory_limit",
        size(64 << 20, MOST),
        None,
        "Memory that one worker or tunnel may have of its own (RLIMIT_DATA), the stacks of its threads counted, half a "
        "MiB each. A command that needs more is refused. Half of it is for large messages that must be had whole: "
        "decoded parts, what lies compressed, what is put together by CATENATE. A command that finds no room there "
        "waits 20 seconds for others to be done, and is then answered NO [LIMIT]. Without a limit a worker takes a "
        "quarter of the machine's memory, or of its control group's, divided by the number of workers, for such "
        "messages, and as much as it needs for all else.",
        "SIZE",
        "Limits",
    ),
    Setting("log_file", path, None, "Log here instead of to standard error. Reopened on SIGHUP.", "FILE", "Running"),
    Setting("pid_file", path, None, "Write the supervisor's process number here.", "FILE", "Running"),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Config:
    """All settings, checked.  An attribute a setting."""

    values: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


def read_file(source: str | Path) -> dict[str, Any]:
    """Read a configuration file; raises ConfigError with the file and each line that cannot be read."""
    return toml_lines.read(source)[0]


def load(source: str | Path | None, given: Mapping[str, Any]) -> Config:
    """Put the file and the command line's *given* (None or () for what was not said) together.

    Raises ConfigError that names every unknown setting and every bad value, a line each, with its line in the file.
    """
    raw, lines = toml_lines.read(source) if source is not None else ({}, {})
    values: dict[str, Any] = {}
    # By line, the command line first.
    wrong = [
        (lines.get(name, 1), f"{source}:{lines.get(name, 1)}: unknown setting {name!r}{_hint(name)}")
        for name in raw
        if name not in BY_NAME
    ]
    for setting in SETTINGS:
        said, name = given.get(setting.name), setting.name
        line, where, value = 0, setting.flag, said
        if said is None or said == ():
            if name not in raw:
                values[name] = setting.default
                continue
            line, value = lines.get(name, 1), raw[name]
            where = f"{source}:{line}: {name}"
        try:
            values[name] = _checked(setting, value)
        except ValueError as error:
            wrong.append((line, f"{where} {error}"))
    if wrong:
        raise ConfigError("\n".join(why for _, why in sorted(wrong)))
    return Config(values, None if source is None else str(source))


def _hint(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name.replace("-", "_"), BY_NAME, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _checked(setting: Setting, value: Any) -> Any:
    """The value of what is written; raises ValueError."""
    if setting.many:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(setting.check(item) for item in items)
    return setting.check(value)
