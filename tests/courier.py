"""The real Courier, unpacked by scripts/courier, logged in already, on a pipe."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

UNPACKED = Path(os.environ.get("MAILDIR_IMAPD_COURIER", Path(__file__).parent.parent / ".courier"))


class Courier:
    """One user, whose mail is ``home/Maildir``."""

    def __init__(self, home: Path) -> None:
        self.program = UNPACKED / "usr" / "bin" / "imapd"
        self.home = home
        if not self.program.exists():
            if os.environ.get("MAILDIR_IMAPD_REQUIRE_PROGRAMS"):
                pytest.fail("Courier is not unpacked: scripts/courier")
            pytest.skip("Courier is not unpacked: scripts/courier")
        self._libraries = ":".join(sorted({str(path.parent) for path in UNPACKED.rglob("*.so*")}))

    def talk(self, *commands: str) -> list[str]:
        """Send commands, one after the other, and return all lines that came back."""
        if os.geteuid() == 0:
            # Dovecot may have been here as somebody else.
            for directory, _, files in os.walk(self.home):
                for name in (".", *files):
                    os.chown(os.path.join(directory, name), 0, 0, follow_symlinks=False)
        text = "".join(f"t{n} {command}\r\n" for n, command in enumerate(commands)) + "bye LOGOUT\r\n"
        process = self.start()
        try:
            out, _ = process.communicate(text.encode(), timeout=60)
        finally:
            process.kill()  # if it hangs
        return out.decode("utf-8", "replace").split("\r\n")

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, logged in, on pipes; it greets and waits for commands. What it complains of is in ``home/log``."""
        environment = {
            "LD_LIBRARY_PATH": self._libraries,
            "HOME": str(self.home),
            "MAILDIR": str(self.home / "Maildir"),
            "AUTHENTICATED": "witness",
            "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE",
            "IMAP_KEYWORDS": "1",
            "IMAP_USELOCKS": "1",
            "IMAP_ENHANCEDIDLE": "0",
            "TCPREMOTEIP": "127.0.0.1",
            "TCPREMOTEPORT": "1",
            "PROTOCOL": "IMAP",
            "TZ": "UTC",
        }
        with open(self.home / "log", "ab") as log:
            return subprocess.Popen(
                [self.program, "Maildir"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.home,
                env=environment,
            )
