"""Hooks: commands for messages that clients put into a mailbox or take out of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from client import Client
from running import give_to, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import hook_jobs, jobs, owners, programs, settings, shared
from maildir_imapd.server.hook import Hook
from maildir_imapd.store.account import Account
from maildir_imapd.store.threads.moves import MESSAGES, Moved, Moves, parse

MOVED = Moved("MOVE", "INBOX", "Jünk \udcff", b"/path/.Junk", 17, 3, 5)
LEARN = """\
#!/bin/sh
out={out}/$MAILDIR_IMAPD_COMMAND-$MAILDIR_IMAPD_FROM-$MAILDIR_IMAPD_TO-$MAILDIR_IMAPD_UID
{{ id -u; echo "$MAILDIR_IMAPD_USER $MAILDIR_IMAPD_FLAGS $# $1"; cat; }} > "$out.part" && mv "$out.part" "$out"
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


# --- what is told -------------------------------------------------------------------------------------


def test_a_move_comes_back() -> None:
    assert parse(MOVED.render()) == MOVED


def test_who_wants_to_hear_of_what() -> None:
    moves = Moves()
    heard: list[Moved] = []
    moves.note("COPY", "INBOX", "Junk", b"/p", 1, [1])
    moves.wanted, moves.folders = heard.append, frozenset({"Junk"})
    moves.note("COPY", "INBOX", "Work", b"/p", 1, [1])
    moves.note("COPY", "Junk", "Junk", b"/p", 1, [1])
    moves.note("COPY", "INBOX", "Junk", b"/p", 1, [])
    assert not heard
    moves.note("COPY", "INBOX", "Junk", b"/p", 1, [4, 5])
    moves.note("MOVE", "Junk", "INBOX", b"/q", 2, range(1, 10_000))
    assert heard == [
        Moved("COPY", "INBOX", "Junk", b"/p", 1, 4, 5),
        Moved("MOVE", "Junk", "INBOX", b"/q", 2, 1, MESSAGES),
    ]


def test_settings() -> None:
    config = load(None, {"hook_moved": ["Junk:/bin/learn 'a b' spam", "A:b:c"]})
    assert settings.hooks(config) == (Hook("Junk", ("/bin/learn", "a b", "spam")), Hook("A", ("b:c",)))
    assert settings.mail(config).hooked == {"Junk", "A"}
    for wrong in ("Junk", "Junk:", ":x", "Junk:'"):
        with pytest.raises(ConfigError):
            load(None, {"hook_moved": [wrong]})


# --- a job --------------------------------------------------------------------------------------------


def job(root: Path, hooks: list[Hook], *moves: Moved) -> int:
    """How a job ends that is a process of its own."""
    noting = jobs.Noting(shared.words(jobs.CELLS), frozenset())
    mine, child = os.getpid(), os.fork()
    if child == 0:
        status = 99
        try:
            written = [moved.render() for moved in moves]
            status = hook_jobs.work(lambda user: Account(os.fsencode(root)), hooks, "ann", written, noting, mine)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def filled(root: Path) -> tuple[Spool, Moved]:
    spool = Spool(root)
    for n in range(3):
        spool.put("Junk", b"Subject: %d\n\nbody\n" % n, "S" if n else "")
    box = Account(os.fsencode(root)).mailbox("Junk")
    return spool, Moved("MOVE", "INBOX", "Junk", box.path, box.sync().uidvalidity, 1, 3)


def test_a_hook_gets_each_message(tmp_path: Path) -> None:
    _, moved = filled(tmp_path / "Maildir")
    learn = script(tmp_path / "learn", LEARN.format(out=tmp_path))
    assert job(tmp_path / "Maildir", [Hook("Junk", (str(learn), "$(id) ; spam")), Hook("Other", ("x",))], moved) == 0
    found = [(tmp_path / f"MOVE-INBOX-Junk-{n}").read_text().split("\n", 1)[1] for n in (1, 2, 3)]
    assert found == [
        "ann  1 $(id) ; spam\nSubject: 0\n\nbody\n",
        "ann \\Seen 1 $(id) ; spam\nSubject: 1\n\nbody\n",
        "ann \\Seen 1 $(id) ; spam\nSubject: 2\n\nbody\n",
    ]


def test_what_has_gone_on_or_is_numbered_anew(tmp_path: Path) -> None:
    spool, moved = filled(tmp_path / "Maildir")
    learn = script(tmp_path / "learn", LEARN.format(out=tmp_path))
    hooks = [Hook("Junk", (str(learn),))]
    other = Moved(moved.verb, moved.source, moved.target, moved.path, moved.uidvalidity + 1, 1, 3)
    gone = Moved(moved.verb, moved.source, moved.target, os.fsencode(spool.path("gone")), 1, 1, 3)
    assert job(tmp_path / "Maildir", hooks, other, gone) == 0
    assert list(tmp_path.glob("MOVE-*")) == []
    next((spool.path("Junk") / "cur").glob("*:2,S")).unlink()
    assert job(tmp_path / "Maildir", hooks, moved) == 0
    assert len(list(tmp_path.glob("MOVE-*"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 3\n",
        "#!/bin/sh\nexec sleep 1000\n",
        "#!/bin/sh\nsleep 1000 &\nexit 0\n",
        "#!/bin/sh\nyes\n",
        "#!/nonexistent\n",
    ],
    ids=["fails", "hangs", "leaves", "talks", "is-none"],
)
def test_a_hook_that_goes_wrong_holds_nobody_up(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PATIENCE_SECONDS", 1.0)
    _, moved = filled(tmp_path / "Maildir")
    bad, good = script(tmp_path / "bad", text), script(tmp_path / "learn", LEARN.format(out=tmp_path))
    hooks = [Hook("Junk", (str(bad),)), Hook("INBOX", (str(good),))]
    one = Moved(moved.verb, moved.source, moved.target, moved.path, moved.uidvalidity, 1, 1)
    assert job(tmp_path / "Maildir", hooks, one) == 0
    assert (tmp_path / "MOVE-INBOX-Junk-1").exists()


# --- servers ------------------------------------------------------------------------------------------


def wait_for(path: Path, log: Path) -> str:
    """The file, once it is there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.slow
def test_a_server_runs_hooks(tmp_path: Path) -> None:
    learn = script(tmp_path / "learn", LEARN.format(out=tmp_path))
    running = start_server(tmp_path, f"--hook-moved=Junk:{learn} spam", users=2)
    try:
        user, spool = running.user()
        spool.folder("Junk")
        spool.put("INBOX", b"Subject: one\n\n", "")
        client = Client.to(running.port, user=user)
        client.ok("SELECT INBOX")
        client.ok("COPY 1 Junk")
        assert wait_for(tmp_path / "COPY-INBOX-Junk-1", tmp_path / "log").endswith(f"{user}  1 spam\nSubject: one\n\n")
        client.send(b"a APPEND Junk (\\Seen) {16+}\r\nSubject: two\r\n\r\n\r\n")
        client.until("a OK")
        wait_for(tmp_path / "APPEND--Junk-2", tmp_path / "log")
        client.ok("SELECT Junk")
        client.ok("MOVE 1:2 INBOX")
        wait_for(tmp_path / "MOVE-Junk-INBOX-2", tmp_path / "log")
        wait_for(tmp_path / "MOVE-Junk-INBOX-3", tmp_path / "log")
        assert len(list(tmp_path.glob("*-*-*-*"))) == 4
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_a_hook_is_its_user(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    out = tmp_path / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    learn = script(tmp_path / "learn", LEARN.format(out=out))
    spool = Spool(tmp_path / "ann" / "Maildir")
    spool.folder("Junk")
    spool.put("INBOX", b"Subject: one\n\n", "")
    give_to(tmp_path / "ann", 54321)
    (tmp_path / "users").write_text(f"ann:{{PLAIN}}secret:54321:54321::{tmp_path / 'ann'}::\n")
    running = start_server(
        tmp_path, f"--hook-moved=Junk:{learn}", f"--passwd-file={tmp_path / 'users'}", users=1, system_users=True
    )
    try:
        client = Client.to(running.port, user="ann")
        client.ok("SELECT INBOX")
        client.ok("MOVE 1 Junk")
        assert wait_for(out / "MOVE-INBOX-Junk-1", tmp_path / "log").startswith("54321\nann ")
    finally:
        Client.close_all()
        stop_server(running)
