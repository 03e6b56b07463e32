"""Autoexpunge: after a user has left, and once a day for everybody, by one of all workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from client import Client
from running import give_to, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.auth.base import Identity
from maildir_imapd.auth.fields import identity
from maildir_imapd.auth.joined import merged
from maildir_imapd.config import load
from maildir_imapd.errors import Unavailable
from maildir_imapd.server import beside, expiry_jobs, jobs, owners, shared
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.beside import Processes
from maildir_imapd.server.expiry_jobs import AGAIN_SECONDS, DAY_SECONDS, FIRST_SECONDS, DailyRound
from maildir_imapd.server.job_queue import JobKind, Queue
from maildir_imapd.server.settings import mail
from maildir_imapd.store.account import Account
from maildir_imapd.store.records.usual import UsualMailbox

RULES = (UsualMailbox(("Gone",), None, "no", 1), UsualMailbox(("Trash",), b"\\Trash", "no", 86400))


def config(tmp_path: Path, *mailboxes: str, fields: str = "", **given: Any) -> Any:
    (tmp_path / "users").write_text(f"ann:{{PLAIN}}x::::::\nben:{{PLAIN}}x::::::{fields}\n")
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    location = f"maildir:{tmp_path}/%n/Maildir"
    said = {"passwd_file": [str(tmp_path / "users")], "mail_location": location, "fsync": "never", **given}
    return load(None, said | ({"mailboxes": list(mailboxes)} if mailboxes else {}))


def wait_for_line(log: Path, words: str) -> None:
    """Wait until the log has a line with these words."""
    with subprocess.Popen(["tail", "-n", "+1", "-F", str(log)], stdout=subprocess.PIPE, text=True) as tail:
        killer = threading.Timer(90, tail.kill)
        killer.start()
        try:
            assert tail.stdout is not None
            assert any(words in line for line in tail.stdout), log.read_text()
        finally:
            killer.cancel()
            tail.kill()


# --- the round ----------------------------------------------------------------------------------------


class Clock:
    """Two workers, and the time that passes for them."""

    def __init__(self, *names: str) -> None:
        self.now = 5000.0
        last = shared.words(1)
        self.asked = 0

        def everybody() -> Iterator[str]:
            self.asked += 1
            return iter(names)

        self.workers = [DailyRound(everybody, last, now=lambda: self.now, apart=apart) for apart in (1.0, 2.0)]

    def turns(self) -> list[list[str]]:
        """Who has his turn in each of them."""
        found = []
        for worker in self.workers:
            here: list[str] = []
            while names := worker.some(2):
                here += names
            found.append(here)
        return found


def test_one_of_all_workers_makes_the_round_once_a_day() -> None:
    clock = Clock("ann", "ben", "cat")
    assert clock.turns() == [[], []]
    assert clock.workers[0].patience() == FIRST_SECONDS + 1
    clock.now += FIRST_SECONDS + 3
    assert clock.turns() == [["ann", "ben", "cat"], []]
    clock.now += DAY_SECONDS - 1
    assert clock.turns() == [[], []]
    clock.now += 10
    assert clock.turns() == [["ann", "ben", "cat"], []]
    assert clock.asked == 2


def test_a_list_that_cannot_be_had_is_asked_for_again() -> None:
    now = [0.0]
    asked: list[float] = []

    def everybody() -> Iterator[str]:
        asked.append(now[0])
        raise Unavailable

    daily = DailyRound(everybody, shared.words(1), now=lambda: now[0], apart=0.0)
    now[0] = FIRST_SECONDS
    assert daily.some(5) == []
    assert daily.some(5) == []
    now[0] += AGAIN_SECONDS
    assert daily.some(5) == []
    assert asked == [FIRST_SECONDS, FIRST_SECONDS + AGAIN_SECONDS]


def test_a_list_that_breaks_off() -> None:
    def everybody() -> Iterator[str]:
        yield "ann"
        yield "ben"
        raise Unavailable

    now = [0.0]
    daily = DailyRound(everybody, shared.words(1), now=lambda: now[0], apart=0.0)
    now[0] = FIRST_SECONDS
    assert daily.some(2) == ["ann", "ben"]
    assert daily.some(2) == []
    assert daily.some(2) == []


def test_the_queue_gives_everybody_his_turn() -> None:
    done = shared.words(1)

    def work(user: str, *_: object) -> int:
        done[0] += 1
        return jobs.DONE

    now = [0.0]
    daily = DailyRound(lambda: iter(f"u{n}" for n in range(7)), shared.words(1), now=lambda: now[0], apart=0.0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        queue = Queue(JobKind("expiry", work, 0.0, 0.0, daily), theirs, now=lambda: now[0])
        now[0] = FIRST_SECONDS
        for _ in range(1000):
            if done[0] == 7:
                break
            assert queue.turn()
        assert done[0] == 7
    finally:
        ours.close()
        theirs.close()


# --- for whom -----------------------------------------------------------------------------------------


def test_there_is_a_process_where_messages_of_anybody_go(tmp_path: Path) -> None:
    assert not expiry_jobs.wanted(config(tmp_path))
    assert not expiry_jobs.wanted(config(tmp_path, "Trash: auto=create"))
    assert expiry_jobs.wanted(config(tmp_path, "Trash: autoexpunge=1d"))
    assert expiry_jobs.wanted(config(tmp_path, "Trash: autoexpunge_count=10"))
    assert expiry_jobs.wanted(config(tmp_path, fields="mailboxes=Junk:autoexpunge=1d"))
    assert expiry_jobs.wanted(config(tmp_path, keep_expunged="1d"))
    assert expiry_jobs.wanted(config(tmp_path, fields="keep_expunged=1d"))
    assert not expiry_jobs.wanted(config(tmp_path, fields="keep_expunged=long"))


def test_the_round_is_for_those_whose_messages_go(tmp_path: Path) -> None:
    kind = expiry_jobs.kind(config(tmp_path, "Trash: autoexpunge=1d", fields="mailboxes=no"))
    assert isinstance(kind.round, DailyRound)
    assert list(kind.round._everybody()) == ["ann"]
    assert expiry_jobs.kind(config(tmp_path), opens=lambda _: None).round is None


def test_whoever_leaves_is_named(tmp_path: Path) -> None:
    class Beside(Processes):
        said: ClassVar[list[str]] = []

        @property
        def has_expiry(self) -> bool:
            return True

        def expire(self, user: str) -> None:
            self.said.append(user)

    accounts = Accounts(mail(config(tmp_path, "Trash: autoexpunge=1d")), None, background=Beside())
    for name, mailboxes in (("ann", None), ("ben", "no"), ("cat", "Junk:autoexpunge=1d")):
        accounts.left(accounts.account(Identity(name, mailboxes=mailboxes)))
    assert Beside.said == ["ann", "cat"]


# --- a job --------------------------------------------------------------------------------------------


def job(root: Path, *, ending: bool = False) -> int:
    """How a job ends that is a process of its own, two days from now."""
    cells = shared.words(jobs.CELLS)
    cells[jobs.END] = ending
    mine, child = os.getpid(), os.fork()
    if child == 0:
        status = 99
        try:

            def opens(user: str) -> Account:
                account = Account(os.fsencode(root), fsync="never")
                account.usual = RULES
                return account

            noting = jobs.Noting(cells, frozenset())
            status = expiry_jobs.work(opens, "ann", noting, mine, lambda: time.time() + 2 * 86400)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_job(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("Trash", 3)
    spool.simple("INBOX", 2)
    assert job(spool.root, ending=True) == jobs.AGAIN
    assert len(spool.files("Trash")) == 3
    assert job(spool.root) == jobs.DONE
    assert (len(spool.files("Trash")), len(spool.files("INBOX"))) == (0, 2)


def test_one_that_is_retired_does_nothing_and_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    processes = beside.start(config(tmp_path, "Trash: autoexpunge=1d", cache_ahead=False))
    assert processes.has_expiry
    assert processes._expiry is not None
    child = processes._expiry._process
    processes.retire()
    processes.retire()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    processes.expire("ann")
    processes.look()
    processes.share_log()
    processes.close()
    assert "no jobs any more" not in caplog.text


def test_a_user_s_own_time_goes_before_the_setting_s(tmp_path: Path) -> None:
    accounts = Accounts(mail(config(tmp_path, keep_expunged="1d", keep_expunged_storage="5M")), None)
    deleted = accounts.account(Identity("ann")).deleted
    assert (deleted.seconds, deleted.octets) == (86400, 5 << 20)
    assert accounts.account(Identity("ann", keep_expunged=0.0)).deleted.seconds == 0
    assert accounts.account(identity("ann", {"userdb_keep_expunged": "2w"})).deleted.seconds == 14 * 86400
    assert merged(Identity("ann", keep_expunged=0.0), Identity("ann", keep_expunged=5.0)).keep_expunged == 0.0
    assert merged(Identity("ann"), Identity("ann", keep_expunged=5.0)).keep_expunged == 5.0


# --- a server -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_lets_them_go_and_says_so(tmp_path: Path) -> None:
    """One client leaves; another, of the other worker perhaps, hears of it and can still read what it shows."""
    system_users = owners.supported()
    open_to_all(tmp_path)
    uid = 54321 if system_users else os.geteuid()
    spool = Spool(tmp_path / "ann" / "Maildir")
    spool.folder("Trash")
    spool.put("Trash", b"Subject: one\n\nbody\n", "S")
    spool.put("INBOX", b"Subject: two\n\nbody\n", "S")
    give_to(tmp_path / "ann", uid)
    (tmp_path / "users").write_text(f"ann:{{PLAIN}}secret:{uid}:{uid}::{tmp_path}/ann::\n")
    options = ["--mailboxes=Trash: use=Trash, autoexpunge=1s", f"--passwd-file={tmp_path}/users"]
    server = start_server(tmp_path, *options, users=1, system_users=system_users)
    try:
        stays = Client.to(server.port, user="ann")
        assert stays.ok("SELECT Trash")
        assert b"* 1 EXISTS" in stays.ok("SELECT Trash")
        idling = Client.to(server.port, user="ann")
        idling.ok("SELECT Trash")
        tag = idling.idle()
        with Client.to(server.port, user="ann") as leaves:
            leaves.ok("LOGOUT")
        idling.until(r"\* 1 EXPUNGE")
        idling.done(tag)
        assert any(b"Subject: one" in line for line in stays.ok("FETCH 1 BODY.PEEK[HEADER]"))
        assert b"* 1 EXPUNGE" in stays.ok("NOOP")
        stays.ok("SELECT INBOX")
        assert len(stays.ok("FETCH 1 FLAGS")) == 2
        log = (tmp_path / "log").read_text()
        assert "autoexpunge" in log
        assert "Traceback" not in log
        for path in (tmp_path / "ann" / "Maildir").rglob("*"):
            assert path.stat().st_uid == uid, path
    finally:
        Client.close_all()
        stop_server(server)


@pytest.mark.slow
def test_a_server_keeps_what_is_expunged_and_gives_it_back(tmp_path: Path) -> None:
    system_users = owners.supported()
    open_to_all(tmp_path)
    uid = 54321 if system_users else os.geteuid()
    spool = Spool(tmp_path / "ann" / "Maildir")
    spool.simple("INBOX", 3)
    spool.simple("Work", 1)
    give_to(tmp_path / "ann", uid)
    users = tmp_path / "users"
    users.write_text(f"ann:{{PLAIN}}secret:{uid}:{uid}::{tmp_path}/ann::\n")
    location = f"maildir:{tmp_path}/%n/Maildir"
    (tmp_path / "conf").write_text(
        f'keep_expunged = "90m"\npasswd_file = "{users}"\nmail_location = "{location}"\n'
        + ("" if system_users else 'mail_user = "root"\n' if os.geteuid() == 0 else "")
    )
    options = [f"--config={tmp_path}/conf", f"--passwd-file={users}"]
    server = start_server(tmp_path, *options, users=1, system_users=system_users)
    base = [sys.executable, "-m", "maildir_imapd", "message", "undelete", f"--config={tmp_path}/conf", "-u", "ann"]
    try:
        client = Client.to(server.port, user="ann")
        stays = Client.to(server.port, user="ann")
        client.ok("SELECT INBOX")
        client.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")
        client.ok("DELETE Work")
        listed = json.loads(subprocess.run([*base, "--list", "--json"], capture_output=True, check=True).stdout)
        assert sorted(row["mailbox"] for row in listed) == ["INBOX", "INBOX", "Work"]
        assert not any(b"deleted" in line for line in client.ok('LIST "" "*"'))
        stays.ok("SELECT INBOX")
        tag = stays.idle()
        subprocess.run([*base, "UID 1", "-m", "INBOX"], capture_output=True, check=True)
        stays.until(r"\* 2 EXISTS")
        stays.done(tag)
        # By new settings the others go for good: whoever comes, and leaves, has it done.
        conf = tmp_path / "conf"
        conf.write_text(conf.read_text().replace("90m", "1s"))
        server.process.send_signal(signal.SIGHUP)
        wait_for_line(tmp_path / "log", " retired ")
        with Client.to(server.port, user="ann") as late:
            late.ok("LOGOUT")
        wait_for_line(tmp_path / "log", "expunged messages gone for good")
        listed = json.loads(subprocess.run([*base, "--list", "--json"], capture_output=True, check=True).stdout)
        assert listed == []
        for path in (tmp_path / "ann" / "Maildir").rglob("*"):
            assert path.stat().st_uid == uid, path
    finally:
        Client.close_all()
        stop_server(server)
