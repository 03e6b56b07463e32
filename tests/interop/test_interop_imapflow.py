"""imapflow, a client library of Node.js: what it makes of our extensions is in imapflow.mjs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from running import Running, program

pytestmark = [pytest.mark.interop, pytest.mark.slow]

HERE = Path(__file__).parent
INSTALLED = Path(os.environ.get("MAILDIR_IMAPD_IMAPFLOW", HERE.parent.parent / ".imapflow"))


def test_imapflow(server: Running) -> None:
    # First, for Node.js is the one program that need not be there in CI either.
    if not (INSTALLED / "node_modules" / "imapflow").exists():
        pytest.skip("imapflow is not installed: scripts/imapflow")
    node = program("node")
    user, spool = server.user()
    bases = spool.simple("INBOX", 5)
    spool.folder("Sent")
    spool.folder("Trash")
    done = subprocess.run(
        [node, HERE / "imapflow.mjs", INSTALLED, str(server.tls_port), user, server.base / "cert.pem"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr.decode()[-4000:]
    left = {name.partition(":")[0] for name in spool.files("INBOX")}
    # Three of five were moved or deleted, and two appended.
    assert {base for base in bases if base in left} == {bases[0], bases[2]}
    assert len(left) == 4
    assert (len(spool.files("Trash")), len(spool.files("Work"))) == (1, 2)
