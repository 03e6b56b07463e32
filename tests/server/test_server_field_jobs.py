"""Fields of messages that a process beside a worker works out: its jobs, the queue's hurry, and a server with it."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, give_to, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.auth import schemes
from maildir_imapd.config import load
from maildir_imapd.server import beside as besides
from maildir_imapd.server import field_jobs, job_queue, jobs, owners, shared
from maildir_imapd.server.job_queue import JobKind, Queue, render
from maildir_imapd.store.account import Account
from maildir_imapd.store.threads.ahead import LAST_UID, Want, parse

TURNS = 10_000
# As a program of the server's own, with nothing to wait for.
AT_ONCE = (
    "from maildir_imapd.server import field_jobs; field_jobs.DELAY_SECONDS = field_jobs.REST_SECONDS = 0.0;"
    "from maildir_imapd.cli import run; run()"
)


def message(n: int) -> bytes:
    return f"From: a{n}@example.org\nSubject: number {n}\n\nthe text of {n}\n".encode()


def known(spool: Spool, field: bytes, messages: int, name: str = "INBOX") -> int:
    """Of how many messages a field is in the cache; another process's look at it."""
    box = Account(os.fsencode(spool.root), fsync="never").mailbox(name)
    return messages - box.cache.get_many(list(range(1, messages + 1)), field).count(None)


# --- what is written down ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "want",
    [
        Want(b"/path", ()),
        Want(b"/path/.a b", (b"envelope", b"header=A B"), 7, 1000),
        Want(b"/path", (b"sort:DATE",), 1, LAST_UID),
    ],
)
def test_a_want_comes_back(want: Want) -> None:
    assert parse(want.render()) == want


def test_a_key_that_cannot_be_written_is_left_out() -> None:
    assert parse(Want(b"/path", (b"text:a\0b", b"envelope")).render()) == Want(b"/path", (b"envelope",))


# --- a job ------------------------------------------------------------------------------------------


def job(root: Path, *wants: Want, left_out: frozenset[object] = frozenset(), parent: int | None = None) -> int:
    """How a job ends that is a process of its own."""
    noting = jobs.Noting(shared.words(jobs.CELLS), left_out)  # type: ignore[arg-type]
    mine, child = os.getpid() if parent is None else parent, os.fork()
    if child == 0:
        status = 99
        try:
            written = [want.render() for want in wants]
            status = field_jobs.work(lambda user: Account(os.fsencode(root)), "ann", written, noting, mine)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_job_fills_the_caches(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for n in range(3):
        spool.put("INBOX", message(n), "")
        spool.put("other", message(n), "")
    fields = (b"envelope", b"bodystructure")
    gone = Want(os.fsencode(spool.path("gone")), fields)
    there = [Want(os.fsencode(path), fields) for path in (spool.root, spool.path("other"))]
    assert job(tmp_path, gone, *there) == jobs.DONE
    for field in fields:
        assert (known(spool, field, 3), known(spool, field, 3, "other")) == (3, 3)
    assert not spool.path("gone").exists()


def test_a_job_whose_parent_has_gone_does_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("INBOX", message(1), "")
    assert job(tmp_path, Want(os.fsencode(spool.root), (b"envelope",)), parent=1) == jobs.FAILED
    assert known(spool, b"envelope", 1) == 0


def test_whoever_has_no_mail_has_nothing_done() -> None:
    noting = jobs.Noting(shared.words(jobs.CELLS), frozenset())
    assert field_jobs.work(lambda user: None, "none", [], noting, os.getppid()) == jobs.DONE


# --- hurry ------------------------------------------------------------------------------------------


class Hurried:
    """A queue whose worker is the test; a job waits for a word of the test's."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.now = 100.0
        self.said, self.says = os.pipe()
        self.goes, self.go = os.pipe()
        kind = JobKind("test", self.work, 0.0, 5.0)
        self.queue = Queue(kind, self.theirs, now=lambda: self.now)

    def work(self, user: str, wants: object, cells: memoryview[int], left_out: object, parent: int) -> int:
        os.write(self.says, f"{user}:{b','.join(wants).decode()} ".encode())  # type: ignore[arg-type]
        while not cells[jobs.END]:
            if select.select([self.goes], [], [], 0.01)[0]:
                return os.read(self.goes, 1)[0]
        return jobs.AGAIN

    def say(self, user: str, what: bytes, *, urgent: bool) -> None:
        self.ours.send(render(user, what, urgent=urgent))

    def turns(self, until: Callable[[], bool]) -> None:
        for _ in range(TURNS):
            if until():
                return
            assert self.queue.turn()
        raise AssertionError("it does not come to that")

    def begun(self) -> list[str]:
        """What jobs have been begun, in their order."""
        found = b""
        while select.select([self.said], [], [], 0)[0]:
            found += os.read(self.said, 4096)
        return found.decode().split()

    def close(self) -> None:
        self.queue._end()
        for each in (self.said, self.says, self.goes, self.go):
            os.close(each)
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def hurried() -> Iterator[Hurried]:
    found = Hurried()
    yield found
    found.close()


def wait_begun(hurried: Hurried, count: int) -> list[str]:
    found: list[str] = []
    hurried.turns(lambda: len(found.__iadd__(hurried.begun())) >= count)
    return found


@pytest.mark.slow
def test_who_waits_goes_before_what_may_wait(hurried: Hurried) -> None:
    hurried.say("ann", b"one", urgent=False)
    assert wait_begun(hurried, 1) == ["ann:one"]
    hurried.say("bob", b"two", urgent=True)
    assert wait_begun(hurried, 1) == ["bob:two"]
    os.write(hurried.go, bytes([jobs.DONE]))
    assert wait_begun(hurried, 1) == ["ann:one"], "what had to end is begun again"


@pytest.mark.slow
def test_a_second_who_waits_gets_along_alone(hurried: Hurried) -> None:
    hurried.say("ann", b"one", urgent=True)
    assert wait_begun(hurried, 1) == ["ann:one"]
    hurried.say("bob", b"two", urgent=True)
    assert hurried.queue._hear()
    os.write(hurried.go, bytes([jobs.DONE]))
    hurried.turns(lambda: hurried.queue._job is None)
    assert hurried.queue._urgent is None
    assert hurried.queue._pauses == {}, "he may ask again at once"


def test_who_waits_in_vain_is_not_begun_for_again(hurried: Hurried) -> None:
    hurried.say("ann", b"one", urgent=True)
    assert wait_begun(hurried, 1) == ["ann:one"]
    os.write(hurried.go, bytes([jobs.FAILED]))
    hurried.turns(lambda: hurried.queue._job is None)
    assert hurried.queue._waiting == {}
    hurried.say("ann", b"two", urgent=True)
    assert hurried.queue._hear()
    assert hurried.queue._urgent is None, "his mail cannot be had now"
    hurried.now += job_queue.FIRST_PAUSE_SECONDS + 1
    hurried.say("ann", b"two", urgent=True)
    assert wait_begun(hurried, 1) == ["ann:two"]
    os.write(hurried.go, bytes([jobs.DONE]))
    hurried.turns(lambda: hurried.queue._job is None)


@pytest.mark.slow
def test_without_a_descriptor_of_the_process_it_is_looked_for(
    hurried: Hurried, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(process: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", none)
    hurried.say("ann", b"one", urgent=False)
    wait_begun(hurried, 1)
    os.write(hurried.go, bytes([jobs.DONE]))
    hurried.turns(lambda: hurried.queue._job is None)
    assert hurried.queue._pauses["ann"] == (hurried.now + 5.0, 0.0)


# --- a server ---------------------------------------------------------------------------------------


def config(tmp_path: Path, **values: str) -> object:
    (tmp_path / "passwd").write_text("")
    return load(None, {"passwd_file": str(tmp_path / "passwd"), **values})


def test_it_can_be_left_out(tmp_path: Path) -> None:
    none = besides.start(config(tmp_path, cache_ahead="no"))  # type: ignore[arg-type]
    assert not none.has_fields
    none.work_ahead("ann", Want(b"/path", ()), True)
    none.look()
    none.close()


def test_it_is_there_unless_somebody_says_no(tmp_path: Path) -> None:
    found = besides.start(config(tmp_path))  # type: ignore[arg-type]
    try:
        assert (found.has_fields, found.has_texts) == (True, False)
        assert found._fields is not None
        end = os.pidfd_open(found._fields._process)
    finally:
        found.close()
    assert select.select([end], [], [], 30)[0], "it is still there"
    os.close(end)


def fill(running: Running, uid: int | None = None) -> None:
    """A client asks for envelopes, then 40 messages come in, and nobody asks."""
    user, spool = running.user()
    spool.put("INBOX", message(0), "")
    if uid is not None:
        give_to(spool.root.parent, uid)
    client = Client.to(running.port, user=user)
    client.ok("SELECT INBOX")
    client.ok("FETCH 1 (ENVELOPE)")
    for n in range(1, 41):
        spool.put("INBOX", message(n), "")
        if uid is not None:
            give_to(spool.root.parent, uid)
    for _ in range(TURNS):
        client.ok("NOOP")
        if known(spool, b"envelope", 41) == 41:
            break
    else:
        raise AssertionError("nobody has worked them out")
    client.close()


@pytest.mark.slow
def test_a_server_works_ahead(tmp_path: Path) -> None:
    running = start_server(tmp_path, users=1, program=("-c", AT_ONCE))
    try:
        fill(running)
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_a_job_is_its_user(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    running = start_server(tmp_path, users=1, program=("-c", AT_ONCE), system_users=True)
    try:
        stored = schemes.make(b"secret", "SSHA")
        spool = Spool(tmp_path / "u8" / "Maildir")
        for n in range(40):
            spool.put("INBOX", message(n), "")
            spool.put("other", message(n), "")
        give_to(tmp_path / "u8", 12345)
        with open(tmp_path / "passwd", "a") as file:
            file.write(f"u8:{stored}:12345:12345::::\n")
        client = Client.to(running.port, user="u8")
        client.ok("SELECT INBOX")
        client.ok("FETCH 1 (ENVELOPE)")
        client.ok("SELECT other")
        cache = spool.path("other") / "maildir-imapd.cache"
        for _ in range(TURNS):
            client.ok("NOOP")
            if cache.exists() and known(spool, b"envelope", 40, "other") == 40:
                break
        else:
            raise AssertionError((tmp_path / "log").read_text())
        of_session = (spool.root / "maildir-imapd.cache").stat()
        assert (cache.stat().st_uid, cache.stat().st_mode) == (12345, of_session.st_mode)
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
def test_a_long_fetch_is_the_same_with_another_process_s_help(tmp_path: Path) -> None:
    """Over a socket: 3000 messages, more than what is worth a process."""
    running = start_server(tmp_path, users=1)
    try:
        user, spool = running.user()
        for n in range(3000):
            spool.put("INBOX", message(n), "S")
        client = Client.to(running.port, user=user)
        client.ok("SELECT INBOX")
        first = client.ok("FETCH 1:* (ENVELOPE)")
        again = client.ok("FETCH 1:* (ENVELOPE)")
        assert len(first) == len(again)
        assert [str(line) for line in first[:-1]] == [str(line) for line in again[:-1]]
        assert "error" not in (tmp_path / "log").read_text()
    finally:
        Client.close_all()
        stop_server(running)
