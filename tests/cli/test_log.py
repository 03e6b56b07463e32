from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd import events, log
from maildir_imapd.errors import ConfigError

logger = logging.getLogger("maildir_imapd.test")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger("maildir_imapd")
    before = root.handlers[:], root.level, root.propagate
    root.handlers = []
    yield
    for handler in root.handlers:
        with contextlib.suppress(OSError):
            handler.close()
    root.handlers, root.propagate = before[0], before[2]
    root.setLevel(before[1])


@given(st.one_of(st.text(), st.binary()))
def test_no_value_breaks_a_line(value: str | bytes) -> None:
    shown = log.render_field(value)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert len(shown) < 4 * log.FIELD_LIMIT_CHARACTERS + 10


def test_a_line(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    fields = {"user": "ann", "why": 'a "b"\nc', "password": "x", "token": "y", "none": None, "raw": b"\xff"}
    logger.info("login", extra={"fields": fields})
    logger.debug("too much detail")
    logger.info("x" * 10_000)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(
        f'info pid={os.getpid()} login user=ann why="a \\"b\\"\\x0ac" password=*** token=*** raw=\\xff'
    )
    assert len(lines[1]) < log.EVENT_LIMIT_CHARACTERS + 100


def test_what_no_file_can_take(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    try:
        raise ValueError("\udcff")
    except ValueError:
        logger.exception("failed", extra={"fields": {"user": "\udc80"}})
    assert "ValueError" in (tmp_path / "log").read_text()


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.set_up("info", str(path))
    logger.info("one")
    path.rename(tmp_path / "log.1")
    logger.info("two")
    assert "two" in path.read_text()
    path.unlink()
    log.reopen()
    assert path.read_text() == ""


def test_a_directory_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mail goes on, and the log where it can."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "log"
    log.set_up("info", str(path))
    (tmp_path / "logs").rename(tmp_path / "away")
    logger.info("still")
    assert "still" in (tmp_path / "away" / "log").read_text()
    (tmp_path / "logs").mkdir()
    logger.info("again")
    assert "again" in path.read_text()
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", str(tmp_path / "log"))
    handler = logging.getLogger("maildir_imapd").handlers[0]
    assert isinstance(handler, log.FileHandler)
    handler.opens = False
    handler.adopt(os.open("/dev/full", os.O_WRONLY))
    logger.info("lost")
    assert capsys.readouterr().err == ""


def test_the_log_is_a_file_of_one_name(tmp_path: Path) -> None:
    """Who may write in its directory must not have us write to a file of his choice."""
    (tmp_path / "precious").write_text("x")
    (tmp_path / "link").symlink_to("precious")
    os.link(tmp_path / "precious", tmp_path / "second")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "second", "fifo"):
        with pytest.raises(ConfigError, match="log_file"):
            log.set_up("info", str(tmp_path / name))
    log.set_up("info", str(tmp_path / "log"))
    (tmp_path / "log").unlink()
    (tmp_path / "log").symlink_to("precious")
    logger.info("elsewhere")
    log.reopen()
    logger.info("elsewhere")
    assert (tmp_path / "precious").read_text() == "x"


def test_a_log_is_handed_over(tmp_path: Path) -> None:
    """A process that may not open the new file goes on in the one that it is given."""
    log.set_up("info", str(tmp_path / "log"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setblocking(False)
        log.receive(theirs)
        (tmp_path / "log").rename(tmp_path / "log.1")
        log.reopen()
        log.hand_over(ours)
        # The same handler plays the other process: it has the old file open again.
        handler = logging.getLogger("maildir_imapd").handlers[0]
        assert isinstance(handler, log.FileHandler)
        log.keep_what_is_open()
        handler.adopt(os.open(tmp_path / "log.1", os.O_WRONLY | os.O_APPEND))
        logger.info("before")
        log.receive(theirs)
        logger.info("after")
        (tmp_path / "log").rename(tmp_path / "log.2")
        logger.info("still")
    assert "before" in (tmp_path / "log.1").read_text()
    assert "after" in (tmp_path / "log.2").read_text()
    assert "still" in (tmp_path / "log.2").read_text()
    assert not (tmp_path / "log").exists()


FORGED = [
    "x\n2026-01-31T12:00:00+0000 warning pid=1 login failed user=ann peer=192.0.2.1:1 tries=1",
    'x" login failed user=ann peer=192.0.2.1:1 tries=1',
    "x login failed user=ann peer=192.0.2.1:1 tries=1",
    "\r\x85\u2028login failed user=ann peer=192.0.2.1:1 tries=1",
]


@pytest.mark.parametrize("text", FORGED)
def test_a_value_in_the_text_looks_like_no_field(tmp_path: Path, text: str) -> None:
    """A folder's name, an error: within the text they are quoted as a field is."""
    log.set_up("info", str(tmp_path / "log"))
    logger.warning("folder cannot be watched path=%s error=%s left=%d of %.1f", text, ValueError(text), 3, 0.5)
    logger.warning("index path=%r", text)
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed")
    lines = (tmp_path / "log").read_text().splitlines()
    shown = log.render_field(text)
    assert f"path={shown} error={shown} left=3 of 0.5" in lines[0]
    assert lines[1].endswith(f"path={shown}")
    assert shown.startswith('"')
    assert lines[2].endswith(" failed")
    assert all(line.startswith("    ") for line in lines[3:])


FILTER = Path(__file__).parents[2] / "contrib" / "fail2ban" / "maildir-imapd.conf"


def hosts(path: Path, tmp_path: Path) -> list[str]:
    """The addresses that fail2ban would ban by a log."""
    from running import program

    done = subprocess.run(
        [program("fail2ban-regex"), "-o", "<ip>", str(path), str(FILTER)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_fail2ban_bans_who_failed_and_nobody_else(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))

    def failed(user: str, peer: str) -> None:
        logger.warning("login failed", extra={"fields": {"user": user, "peer": peer, "tries": 1}})

    failed("ann", "192.0.2.7:4711")
    failed("", "192.0.2.8:4711")
    failed("o'hara b=c \\", "[2001:db8::7]:4711")
    for text in FORGED:
        failed(text, "198.51.100.1:9")
        logger.warning("folder cannot be watched path=%s", text)
        logger.info("login", extra={"fields": {"user": text, "peer": "203.0.113.5:9"}})
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("failed")
    logger.warning(
        "login failed", extra={"fields": {"user": "ann", "peer": "203.0.113.9:1", "tries": 3, "why": "again"}}
    )
    logger.warning(
        "login failed", extra={"fields": {"user": "ann", "peer": "203.0.113.8:1", "tries": 3, "why": "nets"}}
    )
    assert hosts(tmp_path / "log", tmp_path) == [
        *("192.0.2.7", "192.0.2.8", "2001:db8::7"),
        *["198.51.100.1"] * 4,
        "203.0.113.8",
    ]


def test_the_jail_can_be_read(tmp_path: Path) -> None:
    from running import program

    etc = tmp_path / "fail2ban"
    main = f"loglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = {etc}/sock\npidfile = {etc}/pid\n"
    files = {
        "fail2ban.conf": f"[DEFAULT]\n{main}dbfile = None\ndbmaxmatches = 10\ndbpurgeage = 1d\n[Definition]\n",
        "jail.conf": "[DEFAULT]\nbackend = polling\nusedns = no\naction =\nlogencoding = utf-8\nmaxmatches = 5\n",
        "jail.d/maildir-imapd.conf": (FILTER.parent / "jail.conf").read_text().replace("/var/log", str(tmp_path)),
        "filter.d/maildir-imapd.conf": FILTER.read_text(),
    }
    for name, text in files.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text(text)
    (tmp_path / "maildir-imapd.log").touch()
    words = [program("fail2ban-client"), "-c", str(etc), "-d"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'addfailregex', '^(?: " in done.stdout
    assert "'maildir-imapd', 'maxretry', 10]" in done.stdout


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    with pytest.raises(ConfigError, match=r"log_file .*No such file"):
        log.set_up("info", str(tmp_path / "none" / "log"))
    logger.info("as before")
    assert "as before" in (tmp_path / "log").read_text()


values = st.one_of(
    st.text(), st.binary(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text(), max_size=3)
)


@given(st.text(), st.dictionaries(st.text(), values, max_size=5), st.booleans())
def test_each_line_of_json_is_one_object(event: str, fields: dict[str, object], fails: bool) -> None:
    record = logging.LogRecord("maildir_imapd.x", logging.WARNING, "f", 1, event, None, None)
    record.fields = fields
    if fails:
        record.exc_info = (ValueError, ValueError(event), None)
    line = log.JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert line.isascii()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(line, parse_constant=refuse)
    assert set(found) >= {"time", "level", "pid", "event"}
    assert found["level"] == "warning"
    json.dumps(found, ensure_ascii=False).encode("utf-8")


def test_no_field_takes_the_place_of_an_event_s_own() -> None:
    record = logging.LogRecord("maildir_imapd.x", logging.INFO, "f", 1, "login", None, None)
    record.fields = {"level": "error", "event": "forged", "password": "x", "pid": 1}
    found = json.loads(log.JsonFormatter().format(record))
    assert (found["level"], found["event"], found["level_"], found["password"]) == ("info", "login", "error", "***")


def test_the_journal_gets_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "err", "w+") as file:
        state = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{state.st_dev}:{state.st_ino}")
        monkeypatch.setattr("sys.stderr", file)
        log.set_up("debug")
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "seen")
        try:
            raise ValueError("a\nb")
        except ValueError:
            logger.exception("failed")
        file.flush()
        file.seek(0)
        lines = file.read().splitlines()
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert lines[1] == f"<6>info pid={os.getpid()} seen"
    assert all(line.startswith("<3>") for line in lines[4:])


def test_another_standard_error_is_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "err", "w+") as file:
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        monkeypatch.setattr("sys.stderr", file)
        log.set_up("info", style="json")
        logger.info("seen")
        file.flush()
        file.seek(0)
        assert json.loads(file.read())["event"] == "seen"


def test_the_system_s_log(tmp_path: Path) -> None:
    """It is sent what syslog(3) would send, and a system's log that does not read holds nobody up."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(path)
        handler = log.SyslogHandler(path)
        handler.setFormatter(log.Formatter(dated=False))
        root = logging.getLogger("maildir_imapd")
        root.addHandler(handler)
        root.setLevel("INFO")
        root.propagate = False
        logger.warning("seen", extra={"fields": {"user": "a\nb"}})
        said = system.recv(4096)
        assert said == b'<20>maildir-imapd[%d]: warning pid=%d seen user="a\\x0ab"' % (os.getpid(), os.getpid())
        for _ in range(5000):
            logger.warning("again")
    os.unlink(path)
    logger.warning("nobody is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(path)
        logger.warning("seen again")
        assert system.recv(4096).endswith(b" seen again")
    handler.close()


def test_a_listener_stays_when_the_log_is_set_up_anew(tmp_path: Path) -> None:
    seen: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = seen.append  # type: ignore[method-assign]
    log.listen(listener)
    log.listen(listener)
    try:
        log.set_up("info", str(tmp_path / "log"))
        logger.info("one")
        log.set_up("info", str(tmp_path / "log"))
        logger.info("two")
    finally:
        log.unlisten(listener)
        log.unlisten(listener)
    logger.info("three")
    assert [record.msg for record in seen] == ["one", "two"]
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_a_thread_says_of_which_session_it_is(tmp_path: Path) -> None:
    log.set_up("info", str(tmp_path / "log"))
    events.set_session("s-1")
    try:
        events.Log("maildir_imapd.test").info("login", user="ann")
        other = threading.Thread(target=lambda: events.Log("maildir_imapd.test").info("other"))
        other.start()
        other.join()
    finally:
        events.set_session(None)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0].endswith(" login user=ann session=s-1")
    assert lines[1].endswith(" other")
