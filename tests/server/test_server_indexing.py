"""The process beside a worker that fills indexes of texts, its jobs, and the programs that these run."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from client import Client
from running import Running, give_to, open_to_all, start_server, stop_server
from spool import Spool
from texts_index import Indexed

from maildir_imapd import log as logs
from maildir_imapd.auth import schemes
from maildir_imapd.config import load
from maildir_imapd.imap.columns.danger import Message
from maildir_imapd.server import beside as besides
from maildir_imapd.server import confine, extracting, index_jobs, job_queue, jobs, owners, programs, settings, shared
from maildir_imapd.server.extracting import Extracting, Extractors
from maildir_imapd.server.job_queue import Queue, render
from maildir_imapd.store.account import Account
from maildir_imapd.store.records.texts import FILE
from maildir_imapd.store.records.texts_filling import Filling

NOTHING = Extracting({})
# As a program of the server's own, with nothing to wait for.
AT_ONCE = (
    "from maildir_imapd.server import index_jobs; index_jobs.DELAY_SECONDS = index_jobs.REST_SECONDS = 0.0;"
    "from maildir_imapd.cli import run; run()"
)
TURNS = 10_000


def message(word: str) -> bytes:
    return f"Subject: {word}\n\nthe text of {word}\n".encode()


class Beside:
    """A queue whose worker is the test."""

    def __init__(self, root: Path, *, delay: float) -> None:
        self.root = root
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.now = 100.0
        self.opened = root / "opened"
        kind = replace(index_jobs.kind_of(self.opens, NOTHING), delay_seconds=delay)
        self.queue = Queue(kind, theirs, now=lambda: self.now)
        self.theirs = theirs

    def opens(self, user: str) -> Account | None:
        with open(self.opened, "a") as file:
            file.write(user + "\n")
        return Account(os.fsencode(self.root / user), fsync="never") if user != "none" else None

    def users(self) -> list[str]:
        """For whom jobs have been begun."""
        return self.opened.read_text().split() if self.opened.exists() else []

    def say(self, user: str, path: Path) -> None:
        self.ours.send(render(user, os.fsencode(path), urgent=False))

    def turns(self, until: Callable[[], bool]) -> None:
        for _ in range(TURNS):
            if until():
                return
            assert self.queue.turn()
        raise AssertionError("it does not come to that")

    def done(self) -> bool:
        return self.queue._job is None and not self.queue._waiting


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    found = Beside(tmp_path, delay=0.0)
    yield found
    found.ours.close()
    found.theirs.close()


def test_what_is_said_is_indexed(beside: Beside) -> None:
    spool = Spool(beside.root / "ann")
    spool.put("INBOX", message("one"), "")
    spool.put("other", message("two"), "")
    beside.say("ann", spool.root)
    beside.say("ann", spool.path("other"))
    beside.say("ann", beside.root)  # no folder of hers
    beside.turns(lambda: beside.users() != [] and beside.done())
    assert beside.users() == ["ann"], "one job for all folders of a user"
    with Filling(os.fsencode(spool.root)) as filling:
        assert filling.extent().messages == 2


def test_a_burst_is_one_job(beside: Beside) -> None:
    beside.queue._kind = replace(beside.queue._kind, delay_seconds=10.0)
    spool = Spool(beside.root / "ann")
    for _ in range(5):
        beside.say("ann", spool.root)
    assert beside.queue._hear()
    beside.queue._begin()
    assert beside.users() == []
    assert beside.queue._patience() == 10.0
    beside.now += 10.0
    beside.turns(lambda: beside.users() != [] and beside.done())
    assert beside.users() == ["ann"]


def test_it_ends_with_its_worker(beside: Beside) -> None:
    beside.say("none", beside.root)
    beside.ours.close()
    assert not beside.queue.turn()
    assert beside.users() == []


def test_who_fails_is_put_off_ever_longer(beside: Beside) -> None:
    spool = Spool(beside.root / "ann")
    (spool.root / os.fsdecode(FILE)).mkdir()  # which nobody can make a file of
    pauses = []
    for turn in range(1, 9):
        beside.say("ann", spool.root)
        beside.turns(lambda turn=turn: len(beside.users()) == turn and beside.done())
        until, pause = beside.queue._pauses["ann"]
        pauses.append(pause)
        assert until == beside.now + pause
        beside.say("ann", spool.root)
        assert beside.queue._hear()
        beside.queue._begin()
        assert beside.queue._job is None, "not before that"
        beside.now = until
    assert pauses == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]
    (spool.root / os.fsdecode(FILE)).rmdir()
    beside.turns(beside.done)
    assert beside.queue._pauses["ann"] == (beside.now + 30.0, 0.0)


def test_a_message_that_jobs_die_of_is_left_out(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(beside.root / "ann")
    for word in ("one", "two", "three"):
        spool.put("INBOX", message(word), "")
    at = jobs.Noting.at

    def deadly(self: jobs.Noting, uid: int) -> bool:
        there = at(self, uid)
        if uid == 2 and there:
            os.kill(os.getpid(), signal.SIGKILL)
        return there

    monkeypatch.setattr(jobs.Noting, "at", deadly)
    monkeypatch.setattr(job_queue, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(job_queue, "LONGEST_PAUSE_SECONDS", 0.0)
    beside.say("ann", spool.root)
    beside.turns(lambda: len(beside.users()) == 3 and beside.done())
    with Filling(os.fsencode(spool.root)) as filling:
        assert filling.extent().messages == 2
    [(dead, count)] = beside.queue._deaths.items()
    assert (dead.uid, count) == (2, 2)


@pytest.mark.slow
def test_a_job_that_stands_still_is_ended(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel, also where it would never come back; with what it has begun."""
    spool = Spool(beside.root / "ann")
    spool.put("INBOX", message("one"), "")

    def endless(*args: object) -> int:
        while True:
            signal.pause()

    monkeypatch.setattr(index_jobs, "fill", endless)
    monkeypatch.setattr(jobs, "STANDS_SECONDS", 1)
    beside.say("ann", spool.root)
    beside.turns(lambda: beside.users() != [])
    beside.turns(lambda: beside.queue._job is None)
    assert "ann" in beside.queue._pauses


def test_a_job_that_is_asked_to_end_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "ann")
    for word in ("one", "two", "three"):
        spool.put("INBOX", message(word), "")
    cells = shared.words(jobs.CELLS)

    class Ending(index_jobs.TextNoting):
        def at(self, uid: int) -> bool:
            if uid == 2:
                cells[jobs.END] = 1
            return super().at(uid)

    noting = Ending(cells, frozenset(), Extractors(NOTHING))
    parent, child = os.getpid(), os.fork()
    if child == 0:
        status = 99
        try:
            paths = [os.fsencode(spool.root)]
            status = index_jobs.work(lambda user: Account(paths[0]), "ann", paths, noting, parent)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == jobs.AGAIN
    with Filling(os.fsencode(spool.root)) as filling:
        assert filling.extent().messages == 1


def test_a_job_whose_parent_has_gone_does_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "ann")
    noting = index_jobs.TextNoting(shared.words(jobs.CELLS), frozenset(), Extractors(NOTHING))
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = index_jobs.work(lambda user: Account(os.fsencode(spool.root)), "ann", [], noting, 1)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == jobs.FAILED


@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_what_another_user_has_left_behind_is_ended_without_the_right_to_signal_him() -> None:
    child = os.fork()
    if child == 0:
        try:
            programs.adopt_orphans()
            confine.drop_capabilities((confine.SETUID, confine.SETGID))
            job = os.fork()
            if job == 0:
                jobs.become(owners.Owner(12345, 12345, (12345,)))
                if os.fork() == 0:
                    os.setsid()
                    while True:
                        signal.pause()
                os._exit(0)
            os.waitpid(job, 0)
            assert len(programs.children()) == 1
            programs.end_children()
            os._exit(len(programs.children()))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_whoever_has_none_gets_none(beside: Beside) -> None:
    beside.say("none", beside.root)
    beside.turns(lambda: beside.users() == ["none"] and beside.done())
    assert beside.queue._pauses["none"][1] == 0.0


def test_somebody_else_is_at_it(beside: Beside) -> None:
    spool = Spool(beside.root / "ann")
    with Filling(os.fsencode(spool.root)):
        beside.say("ann", spool.root)
        beside.turns(lambda: beside.users() == ["ann"] and beside.done())
    assert beside.queue._pauses["ann"][1] == 0.0


def test_a_folder_that_goes_keeps_no_other_from_being_indexed(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(beside.root / "ann")
    spool.put("gone", message("one"), "")
    spool.put("stays", message("two"), "")
    monkeypatch.setattr(Account, "paths", lambda self: [os.fsencode(spool.path(name)) for name in ("gone", "stays")])
    shutil.rmtree(spool.path("gone"))
    for name in ("gone", "stays"):
        beside.say("ann", spool.path(name))
    beside.turns(lambda: beside.users() != [] and beside.done())
    with Filling(os.fsencode(spool.root)) as filling:
        assert filling.extent().messages == 1


def test_folders_that_are_gone_are_forgotten_some_day(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_jobs, "_FOLDERS_GONE", 0)
    spool = Spool(beside.root / "ann")
    account = Account(os.fsencode(spool.root), fsync="never")
    for turn, name in enumerate("abcde", 1):
        spool.put(name, message(name), "")
        account.mailbox(name)
        beside.say("ann", spool.path(name))
        beside.now += 100.0
        beside.turns(lambda turn=turn: len(beside.users()) == turn and beside.done())
        if name != "e":
            account.delete(name)
    # INBOX and e are there: of five folders four were gone.
    with Filling(os.fsencode(spool.root)) as filling:
        assert filling.extent()[:2] == (1, 4)
        assert len(filling.folders()) == 1


def test_noting_says_where_it_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    box = Indexed(spool.root).account.mailbox("INBOX")
    cells = shared.words(jobs.CELLS)
    bad = Message(*box.identity, box.uidvalidity, 7)
    noting = index_jobs.TextNoting(cells, frozenset([bad]), Extractors(NOTHING))
    noting.folder(box)
    assert noting.at(6)
    assert Message(*cells[: jobs.END]) == (*box.identity, box.uidvalidity, 6)
    assert not noting.at(7)
    noting.at(0)
    assert cells[jobs.UID] == 0
    cells[jobs.END] = 1
    assert not noting.at(8)


# --- the worker's end -------------------------------------------------------------------------------


def config(tmp_path: Path, *fields: str, **values: str) -> object:
    stored = schemes.make(b"secret", "SSHA")
    (tmp_path / "passwd").write_text("".join(f"u{n}:{stored}::::::{more}\n" for n, more in enumerate(fields)))
    return load(None, {"passwd_file": str(tmp_path / "passwd"), **values})


def test_nobody_has_an_index_unless_somebody_says_so(tmp_path: Path) -> None:
    none = besides.start(config(tmp_path, "", "search_index=no", cache_ahead="no"))  # type: ignore[arg-type]
    assert (none.has_texts, none.has_fields) == (False, False)
    assert not index_jobs.wanted(config(tmp_path, ""))  # type: ignore[arg-type]
    assert index_jobs.wanted(config(tmp_path, "", search_index="yes"))  # type: ignore[arg-type]
    assert index_jobs.wanted(config(tmp_path, "", "userdb_search_index=yes"))  # type: ignore[arg-type]


def test_a_user_s_own_word_goes_before_the_setting_s(tmp_path: Path) -> None:
    for setting in ("yes", "no"):
        made = config(tmp_path, "", "userdb_search_index=yes", "userdb_search_index=no", search_index=setting)
        mail = settings.mail(made)  # type: ignore[arg-type]
        chain = settings.chain(made)  # type: ignore[arg-type]
        said = [mail.search_index_of(chain.find(f"u{n}")) for n in range(3)]  # type: ignore[arg-type]
        assert said == [setting == "yes", True, False]


def test_one_that_has_gone_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found = besides.Beside(ours, child, "texts")
    theirs.close()
    while "no jobs any more" not in caplog.text:
        found.look()
    found.look()
    found.tell("ann", b"/path")
    found.tell("ann", b"/" * 100_000)
    found.close()
    assert caplog.text.count("no jobs any more") == 1


def test_asking_waits_for_nobody() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found = besides.Beside(ours, os.getpid(), "texts")
    for _ in range(5000):
        found.tell("ann", b"/path" * 100)
    found.close()
    theirs.close()


def test_it_goes_on_in_the_log_that_its_worker_has(tmp_path: Path, beside: Beside) -> None:
    logs.set_up("info", str(tmp_path / "new"))
    try:
        besides.Beside(beside.ours, 0, "texts").share_log()
        assert beside.queue._hear()
        besides.log.info("said by the other")
        assert "said by the other" in (tmp_path / "new").read_text()
    finally:
        logs.set_up("info")


# --- programs ---------------------------------------------------------------------------------------


def extractors(*command: str, landlock: bool = False) -> Extractors:
    return Extractors(Extracting({b"application/x": command}, landlock=landlock))


def extract(command: str, octets: bytes = b"in", *, landlock: bool = False) -> str:
    """In a child, for the programs' orphans become its children."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            found = extractors("sh", "-c", command, landlock=landlock).extract(b"application/x", octets)
            os.write(writing, found.encode()[:60_000])
        finally:
            os._exit(0 if not programs.children() else 9)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "something is left"
    return said.decode()


def test_a_program_makes_a_text_of_what_it_gets() -> None:
    assert extract("tr a-z A-Z", b"quick") == "QUICK"
    assert extract("printf 'gr\\303\\274n\\377'") == "gr\u00fcn\ufffd"
    assert len(extract("cat", b"x" * 50_000)) == 50_000


def test_only_what_has_a_program() -> None:
    some = extractors("cat")
    assert some.takes(b"application/x")
    assert not some.takes(b"application/pdf")


@pytest.mark.parametrize("command", ["exit 3", "kill -9 $$", "echo text; exit 1"])
def test_one_that_fails_says_nothing(command: str) -> None:
    assert extract(command) == ""


def test_one_that_reads_nothing() -> None:
    assert extract("echo done", b"x" * (1 << 20)) == "done\n"


def test_one_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    some = extractors("no-such-program-anywhere")
    assert some.extract(b"application/x", b"in") == ""
    assert not some.takes(b"application/x"), "it is not looked for again"
    assert "no such program" in caplog.text


def test_one_that_says_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "OUTPUT_OCTETS", 1000)
    assert extract("yes") == ""


def test_one_that_is_given_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "INPUT_OCTETS", 3)
    assert extract("cat", b"four") == ""


def test_one_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "PATIENCE_SECONDS", 0.2)
    assert extract("sleep 1000 & sleep 1000") == ""


def test_one_that_leaves_something_behind() -> None:
    """In a session of its own, away from its parent and from the pipe: all of it is ended."""
    assert extract("setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo text") == "text\n"
    assert extract("(setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 &) ; echo text") == "text\n"


def test_one_that_does_not_end_though_it_has_said_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "_ENDS_SECONDS", 0.1)
    assert extract("echo text; exec >&-; sleep 1000") == ""


@pytest.mark.skipif(confine.landlock_version() < 2, reason="this kernel has no landlock")
def test_a_program_reads_no_mail_and_writes_no_file(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("secret")
    tmp_path.chmod(0o777)
    assert extract(f"cat {tmp_path}/mail; true", landlock=True) == ""
    assert extract(f"echo x > {tmp_path}/made; true", landlock=True) == ""
    assert not (tmp_path / "made").exists()
    assert extract("cat", b"still", landlock=True) == "still"


def test_a_program_has_no_descriptor_but_its_three(tmp_path: Path) -> None:
    with open(tmp_path / "open", "wb") as file:
        os.set_inheritable(file.fileno(), True)
        assert extract("ls /proc/self/fd | grep -c -v '[012]'; true").strip() in ("0", "1")  # 3: the directory listed


# --- whole servers ----------------------------------------------------------------------------------


def wait_for(client: Client, reads: Callable[[], bool], command: str) -> None:
    """Ask until it is so; each command is an occasion for the server to notice."""
    for _ in range(TURNS):
        client.ok(command)
        if reads():
            return
    raise AssertionError("it does not come to that")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = start_server(tmp_path, "--search-index=yes", users=2, program=("-c", AT_ONCE))
    yield running
    Client.close_all()
    stop_server(running)


def found(client: Client, key: str) -> list[int]:
    [line] = [line for line in client.ok(f"SEARCH {key}") if line.startswith(b"* SEARCH")]
    return [int(number) for number in line.split()[2:]]


def indexed(spool: Spool) -> int:
    """How many messages the index has; no look that would change anything."""
    try:
        connection = sqlite3.connect(f"file:{spool.root / os.fsdecode(FILE)}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT coalesce(sum(length(data)), 0) / 12 FROM known").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


@pytest.mark.slow
def test_a_server_fills_and_asks_it(server: Running) -> None:
    user, spool = server.user()
    for word in ("one", "two", "three"):
        spool.put("INBOX", message(word), "")
    client = Client.to(server.port, user=user)
    client.ok("SELECT INBOX")
    assert found(client, "BODY two") == [2]
    wait_for(client, lambda: indexed(spool) == 3, "SEARCH BODY absent")
    assert found(client, "BODY two") == [2]
    assert found(client, "TEXT three") == [3]
    # A delivery that nobody has searched for.
    spool.put("INBOX", message("four"))
    wait_for(client, lambda: indexed(spool) == 4, "NOOP")
    # Removed under way, it is made again.
    (spool.root / os.fsdecode(FILE)).unlink()
    assert found(client, "BODY two") == [2]
    wait_for(client, lambda: indexed(spool) == 4, "SEARCH BODY absent")
    client.ok("STORE 1 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    assert found(client, "BODY two") == [1]


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.slow
def test_it_goes_when_its_worker_does(tmp_path: Path) -> None:
    running = start_server(tmp_path, "--search-index=yes", users=1, program=("-c", AT_ONCE))
    beside = [each for worker in children(running.process.pid) for each in children(worker)]
    assert len(beside) == 2 * 2, "each worker has one for texts and one for fields"
    ends = [os.pidfd_open(each) for each in beside]
    stop_server(running)
    for end in ends:
        assert select.select([end], [], [], 30)[0], "it is still there"
        os.close(end)


@pytest.mark.slow
def test_a_server_whose_process_was_killed_goes_on(tmp_path: Path) -> None:
    running = start_server(tmp_path, "--search-index=yes", users=1, program=("-c", AT_ONCE))
    try:
        user, spool = running.user()
        spool.put("INBOX", message("one"), "")
        for worker in children(running.process.pid):
            for each in children(worker):
                os.kill(each, signal.SIGKILL)
        client = Client.to(running.port, user=user)
        client.ok("SELECT INBOX")
        wait_for(client, lambda: "no jobs any more" in (tmp_path / "log").read_text(), "SEARCH BODY one")
        assert found(client, "BODY one") == [1]
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_a_job_is_its_user(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    running = start_server(tmp_path, "--search-index=yes", users=1, program=("-c", AT_ONCE), system_users=True)
    try:
        stored = schemes.make(b"secret", "SSHA")
        spools = []
        with open(tmp_path / "passwd", "a") as file:
            for n, uid in ((8, 12345), (9, 12346)):
                spool = Spool(tmp_path / f"u{n}" / "Maildir")
                spool.put("INBOX", message("one"), "")
                give_to(tmp_path / f"u{n}", uid)
                file.write(f"u{n}:{stored}:{uid}:{uid}::::\n")
                spools.append((f"u{n}", uid, spool))
        for user, uid, spool in spools:
            client = Client.to(running.port, user=user)
            client.ok("SELECT INBOX")
            wait_for(client, lambda spool=spool: indexed(spool) == 1, "SEARCH BODY absent")
            for path in spool.root.glob("maildir-imapd.texts*"):
                assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (uid, 0o600)
            assert found(client, "BODY one") == [1]
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_a_confined_server_has_one_and_runs_its_programs(tmp_path: Path) -> None:
    """With mail_user and landlock, and with the index where INDEX= says."""
    nobody = pwd.getpwnam("nobody")
    open_to_all(tmp_path)
    running = start_server(
        tmp_path,
        "--search-index=yes",
        "--mail-user=nobody",
        f"--mail-location=maildir:{tmp_path}/mail/%n/Maildir:INDEX={tmp_path}/index/%n",
        "--search-extract=application/x-words:rev",
        users=1,
        program=("-c", AT_ONCE),
        system_users=True,
        before=["sh", "-c", f'mkdir -p {tmp_path}/mail {tmp_path}/index; exec "$@"', "sh"],
    )
    try:
        user, _ = running.user()
        spool = Spool(tmp_path / "mail" / user / "Maildir")
        spool.put(
            "INBOX",
            b"Subject: s\nContent-Type: multipart/mixed; boundary=x\n\n"
            b"--x\nContent-Type: application/x-words\n\nSTRESSED\n--x--\n",
            "",
        )
        for top in ("mail", "index"):
            for directory, _, files in os.walk(tmp_path / top):
                for path in (directory, *(os.path.join(directory, name) for name in files)):
                    os.chown(path, nobody.pw_uid, nobody.pw_gid)
        client = Client.to(running.port, user=user)
        client.ok("SELECT INBOX")
        assert found(client, "BODY desserts") == []
        for _ in range(TURNS):
            if found(client, "BODY desserts") == [1]:
                break
        else:
            raise AssertionError((tmp_path / "log").read_text())
        [place] = [path.parent for path in (tmp_path / "index").rglob(os.fsdecode(FILE))]
        assert {path.stat().st_uid for path in place.glob("maildir-imapd.texts*")} == {nobody.pw_uid}
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
def test_a_tunnel_has_one_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.put("INBOX", message("one"), "")
    command = [sys.executable, "-c", AT_ONCE, "tunnel", f"--mail-location=maildir:{spool.root}", "--search-index=yes"]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"s SELECT INBOX\r\n")
        for turn in range(TURNS):
            process.stdin.write(b"a%d SEARCH BODY one\r\n" % turn)
            process.stdin.flush()
            line = b""
            while not line.startswith(b"a%d " % turn):
                line = process.stdout.readline()
                assert not line.startswith(b"* SEARCH") or line == b"* SEARCH 1\r\n"
            if indexed(spool) == 1:
                break
        else:
            raise AssertionError("nothing is indexed")
        process.stdin.close()
    assert process.returncode == 0


def test_a_program_takes_no_other_child_along() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert Extractors(Extracting({b"text/x": ("cat",)})).extract(b"text/x", b"hello") == "hello"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
