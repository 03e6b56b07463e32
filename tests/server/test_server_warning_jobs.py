"""Commands for quotas that fill up: which one, once for each crossing, and whatever is wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from client import Client
from lmtp_talker import Lmtp, good
from running import Running, give_to, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.quota_values import QuotaWarning, quota_warning
from maildir_imapd.server import jobs, owners, programs, shared, warning_jobs
from maildir_imapd.store.account import Account
from maildir_imapd.store.records.quota_warned import Crossing, Fullness

TELL = """\
#!/bin/sh
echo "$MAILDIR_IMAPD_USER $MAILDIR_IMAPD_PERCENT $MAILDIR_IMAPD_RESOURCE $MAILDIR_IMAPD_USED $MAILDIR_IMAPD_LIMIT $*" \\
  >> {out}
"""
K = 1024


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def warnings(*written: str) -> list[QuotaWarning]:
    return [quota_warning(each) for each in written]


# --- which one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "chosen"),
    [
        (0, 79, None),
        (0, 80, "80:a"),
        (0, 99, "95:b"),
        (80, 95, "95:b"),
        (80, 94, None),
        (95, 94, None),
        (110, 50, "under 60:d"),
        (95, 70, "under 90:c"),
        (60, 59, "under 60:d"),
        (59, 0, None),
    ],
)
def test_which_one_is_run(before: int, now: int, chosen: str | None) -> None:
    known = warnings("80:a", "under 90:c", "95:b", "under 60:d")
    found = warning_jobs.choose(known, Crossing(before, Fullness(now)))
    assert found == (None if chosen is None else quota_warning(chosen))


# --- a job --------------------------------------------------------------------------------------------


def job(root: Path, known: Sequence[QuotaWarning], *, user: str = "ann@example.org", messages: int = 10) -> int:
    """How a job ends that is a process of its own."""
    noting = jobs.Noting(shared.words(jobs.CELLS), frozenset())
    mine, child = os.getpid(), os.fork()
    if child == 0:
        status = 99
        try:
            account = Account(os.fsencode(root), fsync="never", quota_messages=messages)
            status = warning_jobs.work(lambda _: account, known, user, noting, mine)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def said(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_each_crossing_is_told_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tell = script(tmp_path / "tell", TELL.format(out=out))
    spool = Spool(tmp_path / "Maildir")
    known = warnings(f"80:{tell} %u '%n at %d' 100%% ;$(id)", f"95:{tell} all", f"under 80:{tell} again")
    for count in (7, 1, 1):
        spool.simple("INBOX", count)
        (spool.root / "maildirsize").unlink(missing_ok=True)
        assert job(spool.root, known) == jobs.DONE
    assert said(out) == ["ann@example.org 80 messages 8 10 ann@example.org ann at example.org 100% ;$(id)"]
    assert job(spool.root, known) == jobs.DONE
    spool.simple("INBOX", 1)
    (spool.root / "maildirsize").unlink()
    for _ in range(2):
        assert job(spool.root, known) == jobs.DONE
    assert said(out)[1:] == ["ann@example.org 95 messages 10 10 all"]
    for message in list((spool.root / "cur").iterdir())[:5]:
        message.unlink()
    (spool.root / "maildirsize").unlink()
    assert job(spool.root, known) == jobs.DONE
    assert said(out)[2:] == ["ann@example.org 80 messages 5 10 again"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 3\n",
        "#!/bin/sh\nexec sleep 1000\n",
        "#!/bin/sh\nsleep 1000 &\nexit 0\n",
        "#!/nonexistent\n",
        "",
    ],
    ids=["fails", "hangs", "leaves", "is-none", "not-executable"],
)
def test_one_that_goes_wrong_is_run_once(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PATIENCE_SECONDS", 1.0)
    bad = script(tmp_path / "bad", text)
    if not text:
        bad.chmod(0o644)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 9)
    assert job(spool.root, warnings(f"80:{bad}")) == jobs.DONE
    good = script(tmp_path / "tell", TELL.format(out=tmp_path / "out"))
    assert job(spool.root, warnings(f"80:{good}")) == jobs.DONE
    assert not said(tmp_path / "out")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 9)
    assert job(spool.root, warnings("80:/nonexistent/full", "95:nowhere-to-be-found")) == jobs.DONE


# --- servers ------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A server with two workers, whose users may have 10 KiB and 20 messages, and what its warnings have said."""

    running: Running
    out: Path

    def until(self, lines: list[str]) -> None:
        """Wait until that is what has been said."""
        wait(lambda: said(self.out) == lines, lambda: f"{said(self.out)}\n{(self.running.base / 'log').read_text()}")


def wait(what: Callable[[], bool], why: Callable[[], str]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


def append(client: Client, octets: int, mailbox: str = "INBOX") -> None:
    text = b"Subject: x\r\n\r\n" + b"y" * (octets - 16) + b"\r\n"
    client.send(b"a APPEND %b {%d+}\r\n%b\r\n" % (mailbox.encode(), len(text), text))
    client.until("a OK")


OPTIONS = (
    "--quota-storage=10K",
    "--quota-exceptions=Trash: ignore",
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    out = tmp_path / "out"
    tell = script(tmp_path / "tell", TELL.format(out=out))
    given = [f"--quota-warnings={each}:{tell}" for each in ("80", "95", "under 80")]
    running = start_server(tmp_path, *OPTIONS, *given, "--lmtp-listen=127.0.0.1:0", users=4)
    yield Site(running, out)
    Client.close_all()
    stop_server(running)


def config(site: Site, name: str) -> list[str]:
    """The settings of the server for a command."""
    base = site.running.base
    lines = [
        f'passwd_file = "{base}/passwd"',
        f'mail_location = "maildir:{base}/%n/Maildir"',
        'quota_storage = "10K"',
        'quota_exceptions = "Trash: ignore"',
        f'quota_warnings = ["80:{base}/tell", "95:{base}/tell", "under 80:{base}/tell"]',
        f'log_file = "{base}/deliver.log"',
        'fsync = "never"',
        *(['mail_user = "root"'] if os.geteuid() == 0 else []),
    ]
    (base / name).write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "maildir_imapd", "deliver", f"--config={base / name}"]


@pytest.mark.slow
def test_all_ways_in_and_out(site: Site) -> None:
    user, spool = site.running.user()
    spool.folder("Trash")
    client = Client.to(site.running.port, user=user)
    append(client, 4 * K)
    append(client, 4 * K, "Trash")
    client.ok("SELECT INBOX")
    client.ok("COPY 1 INBOX")
    # 8 K are 78 percent, as octets lie on the disk.
    assert said(site.out) == []
    append(client, K)
    lines = [f"{user} 80 storage {sum_of(spool)} {10 * K} "]
    site.until(lines)
    # By LMTP, also into what the last one may take beyond.
    with Lmtp(("127.0.0.1", site.running.ports["lmtp"])) as talker:
        assert good(talker.deliver(b"Subject: y\r\n\r\n" + b"z" * (K + 100) + b"\r\n", user))
    lines.append(f"{user} 95 storage {sum_of(spool)} {10 * K} ")
    site.until(lines)
    client.ok("NOOP")
    client.ok("STORE 1 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    lines.append(f"{user} 80 storage {sum_of(spool)} {10 * K} ")
    site.until(lines)
    text = b"Subject: z\n\n" + b"z" * (4 * K) + b"\n"
    subprocess.run([*config(site, "conf"), "-d", user], input=text, check=True, timeout=60)
    lines.append(f"{user} 95 storage {sum_of(spool)} {10 * K} ")
    site.until(lines)


def sum_of(spool: Spool) -> int:
    return sum(each.stat().st_size for sub in ("cur", "new") for each in (spool.root / sub).iterdir())


@pytest.mark.slow
def test_several_workers_cross_a_threshold_at_once(site: Site) -> None:
    user, spool = site.running.user()
    clients = [Client.to(site.running.port, user=user) for _ in range(6)]
    for n in range(3):
        together = threading.Barrier(len(clients))

        def one(client: Client, together: threading.Barrier = together) -> None:
            together.wait()
            append(client, 1500)

        threads = [threading.Thread(target=one, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait(lambda n=n: len(said(site.out)) == 2 * n + 1, lambda: (site.running.base / "log").read_text())  # type: ignore[misc]
        clients[0].ok("SELECT INBOX")
        clients[0].ok("STORE 1:* +FLAGS (\\Deleted)")
        clients[0].ok("EXPUNGE")
        wait(lambda n=n: len(said(site.out)) == 2 * n + 2, lambda: (site.running.base / "log").read_text())  # type: ignore[misc]
    assert [line.split()[1] for line in said(site.out)] == ["80", "80"] * 3
    assert sum_of(spool) == 0


@pytest.mark.slow
def test_a_command_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    hangs = script(tmp_path / "hangs", TELL.format(out=out) + "exec sleep 1000\n")
    running = start_server(tmp_path, *OPTIONS, f"--quota-warnings=80:{hangs}", users=2)
    try:
        first, spool = running.user()
        client = Client.to(running.port, user=first)
        append(client, 9 * K)
        wait(lambda: len(said(out)) == 1, lambda: (tmp_path / "log").read_text())
        append(client, K // 2)
        client.ok("SELECT INBOX")
        client.ok("STORE 1:* +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
        assert sum_of(spool) == 0
    finally:
        Client.close_all()
        # It ends what it has started.
        stop_server(running)


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_a_warning_is_run_as_its_user(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    out = tmp_path / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    tell = script(tmp_path / "tell", f"#!/bin/sh\nid -u > {out}/part && mv {out}/part {out}/done\n")
    spool = Spool(tmp_path / "ann" / "Maildir")
    spool.simple("INBOX", 1)
    give_to(tmp_path / "ann", 54321)
    users = f"ann:{{PLAIN}}secret:54321:54321::{tmp_path / 'ann'}::userdb_quota_rule=*:messages=2\n"
    (tmp_path / "users").write_text(users)
    given = [f"--quota-warnings=95:{tell}", f"--passwd-file={tmp_path / 'users'}"]
    running = start_server(tmp_path, *given, users=1, system_users=True)
    try:
        append(Client.to(running.port, user="ann"), 100)
        wait((out / "done").exists, lambda: (tmp_path / "log").read_text())
        assert (out / "done").read_text() == "54321\n"
    finally:
        Client.close_all()
        stop_server(running)
