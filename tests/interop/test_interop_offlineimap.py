"""offlineimap against a running server, both ways."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from imapclient import IMAPClient
from running import Running, program

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CONFIG = """\
[general]
accounts = test
metadata = {home}/state
maxsyncaccounts = 1
[Account test]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {home}/near
[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
ssl = yes
sslcacertfile = {base}/cert.pem
remoteuser = {user}
remotepass = secret
maxconnections = 2
"""


def messages(folder: Path) -> dict[bytes, str]:
    """Of each message its subject and flags, whatever the file is called."""
    found = {}
    for sub in ("cur", "new"):
        for file in (folder / sub).iterdir():
            subject = next(line for line in file.read_bytes().splitlines() if line.startswith(b"Subject: "))
            found[subject] = file.name.partition(":2,")[2]
    return found


def run(offlineimap: str, config: Path) -> str:
    """Synchronise once; returns what it said."""
    done = subprocess.run(
        [offlineimap, "-c", config, "-o", "-u", "basic"],
        capture_output=True,
        timeout=120,
        check=False,
        text=True,
        env={**os.environ, "HOME": str(config.parent)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


# A folder of the near side is a directory, so the spool is one called Maildir, and the far side's INBOX.
ON_THE_SPOOL = (
    CONFIG.replace(
        "{home}/near", "{spool}\nfolderfilter = lambda name: name == 'Maildir'\nnametrans = lambda name: 'INBOX'"
    )
    + "folderfilter = lambda name: name == 'INBOX'\nnametrans = lambda name: 'Maildir'\n"
)


def test_offlineimap_on_the_spool_itself(server: Running, tmp_path: Path) -> None:
    """It gives every message that it has sent to the other side a base that has nothing of the old one."""
    offlineimap = program("offlineimap")
    user, near = server.user()
    other, far = server.user()
    for n in range(10):
        near.put("INBOX", b"Subject: message %d\n\nx\n" % n, "S" if n % 2 else None, when=None)
    far.put("INBOX", b"Subject: from far\n\nx\n", "")
    names = set(near.files("INBOX"))
    with IMAPClient("127.0.0.1", server.port, ssl=False) as client:
        client.login(user, "secret")

        def subjects() -> dict[int, bytes]:
            client.select_folder("INBOX")
            found = client.fetch(client.search(), ["ENVELOPE"])
            return {uid: row[b"ENVELOPE"].subject for uid, row in found.items()}

        validity = client.select_folder("INBOX")[b"UIDVALIDITY"]
        before = subjects()
        assert len(before) == 10
        config = tmp_path / "offlineimaprc"
        config.write_text(
            ON_THE_SPOOL.format(
                home=tmp_path, spool=near.root.parent, port=server.tls_port, base=server.base, user=other
            )
        )
        run(offlineimap, config)
        assert len(far.files("INBOX")) == 11
        assert not {name.partition(":")[0] for name in names} & {
            name.partition(":")[0] for name in near.files("INBOX")
        }, "every message has another base"
        after = subjects()
        assert client.select_folder("INBOX")[b"UIDVALIDITY"] == validity
    assert {uid: after.get(uid) for uid in before} == before
    assert sorted(set(after) - set(before)) == [11]


def test_offlineimap(server: Running, tmp_path: Path) -> None:
    """Flags and deletions of both sides arrive at the other; a second run has nothing to do."""
    offlineimap = program("offlineimap")
    user, far = server.user()
    far.simple("INBOX", 20)
    far.simple("Work.Deep", 5, "S")
    config = tmp_path / "offlineimaprc"
    config.write_text(CONFIG.format(home=tmp_path, port=server.tls_port, base=server.base, user=user))

    def sync() -> str:
        return run(offlineimap, config)

    sync()
    near = tmp_path / "near" / "INBOX"
    assert messages(near) == messages(far.root)
    assert messages(tmp_path / "near" / "Work.Deep") == messages(far.path("Work.Deep"))
    again = sync()
    assert "Copy message" not in again
    assert "Deleting" not in again

    # On the near side one is flagged, one deleted, one is new; on the far side the same with others.
    # By what they are, for what they are called depends on which arrived first.
    files = [path for sub in ("new", "cur") for path in (near / sub).iterdir()]
    flagged, gone = (next(path for path in files if f"Subject: message {n}\n" in path.read_text()) for n in (1, 2))
    flagged.rename(near / "cur" / f"{flagged.name.partition(':')[0]}:2,F")
    gone.unlink()
    (near / "new" / "1.near.host").write_bytes(b"Subject: from near\n\nx\n")
    theirs = far.files("INBOX")
    far.reflag("INBOX", theirs[4].partition(":")[0], "R")
    far.remove("INBOX", theirs[5].partition(":")[0])
    far.put("INBOX", b"Subject: from far\n\nx\n", "S")
    sync()
    sync()
    both = messages(far.root)
    assert messages(near) == both
    assert len(both) == 20
    assert both[b"Subject: from near"] == ""
    assert both[b"Subject: from far"] == "S"
    assert sorted("".join(both.values())) == ["F", "R", "S"]
