"""The real Dovecot, logged in already, on a pipe: for tests that hand a spool to and fro."""

from __future__ import annotations

import functools
import os
import pwd
import re
import subprocess
from pathlib import Path

from running import program

# Lines that both 2.3 and 2.4 understand.
CONFIG = """
protocols = imap
log_path = {home}/log
ssl = no
base_dir = {home}/run
state_dir = {home}/state
first_valid_uid = 0
first_valid_gid = 0
mail_uid = {uid}
mail_gid = {gid}
stats_writer_socket_path =
namespace inbox {{
  inbox = yes
  separator = {separator}
}}
"""

# What 2.4 has instead of mail_location and the options in it.
LOCATION_24 = """
mail_driver = maildir
mail_path = {path}
mailbox_list_layout = {layout}
"""
OPTIONS_24 = {"INBOX": "mail_inbox_path", "CONTROL": "mail_control_path", "INDEX": "mail_index_path"}

LMTP = """
protocols = lmtp
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""

LMTP_23 = """
default_vsz_limit = 0
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home} allow_all_users=yes
}}
"""

LMTP_24 = """
default_vsz_limit = unlimited
passdb static {{
  fields {{
    nopassword = yes
  }}
}}
userdb static {{
  allow_all_users = yes
  fields {{
    uid = {uid}
    gid = {gid}
    home = {home}
  }}
}}
"""

ACL_23 = """
mail_plugins = acl
protocol imap {
  mail_plugins = acl imap_acl
}
plugin {
  acl = vfile:cache_secs=0
  acl_anyone = allow
}
"""

ACL_24 = """
mail_plugins {
  acl = yes
}
protocol imap {
  mail_plugins {
    imap_acl = yes
  }
}
acl_driver = vfile
acl_cache_ttl = 0
imap_acl_allow_anyone = yes
"""

METADATA_23 = """
mail_attribute_dict = file:{home}/Maildir/attributes
protocol imap {{
  imap_metadata = yes
}}
"""

METADATA_24 = """
mail_attribute {{
  dict file {{
    path = {home}/Maildir/attributes
  }}
}}
protocol imap {{
  imap_metadata = yes
}}
"""


@functools.cache
def version() -> tuple[int, int]:
    """Of the Dovecot that is installed: (2, 3), or (2, 4), which has another language for its configuration."""
    said = subprocess.run([program("dovecot"), "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = said.split(".")[:2]
    return int(major), int(minor)


def is_24() -> bool:
    """Whether it is 2.4 or newer."""
    return version() >= (2, 4)


def acl() -> str:
    """Lines of configuration: ACL, read anew each time, and rights for anyone may be given."""
    return ACL_24 if is_24() else ACL_23


def metadata(home: Path) -> str:
    """Lines of configuration: METADATA."""
    return (METADATA_24 if is_24() else METADATA_23).format(home=home)


class Dovecot:
    """One user, whose home is *home* and whose mail is ``home/Maildir``.  Root becomes ``nobody`` for it.

    *more* are lines of configuration, *options* what stands behind the path in a mail_location (of ours, and of
    Dovecot 2.3), with ``{home}``.
    """

    def __init__(self, home: Path, more: str = "", *, options: str = "", separator: str = ".") -> None:
        self.program = program("/usr/lib/dovecot/imap")
        self.home = home
        nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.uid = nobody.pw_uid if nobody else os.geteuid()
        self.gid = nobody.pw_gid if nobody else os.getegid()
        self._drop = nobody is not None
        self.location = f"maildir:{home}/Maildir" + options.format(home=home)
        self.separator = separator
        self.config = home / "dovecot.conf"
        # 2.4 clears the environment but for what is named in it.
        self.environment = {
            "HOME": str(home),
            "USER": "witness",
            "CONFIG_FILE": str(self.config),
            "DOVECOT_PRESERVE_ENVS": "HOME USER",
        }
        self.config.write_text(self._common() + more)

    def _common(self) -> str:
        """The configuration without more."""
        common = CONFIG.format(home=self.home, uid=self.uid, gid=self.gid, separator=self.separator)
        if not is_24():
            return f"mail_location = {self.location}\n" + common
        _, path, *options = self.location.split(":")
        chosen = dict(option.split("=") for option in options)
        # These two settings must be the first.
        lines = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" + common
        lines += LOCATION_24.format(path=path, layout=chosen.pop("LAYOUT", "maildir++"))
        # One that is set to nothing is not one that is left out.
        return lines + "".join(f"{OPTIONS_24[name]} = {value}\n" for name, value in chosen.items())

    def write_lmtp(self) -> Path:
        """Write a configuration for Dovecot's master with LMTP alone; its socket is ``home/run/lmtp``."""
        config = self.home / "lmtp.conf"
        config.write_text(
            self._common()
            + (LMTP + (LMTP_24 if is_24() else LMTP_23)).format(home=self.home, uid=self.uid, gid=self.gid)
        )
        return config

    def own(self) -> None:
        """Give everything to the user that Dovecot runs as."""
        if not self._drop:
            return
        for parent in self.home.parents:
            if str(parent).startswith("/tmp/") or "pytest" in str(parent):
                os.chmod(parent, 0o755)
        for directory, _, files in os.walk(self.home):
            os.chown(directory, self.uid, self.gid)
            for name in files:
                os.chown(os.path.join(directory, name), self.uid, self.gid, follow_symlinks=False)

    def talk(self, *commands: str) -> list[str]:
        """Send commands, one after the other, and return all lines that came back."""
        self.own()
        text = "".join(f"t{n} {command}\r\n" for n, command in enumerate(commands)) + "bye LOGOUT\r\n"
        return self.converse(text.encode()).decode("utf-8", "replace").split("\r\n")

    def converse(self, commands: bytes) -> bytes:
        """Send everything, LOGOUT at its end, and return everything that comes back."""
        process = self.start()
        assert process.stdin is not None
        # Dovecot gives up what it has not sent when it reads the end of its input.
        held_open = os.dup(process.stdin.fileno())
        try:
            out, _ = process.communicate(commands, timeout=60)
        finally:
            os.close(held_open)
            process.kill()  # if it hangs
        assert process.returncode == 0, self.log()
        return out

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, logged in, on pipes; it greets and waits for commands. What it complains of is in its log."""
        with open(self.home / "log", "ab") as log:
            return subprocess.Popen(
                [self.program, "-c", str(self.config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What runs alone does not heed log_path.
                stderr=log,
                env=self.environment,
                user=self.uid if self._drop else None,
                group=self.gid if self._drop else None,
                extra_groups=[] if self._drop else None,
            )

    def doveconf(self) -> str:
        """What ``doveconf -n`` prints."""
        words = [program("doveconf"), "-n", "-c", str(self.config)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def doveadm(self, *words: str) -> None:
        """Do what a line with ``-u USER`` says for the user of *home*, for here is no table of users."""
        user = words.index("-u")
        # 2.4 does not take the user of the environment unless it is told to.
        alone = [*words[:user], *(["--no-userdb-lookup"] if is_24() else []), *words[user + 2 :]]
        done = subprocess.run(
            [program("doveadm"), "-c", str(self.config), *alone], capture_output=True, text=True, env=self.environment
        )
        assert done.returncode == 0, (words, done.stderr)

    def log(self) -> str:
        """All that Dovecot has complained of."""
        log = self.home / "log"
        return log.read_text() if log.exists() else ""


_CHOSEN = re.compile(
    r"\* (FLAGS|\d+ RECENT|PREAUTH|BYE"
    r"|OK \[(MAILBOXID|PERMANENTFLAGS|UIDVALIDITY|HIGHESTMODSEQ|UNSEEN|CLOSED))"
).match


class DovecotUser(Dovecot):
    """Dovecot, logged in as one of several users of a spool, whose mail is ``base/USER/Maildir``.

    *more*: lines of configuration, with ``{base}``; *options* as of Dovecot.
    """

    def __init__(self, base: Path, user: str, more: str, *, options: str = "") -> None:
        self.user = user
        super().__init__(base, separator="/")
        self.location = f"maildir:{base}/%u/Maildir{options}"
        self.config = base / f"{user}.conf"
        self.config.write_text(self._common() + acl() + more.format(base=base))
        self.environment |= {"USER": user, "CONFIG_FILE": str(self.config)}

    def ask(self, *commands: str) -> list[str]:
        """As ``talk``, without the greeting."""
        return self.talk(*commands)[1:]


def meaning(lines: list[str]) -> list[str]:
    """Untagged lines and the status of tagged ones with the codes that mean something, in no order.

    Without what each server may choose: UIDVALIDITY, mod-sequences, who has the recent ones, texts, the order of flags
    and items, and attributes of LIST that nobody asked for.  Dovecot answers pipelined commands out of turn.
    """
    found = []
    for line in lines:
        line = re.sub(r" ?\\(Recent|Marked|UnMarked|HasChildren|HasNoChildren|Noselect)", "", line).replace("( ", "(")
        if _CHOSEN(line):
            continue
        line = re.sub(r"\((\\[^()]*|)\)", lambda part: f"({' '.join(sorted(part[1].split()))})", line)
        line = re.sub(r"(APPENDUID|COPYUID) \d+", r"\1", line)
        line = re.sub(r"\(TAG \"?t?\d+\"?\)", "(TAG)", line)
        line = re.sub(r" ?MODSEQ \(\d+\)| \(HIGHESTMODSEQ \d+\)|\[HIGHESTMODSEQ \d+\] ", "", line)
        if match := re.match(r"(\* STATUS [^ ]+) \((.*)\)", line):
            words = match[2].split()
            line = f"{match[1]} {sorted(zip(words[::2], words[1::2], strict=True))}"
        if match := re.match(r"(\* OK \[(?:COPYUID|UIDNEXT)[^]]*\])", line):
            line = match[1]
        if match := re.match(
            r"t?(\d+ (?:OK|NO|BAD))( \[(?:APPENDUID|COPYUID|BADURL|TRYCREATE|MODIFIED)[^]]*\])?", line
        ):
            line = match[1] + (match[2] or "")
        if line.startswith("* ") or re.match(r"\d+ (OK|NO|BAD)", line):
            found.append(line.replace('"', ""))
    return sorted(found)
