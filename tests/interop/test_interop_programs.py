"""curl, openssl, mbsync and mutt against a running server; what they did is looked for on both sides."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios
from pathlib import Path

import pytest
from running import Running, program
from spool import SIMPLE, Spool

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def run(
    *words: str | Path, said: bytes = b"", status: int | None = 0, **env: str
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [str(word) for word in words],
        input=said,
        capture_output=True,
        timeout=120,
        env={**os.environ, "LC_ALL": "C.UTF-8", **env},
    )
    assert status is None or done.returncode == status, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


# --- curl -----------------------------------------------------------------------------------------


def test_curl(server: Running, tmp_path: Path) -> None:
    curl = program("curl")
    user, spool = server.user()
    spool.simple("INBOX", 2)
    ca = server.base / "cert.pem"

    def get(path: str, *more: str | Path, status: int = 0, password: str = "secret") -> bytes:
        url = f"imaps://localhost:{server.tls_port}/{path}"
        return run(curl, "-sS", "--cacert", ca, "-u", f"{user}:{password}", url, *more, status=status).stdout

    assert re.search(rb'\* LIST \([^)]*\\HasNoChildren\) "." INBOX\r\n', get(""))
    assert get("INBOX;MAILINDEX=2") == crlf(SIMPLE % (2, 2, 2))
    assert get("INBOX;UID=1;SECTION=TEXT") == b"body of 1\r\n"
    assert b"* SEARCH 2" in get("INBOX?SUBJECT%20%22message%202%22")
    message = tmp_path / "upload"
    message.write_bytes(b"Subject: from curl\r\n\r\n" + b"x" * 300_000 + b"\r\n")
    get("INBOX", "-T", message)
    assert get("INBOX;MAILINDEX=3") == message.read_bytes()
    get("INBOX", "-X", "STORE 1 +FLAGS (\\Deleted)")
    get("INBOX", "-X", "EXPUNGE")
    assert len(spool.files("INBOX")) == 2
    # 67: the login was denied, which curl tells from a lost connection.
    get("", status=67, password="wrong")
    plain = run(curl, "-sS", "--ssl-reqd", "--cacert", ca, "-u", f"{user}:secret", f"imap://localhost:{server.port}/")
    assert b"INBOX" in plain.stdout


# --- openssl --------------------------------------------------------------------------------------


def test_openssl(server: Running) -> None:
    openssl = program("openssl")
    user, _ = server.user()
    ca = server.base / "cert.pem"
    for place in (
        ["-connect", f"localhost:{server.tls_port}"],
        ["-starttls", "imap", "-connect", f"localhost:{server.port}"],
    ):
        with subprocess.Popen(
            [openssl, "s_client", "-quiet", "-verify_return_error", "-CAfile", str(ca), *place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"a LOGIN %b secret\r\n" % user.encode())
            process.stdin.write(b"b SELECT INBOX\r\nc LOGOUT\r\n")
            process.stdin.flush()
            said = process.stdout.read()
            assert b"a OK" in said
            assert b"b OK [READ-WRITE]" in said
            assert b"c OK" in said


# --- mbsync ---------------------------------------------------------------------------------------

MBSYNC = """\
IMAPAccount server
Host localhost
Port {port}
User {user}
Pass secret
{tls}
CertificateFile {base}/cert.pem

IMAPStore far
Account server

MaildirStore near
Path {near}/
Inbox {near}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
"""


def tree(spool: Path) -> dict[str, list[tuple[bytes, str]]]:
    """Every mailbox's messages, as content and flags, whatever the files are called."""
    found: dict[str, list[tuple[bytes, str]]] = {}
    for cur in spool.rglob("cur"):
        folder = cur.parent.relative_to(spool).as_posix().lstrip(".")
        rows = []
        for sub in ("cur", "new"):
            for file in (cur.parent / sub).iterdir():
                content = b"\n".join(
                    line
                    for line in file.read_bytes().replace(b"\r\n", b"\n").split(b"\n")
                    if not line.startswith(b"X-TUID")
                )
                rows.append((content, file.name.partition(":2,")[2]))
        found["INBOX" if folder == "" else folder] = sorted(rows)
    return found


def number(path: Path) -> int:
    """Which of the simple messages it is."""
    found = re.search(rb"^body of (\d+)", path.read_bytes(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.parametrize("tls", ["imaps", "starttls"])
def test_mbsync(server: Running, tmp_path: Path, tls: str) -> None:
    """500 messages both ways, flags and deletions on both sides; a second run has nothing to do."""
    mbsync = program("mbsync")
    user, far = server.user()
    far.simple("INBOX", 250)
    far.simple("Work", 50, "S")
    near = tmp_path / "near"
    near.mkdir()
    version = run(mbsync, "--version", status=None).stdout
    word = "TLSType" if re.search(rb"isync 1\.(5|[6-9])", version) else "SSLType"
    config = tmp_path / "mbsyncrc"
    port = server.tls_port if tls == "imaps" else server.port
    config.write_text(
        MBSYNC.format(
            port=port,
            user=user,
            base=server.base,
            near=near,
            tls=f"{word} {tls.upper() if tls == 'imaps' else 'STARTTLS'}",
        )
    )

    def sync() -> bytes:
        return run(mbsync, "-c", config, "-a", "-V", HOME=str(tmp_path)).stdout

    sync()
    ours = Spool(near / "INBOX")
    assert len(ours.files("INBOX")) == 250

    # What happens away from the server, and what happens on it.
    for n in range(200):
        data = b"Subject: near %d\nMessage-ID: <near-%d@x>\n\nwritten at home %d\n" % (n, n, n)
        ours.put("INBOX", data, "F" if n % 3 == 0 else "", base=f"{1793700000 + n}.near{n}.home")
    for name in ours.files("INBOX"):
        if ",U=" not in name:
            continue
        path = ours.find("INBOX", name.split(":")[0])
        n = number(path)
        if n % 10 == 0:
            path.rename(path.parent.parent / "cur" / (name.split(":")[0] + ":2,RS"))
        elif n % 10 == 1:
            path.rename(path.parent.parent / "cur" / (name.split(":")[0] + ":2,ST"))
    for name in far.files("INBOX"):
        base = name.split(":")[0]
        n = number(far.find("INBOX", base))
        if n % 10 == 5:
            far.reflag("INBOX", base, "F")
        elif n % 10 == 6:
            far.remove("INBOX", base)
    sync()
    # Expunged at home only after the server has it: once more for what the first pass marked.
    sync()
    theirs = tree(far.root)
    home = tree(near)
    assert set(theirs) == set(home) == {"INBOX", "Work"}
    assert len(home["INBOX"]) == 250 + 200 - 25 - 25
    for folder in theirs:
        assert [content for content, _ in theirs[folder]] == [content for content, _ in home[folder]], folder
        assert [sorted(flags) for _, flags in theirs[folder]] == [sorted(flags) for _, flags in home[folder]], folder
    assert sum("R" in flags for _, flags in theirs["INBOX"]) == 25

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    spool_before = sorted(path for path in far.root.rglob("*") if path.parent.name in ("cur", "new"))
    said = sync()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before == after, set(before) ^ set(after)
    assert spool_before == sorted(path for path in far.root.rglob("*") if path.parent.name in ("cur", "new"))
    assert b"new message(s)" not in said or re.search(rb"\b0 new message", said), said


# --- mutt -----------------------------------------------------------------------------------------


def on_a_terminal(words: list[str], env: dict[str, str]) -> bytes:
    """Run a program that wants a terminal; all it showed."""
    ours, theirs = pty.openpty()
    # Since ncurses 6.5 mutt does not start on one without a size.
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while select.select([ours], [], [], 60)[0]:
                try:
                    data = os.read(ours, 65536)
                except OSError:
                    break  # the last one closed its end
                if not data:
                    break
                shown += data
            else:
                process.send_signal(signal.SIGKILL)
                raise AssertionError(f"it waits for something: {shown[-1500:]!r}")
        finally:
            os.close(ours)
        assert process.wait(30) == 0, shown[-1500:]
    return shown


MUTTRC = """\
set ssl_ca_certificates_file={base}/cert.pem
set certificate_file={home}/certificates
set ssl_starttls=yes ssl_force_tls=yes
set imap_user={user} imap_pass=secret
set folder={url} spoolfile=+INBOX record= postponed= mbox= trash=
set header_cache={home}/cache message_cachedir={home}/bodies
set sort=mailbox-order
set confirmcreate=no confirmappend=no delete=yes quit=yes move=no wait_key=no mark_old=no
set imap_keepalive=60 imap_check_subscribed=no
set abort_unmodified=no nosend
"""


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_mutt(server: Running, tmp_path: Path, scheme: str) -> None:
    """Flag, save to a folder that it makes, delete, pipe a message out: all by keys, as its user would."""
    mutt = program("mutt")
    user, spool = server.user()
    spool.simple("INBOX", 4)
    url = f"{scheme}://localhost:{server.tls_port if scheme == 'imaps' else server.port}/"
    rc = tmp_path / "muttrc"
    text = MUTTRC.format(base=server.base, home=tmp_path, user=user, url=url)
    rc.write_text(text.replace(" nosend\n", "\n"))
    out = tmp_path / "out"
    keys = (
        "<first-entry><flag-message>"
        # Flagging goes on to the next message by itself.
        f"<pipe-message>cat >{out}<enter>"
        "<first-entry><next-entry><next-entry><save-message>=Made<enter>"
        "<last-entry><delete-message>"
        "<sync-mailbox><quit>"
    )
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm", "LC_ALL": "C.UTF-8", "USER": user}
    on_a_terminal([mutt, "-n", "-F", str(rc), "-f", f"{url}INBOX", "-e", f'push "{keys}"'], env)
    piped = out.read_bytes().replace(b"\r\n", b"\n")
    assert b"Subject: message 2" in piped
    assert b"body of 2" in piped
    left = tree(spool.root)
    assert [content for content, _ in left["Made"]] == [SIMPLE % (3, 3, 3)]
    assert [content for content, _ in left["INBOX"]] == [SIMPLE % (n, n, n) for n in (1, 2)]
    assert ["F" in flags for _, flags in left["INBOX"]] == [True, False]
    # Once more, now from its header cache: it must see what is there.
    on_a_terminal([mutt, "-n", "-F", str(rc), "-f", f"{url}INBOX", "-e", 'push "<last-entry><set-flag>r<quit>"'], env)
    assert ["R" in flags for _, flags in tree(spool.root)["INBOX"]] == [False, True]
