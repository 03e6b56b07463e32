"""The real Dovecot, logged in already, on a pipe: for tests that hand a spool to and fro."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from pathlib import Path

from running import program

CONFIG = """
protocols = imap
log_path = {home}/log
ssl = no
base_dir = {home}/run
state_dir = {home}/state
mail_location = {location}
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


class Dovecot:
    """One user, whose home is *home* and whose mail is ``home/Maildir``.  Root becomes ``nobody`` for it.

    *more* are lines of configuration, *options* what stands behind the path in mail_location, with ``{home}``.
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
        config = CONFIG.format(home=home, uid=self.uid, gid=self.gid, location=self.location, separator=separator)
        (home / "dovecot.conf").write_text(config + more)

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
            out, complaint = process.communicate(commands, timeout=60)
        finally:
            os.close(held_open)
            process.kill()  # if it hangs
        assert process.returncode == 0, complaint
        return out

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, logged in, on pipes; it greets and waits for commands."""
        config = str(self.home / "dovecot.conf")
        return subprocess.Popen(
            [self.program, "-c", config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": str(self.home), "USER": "witness", "CONFIG_FILE": config},
            user=self.uid if self._drop else None,
            group=self.gid if self._drop else None,
            extra_groups=[] if self._drop else None,
        )


_CHOSEN = re.compile(
    r"\* (FLAGS|\d+ RECENT|PREAUTH|BYE"
    r"|OK \[(MAILBOXID|PERMANENTFLAGS|UIDVALIDITY|HIGHESTMODSEQ|UNSEEN|CLOSED))"
).match


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
